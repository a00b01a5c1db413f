"""Merging task vectors: train naively, and serve the first weights plus one merge of what every task has changed.

    vector_t = weights after task t - first weights        served = first + scale * merge(vector_1, ..., vector_t)

TIES (Yadav et al. 2023, section 4): of each vector only the largest numbers, one sign for each place, the mean of those
that have it. Keeps one vector a task, so its memory grows with the tasks.
MagMax (Marczak et al. 2024, section 4): in each place the number that is largest in size. Keeps one vector in all.

Both learn the tasks one after another from where the last one ended, as MagMax does; TIES was published for models
that start from the same weights. Free of training cost, and no task needs to be known to serve.
"""

from contextlib import nullcontext
from dataclasses import dataclass, field

import torch

from ..strategy import Config, Strategy
from ..vendor.lora.combine import agreed, largest
from ..weights import copied, named, part, swapped


@dataclass(frozen=True)
class MagMaxConfig(Config):
    scale: float = field(default=1.0, metadata={"help": "factor on the merged change"})

    def __post_init__(self):
        if not self.scale >= 0:
            raise ValueError(f"scale is {self.scale}; use 0 (serve the first weights) or more")


@dataclass(frozen=True)
class TIESConfig(MagMaxConfig):
    density: float = field(default=0.5, metadata={"help": "share of each change that is merged, the largest numbers"})

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.density <= 1:
            raise ValueError(f"density is {self.density}; use a share above 0, up to 1 (all of it)")


class Merging(Strategy):
    """Base of both: the first weights, and the view. Subclasses say what is remembered and how it is merged."""

    keeps = "weights"
    needs_view = True

    def __init__(self, config=None, *, seed=0, tasks=()):
        super().__init__(config)
        self.first = {}  # the weights before the first task
        self.vectors = []  # dicts of changes
        self.served = {}  # the merge, made once a task

    def start(self, learner, task):
        if not self.first:
            self.first = copied(learner.parameters())
        return super().start(learner, task)

    def finish(self, learner, task):
        change = {name: p.detach() - self.first[name].to(p.device) for name, p in learner.parameters().items()}
        self.vectors = self.remembered(change)
        self.served = self.merge()

    def remembered(self, change):
        """The list of vectors to keep, from those kept so far and the change {name: tensor} of the newest task."""
        raise NotImplementedError(f"{type(self).__name__} has no remembered(change); write one")

    def merged(self):
        """{name: the merged change}."""
        raise NotImplementedError(f"{type(self).__name__} has no merged(); write one")

    def merge(self):
        if not self.vectors:
            return {}
        return {name: self.first[name].to(t.device) + self.config.scale * t for name, t in self.merged().items()}

    def view(self, learner, name):
        return swapped(learner, self.served) if self.served else nullcontext()

    def state(self):
        vectors = {k: t for i, vector in enumerate(self.vectors) for k, t in named(f"vector{i}", vector).items()}
        return {"vectors": len(self.vectors), **copied(named("first", self.first)), **copied(vectors)}

    def load(self, state):
        self.first = part(state, "first")
        self.vectors = [part(state, f"vector{i}") for i in range(state["vectors"])]
        self.served = self.merge()


class MagMax(Merging):
    """In each place the change that is largest in size, of all tasks so far: a running maximum."""

    def __init__(self, config=None, *, seed=0, tasks=()):
        super().__init__(MagMaxConfig() if config is None else config)

    def remembered(self, change):
        if not self.vectors:
            return [change]
        (old,) = self.vectors
        return [{name: torch.where(t.abs() > old[name].to(t.device).abs(), t, old[name]) for name, t in change.items()}]

    def merged(self):
        return self.vectors[0]


class TIES(Merging):
    """Trim, elect a sign, average what agrees with it; trimmed over all weights of a task together."""

    def __init__(self, config=None, *, seed=0, tasks=()):
        super().__init__(TIESConfig() if config is None else config)

    def remembered(self, change):
        sizes = [t.numel() for t in change.values()]
        flat = largest(torch.cat([t.flatten() for t in change.values()]), self.config.density)
        parts = zip(change.items(), flat.split(sizes))
        return [*self.vectors, {name: values.view_as(t).clone() for (name, t), values in parts}]

    def merged(self):
        shares = [1.0] * len(self.vectors)
        return {name: self.one(name, shares) for name in self.vectors[0]}

    def one(self, name, shares):
        stack = [vector[name] for vector in self.vectors]
        # `agreed` takes matrices. A 0 has no sign, so a trimmed place does not count in the mean.
        return agreed([t.reshape(1, -1) for t in stack], shares).view_as(stack[0])
