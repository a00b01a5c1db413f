"""Generic replay: rows of a fixed general text join every step, and nothing of the user's is kept.

GeRe (2508.04676) and Kotha & Liang (2603.04964) find that such rows protect what a model could before, and can even
help the new task. Left out: GeRe's margin loss on hidden states; here the rows count like all others.
"""

from dataclasses import dataclass, field

import torch

from ..rows import cat, windows
from ..strategy import Config, Strategy
from ..vendor.shared.errors import Mistake
from ..vendor.shared.text import documents, read_text
from .rehearsal import at_least, at_once


@dataclass(frozen=True)
class GenericConfig(Config):
    generic_text: str = field(default="", metadata={"help": "text file whose rows join each step"})
    generic_rows: int = field(default=2, metadata={"help": "its rows that join each step", "free": True})
    generic_most: int = field(default=1000, metadata={"help": "different rows taken from it, spread over the file"})

    def __post_init__(self):
        at_once(self, "generic_rows")
        at_least(self, 1, "generic_most")
        if self.generic_rows and not self.generic_text:
            raise ValueError("generic_text is empty; name a text file, such as data/wiki.txt")


class Generic(Strategy):
    """Add `generic_rows` rows of a text to every step, from the first task on."""

    needs_text = True

    def __init__(self, config=None, *, seed=0, tasks=()):
        super().__init__(GenericConfig(generic_rows=0) if config is None else config)
        self.seed, self.drawn, self.digest, self.rows = seed, 0, "", None

    def start(self, learner, task):
        if self.config.generic_rows and self.rows is None:
            rows = self.read(learner.needs_text("generic replay"))
            if self.digest not in ("", rows.digest()):
                raise Mistake(f"{self.config.generic_text} has changed since this run began; put the old file back")
            self.rows, self.digest = rows, rows.digest()
        return super().start(learner, task)

    def read(self, text):
        """Rows of the file, as wide as those of the tasks."""
        file = self.config.generic_text
        ids = [i for part in documents(read_text(file)) for i in [*text.encode(part), text.end]]
        if len(ids) <= text.length:
            raise Mistake(f"{file} has {len(ids)} tokens and one row needs {text.length + 1}; give a longer text")
        rows = windows(torch.tensor(ids), text.length)
        most = min(self.config.generic_most, len(rows))
        return rows[torch.arange(most) * len(rows) // most]

    def batch(self, learner, rows):
        if self.rows is None:
            return rows
        # a function of the number alone, so that the state is a number
        g = torch.Generator().manual_seed((self.seed * 1_000_003 + self.drawn) % 2**63)
        self.drawn += 1
        return cat([rows, self.rows[torch.randint(len(self.rows), (self.config.generic_rows,), generator=g)]])

    def state(self):
        return {"drawn": self.drawn, "digest": self.digest}

    def load(self, state):
        self.drawn, self.digest = state["drawn"], state["digest"]
