"""Which rows a step reads: a fresh order each epoch; at first fewer rows, and shorter ones, where the recipe asks.

Early on the gradient is so large that few rows find its direction (Brown et al. 2020, arXiv:2005.14165, appendix B),
and what a model learns first needs no long context (Li et al. 2022, arXiv:2108.06084). All is a pure function of the
step, so a stopped run needs no more than its number to go on.
"""

from itertools import accumulate

import torch

from .vendor.continual.loop import Shuffle
from .vendor.continual.rows import Rows


class Feed:
    """`feed.at(step)` -> the Rows of a step. config: batch_size, accumulate, steps, seed, first_batch, first_context
    and grow, the share of the steps over which both grow."""

    def __init__(self, rows, config):
        self.rows, self.config = rows, config
        self._order = Shuffle(len(rows), 1, config.seed)
        self._grown = round(config.grow * config.steps)  # the step from which on all is as it stays
        growing = range(self._grown if config.first_batch else 0)
        self._begins = list(accumulate(map(self.size, growing), initial=0))

    def size(self, step):
        """Rows of a step: in a line from first_batch to batch_size, times accumulate."""
        first, last = self.config.first_batch or self.config.batch_size, self.config.batch_size
        if step < self._grown:
            last = first + (last - first) * step // self._grown
        return last * self.config.accumulate

    def begin(self, step):
        """Rows that were read before a step."""
        grown = min(step, len(self._begins) - 1)
        return self._begins[grown] + (step - grown) * self.size(step)

    def context(self, step, longest):
        """Tokens of a row: from first_context on it doubles until it is the `longest`."""
        short = self.config.first_context
        if not short or short >= longest or step >= self._grown:
            return longest
        stages = (longest // short).bit_length()  # 64 -> 64, 128 of 256
        return min(longest, short << (step * (stages - 1) // self._grown))

    def at(self, step):
        begin = self.begin(step)
        order = [self._order.at(place) for place in range(begin, begin + self.size(step))]
        rows = self.rows[torch.cat(order)]
        return rows if not self.config.first_context else shorter(rows, self.context(step, rows.ids.shape[1] - 1))


def shorter(rows, length):
    """Rows of text (B, T+1) -> rows of length + 1, T // length times as many; neighbours share a token. A rest that
    fills no row is left out."""
    return Rows(**{name: t.unfold(1, length + 1, length).flatten(0, 1) for name, t in rows.tensors.items()})
