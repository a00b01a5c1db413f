"""Penalties that hold the weights near those of the past: L2, and EWC (Kirkpatrick et al. 2017).

Both add strength / 2 * sum_k importance_k * (w_k - anchor_k)^2 to the loss. L2 finds all weights equally important;
EWC asks the diagonal of the Fisher information, summed over the tasks (online EWC without decay: Schwarz et al. 2018).
"""

from dataclasses import dataclass, field

import torch

from ..strategy import Config, Strategy


@dataclass(frozen=True)
class L2Config(Config):
    strength: float = field(default=1.0, metadata={"help": "weight of the pull towards the old weights"})

    def __post_init__(self):
        if not self.strength >= 0:
            raise ValueError(f"strength is {self.strength}; use 0 (no penalty) or more")


@dataclass(frozen=True)
class EWCConfig(L2Config):
    fisher_rows: int = field(default=64, metadata={"help": "training rows of a task that its Fisher is estimated from"})

    def __post_init__(self):
        super().__post_init__()
        if self.fisher_rows < 1:
            raise ValueError(f"fisher_rows is {self.fisher_rows}; use 1 or more")


class L2(Strategy):
    """Pull every weight towards its value at the end of the last task."""

    keeps = "weights"

    def __init__(self, config=None, *, seed=0, tasks=()):
        super().__init__(L2Config() if config is None else config)
        self.anchor, self.weight = {}, {}  # by parameter name; both empty during the first task

    def loss(self, learner, batch):
        loss = super().loss(learner, batch)
        if not self.anchor or self.config.strength == 0:
            return loss
        return loss + self.config.strength / 2 * self.penalty(learner)

    def penalty(self, learner):
        """Scalar: sum of importance * (w - anchor)^2. The micro-batches' weights sum to 1, so it counts once a step."""
        return sum(
            (self.weight[name].to(p.device) * (p - self.anchor[name].to(p.device)) ** 2).sum()
            for name, p in learner.parameters().items()
            if name in self.anchor
        )

    def importance(self, learner, task):
        """{name: tensor of the parameter's shape}, from all tasks up to this one."""
        return {name: torch.ones_like(p) for name, p in learner.parameters().items()}

    def finish(self, learner, task):
        self.weight = self.importance(learner, task)
        self.anchor = {name: p.detach().clone() for name, p in learner.parameters().items()}

    def state(self):
        anchor = {f"anchor.{name}": t.clone() for name, t in self.anchor.items()}
        return anchor | {f"weight.{name}": t.clone() for name, t in self.weight.items()}

    def load(self, state):
        def part(start):
            return {key.removeprefix(start): t.clone() for key, t in state.items() if key.startswith(start)}

        self.anchor, self.weight = part("anchor."), part("weight.")


class EWC(L2):
    """L2, where each weight counts by the mean square of its gradient, taken row by row.

    The Fisher here is the empirical one: the labels are those of the data. A row's gradient is that of its mean loss.
    """

    def __init__(self, config=None, *, seed=0, tasks=()):
        super().__init__(EWCConfig() if config is None else config)
        self.generator = torch.Generator().manual_seed(seed)

    def importance(self, learner, task):
        chosen = torch.randperm(len(task.train), generator=self.generator)[: self.config.fisher_rows]
        fisher = {name: torch.zeros_like(p) for name, p in learner.parameters().items()}
        was_training = learner.model.training
        learner.model.eval()  # dropout would add its own noise to the squares
        try:
            for i in chosen.tolist():  # one by one: the square of a batch's mean gradient is another, smaller thing
                row = task.train[i : i + 1]
                if learner.count(row):
                    for name, g in learner.gradient(row).items():
                        fisher[name] += g**2 / len(chosen)
        finally:
            learner.model.train(was_training)
        return {name: f + self.weight[name].to(f.device) if name in self.weight else f for name, f in fisher.items()}

    def state(self):
        return {**super().state(), "generator": self.generator.get_state()}

    def load(self, state):
        super().load(state)
        self.generator.set_state(state["generator"])
