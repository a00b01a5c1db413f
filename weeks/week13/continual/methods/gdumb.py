"""GDumb: keep a memory, and learn from nothing else (Prabhu et al. 2020).

A sanity check: a method that keeps rows should beat a model that is trained from the beginning on those rows alone.
The paper shares the memory out over classes, and trains with CutMix until the rows are learned; here the tasks share
it, and the steps are those of every other method.
"""

from dataclasses import dataclass

from .first import First
from .rehearsal import Keeper, KeeperConfig, at_least


@dataclass(frozen=True)
class GDumbConfig(KeeperConfig):
    def __post_init__(self):
        super().__post_init__()
        at_least(self, 1, "keep_rows")  # from nothing there is nothing to learn


class GDumb(Keeper):
    """Each task begins with the weights from before the first one, and trains on the memory, the new task included."""

    settings = GDumbConfig

    def __init__(self, config=None, *, seed=0, tasks=()):
        super().__init__(config, seed=seed)
        self.first = First()
        self.under_way = ""  # the task whose rows are in the memory already

    def start(self, learner, task):
        self.first.note(learner)
        self.first.put(learner)
        if self.under_way != task.name:  # else the run goes on in the middle of it
            self.memory.add(task.name, task.train, learner.embed)
            self.under_way = task.name
        return self.memory.rows

    def finish(self, learner, task):
        self.under_way = ""

    def state(self):
        return {**super().state(), **self.first.state(), "under_way": self.under_way}

    def load(self, state):
        super().load(state)
        self.first.load(state)
        self.under_way = state["under_way"]
