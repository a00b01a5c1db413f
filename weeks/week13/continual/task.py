"""A task: a name, and the rows to learn, to watch and to be judged on."""

from dataclasses import dataclass
from typing import Any


@dataclass
class Task:
    """`train`, `valid` and `test` are Rows. Only `train` may be learned from.

    `instruction` is what every prompt of the task begins with, as text; "" where there is none.
    """

    name: str
    train: Any
    valid: Any = None
    test: Any = None
    instruction: str = ""

    def __post_init__(self):
        if not self.name or not isinstance(self.name, str):
            raise ValueError(f"a task needs a name, but got {self.name!r}; give it a non-empty string")
        if len(self.train) == 0:
            raise ValueError(f"task {self.name!r} has no training rows; give it at least one")
