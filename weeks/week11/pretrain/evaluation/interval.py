"""A score and how far it can be trusted: the percentile bootstrap (Efron 1979).

Draw as many items as there are, with replacement; score them; do it again. The middle 95 % of those scores is the
interval. It answers one question: what if the exam had asked other items of the same kind? Not: what if the model had
been trained with another seed. Left out: corrections for bias and skew (BCa).
"""

from typing import NamedTuple

import numpy as np

DRAWS, SHARE = 1000, 0.95


class Score(NamedTuple):
    """A mean, the interval that holds 95 % of the resampled ones, and how many items it rests on."""

    value: float
    low: float
    high: float
    count: int

    def __str__(self):
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def metrics(scores, prefix=""):
    """{name: Score or number} as a results file has it: {name: value, name_interval: [low, high]}."""
    found = {}
    for name, score in scores.items():
        if isinstance(score, Score):
            found |= {f"{prefix}{name}": score.value, f"{prefix}{name}_interval": [score.low, score.high]}
        else:
            found[f"{prefix}{name}"] = score
    return found


def bootstrap(values, weights=None, *, transform=None, draws=DRAWS, share=SHARE, seed=0):
    """The Score of sum(values) / sum(weights) over items; weights None: the mean. Pure: the same seed, the same ends.

    `transform` turns that ratio into the score, and must be monotone (np.exp for a perplexity). An item is drawn with
    its value and its weight together. Raises ValueError for no items, for other than a weight above 0 for each, and
    for a value that is no finite number.
    """
    values = np.asarray(values, dtype=np.float64)
    weights = np.ones_like(values) if weights is None else np.asarray(weights, dtype=np.float64)
    if not len(values) or len(values) != len(weights):
        raise ValueError(
            f"{len(values)} values and {len(weights)} weights give no score; give one or more, as many of each"
        )
    if not (weights > 0).all() or not np.isfinite(values).all():
        raise ValueError("an item has no weight, or a value that is no finite number; leave it out")
    transform = transform or (lambda ratio: ratio)
    rng, found = np.random.default_rng(seed), np.empty(draws)
    for i in range(draws):
        drawn = rng.integers(len(values), size=len(values))
        found[i] = values[drawn].sum() / weights[drawn].sum()
    low, high = np.quantile(found, [(1 - share) / 2, (1 + share) / 2])
    ends = sorted(float(transform(end)) for end in (low, high))
    return Score(float(transform(values.sum() / weights.sum())), *ends, len(values))
