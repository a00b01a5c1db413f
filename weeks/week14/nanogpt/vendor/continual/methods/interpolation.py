# vendored from weeks/week13/continual/methods/interpolation.py, sha256 0748e776fb6595490304b70e51a5243bbf7ae7b67fbaaad7f7be922fd76b16fc; edit there, then run: make vendor
"""Weight interpolation: after each task the model moves only part of the way to the weights that it has learned.

    w <- keep * w_before + (1 - keep) * w_after

WiSE-FT (Wortsman et al. 2022, section 3) with the weights before the task in place of a zero-shot model. All that is
kept is one copy of the weights, while a task is learned. The first task is left alone: nothing was taught before it.
"""

from dataclasses import dataclass, field

import torch

from ..strategy import Config, Strategy
from ..weights import copied, named, part


@dataclass(frozen=True)
class InterpolationConfig(Config):
    keep: float = field(default=0.5, metadata={"help": "share of the weights before a task that stays after it"})

    def __post_init__(self):
        if not 0 <= self.keep <= 1:
            raise ValueError(f"keep is {self.keep}; use a share from 0 (plain training) to 1 (nothing is learned)")


class Interpolation(Strategy):
    """Mix the weights before and after a task, once it is learned."""

    keeps = "weights"

    def __init__(self, config=None, *, seed=0, tasks=()):
        super().__init__(InterpolationConfig() if config is None else config)
        self.learned = 0  # tasks
        self.before = {}  # the weights at the start of the task under way; empty between tasks and in the first one

    def start(self, learner, task):
        if self.learned and not self.before:  # filled: the task is under way, and goes on
            self.before = copied(learner.parameters())
        return super().start(learner, task)

    @torch.no_grad()
    def finish(self, learner, task):
        if self.config.keep:
            for name, p in learner.parameters().items():
                if name in self.before:
                    p.lerp_(self.before[name].to(p.device), self.config.keep)
        self.learned, self.before = self.learned + 1, {}

    def state(self):
        return {"learned": self.learned, **named("before", copied(self.before))}

    def load(self, state):
        self.learned, self.before = state["learned"], part(state, "before")
