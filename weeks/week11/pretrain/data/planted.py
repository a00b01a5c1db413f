"""How well duplicates are found: plant them in known places and count.

A near duplicate is a copy with some words replaced, as a mirror of a page or another edition has them. Its true
similarity is computed from the shingles themselves, so what is found can be held against the curve of the bands.
"""

from typing import NamedTuple

import numpy as np

from . import dedup


class Found(NamedTuple):
    """Shares of the planted copies that were found, of originals that were dropped, and what theory expects."""

    exact_recall: float
    recall: float  # of near duplicates with a similarity of `least` or more
    expected: float  # what the bands promise for just these similarities
    false_positives: float  # share of the originals that were taken for duplicates
    pairs: int  # near duplicates that were judged


def edit(text, share, rng):
    """The text with about `share` of its words replaced by words from elsewhere in it."""
    words = text.split(" ")
    for i in np.flatnonzero(rng.random(len(words)) < share):
        words[i] = words[rng.integers(len(words))]
    return " ".join(words)


def plant(originals, rng, most=0.06):
    """(documents, origin, kind): originals, then an exact and a near copy of each in random order.

    origin[i] is the place of document i's original; kind[i] is 0 for an original, 1 for an exact copy, 2 for a near
    one. With 5-word shingles each replaced word breaks five, so `most` of 6 % leads to similarities down to about 0.6.
    """
    n = len(originals)
    copies = [(i, 1, originals[i]) for i in range(n)]
    copies += [(i, 2, edit(originals[i], rng.uniform(0, most), rng)) for i in range(n)]
    order = rng.permutation(len(copies))
    rows = [(i, 0, text) for i, text in enumerate(originals)] + [copies[j] for j in order]
    origin, kind, texts = zip(*rows)
    return list(texts), np.array(origin), np.array(kind)


def measure(originals, seed=0, least=0.8):
    """Plant copies of each text and look for them; `Found`. The texts must have nothing to do with each other."""
    texts, origin, kind = plant(originals, np.random.default_rng(seed))
    same, near = dedup.duplicates(dedup.keys(texts))
    gone = same | near
    similar = np.array([dedup.jaccard(texts[o], text) if k == 2 else 0.0 for o, k, text in zip(origin, kind, texts)])
    judged = (kind == 2) & (similar >= least)
    return Found(
        exact_recall=float(same[kind == 1].mean()),
        recall=float(gone[judged].mean()),
        expected=float(dedup.chance(similar[judged]).mean()),
        false_positives=float(gone[kind == 0].mean()),
        pairs=int(judged.sum()),
    )
