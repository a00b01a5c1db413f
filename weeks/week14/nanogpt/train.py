"""The training loop: batches through `step`, a learning rate, a progress bar, checkpoints, and a clean stop.

Plain training is the default Strategy, so the same loop pretrains and teaches. All that a resumed run needs is the
weights, the optimizer, the random state and the step's number: `Feed.at(step)` says which rows come next.
"""

import os
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields

import torch

from .device import PRECISIONS, keep_memory
from .feed import Feed
from .optimizers import OPTIMIZERS
from .vendor.continual.loop import step
from .vendor.continual.strategy import Strategy
from .vendor.makemore.schedules import SCHEDULES
from .vendor.shared.errors import Mistake
from .vendor.shared.progress import bar

GROWTH = ("first_batch", "first_context", "grow")  # of a training from scratch: kept rows that join have full length
ROWS = 10**6  # at most in a forward pass, which are looked up one by one: more is a slip of the hand
KINDS = {int: "a whole number", float: "a number", str: "a name"}
STOPPING = b"\nstopping after this step; a second Ctrl-C stops at once, and loses the steps since the last save\n"
MOST = 1e6  # of a rate, a norm or a decay: beyond it float32 breaks at once


class Diverged(Mistake):
    """The loss or the gradient is no finite number any more."""


