"""A pre-training run put together: shards, sampler, the GPT of weeks 7-8, Muon, a schedule, and the trainer.

The shape is that of week 10's law for the budget (`python weeks/week10/train.py plan --budget ...`), and so are Muon's
rate and AdamW's for what Muon leaves to it. Left out: dropout, for no text is read often enough to need it.
"""

from dataclasses import dataclass

import torch

from .data import shards
from .data.sampler import Sampler, window
from .documents import DocumentGPT
from .trainer.loop import Trainer
from .trainer.plan import Plan
from .vendor.gpt.generate import generate
from .vendor.gpt.model import GPT, IGNORE, GPTConfig
from .vendor.scaling import optimizers
from .vendor.scaling.parallel import Team
from .vendor.scaling.schedules import SCHEDULES
from .vendor.shared.errors import Mistake

HEAD = 16  # channels a head, as in week 10's sweep


@dataclass(frozen=True)
class Recipe:
    """One run: the model's shape, what a step reads, how long it lasts, and how often it looks up."""

    layers: int
    width: int
    block: int  # tokens of a window
    rows: int  # windows of a step
    steps: int
    lr: float = 0.02  # Muon's peak
    rest: float = 0.008  # AdamW's, for tables and vectors
    warmup: int = 20
    decay: float = 0.4  # share of the steps over which the rate falls to 0
    save_every: int = 50
    validate_every: int = 100
    sample_every: int = 0
    judged: int = 65_536  # tokens of the held-out split that a validation reads
    budget: int = 10**9  # bytes of checkpoints
    half: str = "float32"  # or "bf16": what products are computed in
    mask: bool = False  # may attention not cross the border of a document? `bench.py mask` measures what it gives

    def config(self, vocab_size):
        return GPTConfig(vocab_size, self.block, self.layers, self.width // HEAD, self.width)

    def plan(self, seed):
        return Plan(
            self.steps, self.rows, save_every=self.save_every, budget=self.budget, seed=seed, half=self.half,
            validate_every=self.validate_every, sample_every=self.sample_every,
        )  # fmt: skip


def trainer(recipe, data, folder, *, seed=0, team=None, older=False, board=None):
    """The Trainer of a recipe on the shards in `data`; it goes on in `folder`, or begins there."""
    tokenizer = shards.load_tokenizer(data)
    train, val = (shards.open_split(data, split, tokenizer) for split in shards.SPLITS)
    if not len(val):
        raise Mistake(f"{data} holds nothing to validate on; make the shards again with a larger share held out")
    config = recipe.config(tokenizer.vocab_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = DocumentGPT(config, train.end) if recipe.mask else GPT(config)
    # All rows in every process: the trainer takes its own.
    sampler = Sampler(train, block_size=recipe.block, batch_size=recipe.rows, seed=seed)
    optimizer = optimizers.make(
        "muon", model, lr=recipe.lr, weight_decay=0.1, rest={"lr": recipe.rest, "betas": (0.9, 0.99)}
    )
    about = shards.read_manifest(data)
    settings = {
        "model": vars(config), "data": [row["sha256"] for row in about["splits"]["train"]["shards"]],
        "tokenizer": about["tokenizer"], "lr": recipe.lr, "rest": recipe.rest, "warmup": recipe.warmup,
        "decay": recipe.decay, "mask": recipe.mask,
    }  # fmt: skip
    return Trainer(
        model, optimizer, lambda step: tuple(map(torch.from_numpy, sampler.batch(step))), recipe.plan(seed), folder,
        rate=lambda step: SCHEDULES["stable_decay"](step, recipe.steps, recipe.warmup, decay=recipe.decay),
        settings=settings, validate=lambda model: validate(model, val, recipe.judged, recipe.rows),
        sample=lambda model: write(model, tokenizer, 1, 60, seed)[0], team=team or Team(), older=older, board=board,
    )  # fmt: skip


@torch.no_grad()
def validate(model, tokens, most, rows):
    """Nats a token over the first `most` tokens of a split, `rows` windows at a time."""
    size, total, judged = model.config.block_size, 0.0, 0
    count = -(-min(most, len(tokens)) // size)
    for first in range(0, count, rows):
        pairs = [window(tokens, i, size) for i in range(first, min(first + rows, count))]
        inputs, targets = (torch.stack([torch.from_numpy(pair[k]) for pair in pairs]) for k in (0, 1))
        known = int((targets != IGNORE).sum())
        total, judged = total + model(inputs, targets)[1].item() * known, judged + known
    return total / judged


def write(model, tokenizer, count, length, seed=0, temperature=0.8):
    """`count` texts from the beginning of a document, of at most `length` tokens: the first that come, unpicked."""
    end = tokenizer.special_tokens[shards.END]
    start = torch.full((count, 1), end)
    source = torch.Generator().manual_seed(seed)
    ids = generate(model, start, length, stop=end, temperature=temperature, generator=source)[:, 1:].tolist()
    return [tokenizer.decode([*row, end][: [*row, end].index(end)]) for row in ids]
