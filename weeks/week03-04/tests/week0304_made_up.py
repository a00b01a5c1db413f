"""A small world of made-up names, for tests that need no real file."""

import itertools
import random

from makemore.names import Names

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
