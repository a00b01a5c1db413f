# vendored from weeks/week13/continual/methods/rehearsal.py, sha256 323c19851faf9382c1b444113e87e1acdb865149c9da03156d546b6982412454; edit there, then run: make vendor
"""What methods with a memory share: `Keeper` fills it at the end of a task, `Rehearsal` also draws from it."""

from dataclasses import dataclass, field

from ..memory import MEMORIES
from ..rows import cat
from ..strategy import Config, Strategy

MOST = 10**6  # rows of one step: more is a slip of the hand, and would fill the memory before anything is said


@dataclass(frozen=True)
class KeeperConfig(Config):
    keep_rows: int = field(default=512, metadata={"help": "rows kept, of all tasks together"})
    memory: str = field(default="balanced", metadata={"help": f"which rows are kept: {' or '.join(MEMORIES)}"})

    def __post_init__(self):
        if self.memory not in MEMORIES:
            raise ValueError(f"no memory is called {self.memory!r}; choose one of {', '.join(sorted(MEMORIES))}")
        at_least(self, 0, "keep_rows")


@dataclass(frozen=True)
class RehearsalConfig(KeeperConfig):
    replay_rows: int = field(default=8, metadata={"help": "kept rows that join each step", "free": True})

    def __post_init__(self):
        super().__post_init__()
        at_once(self, "replay_rows")


def at_least(config, least, *names):
    """Refuse settings below `least`, and those that are no number."""
    for name in names:
        if not getattr(config, name) >= least:
            raise ValueError(f"{name} is {getattr(config, name)}; use {least}{' (none)' * (least == 0)} or more")


def at_once(config, *names):
    """Refuse settings that are no number of rows for one step, or for a model to write: from 0 to MOST."""
    at_least(config, 0, *names)
    for name in names:
        if getattr(config, name) > MOST:
            raise ValueError(f"{name} is {getattr(config, name)}; use {MOST:,} at most, for all are held at once")


class Keeper(Strategy):
    """Base: a memory of past rows."""

    keeps = "rows"
    settings = KeeperConfig

    def __init__(self, config=None, *, seed=0, tasks=()):
        super().__init__(self.settings() if config is None else config)
        self.memory = MEMORIES[self.config.memory](self.config.keep_rows, seed)

    def finish(self, learner, task):
        # Only now: while a task is learned its rows come by anyway, and the memory is for what does not.
        self.memory.add(task.name, self.worth(task), learner.embed)

    def worth(self, task):
        """The rows of a task that the memory may choose from."""
        return task.train

    def state(self):
        return self.memory.state()

    def load(self, state):
        self.memory.load(state)


class Rehearsal(Keeper):
    """Base: `replay_rows` rows of the memory join the new ones of every step."""

    settings = RehearsalConfig

    def batch(self, learner, rows):
        old = self.memory.sample(self.config.replay_rows)
        return rows if old is None else cat([rows, old])  # one mean over both: an old row weighs as much as a new one
