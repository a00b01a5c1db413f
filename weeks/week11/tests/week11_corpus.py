"""A tokenizer and small files for the tests of week 11's data pipeline."""

import random
from functools import cache

from pretrain.vendor.bpe.fast import Tokenizer
from pretrain.vendor.shared.text import END

WORDS = [f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in "lmnrst"]


@cache
def tokenizer(vocab_size=300):
    """A few merges of made-up words."""
    return Tokenizer.train(" ".join(WORDS), vocab_size)


def made_up(count, words=(0, 60), seed=0):
    """Texts of random words, of random lengths: some empty, most shorter than a window of 64."""
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(*words))) for _ in range(count)]


def save(path, texts):
    path.write_text(f"\n{END}\n".join(texts), encoding="utf-8")
    return path
