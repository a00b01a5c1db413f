# vendored from weeks/week13/continual/methods/holding.py, sha256 e6b74f0cf5ade96b88842b8bc480d4d31d46bfc8d4c1ca5d647a9d5cb96f470f; edit there, then run: make vendor
"""Weights that may not move: what PackNet and HAT share.

A gradient of zero is not enough. AdamW's momentum still moves such a weight, and its decay shrinks it; so after each
step what is held is put back, bit for bit.
"""

import torch

from ..strategy import Strategy
from ..weights import copied


class Holding(Strategy):
    """Base of methods that give parts of the weights to a task for good; the subclass says what is free."""

    keeps = "weights"
    needs_task = needs_view = True

    def __init__(self, config):
        super().__init__(config)
        self.names = []  # tasks, the one under way included

    def begins(self, task):
        """Is this the start of a task, or does the newest one go on? An older one cannot: it is held for good."""
        if task.name in self.names[:-1]:
            raise ValueError(
                f"{task.name!r} was learned before and is held as it is; give the new rows a name of their own"
            )
        return task.name not in self.names

    def free(self, learner):
        """{name: tensor that broadcasts to the parameter, 1 where it may move, 0 where not}; not named: all free."""
        raise NotImplementedError(f"{type(self).__name__} has no free(learner); write one")

    def grads(self, learner):
        self.shares = self.free(learner)
        named = {name: p for name, p in learner.parameters().items() if name in self.shares}
        self.before = copied(named)
        for name, p in named.items():
            if p.grad is not None:
                p.grad.mul_(self.shares[name])  # so that the norm that is clipped is of what moves

    @torch.no_grad()
    def stepped(self, learner):
        for name, p in learner.parameters().items():
            if name in self.shares:
                p.copy_(torch.where(self.shares[name].bool(), p, self.before[name]))
        del self.shares, self.before
