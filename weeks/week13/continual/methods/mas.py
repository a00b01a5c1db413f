"""MAS, memory aware synapses: a weight matters as much as the outputs feel it, right or wrong (Aljundi et al. 2018).

The importance is the mean |d ||f(x)||^2 / dw| over rows x, f the logits. No target is looked at, so rows without labels
would do, also of what the model will be used for rather than of what it was trained on.
"""

from dataclasses import dataclass, field

import torch

from .quadratic import Quadratic, QuadraticConfig, per_row


@dataclass(frozen=True)
class MASConfig(QuadraticConfig):
    strength: float = field(default=0.003, metadata={"help": "weight of the pull towards the old weights"})
    importance_rows: int = field(
        default=64, metadata={"help": "training rows of a task that the importance is estimated from"}
    )

    def __post_init__(self):
        super().__post_init__()
        if self.importance_rows < 1:
            raise ValueError(f"importance_rows is {self.importance_rows}; use 1 or more")


class MAS(Quadratic):
    """L2, where each weight counts by how much the squared norm of the logits depends on it, summed over the tasks.

    A row's norm is the mean over its judged positions, and a row counts by how many it has. The paper takes the whole
    batch's gradient where that is faster; here it is row by row.
    """

    def __init__(self, config=None, *, seed=0, tasks=()):
        super().__init__(MASConfig() if config is None else config)
        self.generator = torch.Generator().manual_seed(seed)

    def importance(self, learner, task):
        def norm(row):
            return learner.predict(row)[0].float().square().sum(-1).mean()  # (n, V) -> scalar

        felt, total = {name: torch.zeros_like(p) for name, p in learner.parameters().items()}, 0
        for count, gradient in per_row(learner, task.train, self.config.importance_rows, self.generator, norm):
            total += count
            for name, g in gradient.items():
                felt[name] += count * g.abs()
        return {name: f / max(total, 1) for name, f in felt.items()}

    def state(self):
        return {**super().state(), "generator": self.generator.get_state()}

    def load(self, state):
        super().load(state)
        self.generator.set_state(state["generator"])
