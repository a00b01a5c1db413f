"""SI, synaptic intelligence: a weight matters as much as its own moves have lowered the loss (Zenke et al. 2017).

A small move changes the loss by gradient times move, weight by weight. Summed over the steps of a task,
omega_k = -sum of g_k * (w_k after - w_k before) is what weight k contributed, and all omegas together are the whole
fall of the loss. It is gathered while training goes on: EWC and MAS need a pass over data afterwards, SI none.
"""

from dataclasses import dataclass, field

import torch

from ..weights import copied, named, part
from .quadratic import Quadratic, QuadraticConfig


@dataclass(frozen=True)
class SIConfig(QuadraticConfig):
    strength: float = field(default=30.0, metadata={"help": "weight of the pull towards the old weights"})
    damping: float = field(default=0.1, metadata={"help": "keeps weights that hardly moved from counting too much"})

    def __post_init__(self):
        super().__post_init__()
        if not self.damping > 0:
            raise ValueError(f"damping is {self.damping}; use a number above 0, such as 0.1")


class SI(Quadratic):
    """L2, where each weight counts by omega / (its whole move^2 + damping), summed over the tasks.

    The gradient is that of the loss on the rows. The step's gradient also holds the penalty's own, which `grads` takes
    away again: else a weight that is pulled back would seem to lower the loss. It is taken before clipping, which
    changes the move, not the slope. Where omega is below 0 (the weight was moved against its own slope, by momentum or
    for the others' sake) it counts as 0: a negative one would push away from the old weights without bound.
    """

    def __init__(self, config=None, *, seed=0, tasks=()):
        super().__init__(SIConfig() if config is None else config)
        self.omega, self.begun = {}, {}  # by parameter name; `begun` are the weights at the start of the task
        self.before = {}  # within a step: (weights, gradient of the loss on the rows)

    def start(self, learner, task):
        rows = super().start(learner, task)
        named = learner.parameters()
        if not self.begun:
            self.begun = {name: p.detach().clone() for name, p in named.items()}
            self.omega = {name: torch.zeros_like(p) for name, p in named.items()}
        else:  # a task under way, just loaded
            self.begun = {name: t.to(named[name].device) for name, t in self.begun.items()}
            self.omega = {name: t.to(named[name].device) for name, t in self.omega.items()}
        return rows

    def grads(self, learner):
        self.before = {}
        for name, p in learner.parameters().items():
            if p.grad is not None:
                slope = p.grad.detach().clone()
                if name in self.anchor:
                    slope -= self.config.strength * self.weight[name] * (p.detach() - self.anchor[name])
                self.before[name] = p.detach().clone(), slope

    def stepped(self, learner):
        named = learner.parameters()
        for name, (value, slope) in self.before.items():
            self.omega[name] -= slope * (named[name].detach() - value)
        self.before = {}

    def importance(self, learner, task):
        return {
            name: self.omega[name].clamp(min=0) / ((p.detach() - self.begun[name]) ** 2 + self.config.damping)
            for name, p in learner.parameters().items()
        }

    def finish(self, learner, task):
        super().finish(learner, task)
        self.omega, self.begun = {}, {}

    def state(self):
        return super().state() | named("omega", copied(self.omega)) | named("begun", copied(self.begun))

    def load(self, state):
        super().load(state)
        self.omega, self.begun = part(state, "omega"), part(state, "begun")
