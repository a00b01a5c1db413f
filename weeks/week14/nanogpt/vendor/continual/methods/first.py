# vendored from weeks/week13/continual/methods/first.py, sha256 515bfd23b51c6d1df50d87ddd668ddf4e6cefb572c05f8d1eb87cb3af4194d33; edit there, then run: make vendor
"""The trainable weights as they were before the first task, for methods that go back to them.

With an adapter these are the adapter's first weights, which change nothing: the model without it.
"""

from contextlib import contextmanager

import torch


class First:
    def __init__(self):
        self.weights = {}  # by parameter name; empty until the first task starts

    def note(self, learner):
        """Remember the weights, unless it was done before."""
        if not self.weights:
            self.weights = copies(learner)

    @torch.no_grad()
    def put(self, learner, weights=None):
        """Write the first weights (or others) into the model."""
        weights = self.weights if weights is None else weights
        for name, p in learner.parameters().items():
            if name in weights:
                p.copy_(weights[name])

    @contextmanager
    def back(self, learner):
        """Run the block with the first weights; then the newest come back, also after an error."""
        newest = copies(learner)
        self.put(learner)
        try:
            yield
        finally:
            self.put(learner, newest)

    def state(self):
        return {f"first.{name}": t.clone() for name, t in self.weights.items()}

    def load(self, state):
        self.weights = {k.removeprefix("first."): t.clone() for k, t in state.items() if k.startswith("first.")}


def copies(learner):
    return {name: p.detach().clone() for name, p in learner.parameters().items()}
