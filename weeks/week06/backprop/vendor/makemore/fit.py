# vendored from weeks/week03-04/makemore/fit.py, sha256 f1f9bb40b83d73f9c7286e73e500ca1d8de6a9124a46e6cfe91c098ac966bc83; edit there, then run: make vendor
"""Training and judging any model of the contract `logits, loss = model(tokens, targets)`, one loop for all.

The loss is the mean in nats over all targets that are not padding, so a batch may hold windows (targets (B,)) or whole
names (targets (B, T)). Left out: checkpoints, several devices, gradient accumulation (weeks 10 and 11).
"""

import math
from dataclasses import dataclass

import torch

from .names import IGNORE
from .schedules import constant, cosine


@dataclass(frozen=True)
class Recipe:
    """How to train: AdamW, a short linear warm-up, half a cosine down to 0."""

    steps: int
    batch_size: int = 512  # a step of these tiny networks costs almost the same for 32 rows, and takes 16 times fewer
    lr: float = 1e-2
    weight_decay: float = 0.05
    betas: tuple = (0.9, 0.99)
    warmup: int = 100

    def __post_init__(self):
        if self.batch_size < 1:  # the mean over nothing is nan, and the loop would blame the rate
            raise ValueError(f"a batch of {self.batch_size} rows has no loss; give batch_size = 1 or more")


def learning_rate(step, recipe):
    """The rate of a step counted from 0: a rise over `warmup` steps, times half a cosine from 1 at step 0 to 0.

    The rise is `constant` of schedules.py: 1 / warmup at step 0, and 1 from the last step of the warm-up on (warmup 0:
    always 1). Multiply in this order, recipe.lr, rise, cosine: then the rates are the same bit for bit.
    """
    rise = constant(step, recipe.steps, max(0, recipe.warmup - 1))  # a schedule's peak is the step after its warm-up
    return recipe.lr * rise * cosine(step, recipe.steps)


def optimizer_for(model, recipe):
    """AdamW that decays matrices and leaves biases and gains alone."""
    decaying = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": decaying}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, recipe.lr, recipe.betas, weight_decay=recipe.weight_decay, fused=True)


def without_padding(tokens, targets):
    """A batch of whole names without the columns that are padding for each of them; windows as they are.

    (B, T), (B, T) -> (B, t), (B, t), where t is the length of the batch's longest name and one. Windows have targets
    (B,): both tensors come back themselves. `fit` calls it for each batch of whole names.
    """
    if targets.dim() < 2:
        return tokens, targets
    width = int((targets != IGNORE).any(dim=0).sum())
    return tokens[:, :width], targets[:, :width]


def fit(model, data, recipe, seed=0, rate_of=learning_rate):
    """Train in place on data = (tokens, targets); yields (step, loss) after each step. rate_of(step, recipe): its rate.

    recipe.steps steps, counted from 0, with the optimizer of `optimizer_for`, whose groups each have their "lr". The
    model is put into training mode. The rows of a batch are torch.randint(len(tokens), (recipe.batch_size,)), drawn
    from a generator of the loop's own that begins with `seed`. The loss that is yielded is a plain number.
    Raises FloatingPointError before a loss that is no finite number reaches the weights: "the loss is nan at step 0;
    use a learning rate below 0.5", where 0.5 is recipe.lr.
    """
    tokens, targets = data
    generator = torch.Generator().manual_seed(seed)  # its own: judging in between must not change the batches
    optimizer = optimizer_for(model, recipe)
    model.train()
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = rate_of(step, recipe)
        chosen = torch.randint(len(tokens), (recipe.batch_size,), generator=generator)
        batch = tokens[chosen], targets[chosen]
        if targets.dim() > 1:  # whole names; windows have no padding
            batch = without_padding(*batch)
        _, loss = model(*batch)
        if not math.isfinite(loss.item()):
            raise FloatingPointError(f"the loss is {loss.item()} at step {step}; use a learning rate below {recipe.lr}")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        yield step, loss.item()


@torch.no_grad()
def evaluate(model, data, rows=4096):
    """Mean loss in nats over every letter (and end) of data = (tokens, targets), in evaluation mode; a plain number.

    The model reads `rows` rows at a time. It is left in the mode, training or not, in which it came.
    """
    was_training = model.training
    model.eval()
    total, count = 0.0, 0
    for tokens, targets in zip(*(part.split(rows) for part in data)):
        letters = int((targets != IGNORE).sum())
        total += model(tokens, targets)[1].item() * letters
        count += letters
    model.train(was_training)
    return total / count