def option(default, help):
    """A setting whose text is shown by --help."""
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class TrainConfig:
    """How to train. The defaults suit a small model on a CPU."""

    steps: int = option(300, "optimizer steps")
    batch_size: int = option(8, "new rows in one forward pass")
    accumulate: int = option(1, "forward passes that make one step")
    lr: float = option(2e-2, "highest learning rate")
    min_lr: float = option(0.0, "share of lr that is left at the end")
    warmup: int = option(10, "steps in which the rate rises")
    schedule: str = option("linear", f"how the rate falls: {', '.join(SCHEDULES)}")
    optimizer: str = option("muon", f"one of {', '.join(OPTIMIZERS)}")
    weight_decay: float = option(0.1, "decay of weight matrices")
    beta2: float = option(0.95, "AdamW's memory of squared gradients")
    clip: float = option(1.0, "largest norm of the gradient")
    first_batch: int = option(0, "new rows at first; 0: as batch-size")
    first_context: int = option(0, "tokens of a row at first; 0: all")
    grow: float = option(0.3, "share of the steps over which both grow")
    seed: int = option(0, "seed of weights, order of rows, dropout")
    precision: str = option("auto", "float32, bfloat16, or auto: the faster")

    def __post_init__(self):
        for f in fields(self):  # what a command line gives is of its kind, but a file may have been edited by hand
            value, types = getattr(self, f.name), (int, float) if f.type is float else (f.type,)
            if type(value) not in types:  # a bool is an int to isinstance
                raise Mistake(f"--{f.name.replace('_', '-')} is {value!r}; it must be {KINDS[f.type]}")
        for name, most in (("steps", 2**53 - 1), ("batch_size", ROWS), ("accumulate", ROWS)):
            if not 1 <= getattr(self, name) <= most:
                raise Mistake(f"--{name.replace('_', '-')} is {getattr(self, name)}; it must be from 1 to {most}")
        for name in ("lr", "clip"):
            if not 0 < getattr(self, name) <= MOST:
                raise Mistake(f"--{name} is {getattr(self, name)}; it must be above 0 and at most {MOST:g}")
        if not 0 <= self.warmup < 2**53:
            raise Mistake(f"--warmup is {self.warmup}; it must not be negative")
        if not 0 <= self.weight_decay <= MOST:
            raise Mistake(f"--weight-decay is {self.weight_decay}; it must be from 0 to {MOST:g}")
        if not 0 <= self.first_batch <= self.batch_size:
            raise Mistake(f"--first-batch is {self.first_batch}; it must be from 0 to --batch-size, {self.batch_size}")
        if not 0 <= self.first_context < 2**53 or not 0 <= self.grow <= 1:
            raise Mistake(
                f"--first-context is {self.first_context} and --grow {self.grow}; give tokens, and a share from 0 to 1"
            )
        if not 0 <= self.min_lr <= 1 or not 0 <= self.beta2 < 1:
            raise Mistake(f"--min-lr is {self.min_lr} and --beta2 {self.beta2}; both lie between 0 and 1")
        if not 0 <= self.seed < 2**63:
            raise Mistake(f"--seed is {self.seed}; give a whole number from 0 to {2**63 - 1}")
        for name, known in (("schedule", SCHEDULES), ("optimizer", OPTIMIZERS), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                raise Mistake(f"--{name} is {getattr(self, name)!r}; choose one of {', '.join(known)}")

    def to_dict(self):
        return asdict(self)

    def lr_at(self, i):
        """The learning rate of step i."""
        return self.lr * SCHEDULES[self.schedule](i, self.steps, self.warmup, self.min_lr)


def make_optimizer(parameters, config):
    """`parameters`: name -> Parameter."""
    make = OPTIMIZERS[config.optimizer]
    return make(parameters, lr=config.lr, weight_decay=config.weight_decay, betas=(0.9, float(config.beta2)))


def tokens_in(rows):
    """Tokens that a model reads of these rows: all before the last one that is judged."""
    places = torch.arange(rows.judged.shape[1])
    return int((rows.judged * places).amax(dim=1).sum())


def training_state(optimizer, name):
    """The optimizer's tensors, under its `name`, and torch's random state, as one flat dict for a safetensors file."""
    tensors = {"rng": torch.get_rng_state()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"{name}.{index}.{slot}": value for slot, value in slots.items() if value is not None}
    return tensors


def restore_training_state(optimizer, tensors, name):
    """Take back what `training_state` gave, so that the next step is the one an undisturbed run would have made. What
    another optimizer left is a Mistake."""
    state = optimizer.state_dict()
    for key, value in tensors.items():
        if key != "rng":
            of, index, slot = key.split(".")
            if of not in (name, "optimizer"):  # older folders do not name it
                raise Mistake(f"the stopped run had --optimizer {of}, not {name}; restore its folder from a copy")
            state["state"].setdefault(int(index), {})[slot] = value
    optimizer.load_state_dict(state)
    torch.set_rng_state(tensors["rng"])


def idle(config, chosen):
    """The settings among `chosen` that do nothing beside the others, as {name: what it would need}."""
    needs = {
        "grow": ("--first-batch or --first-context", config.first_batch or config.first_context),
        "min_lr": ("a --schedule that falls", config.schedule != "constant"),
        "beta2": ("--optimizer adamw or muon", config.optimizer != "sgd"),
    }
    return {name: what for name, (what, met) in needs.items() if name in chosen and not met}


@contextmanager
def stop_request():
    """Yield a function that tells whether Ctrl-C was pressed, to stop after a step; a second press stops at once."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    pressed = threading.Event()

    def handler(number, frame):
        if pressed.is_set():
            raise KeyboardInterrupt
        pressed.set()
        # os.write, for what print writes to may be in the middle of a line of its own
        os.write(2, STOPPING)

    before = signal.signal(signal.SIGINT, handler)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def train(
    learner,
    rows,
    config,
    *,
    strategy=None,
    optimizer=None,
    start=0,
    save=None,
    save_every=0,
    on_step=None,
    label="train",
):
    """Run steps `start` .. config.steps on the Rows, and return the list of training losses.

    save(step) is called every `save_every` steps and on Ctrl-C, which then raises KeyboardInterrupt.
    A loss that is not finite raises Diverged, a Mistake that names the step; weights and saved files are of before it.
    """
    keep_memory()
    strategy = strategy or Strategy()
    optimizer = optimizer or make_optimizer(learner.parameters(), config)
    feed = Feed(rows, config)
    losses, average, read, began = [], None, 0, time.perf_counter()
    learner.model.train()
    with stop_request() as stopped, bar(total=config.steps, initial=start, label=label, unit="step") as line:
        for i in range(start, config.steps):
            for group in optimizer.param_groups:
                group["lr"] = config.lr_at(i)
            batch = feed.at(i)
            try:
                info = step(learner, strategy, optimizer, batch, parts=config.accumulate, clip=config.clip)
            except FloatingPointError as error:
                raise Diverged(f"training stopped at step {i}: {error}") from error
            losses.append(info["loss"])
            average = info["loss"] if average is None else 0.95 * average + 0.05 * info["loss"]
            read += tokens_in(batch)
            rate = read / (time.perf_counter() - began)
            line.set_postfix_str(f"loss {average:.3f}, {rate:,.0f} tok/s", refresh=False)
            line.update()
            if on_step:
                on_step(i + 1, info)
            if stopped():
                if save:
                    save(i + 1)
                raise KeyboardInterrupt(f"stopped after step {i + 1} of {config.steps}")
            if save and save_every and (i + 1) % save_every == 0 and i + 1 < config.steps:
                save(i + 1)
    learner.model.eval()
    return losses
