"""Two optimizers on one model: how many steps, and how many seconds, until the same validation loss?

A run's length is part of its recipe, because its learning rate falls to zero at its end. So the rival is not stopped
early: it is trained several times, each time for a shorter run of its own, and the length at which it would reach the
other's final loss is read off between two of them. Left out: a target in the middle of a run, where the rate is high.
"""

import math
from typing import NamedTuple

import torch

from . import optimizers
from .schedules import SCHEDULES
from .step import set_rate, step
from .vendor.gpt.loop import evaluate, random_batch
from .vendor.gpt.model import GPT
from .vendor.shared.progress import bar
from .vendor.shared.results import Stopwatch

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


class Run(NamedTuple):
    """What one training gave: the loss at its end, its seconds without judging, and (step, seconds, val) on the way."""

    steps: int
    loss: float
    seconds: float
    curve: list


def train(config, tokens, val, setting, steps, *, batch_size=16, seed=0, points=8, warmup=0.1, label=""):
    """Train a GPT from scratch for `steps` steps; a Run. FloatingPointError where the loss is not finite."""
    torch.manual_seed(seed)
    model = GPT(config)
    optimizer = setting.build(model)
    generator = torch.Generator().manual_seed(seed)
    due = {round(steps * i / points) for i in range(1, points + 1)}
    clock, judging, curve = Stopwatch(), 0.0, []
    with bar(total=steps, label=f"{label}{setting.name}, {steps} steps", unit="step") as line:
        for number in range(steps):
            set_rate(optimizer, SCHEDULES["linear"](number, steps, int(warmup * steps), LEAST))
            done = step(model, optimizer, [random_batch(tokens, batch_size, config.block_size, generator)])
            line.update()
            line.set_postfix_str(f"loss {done.loss:.3f}", refresh=False)
            if number + 1 in due:
                pause = Stopwatch()
                curve.append([number + 1, clock.seconds - judging, evaluate(model, val)])
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
