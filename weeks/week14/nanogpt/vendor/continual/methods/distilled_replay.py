# vendored from weeks/week13/continual/methods/distilled_replay.py, sha256 a06359ddaf95a5e9e9f57c67c159bf312ae91ff65f5895489be04f8a72c656e6; edit there, then run: make vendor
"""Distilled replay: shared replay whose old rows also hold the model to what it predicted right after their task.

A kept row says which token came; what the model predicted there says how likely each of the others was. The divergence
from that is 0, without noise, as long as nothing has changed, where the loss of a few rows pulls on. So fewer old rows
do, and more of a step is left for the new ones. It is DER++ (Buzzega et al. 2020) with a divergence in the place of
squared logits, and rows that share a step. Kept: `top` log-probabilities for each token of a row, and one for the rest.
"""

from dataclasses import dataclass, field

from ..rows import cat
from .distilled import blank, coarse_kl, keep_predictions
from .rehearsal import at_least
from .shared_replay import SharedReplay, SharedReplayConfig


@dataclass(frozen=True)
class DistilledReplayConfig(SharedReplayConfig):
    strength: float = field(default=4.0, metadata={"help": "weight of the divergence from what was predicted"})
    top: int = field(default=16, metadata={"help": "log-probabilities kept for each token of a kept row"})

    def __post_init__(self):
        super().__post_init__()
        at_least(self, 0, "strength")
        at_least(self, 1, "top")


class DistilledReplay(SharedReplay):
    """A step's loss: the mean over all its tokens, where an old one counts loss + strength * KL(before || now)."""

    settings = DistilledReplayConfig

    def together(self, new, old):
        return cat([blank(new, old.top.shape[1:]), old])

    def loss(self, learner, batch):
        if "top" not in batch.tensors:
            return super().loss(learner, batch)
        logits, loss = learner.predict(batch)  # (M, V)
        mask = learner.mask(batch)
        top, value = (t[mask].to(logits.device) for t in (batch.top.long(), batch.value))  # (M, k)
        old = (value != 0).any(dim=1)  # new rows have room there, and nothing in it
        if self.config.strength == 0 or not old.any():
            return loss
        now = logits[old].float().log_softmax(dim=-1).gather(1, top[old])
        return loss + self.config.strength * coarse_kl(value[old], now) * old.float().mean()

    def finish(self, learner, task):
        keep_predictions(self.memory, learner, task, self.config.top, log_probs=True)
