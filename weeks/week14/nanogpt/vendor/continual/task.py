# vendored from weeks/week13/continual/task.py, sha256 82bcd2652ac621a831ffb0211b119711496b6f93a4c55e3b37d59cd7cd772f6e; edit there, then run: make vendor
"""A task: a name and its rows. What a row *is* only the learner knows.

For a language model rows are a LongTensor (N, T+1): windows of T tokens and the token after each.
"""

from dataclasses import dataclass
from typing import Any


@dataclass
class Task:
    """`train`, `valid` and `test` are indexable by a LongTensor of row numbers. Only `train` may be learned from."""

    name: str
    train: Any
    valid: Any = None
    test: Any = None

    def __post_init__(self):
        if not self.name or not isinstance(self.name, str):
            raise ValueError(f"a task needs a name, but got {self.name!r}; give it a non-empty string")
        if len(self.train) == 0:
            raise ValueError(f"task {self.name!r} has no training rows; give it at least one")


def windows(tokens, length):
    """Cut a 1-D tensor of tokens into rows (N, length + 1) whose targets tile it: each token is predicted once.

    Neighbouring rows share one token: the last target of a row is the first input of the next one.

    >>> import torch
    >>> windows(torch.arange(8), 3)
    tensor([[0, 1, 2, 3],
            [3, 4, 5, 6]])
    """
    if length < 1:
        raise ValueError(f"a window of {length} tokens predicts nothing; use length 1 or more")
    if len(tokens) < length + 1:
        raise ValueError(
            f"{len(tokens)} tokens do not fill one window of {length} + 1; give a longer text or a smaller length"
        )
    return tokens.unfold(0, length + 1, length).clone()  # (N, length + 1); clone: unfold is a view that shares memory
