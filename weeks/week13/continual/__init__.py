"""Learning tasks one after another without forgetting: a contract, one loop, and methods that fit in a page each."""

from .learner import Learner
from .loop import Shuffle, judge, learn, learn_sequence, step
from .memory import Balanced, Memory, Reservoir
from .methods import METHODS, make
from .metrics import Matrix
from .pairs import Format, Pair, read_pairs
from .rows import Rows, all_judged, windows
from .strategy import Config, Strategy
from .task import Task

__all__ = [
    "METHODS", "Balanced", "Config", "Format", "Learner", "Matrix", "Memory", "Pair", "Reservoir", "Rows", "Shuffle",
    "Strategy", "Task", "all_judged", "judge", "learn", "learn_sequence", "make", "read_pairs", "step", "windows",
]  # fmt: skip
