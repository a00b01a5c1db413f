"""Learning tasks one after another without forgetting: a contract, one loop, and methods that fit in a page each."""

from .learner import Learner
from .loop import Shuffle, judge, learn, learn_sequence, step
from .memory import Balanced, Memory, Reservoir
from .methods import METHODS
from .metrics import Matrix
from .strategy import Strategy
from .task import Task, windows

__all__ = [
    "METHODS", "Balanced", "Learner", "Matrix", "Memory", "Reservoir", "Shuffle", "Strategy", "Task",
    "judge", "learn", "learn_sequence", "step", "windows",
]  # fmt: skip
