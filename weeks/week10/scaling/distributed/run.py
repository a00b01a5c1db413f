"""A training run on a team of processes that can be stopped, killed, and resumed on another number of processes.

Every random choice is a pure function of the seed and the step (and, for dropout, of the rank): so a run that goes on
from a checkpoint meets the batches that it would have met, and no generator's state needs to be kept.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save as to_bytes

from .. import optimizers
from ..parallel import Team, named, share, whole, wrap
from ..step import cut, set_rate
from ..step import step as take
from ..vendor.gpt.loop import Recipe, learning_rate, random_batch
from ..vendor.shared.errors import Mistake
from ..vendor.shared.files import atomic_write
from . import checkpoint


@dataclass(frozen=True)
class Job:
    """What to run: the recipe (its batch_size is the GLOBAL batch, in rows), and how it is spread and kept."""

    recipe: Recipe
    seed: int = 0
    way: str = "ddp"  # a row of WAYS
    accumulate: int = 1  # micro-batches that each process cuts its share of the batch into
    every: int = 100  # steps from a checkpoint to the next; the last step is always kept
    half: str = "float32"

    def settings(self, model) -> dict:
        """What must be the same when a run goes on: all that decides the weights, not how they are spread."""
        recipe = {k: list(v) if isinstance(v, tuple) else v for k, v in vars(self.recipe).items()}
        return {"model": dict(vars(model.config)), "seed": self.seed, "half": self.half, **recipe}


def seed_of(seed: int, step: int, rank: int = 0) -> int:
    """A seed for one step of one process; mixed, so that neighbours do not begin alike (splitmix64's constants)."""
    x = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + rank * 0x94D049BB133111EB) % 2**64
    x = (x ^ x >> 31) * 0x94D049BB133111EB % 2**64
    return (x ^ x >> 29) % 2**63


def global_batch(tokens, job: Job, step: int, block_size: int):
    """Inputs and targets of a step, each (B, T) for the B rows of all processes together: the same in each of them."""
    generator = torch.Generator().manual_seed(seed_of(job.seed, step))
    return random_batch(tokens, job.recipe.batch_size, block_size, generator)


def make_optimizer(module, job: Job):
    """The recipe's optimizer for a module that `wrap` gave."""
    recipe, rule = job.recipe, optimizers.OPTIMIZERS.get(job.recipe.optimizer)
    betas = {"betas": recipe.betas}
    own = betas if rule and "betas" in rule.settings else {}
    rest = betas if rule and rule.matrices else None  # what a rule of matrices leaves to AdamW
    settings = {"lr": recipe.lr, "weight_decay": recipe.weight_decay, "rest": rest, **own}
    return optimizers.make(recipe.optimizer, named(module), **settings)  # a ValueError for an unknown name


def train(model, tokens, job: Job, team: Team, folder, build=make_optimizer) -> Iterator[tuple[int, float]]:
    """Train from the newest checkpoint in `folder`, or from the start; yields (step, loss) after each step.

    The loss is the mean over the judged tokens of the global batch, the same number in every process. After the last
    step the whole weights lie in folder/model.safetensors. `build(module, job)` makes the optimizer.
    """
    folder, rows, block_size = Path(folder), share(job.recipe.batch_size, team, job.accumulate), model.config.block_size
    recipe, settings = job.recipe, job.settings(model)
    micro = (rows.stop - rows.start) // job.accumulate
    if len(tokens) <= block_size:
        raise Mistake(
            f"the text has {len(tokens)} tokens, too few for one window of {block_size} and its targets; "
            f"give a longer text or a smaller block size"
        )
    settings["text"] = hashlib.sha256(tokens.numpy().tobytes()).hexdigest()[:16]
    strangers = [rank for rank, other in enumerate(team.gather(settings)) if other != settings]
    if strangers:  # in every process, though not with the same words: each names those that differ from it
        raise Mistake(
            f"process {team.rank} of {team.size} has another text or other options than process {strangers[0]}; "
            f"give all machines the same"
        )
    module = wrap(model, job.way, team)
    optimizer = build(module, job)
    newest = checkpoint.latest(folder)
    start = checkpoint.load(newest, module, optimizer, team, settings) if newest else 0
    module.train()
    for step in range(start, recipe.steps):
        set_rate(optimizer, learning_rate(step, recipe) / recipe.lr)
        inputs, targets = (t[rows].to(team.device) for t in global_batch(tokens, job, step, block_size))
        with torch.random.fork_rng(devices=[team.device] if team.device.type == "cuda" else []):
            torch.manual_seed(seed_of(job.seed, step, 1 + team.rank))  # dropout
            done = take(module, optimizer, cut(inputs, targets, micro), clip=recipe.clip, half=job.half, world=team)
        if (step + 1) % job.every == 0 or step + 1 == recipe.steps:
            checkpoint.save(folder, module, optimizer, step + 1, team, settings)
        yield step, done.loss
    write_weights(folder / "model.safetensors", module, team)


def write_weights(path, module, team: Team):
    """All weights in one file; every process must call it, for each gives its share of each tensor."""
    weights = {}
    for name, p in named(module).items():
        full = whole(p).cpu()  # one tensor at a time is whole in every process; only the leader keeps it
        if team.leads:
            weights[name] = full.contiguous()
    with team.together():
        if team.leads:
            atomic_write(path, to_bytes(weights))
