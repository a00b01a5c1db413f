"""EMA: beside the weights that learn, slow ones follow them, and these are what is served.

    slow <- decay * slow + (1 - decay) * w          after every step

A model that keeps the past in an average (Tarvainen & Valpola 2017; Arani et al. 2022 for continual learning; the slow
learner of SuRe, arXiv 2511.22367). Training itself is the naive one, to the bit. Which task is judged does not matter:
the slow weights are one model for all.
"""

from contextlib import nullcontext
from dataclasses import dataclass, field

import torch

from ..strategy import Config, Strategy
from ..weights import copied, named, part, swapped


@dataclass(frozen=True)
class EMAConfig(Config):
    decay: float = field(
        default=0.995,
        metadata={"help": "share of the slow weights that a step leaves; they lag 1 / (1 - decay) steps"},
    )

    def __post_init__(self):
        check_decay(self.decay)


def check_decay(decay):
    if not 0 <= decay < 1:
        raise ValueError(f"decay is {decay}; use a share from 0 (serve the newest weights) to below 1")


class EMA(Strategy):
    """Train naively, serve the moving average."""

    keeps = "weights"
    needs_view = True

    def __init__(self, config=None, *, seed=0, tasks=()):
        super().__init__(EMAConfig() if config is None else config, seed=seed, tasks=tasks)
        self.slow, self.steps = {}, 0

    @torch.no_grad()
    def stepped(self, learner):
        super().stepped(learner)
        if not self.slow:
            self.slow = copied(learner.parameters())
        self.steps += 1
        # At first step t weighs as t: the untaught weights are no past that is worth as much as what came later.
        decay = min(self.config.decay, self.steps / (self.steps + 2))
        for name, p in learner.parameters().items():
            self.slow[name] = torch.lerp(p, self.slow[name].to(p.device), decay)

    def view(self, learner, name):
        return swapped(learner, self.slow) if self.slow else nullcontext()

    def state(self):
        return {**super().state(), "steps": self.steps, **named("slow", copied(self.slow))}

    def load(self, state):
        self.steps, self.slow = state["steps"], part(state, "slow")
        super().load({k: v for k, v in state.items() if k != "steps" and not k.startswith("slow.")})
