"""What a run is told (Plan), what it knows of itself (Progress), and what it says (Event)."""

import hashlib
from dataclasses import dataclass, field
from typing import NamedTuple

from .spikes import LEAST


@dataclass(frozen=True)
class Plan:
    """How long, how large, how often. What decides the weights must be the same when a run goes on."""

    steps: int
    rows: int  # of a step's batch, of all processes together
    save_every: int = 100
    keep_every: int = 0  # checkpoints of these steps stay as far as the budget reaches; 0: none but last two and best
    budget: int | None = None  # bytes that the checkpoints may take
    validate_every: int = 0  # 0: never
    sample_every: int = 0
    accumulate: int = 1  # micro-batches that each process cuts its rows into
    clip: float = 1.0
    half: str = "float32"
    seed: int = 0
    spike: float = 8.0  # the score from which a loss is a spike (spikes.py)
    window: int = 64  # losses that it is compared with

    def __post_init__(self):
        for name in ("steps", "rows", "save_every", "accumulate"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give 1 or more")
        if self.window < LEAST:
            raise ValueError(f"window is {self.window}, and no loss is judged beside fewer than {LEAST}; give as many")
        if not self.clip > 0 or (self.budget is not None and self.budget < 1):
            raise ValueError(f"clip is {self.clip} and budget {self.budget}; both must be above 0, or budget None")
        for name in ("keep_every", "validate_every", "sample_every"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; give 0 for never, or a number of steps")
        if self.keep_every % self.save_every:
            raise ValueError(
                f"keep_every = {self.keep_every} asks for checkpoints that save_every = {self.save_every} does not "
                f"write; give a multiple of {self.save_every}"
            )

    def settings(self) -> dict:
        names = ("steps", "rows", "clip", "half", "seed", "spike", "window")
        return {name: getattr(self, name) for name in names}


class Event(NamedTuple):
    """kind: damaged, begin, step, validation, sample, saved, spike, full, over, stopped or done; `step` updates were
    made."""

    kind: str
    step: int
    values: dict


@dataclass
class Progress:
    """Where the run is. Has a state_dict, like everything that a checkpoint holds."""

    step: int = 0  # updates made
    position: int = 0  # the next batch
    last: int | None = None  # the batch of the last update, where that directly preceded the next
    best: list | None = None  # [loss, step] of the best validation
    skipped: list = field(default_factory=list)  # [{"step", "batches", "loss", "score"}] of every spike

    def state_dict(self) -> dict:
        return dict(vars(self))

    def load_state_dict(self, state: dict):
        vars(self).update(state)

    def barred(self) -> set[int]:
        return {position for spike in self.skipped for position in spike["batches"]}


def seed_of(seed: int, step: int, rank: int) -> int:
    """A seed for the dropout of one step in one process; hashed, so that neighbours have nothing in common."""
    return int.from_bytes(hashlib.sha256(f"{seed} {step} {rank}".encode()).digest()[:8], "big") >> 1
