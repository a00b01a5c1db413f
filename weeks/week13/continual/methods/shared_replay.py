"""Shared replay: old rows take the place of new ones, so a step costs about what it costs without a memory.

Replay joins old rows to all the new ones and pays for both (Chaudhry et al. 2019). Here a step has `replay_rows` more
rows than a naive one, and of all of them `share` are old: with 16 new rows, replay_rows = 6 and share = 0.5, a step
trains on 11 new and 11 old ones. Ibrahim et al. 2024 (arXiv:2403.08763) count replay so too, as a share of the tokens.
"""

from dataclasses import dataclass, field

from ..rows import cat
from .rehearsal import Rehearsal, RehearsalConfig


@dataclass(frozen=True)
class SharedReplayConfig(RehearsalConfig):
    share: float = field(default=0.5, metadata={"help": "part of a step's rows that are old", "free": True})

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.share < 1:
            raise ValueError(f"share is {self.share}; use a part from 0 (no old rows) to below 1")


class SharedReplay(Rehearsal):
    """Balanced memory; the new rows that make room are not seen in this epoch."""

    settings = SharedReplayConfig

    def batch(self, learner, rows):
        total = len(rows) + self.config.replay_rows
        wanted = round(total * self.config.share)
        old = self.drawn(wanted)
        return rows if old is None else self.together(rows[: max(1, total - wanted)], old)

    def drawn(self, k):
        """k kept Rows for a step; None where there are none."""
        return self.memory.sample(k)

    def together(self, new, old):
        return cat([new, old])
