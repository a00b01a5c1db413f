# vendored from weeks/week13/continual/methods/distilled_replay.py, sha256 c168c80d6ee46c866a07e186b4802d061ca37056114cb7f3f43ff8db71de62ed; edit there, then run: make vendor
"""Distilled replay: shared replay whose old rows also hold the model to what it predicted there before the task.

A kept row says which token came; what the old model says of it is how likely each of the others was too. The divergence
from that is 0, without noise, as long as nothing has changed, where the loss of a few rows pulls on. So fewer old rows
do, and more of a step is left for the new ones. It is iCaRL's loss (Rebuffi et al. 2017) without its classifier.
The old weights are held while a task is learned. The few likeliest tokens of each place, stored with a row as DER++
does, would do without; but in week 14's main job the model then forgot 1.7 times as much with 16 of the 2,048 tokens,
and 1.3 times with 64.
"""

from dataclasses import dataclass, field

import torch
from torch.nn.functional import kl_div

from ..rows import Rows, cat
from ..weights import copied, holding, named, part
from .rehearsal import at_least
from .shared_replay import SharedReplay, SharedReplayConfig


@dataclass(frozen=True)
class DistilledReplayConfig(SharedReplayConfig):
    strength: float = field(default=4.0, metadata={"help": "weight of the divergence from the old model", "free": True})

    def __post_init__(self):
        super().__post_init__()
        at_least(self, 0, "strength")


class DistilledReplay(SharedReplay):
    """A step's loss: the mean over all its tokens, where an old one counts loss + strength * KL(before || now)."""

    settings = DistilledReplayConfig

    def __init__(self, config=None, *, seed=0, tasks=()):
        super().__init__(config, seed=seed, tasks=tasks)
        self.before = {}  # the weights at the start of the task under way; empty where nothing is rehearsed

    def start(self, learner, task):
        parameters = learner.parameters()
        if self.before:  # the task is under way, and goes on
            self.before = {name: t.to(parameters[name].device) for name, t in self.before.items()}
        elif len(self.memory) and self.config.strength:
            self.before = copied(parameters)
        return super().start(learner, task)

    def together(self, new, old):
        marks = ((new, False), (old, True))
        return cat([Rows(**rows.tensors, old=torch.full((len(rows),), is_old)) for rows, is_old in marks])

    def loss(self, learner, batch):
        if not self.before or "old" not in batch.tensors or not learner.count(batch[batch.old]):
            return super().loss(learner, batch)
        with torch.no_grad(), learner.evaluating(), holding(learner, self.before):
            then = learner.predict(batch[batch.old])[0].float().log_softmax(dim=-1)  # (m, V)
        logits, loss = learner.predict(batch)  # (M, V), those of old rows last
        now = logits[len(logits) - len(then) :].float().log_softmax(dim=-1)  # (m, V)
        return loss + self.config.strength * kl_div(now, then, log_target=True, reduction="sum") / len(logits)

    def finish(self, learner, task):
        super().finish(learner, task)
        self.before = {}

    def state(self):
        return super().state() | named("before", copied(self.before))

    def load(self, state):
        super().load(state)
        self.before = part(state, "before")
