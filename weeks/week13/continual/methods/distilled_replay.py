"""Distilled replay: shared replay whose old rows also hold the model to what it predicted there before the task.

A kept row says which token came; what the old model says of it is how likely each of the others was too. The divergence
from that is 0, without noise, as long as nothing has changed, where the loss of a few rows pulls on. So fewer old rows
do, and more of a step is left for the new ones. It is iCaRL's loss (Rebuffi et al. 2017) without its classifier.
The old weights are held while a task is learned. The likeliest tokens of each place, stored with a row when its task
ends as DER++ does, would do without. In week 14's main job (one seed) the model then forgot 1.7 times as much with 16
of the 2,048 tokens, 1.3 times with 64, and no more than now with 256. That saves half of the old model's reading, but
128 rows of 256 tokens then take 67 MB.
"""

from dataclasses import dataclass, field

import torch
from torch.nn.functional import kl_div

from ..rows import Rows, cat
from ..weights import copied, holding, named, part
from .rehearsal import at_least
from .shared_replay import SharedReplay, SharedReplayConfig

NEW = -1  # the place of a row that is not out of the memory
TOGETHER = 32  # kept rows that the old model reads at once
ROOM = 2**28  # bytes of what the old model said that are held; what is beyond is computed anew


@dataclass(frozen=True)
class DistilledReplayConfig(SharedReplayConfig):
    strength: float = field(default=4.0, metadata={"help": "weight of the divergence from the old model", "free": True})

    def __post_init__(self):
        super().__post_init__()
        at_least(self, 0, "strength")


class DistilledReplay(SharedReplay):
    """A step's loss: the mean over all its tokens, where an old one counts loss + strength * KL(before || now).

    The kept rows come in turns, each once before any comes twice and always in the same order, and what the old model
    says of some is computed when the first of them comes. In week 14's main job (one seed) rows drawn by chance forgot
    1.1 times as much, and rows that stayed for two steps 1.5 times.
    """

    settings = DistilledReplayConfig

    def __init__(self, config=None, *, seed=0, tasks=()):
        super().__init__(config, seed=seed, tasks=tasks)
        self.before = {}  # the weights at the start of the task under way; empty where nothing is rehearsed
        self.said = {}  # kept row -> the old model's logits where it is judged: a cache, never a state
        self.newest = {}  # the same, of the last rows that found no room

    def start(self, learner, task):
        parameters = learner.parameters()
        if self.before:  # the task is under way, and goes on
            self.before = {name: t.to(parameters[name].device) for name, t in self.before.items()}
        elif len(self.memory) and self.config.strength:
            self.before = copied(parameters)
        return super().start(learner, task)

    def turns(self, count):
        order = self.shuffle().order(0)
        return order[torch.arange(self.turn, self.turn + count) % len(order)]

    def together(self, new, places):
        old = Rows(**self.memory.rows[places].tensors, place=places)
        return cat([Rows(**new.tensors, place=torch.full((len(new),), NEW)), old])

    def loss(self, learner, batch):
        old = batch[batch.place != NEW] if self.before and "place" in batch.tensors else None
        if not old or not learner.count(old):
            return super().loss(learner, batch)
        then = torch.cat(self.told(learner, old.place.tolist())).float().log_softmax(dim=-1)  # (m, V)
        logits, loss = learner.predict(batch)  # (M, V), those of old rows last
        now = logits[len(logits) - len(then) :].float().log_softmax(dim=-1)  # (m, V)
        return loss + self.config.strength * kl_div(now, then, log_target=True, reduction="sum") / len(logits)

    def told(self, learner, places):
        """What the old model says at these places: a list of (targets judged there, V) logits.

        Those whose turns lie together are read together, always the same ones: on some processors the company of others
        moves the last bits, and a run that goes on knows less already than one that never stopped.
        """
        held = self.said | self.newest
        known = {place: held[place] for place in places if place in held}
        if missing := [place for place in places if place not in known]:
            order, fresh = self.shuffle().order(0), {}
            with torch.no_grad(), learner.evaluating(), holding(learner, self.before):
                for block in dict.fromkeys((order.argsort()[missing] // TOGETHER).tolist()):
                    block = order[block * TOGETHER :][:TOGETHER]
                    rows = self.memory.rows[block]
                    counts = learner.mask(rows).sum(dim=1).tolist()
                    fresh |= zip(block.tolist(), learner.predict(rows)[0].split(counts), strict=True)
            known |= fresh
            if sum(t.nbytes for t in [*self.said.values(), *fresh.values()]) <= ROOM:
                self.said |= fresh
            else:  # the next steps ask for these; what is held for good comes again in every pass
                self.newest = fresh
        return [known[place] for place in places]

    def finish(self, learner, task):
        super().finish(learner, task)
        self.before, self.said, self.newest = {}, {}, {}

    def state(self):
        return super().state() | named("before", copied(self.before))

    def load(self, state):
        super().load(state)
        self.before, self.said, self.newest = part(state, "before"), {}, {}
