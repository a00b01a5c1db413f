"""Networks on windows: the bigram as one matrix of logits, and the multilayer perceptron of Bengio et al. 2003.

Left out: batch norm and the diagnostics of a good start (week 5), the backward pass by hand (week 6).
"""

import torch
from torch import nn

from .contract import LanguageModel


class Bigram(LanguageModel):
    """A matrix (V, V): row a holds the logits of what follows letter a. By gradient it finds what counting finds."""

    takes, context = "windows", 1

    def __init__(self, vocab_size):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(vocab_size, vocab_size))

    def logits(self, tokens):
        """(B, 1) -> (B, V): for each window the row of self.weight that belongs to its letter."""
        # a row of the matrix is what a one-hot vector times the matrix would pick out
        return self.weight[tokens[..., -1]]  # (B, V)


class MLP(LanguageModel):
    """Look each letter up in a table, lay the vectors side by side, one hidden layer, logits.

        e = [C(w_1) ... C(w_n)],  h = tanh(e W + b),  z = h U + c     (Bengio et al. 2003, section 2, without its
    direct connections). Twenty-seven letters share one C: what is learnt about "a" in one place holds in all.
    """

    takes = "windows"

    def __init__(self, vocab_size, context=3, n_embd=16, n_hidden=140):
        super().__init__()
        self.context = context
        self.embedding = nn.Embedding(vocab_size, n_embd)  # C
        self.hidden = nn.Linear(context * n_embd, n_hidden)
        self.output = nn.Linear(n_hidden, vocab_size)
        with torch.no_grad():
            self.output.weight.mul_(0.1)  # a fresh network should guess evenly: loss ln V
            self.output.bias.zero_()

    def logits(self, tokens):
        """(B, context) -> (B, V), by the equation above; the oldest letter's vector comes first in e."""
        e = self.embedding(tokens).flatten(-2)  # (B, context * n_embd)
        return self.output(torch.tanh(self.hidden(e)))  # (B, V)
