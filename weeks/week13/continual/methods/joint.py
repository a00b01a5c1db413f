"""Joint training: every row of every task, in one pot. What a method that forgets nothing would learn from."""

import torch

from ..strategy import Strategy


class Joint(Strategy):
    """Train on the rows of all tasks known so far.

    Joint() knows a task once it has come: the honest "keep everything and train on it all".
    Joint(tasks) knows all of them from the start, also the future ones: multi-task training, which is no continual
    learning at all and serves as the upper bound in tables.
    """

    keeps = "rows"

    def __init__(self, tasks=()):
        self.rows = {task.name: task.train for task in tasks}

    def start(self, learner, task):
        self.rows[task.name] = task.train
        return torch.cat(list(self.rows.values()))

    def state(self):
        return {"tasks": list(self.rows), **{f"rows.{name}": rows for name, rows in self.rows.items()}}

    def load(self, state):
        self.rows = {name: state[f"rows.{name}"] for name in state["tasks"]}
