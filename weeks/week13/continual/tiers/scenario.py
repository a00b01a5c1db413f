"""A scenario: tasks in an order, the model that meets them, and how it is judged. All that a cell of a table needs."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from ..rows import Rows
from ..vendor.shared.errors import Mistake

ORDERS = {"forward": lambda tasks: list(tasks), "reverse": lambda tasks: list(tasks)[::-1]}


@dataclass
class Scenario:
    """`settings` are plain JSON: lr, steps (a task), batch_size and whatever else changes a number.

    They are the same for every method. Two become a method's own, where it has such a setting: `budget`, the rows that
    it may keep of all tasks together, and `replay_rows`, those that join each step. `configs` holds what else a method
    must be told here, such as the file that generic replay reads.
    """

    tier: str
    tasks: list
    learner: Callable  # (seed, method's name) -> a Learner with the weights that every method starts from
    judge: Callable  # (learner, task) -> {name of a score: [of every test row]}; the first one is the table's
    floor: Callable  # (task) -> {name of a score: what needs no learning at all}
    settings: dict
    higher_is_better: bool = True
    unit: str = ""
    configs: dict = field(default_factory=dict)
    generic: Rows | None = None  # text of no task, whose loss tells what else was lost

    def __post_init__(self):
        check(self.tasks)

    def ordered(self, order):
        return ORDERS[order](self.tasks)

    def digest(self):
        """What the tasks hold, in 12 letters: a table that goes on must go on with the same rows."""
        total = hashlib.sha256()
        for task in self.tasks:
            total.update(task.name.encode())
            for rows in (task.train, task.valid, task.test):
                if isinstance(rows, Rows):
                    total.update(rows.digest().encode())
                elif rows is not None:
                    total.update(repr(rows).encode())
        return total.hexdigest()[:12]


def check(tasks):
    """Refuse a sequence whose table would lie: one task, one name twice, the same rows under two names."""
    if len(tasks) < 2:
        raise Mistake(f"a sequence of {len(tasks)} task has nothing to forget; give two tasks or more")
    seen, rows = set(), {}
    for task in tasks:
        if task.name in seen:
            raise Mistake(f"two tasks are called {task.name!r}; give every task a name of its own")
        seen.add(task.name)
        if len(task.train) < 2:
            raise Mistake(f"task {task.name!r} has one example to learn from; give two or more")
        key = task.train.digest()
        if key in rows:
            raise Mistake(f"tasks {rows[key]!r} and {task.name!r} hold the same rows; leave one of them out")
        rows[key] = task.name
