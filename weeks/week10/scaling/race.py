"""Two optimizers on one model: how many steps, and how many seconds, until the same validation loss?

A run's length is part of its recipe, because its learning rate falls to zero at its end. So the rival is not stopped
early: it is trained several times, each time for a shorter run of its own, and the length at which it would reach the
other's final loss is read off between two of them. Left out: a target in the middle of a run, where the rate is high.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import NamedTuple

import torch

from . import optimizers
from .schedules import SCHEDULES
from .step import set_rate, step
from .vendor.gpt.loop import evaluate, random_batch
from .vendor.gpt.model import GPT, GPTConfig
from .vendor.shared.errors import Mistake
from .vendor.shared.files import atomic_write
from .vendor.shared.progress import bar
from .vendor.shared.results import Stopwatch, to_json
from .workers import spread

LEAST = 0.01  # share of the peak rate at the end of a run


class Setting(NamedTuple):
    """One optimizer with its rate; `rest` is the rate of AdamW for what Muon leaves to it."""

    name: str
    lr: float
    rest: float | None = None
    weight_decay: float = 0.1

    def build(self, model):
        given = {"betas": (0.9, 0.99)} if self.name == "adamw" else {}
        rest = {"lr": self.rest, "betas": (0.9, 0.99)} if self.rest else None
        return optimizers.make(self.name, model, lr=self.lr, weight_decay=self.weight_decay, rest=rest, **given)

    def __str__(self):
        return f"{self.name} at {self.lr:g}"


class Run(NamedTuple):
    """What one training gave: the loss at its end, its seconds without judging, and (step, seconds, val) on the way."""

    steps: int
    loss: float
    seconds: float
    curve: list


def train(config, tokens, val, setting, steps, *, batch_size=16, seed=0, points=8, warmup=0.1, shown=True):
    """Train a GPT from scratch for `steps` steps; a Run. FloatingPointError where the loss is not finite."""
    torch.manual_seed(seed)
    model = GPT(config)
    optimizer = setting.build(model)
    generator = torch.Generator().manual_seed(seed)
    due = {round(steps * i / points) for i in range(1, points + 1)}
    clock, judging, curve = Stopwatch(), 0.0, []
    with bar(total=steps, label=f"{setting}, {steps} steps", unit="step", disable=not shown) as line:
        for number in range(steps):
            set_rate(optimizer, SCHEDULES["linear"](number, steps, int(warmup * steps), LEAST))
            done = step(model, optimizer, [random_batch(tokens, batch_size, config.block_size, generator)])
            line.update()
            line.set_postfix_str(f"loss {done.loss:.3f}", refresh=False)
            if number + 1 in due:
                pause = Stopwatch()
                curve.append([number + 1, clock.seconds - judging, evaluate(model, val)])
                if not math.isfinite(curve[-1][2]):  # the last step of all may have ruined the weights
                    raise FloatingPointError(f"the validation loss is {curve[-1][2]} with {setting}; lower its rate")
                judging += pause.seconds
    return Run(steps, curve[-1][2], clock.seconds - judging, curve)


def crossing(runs, target):
    """The length of run at which the loss would be `target`: a line in log steps between the two runs around it.

    inf where even the longest run does not reach it; the shortest run's length where that is good enough already.
    """
    runs = sorted(runs, key=lambda run: run.steps)
    if runs[0].loss <= target:
        return float(runs[0].steps)
    for shorter, longer in zip(runs, runs[1:]):
        if longer.loss <= target:
            share = (shorter.loss - target) / (shorter.loss - longer.loss)
            return math.exp(math.log(shorter.steps) + share * math.log(longer.steps / shorter.steps))
    return math.inf


def seconds_at(runs, steps):
    """Seconds of a run of so many steps, from the mean time of a step."""
    return steps * sum(run.seconds for run in runs) / sum(run.steps for run in runs)


# --- the rate ---------------------------------------------------------------------------------------------------------


class Course(NamedTuple):
    """Where all runs of a race take place."""

    config: GPTConfig
    tokens: torch.Tensor  # (N,) int64
    val: torch.Tensor
    batch_size: int


def attempt(job, course, shown=False):
    """(Setting, steps, seed) -> (job, Run), or (job, None) where the loss did not stay finite."""
    setting, steps, seed = job
    try:
        return job, train(*course[:3], setting, steps, batch_size=course.batch_size, seed=seed, shown=shown)
    except FloatingPointError:
        return job, None


def tune(start, rates, steps, course, book, workers=1):
    """Rows [lr, loss or None] of runs of `steps` steps, by rate, for `start` with each rate in its place.

    The grid grows while its best is at its edge: a rate is tuned only where a lower and a higher one are worse. Seed 0.
    ValueError where all blew up: "sgd reached no finite loss at any of the rates [0.1, 0.3]; give lower rates"
    """
    tried = {}
    wanted = sorted(rates)
    while wanted:
        jobs = [(start._replace(lr=lr), steps, 0) for lr in wanted]
        tried |= {job[0].lr: run and run.loss for job, run in book.runs(jobs, course, workers)}
        ordered = sorted(tried)
        best = min(ordered, key=lambda lr: math.inf if tried[lr] is None else tried[lr])
        if tried[best] is None:
            raise ValueError(f"{start.name} reached no finite loss at any of the rates {ordered}; give lower rates")
        wanted = []
        if len(ordered) > 1 and best in (ordered[0], ordered[-1]):
            factor = ordered[1] / ordered[0]
            wanted = [best / factor if best == ordered[0] else best * factor]
    return [[lr, tried[lr]] for lr in sorted(tried)]


def digest(tokens):
    """16 hex digits of ids (N,) int64, so that kept runs of another text are not taken for those of this one."""
    return hashlib.sha256(tokens.numpy()).hexdigest()[:16]


class Book:
    """Finished runs in a file, so that a race goes on where it was stopped. One file is of one course."""

    def __init__(self, path):
        self.path = Path(path)
        try:
            self.done = json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}
            self.done = {key: row and Run(*row) for key, row in self.done.items()}
        except (ValueError, TypeError, AttributeError) as error:
            raise Mistake(f"{self.path} holds no runs of a race ({error}); move it away to start anew") from None

    def runs(self, jobs, course, workers=1):
        """(job, Run or None) of each job, the finished ones first; what is new is written as it ends."""
        where = f"{course.config}, {course.batch_size} rows, text {digest(course.tokens)}"
        key = {job: f"{job} of {where}" for job in jobs}
        yield from ((job, self.done[key[job]]) for job in jobs if key[job] in self.done)
        missing = [job for job in jobs if key[job] not in self.done]
        alone = workers == 1
        with bar(total=len(missing), label=f"{len(missing)} runs", unit="run", disable=alone) as line:
            for job, run in spread(attempt, missing, (course, alone), workers):
                self.done[key[job]] = run
                atomic_write(self.path, to_json(self.done) + "\n")
                line.update()
                yield job, run
