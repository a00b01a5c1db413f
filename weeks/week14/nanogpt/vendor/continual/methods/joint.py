# vendored from weeks/week13/continual/methods/joint.py, sha256 4753c7439ae57c6745bbbe5cff044f3e5a9c2c9f080c4001a7ede108f773e971; edit there, then run: make vendor
"""Joint training: every row of every task, in one pot. What a method that forgets nothing would learn from."""

from ..loop import Shuffle
from ..rows import Rows, cat
from ..strategy import Strategy


class Joint(Strategy):
    """Train on the rows of all tasks known so far.

    By itself it knows a task once it has come: the honest "keep everything and train on it all".
    With `tasks` it knows all of them from the start, also the future ones: multi-task training, which is no continual
    learning at all and serves as the upper bound in tables. The pot is then the same at every task, and the loop draws
    from every task by one seed; so each task has it in another order, or it would bring the same few rows each time.
    """

    keeps = "rows"

    def __init__(self, config=None, *, seed=0, tasks=()):
        super().__init__(config)
        self.seed, self.ahead = seed, bool(tasks)
        self.rows = {task.name: task.train for task in tasks}

    def start(self, learner, task):
        self.rows[task.name] = task.train
        pot, place = cat(list(self.rows.values())), list(self.rows).index(task.name)
        return pot[Shuffle(len(pot), 1, self.seed).order(place)] if self.ahead and place else pot

    def state(self):
        tensors = {f"{i}.{name}": t for i, rows in enumerate(self.rows.values()) for name, t in rows.tensors.items()}
        return {"tasks": list(self.rows), **tensors}

    def load(self, state):
        def rows_of(i):
            start = f"{i}."
            return Rows(**{key.removeprefix(start): t for key, t in state.items() if key.startswith(start)})

        self.rows = {name: rows_of(i) for i, name in enumerate(state["tasks"])}


class Cumulative(Joint):
    """Joint training without a look ahead, also where the tasks are known beforehand: what perfect memory would reach.

    Its cost for each new task grows with the number of tasks, which is what continual learning is to avoid.
    """

    def __init__(self, config=None, *, seed=0, tasks=()):
        super().__init__(config, seed=seed)
