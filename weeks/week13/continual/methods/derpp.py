"""DER++: rehearse rows, and hold the model to the logits that it gave when they were stored (Buzzega et al. 2020).

Of a vocabulary, the `top` largest logits at each position are stored, not all; `top` at the size of the vocabulary (or
the number of classes) stores them as the paper does. Two things differ from it. It stores a row and its logits while a
task is still being learned; here both are stored when the task is over, as all memories of this week are. And it draws
other rows for each of the two terms; here one draw serves both, at half the price.
"""

from dataclasses import dataclass, field

import torch

from .distilled import blank, join, joint_loss, predictions
from .rehearsal import Rehearsal, RehearsalConfig, at_least


@dataclass(frozen=True)
class DERppConfig(RehearsalConfig):
    alpha: float = field(default=0.2, metadata={"help": "weight of the squared difference to the stored logits"})
    beta: float = field(default=0.5, metadata={"help": "weight of the loss on the kept rows"})
    top: int = field(default=32, metadata={"help": "logits stored for each token of a kept row"})

    def __post_init__(self):
        super().__post_init__()
        at_least(self, 0, "alpha", "beta")
        at_least(self, 1, "top")


class DERpp(Rehearsal):
    """A step's loss: mean over the new rows, plus alpha * squared difference + beta * loss, means over the old rows."""

    settings = DERppConfig

    def batch(self, learner, rows):
        idle = self.config.alpha == 0 and self.config.beta == 0
        old = None if idle else self.memory.sample(self.config.replay_rows)
        return rows if old is None else join(learner, rows, old)

    def loss(self, learner, batch):
        return joint_loss(learner, batch, lambda old: self.old_loss(learner, old))

    def old_loss(self, learner, old):
        logits, loss = learner.predict(old)  # (M, V)
        mask = learner.mask(old)
        top, value = (t[mask].to(logits.device) for t in (old.top.long(), old.value))  # (M, k)
        return self.config.alpha * ((logits.float().gather(1, top) - value) ** 2).mean() + self.config.beta * loss

    def finish(self, learner, task):
        k = self.stored(learner, task.train)
        self.memory.add(task.name, blank(learner, task.train.to("cpu"), k), learner.embed)
        own = [i for i, name in enumerate(self.memory.tasks) if name == task.name]
        if own:  # only what is kept is predicted
            kept = self.memory.rows.tensors
            kept["top"][own], kept["value"][own] = predictions(learner, self.memory.rows[own], k)

    def stored(self, learner, rows):
        """Logits that are stored for a token: `top`, or as many as there are."""
        with learner.evaluating(), torch.no_grad():
            return min(self.config.top, learner.logits(rows[:1]).shape[-1])
