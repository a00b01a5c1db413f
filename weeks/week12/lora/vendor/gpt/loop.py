# vendored from weeks/week07-08/gpt/loop.py, sha256 cf913d05dbac27501f7af8042db05631d0118893b7a6b029a0941b8136cc4475; edit there, then run: make vendor
"""Training and judging a GPT on one long row of tokens: batches, learning rate, the step, the score.

Left out: accumulation, several devices, checkpoints (weeks 10 and 11).
"""

import math
from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from . import optimizers
from ..makemore.schedules import SCHEDULES


@dataclass(frozen=True)
class Recipe:
    """How to train. The defaults are nanoGPT's for characters; each has its reason."""

    steps: int
    batch_size: int
    lr: float = 1e-3  # small models bear a high one
    min_lr: float = 1e-4  # a tenth of lr at the end (Hoffmann et al. 2022)
    warmup: int = 100  # Adam's second moments are poor guesses at first
    weight_decay: float = 0.1
    betas: tuple = (0.9, 0.99)  # 0.99, not 0.999: few tokens a step, so a short memory is already long
    clip: float = 1.0  # a rare wild batch moves the weights no further than a common one
    optimizer: str = "adamw"  # a row of OPTIMIZERS
    schedule: str = "cosine"  # a row of SCHEDULES

    def __post_init__(self):
        if not 0 <= self.min_lr <= self.lr or not 0 < self.lr < math.inf:
            raise ValueError(
                f"lr = {self.lr:g} cannot fall to min_lr = {self.min_lr:g}; give 0 < lr and 0 <= min_lr <= lr"
            )
        if self.schedule not in SCHEDULES:
            raise ValueError(f"there is no schedule {self.schedule!r}; choose from {', '.join(SCHEDULES)}")


def learning_rate(step: int, recipe: Recipe) -> float:
    """The rate of a step counted from 0: up to lr, then down; the last step of all is the one at min_lr."""
    end = max(1, recipe.steps - 1)
    return recipe.lr * SCHEDULES[recipe.schedule](step, end, recipe.warmup, recipe.min_lr / recipe.lr)


def random_batch(tokens, batch_size: int, block_size: int, generator):
    """Windows at random places: inputs and targets, each (B, T), the targets one token later."""
    starts = torch.randint(len(tokens) - block_size, (batch_size, 1), generator=generator)  # (B, 1)
    windows = tokens[starts + torch.arange(block_size + 1)]  # (B, T + 1)
    return windows[:, :-1], windows[:, 1:]


def precision(name: str):
    """A fresh context for a forward: "float32", or "bf16" (autocast: matmuls in bf16; weights and sums in float32)."""
    return torch.autocast("cpu", torch.bfloat16) if name == "bf16" else nullcontext()


def train(model, tokens, recipe: Recipe, *, seed: int, half: str = "float32"):
    """Train in place; yields (step, loss) after each step, so that the caller draws the bar and decides when to judge.

    Raises FloatingPointError at the first loss that is not finite, before it can reach the weights.
    """
    block_size = model.config.block_size
    if len(tokens) <= block_size:
        raise ValueError(
            f"the training text has {len(tokens)} tokens, too few for one window of block_size = {block_size} and its "
            f"targets; give a longer text or a smaller block_size"
        )
    generator = torch.Generator().manual_seed(seed)  # its own: judging in between must not change the batches
    named, decay = dict(model.named_parameters()), recipe.weight_decay
    optimizer = optimizers.make(recipe.optimizer, named, lr=recipe.lr, weight_decay=decay, betas=recipe.betas)
    for step in range(recipe.steps):
        lr = learning_rate(step, recipe)
        for group in optimizer.param_groups:
            group["lr"] = lr
        inputs, targets = random_batch(tokens, recipe.batch_size, block_size, generator)
        model.train()
        with precision(half):
            _, loss = model(inputs, targets)
        if not math.isfinite(loss.item()):
            raise FloatingPointError(
                f"the loss became {loss.item()} at step {step}, where the learning rate was {lr:.2g}; "
                f"lower it or lengthen the warm-up"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
        yield step, loss.item()


@torch.no_grad()
def evaluate(model, tokens, *, half: str = "float32", rows: int = 64) -> float:
    """Mean loss in nats over every token but the first, each predicted once, in windows of block_size side by side.

    A window starts without context, so its first tokens are hard: the mean is what a batch in training sees, and higher
    than a sliding window would give. The last window is shorter and weighs less.
    """
    T = model.config.block_size
    n = len(tokens) - 1
    if n < 1:
        raise ValueError(f"{len(tokens)} tokens leave nothing to predict; give a text of two characters or more")
    was_training = model.training
    model.eval()
    full = n // T * T
    inputs, targets = tokens[:full].view(-1, T), tokens[1 : full + 1].view(-1, T)  # (windows, T)
    chunks = list(zip(inputs.split(rows), targets.split(rows))) if full else []
    if full < n:
        chunks.append((tokens[None, full:n], tokens[None, full + 1 :]))
    total = 0.0
    for x, y in chunks:
        with precision(half):
            _, loss = model(x, y)
        total += loss.item() * y.numel()
    model.train(was_training)
    return total / n


def bigram_loss(train_tokens, val_tokens, vocab_size: int) -> float:
    """Nats per token of the table that counts pairs, each count raised by one: the baseline that a GPT must beat."""
    pairs = train_tokens[:-1] * vocab_size + train_tokens[1:]
    counts = torch.bincount(pairs, minlength=vocab_size**2).view(vocab_size, vocab_size).double() + 1.0  # (V, V)
    log_probs = (counts / counts.sum(dim=1, keepdim=True)).log()
    return F.nll_loss(log_probs[val_tokens[:-1]], val_tokens[1:]).item()
