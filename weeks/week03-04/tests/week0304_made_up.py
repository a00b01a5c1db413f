"""A small world of made-up names, and a small model, for tests that need no real file and no network."""

import itertools
import random

import torch
from makemore.contract import LanguageModel
from makemore.names import Names

# the day from which each model of the table can be used; one that is not here is of day 27, which completes the table
DAYS = {"bigram": 17, "trigram": 17, "bigram_gradient": 18, "mlp": 19, "rnn": 23, "gru": 24, "lstm": 25, "cnn": 27}

SYLLABLES = ("ka", "lo", "mi", "ne", "ru")
WORDS = ["".join(parts) for n in (1, 2, 3) for parts in itertools.product(SYLLABLES, repeat=n)]  # 155

# No letter occurs twice, so after the first letter of a name everything is certain; which of the four it is, nobody can
# know. So every model's best loss is the same, 4 ln 4 over all letters and ends: lower means that it saw its target.
DISTINCT = ["abcd", "efghijk", "lm", "nopqrs"]


def made_up():
    """155 names of up to six letters, in parts of 100, 30 and 25."""
    words = random.Random(0).sample(WORDS, len(WORDS))
    return Names(words[:100], words[100:130], words[130:])


def distinct():
    return Names(train=DISTINCT, val=DISTINCT, test=DISTINCT)


class Plain(LanguageModel):
    """A bigram with a bias, random from the start, on windows or rows: for the days before there is a network."""

    def __init__(self, vocab_size, takes="windows"):
        super().__init__()
        self.takes, self.context = takes, 1 if takes == "windows" else None
        self.weight = torch.nn.Parameter(torch.randn(vocab_size, vocab_size))
        self.bias = torch.nn.Parameter(torch.randn(vocab_size))

    def logits(self, tokens):
        return self.weight[tokens[..., 0] if self.takes == "windows" else tokens] + self.bias
