# vendored from weeks/week13/continual/methods/replay.py, sha256 be78841a825b648fe39e03e3679b23e02a0a3c1d4a4085640ef0b59261906b96; edit there, then run: make vendor
"""Experience replay (ER): every batch of new rows is joined by a few old ones (Chaudhry et al. 2019)."""

import torch

from ..memory import MEMORIES
from ..strategy import Strategy


class Replay(Strategy):
    """Keep `budget` rows of all past tasks together; add `batch_rows` of them to every batch."""

    keeps = "rows"

    def __init__(self, budget, batch_rows, seed=0, memory="balanced"):
        if memory not in MEMORIES:
            raise ValueError(f"no memory is called {memory!r}; choose one of {', '.join(sorted(MEMORIES))}")
        if batch_rows < 0:
            raise ValueError(f"cannot add {batch_rows} old rows to a batch; use 0 (none) or more")
        self.batch_rows = batch_rows
        self.memory = MEMORIES[memory](budget, seed)

    def loss(self, learner, batch):
        old = self.memory.sample(self.batch_rows)
        if old is not None:  # one forward of both: the mean weighs an old row as much as a new one
            batch = torch.cat([batch, old.to(batch.device)])
        return learner.loss(batch)

    def finish(self, learner, task):
        # Only now: while a task is learned its rows come by anyway, and the memory is for what does not.
        self.memory.add(task.name, task.train)

    def state(self):
        return self.memory.state()

    def load(self, state):
        self.memory.load(state)
