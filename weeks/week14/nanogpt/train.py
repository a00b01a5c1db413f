"""The training loop: batches through `step`, a learning rate, a progress bar, checkpoints, and a clean stop.

Plain training is the default Strategy, so the same loop pretrains and teaches. All that a resumed run needs is the
weights, the optimizer, the random state and the step's number: `Shuffle.at(step)` says which rows come next.
"""

import math
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import torch
from tqdm import tqdm

from .vendor.continual.loop import Shuffle, step
from .vendor.continual.strategy import Strategy
from .vendor.shared.errors import Mistake


@dataclass(frozen=True)
class TrainConfig:
    """How to train. The defaults suit a small model on a CPU."""

    steps: int = 800
    """Optimizer steps."""
    batch_size: int = 8
    """Rows of block_size tokens in one forward pass."""
    accumulate: int = 1
    """Forward passes whose gradients make one step: a larger batch without more memory."""
    lr: float = 2e-3
    """Highest learning rate."""
    min_lr: float = 0.1
    """Share of lr that is left at the end of the cosine."""
    warmup: int = 40
    """Steps in which the learning rate rises from 0."""
    weight_decay: float = 0.1
    """Decoupled decay of weight matrices; gains and biases have none."""
    beta2: float = 0.99
    """AdamW's memory of squared gradients."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    seed: int = 0
    """Seed of the weights, the order of the rows and dropout."""
    precision: str = "auto"
    """float32, bfloat16, or auto: bfloat16 where the processor computes in it."""

    def __post_init__(self):
        for name in ("steps", "batch_size", "accumulate"):
            if getattr(self, name) < 1:
                raise Mistake(f"--{name.replace('_', '-')} is {getattr(self, name)}; it must be at least 1")
        for name in ("lr", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise Mistake(f"--{name} is {getattr(self, name)}; it must be above 0")
        for name in ("warmup", "weight_decay"):
            if getattr(self, name) < 0:
                raise Mistake(f"--{name.replace('_', '-')} is {getattr(self, name)}; it must not be negative")
        if not 0 <= self.min_lr <= 1 or not 0 <= self.beta2 < 1:
            raise Mistake(f"--min-lr is {self.min_lr} and --beta2 {self.beta2}; both lie between 0 and 1")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise Mistake(f"--precision is {self.precision!r}; choose auto, float32 or bfloat16")

    def to_dict(self):
        return asdict(self)

    def lr_factor(self, i):
        """Multiplier of lr at step i: linear warm-up, then half a cosine down to min_lr (Loshchilov & Hutter 2017)."""
        if i < self.warmup:
            return (i + 1) / (self.warmup + 1)
        progress = (i - self.warmup) / max(1, self.steps - self.warmup)
        return self.min_lr + (1 - self.min_lr) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def make_optimizer(parameters, config):
    """AdamW in two groups: weight matrices decay, gains and biases do not. `parameters`: name -> Parameter."""
    matrices = [p for p in parameters.values() if p.dim() >= 2]
    vectors = [p for p in parameters.values() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(
        [g for g in groups if g["params"]],
        lr=config.lr,
        betas=(0.9, config.beta2),
        fused=matrices[0].device.type != "mps",
    )


def tokens_in(rows):
    """Tokens of rows (B, T+1) that a model reads; -1 fills a row that is shorter than the others."""
    return int((rows[:, :-1] != -1).sum())


def training_state(optimizer):
    """The optimizer's tensors and torch's random state, as one flat dict for a safetensors file."""
    tensors = {"rng": torch.get_rng_state()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{slot}": value for slot, value in slots.items()}
    return tensors


def restore_training_state(optimizer, tensors):
    """Take back what `training_state` gave, so that the next step is the one an undisturbed run would have made."""
    state = optimizer.state_dict()
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, slot = name.split(".")
            state["state"].setdefault(int(index), {})[slot] = value
    optimizer.load_state_dict(state)
    torch.set_rng_state(tensors["rng"])


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
    """Run steps `start` .. config.steps on `rows` (N, T+1), and return the list of training losses.

    save(step) is called every `save_every` steps and on Ctrl-C, which then raises KeyboardInterrupt.
    A loss that is not finite raises a Mistake that names the step; weights and saved files are of before it.
    """
    strategy = strategy or Strategy()
    optimizer = optimizer or make_optimizer(learner.parameters(), config)
    shuffle = Shuffle(len(rows), config.batch_size * config.accumulate, config.seed)
    losses, average, read, began = [], None, 0, time.perf_counter()
    learner.model.train()
    with (
        stop_request() as stopped,
        tqdm(total=config.steps, initial=start, desc=label, unit="step") as bar,
    ):
        for i in range(start, config.steps):
            for group in optimizer.param_groups:
                group["lr"] = config.lr * config.lr_factor(i)
            batches = rows[shuffle.at(i)].split(config.batch_size)
            try:
                info = step(learner, strategy, optimizer, batches, clip=config.clip)
            except FloatingPointError as error:
                kept = "; the last checkpoint saved is whole" if save else ""
                raise Mistake(
                    f"training stopped at step {i}: {error}{kept}. A lower --lr (now {config.lr:g}) usually helps"
                ) from error
            losses.append(info["loss"])
            average = info["loss"] if average is None else 0.95 * average + 0.05 * info["loss"]
            read += sum(map(tokens_in, batches))
            rate = read / (time.perf_counter() - began)
            bar.set_postfix_str(f"loss {average:.3f}, {rate:,.0f} tok/s", refresh=False)
            bar.update()
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
