"""FINCH: small steps while the loss is high, for then a step does the most damage (Prashant et al. 2026).

What one step can do to old tasks grows with learning rate times the square root of the batch's loss. So the rate is
taken as 1 / square root of the loss: small at the start of a task, where most is unlearned, larger as it fits.

Source: arXiv:2605.20005. Read in an abstract and in notes only; what is not in them is said to be ours below.
"""

import math
from dataclasses import dataclass, field

from ..strategy import Config, Strategy

EPS = 1e-6  # a loss of 0 would have no rate


@dataclass(frozen=True)
class FINCHConfig(Config):
    first: float = field(default=0.2, metadata={"help": "share of the learning rate at a task's first loss"})
    smoothing: float = field(default=0.9, metadata={"help": "how slowly the running mean of the loss moves, 0 to 1"})

    def __post_init__(self):
        if not 0 < self.first <= 1:
            raise ValueError(f"first is {self.first}; use a share above 0 and up to 1, such as 0.2")
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"smoothing is {self.smoothing}; use 0 (each loss by itself) or more, below 1")


class FINCH(Strategy):
    """Naive training at min(1, first * sqrt(first loss / running mean of the loss)) of the learning rate.

    Only a running mean is kept, and a step costs nothing more. The first task is trained at the full rate (ours: there
    is nothing to forget yet, and the paper starts from a trained model); each task has its own first loss.

    The control: naive training at the same *mean* learning rate (`lr` of the loop's info), and one with a plain
    warm-up. Where these forget as little, it was the smaller rate that helped, not its following the loss.
    """

    def __init__(self, config=None, *, seed=0, tasks=()):
        super().__init__(FINCHConfig() if config is None else config)
        self.learned, self.first, self.mean = 0, None, None

    def rate(self, loss):
        if self.learned == 0:
            return 1.0
        if self.first is None:
            self.first = self.mean = loss
        self.mean = self.config.smoothing * self.mean + (1 - self.config.smoothing) * loss
        return min(1.0, self.config.first * math.sqrt((self.first + EPS) / (self.mean + EPS)))

    def finish(self, learner, task):
        self.learned, self.first, self.mean = self.learned + 1, None, None

    def state(self):
        return {"learned": self.learned, "first": self.first, "mean": self.mean}

    def load(self, state):
        self.learned, self.first, self.mean = state["learned"], state["first"], state["mean"]
