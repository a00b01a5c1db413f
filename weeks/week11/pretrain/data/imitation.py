"""A large corpus out of a small one, to measure the pipeline with: documents that look real and differ.

Each document is a handful of lines from random places. One word in 50 gets a wrong letter, for real text never runs
out of new words, and a tokenizer that met only known ones would look too fast. Some documents are copies of a recent
one, some are copies with a few words changed. The same seed gives the same file.
"""

import json
from collections import deque

import numpy as np

from ..vendor.shared.text import documents, read_text
from .planted import edit

LETTERS = "abcdefghijklmnopqrstuvwxyz"
DOCUMENT = 2000  # characters
COPIES = 0.02  # share of exact copies, and again of near ones
RECENT = 1000  # documents that a copy may be of


def lines_of(paths):
    """The lines of text files that hold five words or more."""
    texts = (text for path in paths for text in documents(read_text(path)))
    return [line for text in texts for line in text.split("\n") if line.count(" ") >= 4]


def misspell(text, rng, share=0.02):
    """The text with one letter replaced in about `share` of its words."""
    words = text.split(" ")
    for i in np.flatnonzero(rng.random(len(words)) < share):
        if words[i]:
            place = rng.integers(len(words[i]))
            words[i] = words[i][:place] + LETTERS[rng.integers(26)] + words[i][place + 1 :]
    return " ".join(words)


def write(lines, path, megabytes, seed=0):
    """Write JSON lines with about so many megabytes of text; {"documents", "exact", "near"} says what was planted."""
    rng, recent, size = np.random.default_rng(seed), deque(maxlen=RECENT), 0
    count = {"documents": 0, "exact": 0, "near": 0}
    each = max(1, round(DOCUMENT / (sum(map(len, lines)) / len(lines))))
    with open(path, "w", encoding="utf-8") as file:
        while size < megabytes * 1e6:
            kind = rng.random() if recent else 1.0
            if kind < 2 * COPIES:
                text = recent[rng.integers(len(recent))]
                text = text if kind < COPIES else edit(text, 0.01, rng)
                count["exact" if kind < COPIES else "near"] += 1
            else:
                text = misspell("\n".join(lines[i] for i in rng.integers(len(lines), size=each)), rng)
                recent.append(text)
            file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
            size += len(text.encode())
            count["documents"] += 1
    return count
