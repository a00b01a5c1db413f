"""Names that no file is needed for: syllables drawn at random, so that there is something to learn."""

import random

from deepmlp.vendor.makemore.names import windows


def invented(count, seed=0):
    """`count` names of two to four syllables, such as "kalomi"."""
    rng = random.Random(seed)
    return ["".join(rng.choice("bdfgklmnprst") + rng.choice("aeiou") for _ in range(rng.randint(2, 4)))
            for _ in range(count)]  # fmt: skip


def write(path, count=400, seed=0):
    path.write_text("\n".join(invented(count, seed)) + "\n", encoding="utf-8")
    return path


def data(names, context=3):
    return windows(names, names.train, context)
