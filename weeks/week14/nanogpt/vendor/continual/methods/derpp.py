# vendored from weeks/week13/continual/methods/derpp.py, sha256 3d5cf958a5f14d0b1f582c7ce3b8d8794f80e506989dfc79beda3216c478dcb5; edit there, then run: make vendor
"""DER++: rehearse rows, and hold the model to the logits that it gave when they were stored (Buzzega et al. 2020).

Of a vocabulary, the `top` largest logits at each position are stored, not all. With `top` at the size of the
vocabulary (or the number of classes) this is the paper's method.
"""

from dataclasses import dataclass, field

from .distilled import join, joint_loss, keep_predictions
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
        keep_predictions(self.memory, learner, task, self.config.top)
