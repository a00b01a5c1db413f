# vendored from weeks/week13/continual/methods/lwf.py, sha256 3407b77dfb8db994ccfa814727cea7d25418a09d5522552cce0d936847a76532; edit there, then run: make vendor
"""LwF, learning without forgetting: on the new rows, still say what the old model said (Li & Hoiem 2016).

The old model is the weights as they were after the last task. Nothing of the old data is needed; where new rows look
nothing like the old ones, what the old model says about them protects little.
"""

from dataclasses import dataclass, field

import torch
from torch.nn.functional import kl_div

from ..strategy import Config, Strategy
from ..weights import copied, holding, named, part


@dataclass(frozen=True)
class LwFConfig(Config):
    strength: float = field(default=1.0, metadata={"help": "how much of the schedule 1 - 1/t is taken, from 0 to 1"})
    temperature: float = field(default=2.0, metadata={"help": "above 1, what the old model finds unlikely counts too"})

    def __post_init__(self):
        if not 0 <= self.strength <= 1:
            raise ValueError(f"strength is {self.strength}; use 0 (no distillation) to 1")
        if not self.temperature > 0:
            raise ValueError(f"temperature is {self.temperature}; use a number above 0, such as 2")


class LwF(Strategy):
    """In task t: (1 - s) * loss on the new rows + s * distillation, with s = strength * (1 - 1/t).

    The schedule is van de Ven & Tolias's (2019): each task gets its share, the t - 1 old ones through the old model.
    The distillation is T^2 * KL(old || new) of the softmax at temperature T (Hinton et al. 2015), over what is judged.
    Its gradient is that of the paper's cross-entropy, and it is 0 as long as nothing has changed.
    """

    keeps = "weights"

    def __init__(self, config=None, *, seed=0, tasks=()):
        super().__init__(LwFConfig() if config is None else config)
        self.old, self.learned = {}, 0

    def start(self, learner, task):
        named = learner.parameters()
        self.old = {name: t.to(named[name].device) for name, t in self.old.items() if name in named}
        return super().start(learner, task)

    def loss(self, learner, batch):
        share = self.config.strength * (1 - 1 / (self.learned + 1))
        if share == 0:
            return super().loss(learner, batch)
        with torch.no_grad(), learner.evaluating(), holding(learner, self.old):
            said = learner.predict(batch)[0]
        logits, loss = learner.predict(batch)
        return (1 - share) * loss + share * self.distillation(logits, said)

    def distillation(self, new, old):
        """(n, V) logits of both -> scalar, the mean over n."""
        t = self.config.temperature
        new, old = ((logits.float() / t).log_softmax(-1) for logits in (new, old))
        return t**2 * kl_div(new, old, log_target=True, reduction="sum") / len(new)

    def finish(self, learner, task):
        self.old = copied(learner.parameters())
        self.learned += 1

    def state(self):
        return {"learned": self.learned} | named("old", copied(self.old))

    def load(self, state):
        self.learned, self.old = state["learned"], part(state, "old")
