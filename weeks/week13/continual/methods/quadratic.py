"""What L2, EWC, SI and MAS share: a spring from every weight to its old value, stiffer where the weight matters more.

    loss of a step  =  loss on the new rows  +  strength / 2 * sum_k weight_k * (w_k - anchor_k)^2

A method says only how much a weight matters, in `importance`. What is stored are two tensors a parameter, `weight` and
`anchor`, however many tasks there were.

Where a method prints its penalty without the 1/2 (SI, MAS), its strength in print is half of the one here.
"""

from dataclasses import dataclass, field

import torch

from ..strategy import Config, Strategy
from ..weights import copied, named, part


@dataclass(frozen=True)
class QuadraticConfig(Config):
    strength: float = field(default=1.0, metadata={"help": "weight of the pull towards the old weights"})

    def __post_init__(self):
        if not self.strength >= 0:
            raise ValueError(f"strength is {self.strength}; use 0 (no penalty) or more")


class Quadratic(Strategy):
    """Abstract. A subclass defines `importance`; `gamma` is the share that earlier importance keeps at a new task."""

    keeps = "weights"
    gamma = 1.0

    def __init__(self, config, *, seed=0, tasks=()):
        super().__init__(config)
        self.anchor, self.weight = {}, {}  # by parameter name; both empty during the first task

    def importance(self, learner, task):
        """{name: tensor of the parameter's shape}: how much each weight matters to the task that was just learned."""
        raise NotImplementedError

    def start(self, learner, task):
        for name, p in learner.parameters().items():  # what was loaded from a file lies on the CPU
            if name in self.anchor:
                self.anchor[name], self.weight[name] = self.anchor[name].to(p.device), self.weight[name].to(p.device)
        return super().start(learner, task)

    def held(self, learner):
        """(parameter, its weight, its anchor) of all that is pulled; a parameter that came later has no anchor yet."""
        named = learner.parameters()
        return [(named[name], self.weight[name], anchor) for name, anchor in self.anchor.items() if name in named]

    def penalty(self, learner):
        """Scalar: sum of weight * (w - anchor)^2."""
        return sum((weight * (p - anchor) ** 2).sum() for p, weight, anchor in self.held(learner))

    def loss(self, learner, batch):
        loss = super().loss(learner, batch)
        if not self.anchor or self.config.strength == 0:
            return loss
        # The loop weighs micro-batches by shares that sum to 1, so the penalty counts once a step.
        return loss + self.config.strength / 2 * self.penalty(learner)

    def finish(self, learner, task):
        found = self.importance(learner, task)
        for name, p in learner.parameters().items():
            old = self.gamma * self.weight[name] if name in self.weight else torch.zeros_like(found[name])
            self.weight[name] = old + found[name]
            self.anchor[name] = self.move(name, p.detach(), found[name])

    def move(self, name, value, found):
        """The new anchor of a parameter: its value after the task. `found` is its importance to that task alone."""
        return value.clone()

    def state(self):
        return named("anchor", copied(self.anchor)) | named("weight", copied(self.weight))

    def load(self, state):
        self.anchor, self.weight = part(state, "anchor"), part(state, "weight")


def per_row(learner, rows, n, generator, value):
    """Up to `n` random rows, one by one: yields (targets that it judges, gradient of value(row) by parameter name).

    One by one, for what is asked of each is a square or an absolute value: that of a batch's mean gradient is another,
    smaller thing, where gradients of opposite sign cancel. Without dropout, which would add its own noise to it.
    """
    named = learner.parameters()
    with learner.evaluating(), torch.enable_grad():
        for i in torch.randperm(len(rows), generator=generator)[:n].tolist():
            row = rows[i : i + 1]
            count = learner.count(row)
            if count:
                found = torch.autograd.grad(value(row), list(named.values()), allow_unused=True)
                yield count, {name: g for name, g in zip(named, found) if g is not None}
