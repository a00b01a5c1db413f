"""A small run with all that a long one has, for the tests and for torture.py: dropout, spikes, validation, checkpoints.

python -m pretrain.trainer.rehearsal FOLDER [STEPS [LR]]     also under torchrun, without dropout
"""

from pathlib import Path

import torch

from ..vendor.gpt.model import GPT, GPTConfig
from ..vendor.scaling import optimizers
from ..vendor.scaling.parallel import Team, join, leave, named
from ..vendor.scaling.schedules import SCHEDULES
from ..vendor.shared.errors import entry
from .follow import follow
from .loop import Trainer
from .plan import Plan

SHAPE = {"vocab_size": 31, "block_size": 16, "n_layer": 2, "n_head": 2, "n_embd": 20, "bias": False}
STEPS, ROWS, BAD = 60, 8, 40  # the batch BAD is noise in a text that can be learned


def batch(position: int):
    """Inputs and targets, each (ROWS, 16): rows that count up in threes, but for the bad batch."""
    generator = torch.Generator().manual_seed(position)
    starts = torch.randint(SHAPE["vocab_size"], (ROWS, 1), generator=generator)
    windows = (starts + 3 * torch.arange(SHAPE["block_size"] + 1)) % SHAPE["vocab_size"]
    if position == BAD:
        windows = torch.randint(SHAPE["vocab_size"], windows.shape, generator=generator)
    return windows[:, :-1], windows[:, 1:]


def validate(model) -> float:
    return model(*batch(10**6))[1].item()


def sample(model) -> str:
    logits, _ = model(torch.zeros(1, 1, dtype=torch.long))
    return f"after 0 comes {logits[0, -1].argmax().item()}"


def trainer(folder, team: Team | None = None, *, dropout=0.1, optimizer="muon", lr=0.02, **changed) -> Trainer:
    """The run in `folder`; what is `changed` is a field of Plan, or else an option of Trainer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = GPT(GPTConfig(**SHAPE, dropout=dropout))
    usual = {"steps": STEPS, "rows": ROWS, "save_every": 4, "keep_every": 20, "validate_every": 7, "sample_every": 30}
    plan = {name: changed.pop(name, usual.get(name)) for name in Plan.__dataclass_fields__ if name in changed | usual}
    plan = Plan(**plan)
    options = {"batch": batch, "validate": validate, "sample": sample, **changed}
    options.setdefault("settings", {"model": vars(model.config), "optimizer": optimizer})
    made = optimizers.make(optimizer, named(model), lr=lr)
    rate = lambda step: SCHEDULES["stable_decay"](step, plan.steps, 3)
    return Trainer(model, made, options.pop("batch"), plan, folder, rate=rate, team=team, **options)


def main(argv=None):
    folder, *numbers = argv
    torch.set_num_threads(1)
    with join(60.0) as team:
        changed = {name: kind(text) for (name, kind), text in zip((("steps", int), ("lr", float)), numbers)}
        return follow(trainer(Path(folder), team, dropout=0.0 if team.size > 1 else 0.1, **changed))


if __name__ == "__main__":
    leave(entry(main))
