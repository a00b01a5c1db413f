"""Experience replay (ER): every step's new rows are joined by a few old ones (Chaudhry et al. 2019)."""

from dataclasses import dataclass, field

from ..memory import MEMORIES
from ..rows import cat
from ..strategy import Config, Strategy


@dataclass(frozen=True)
class ReplayConfig(Config):
    keep_rows: int = field(default=512, metadata={"help": "training rows kept, of all tasks together"})
    replay_rows: int = field(default=8, metadata={"help": "kept rows that join each step", "free": True})
    memory: str = field(default="balanced", metadata={"help": f"which rows are kept: {' or '.join(MEMORIES)}"})

    def __post_init__(self):
        if self.memory not in MEMORIES:
            raise ValueError(f"no memory is called {self.memory!r}; choose one of {', '.join(sorted(MEMORIES))}")
        for name in ("keep_rows", "replay_rows"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; use 0 (none) or more")


class Replay(Strategy):
    """Keep `keep_rows` rows of all past tasks together; add `replay_rows` of them to every step."""

    keeps = "rows"

    def __init__(self, config=None, *, seed=0, tasks=()):
        super().__init__(ReplayConfig() if config is None else config)
        self.memory = MEMORIES[self.config.memory](self.config.keep_rows, seed)

    def batch(self, learner, rows):
        old = self.memory.sample(self.config.replay_rows)
        return rows if old is None else cat([rows, old])  # one mean over both: an old row weighs as much as a new one

    def finish(self, learner, task):
        # Only now: while a task is learned its rows come by anyway, and the memory is for what does not.
        self.memory.add(task.name, task.train)

    def state(self):
        return self.memory.state()

    def load(self, state):
        self.memory.load(state)
