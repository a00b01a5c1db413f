"""Tier 1a: five kinds of text, one byte-level GPT from scratch with all of its weights, bits per byte."""

from pathlib import Path

import torch

from ..learner import Learner
from ..text import load_domain, unigram_bits
from ..vendor.gpt.model import GPT, GPTConfig
from ..vendor.shared.files import need
from .scenario import Scenario
from .scores import bits

DOMAINS = ("shakespeare", "bible", "recipes", "code", "wiki-leads")
SHAPE = ("n_layer", "n_head", "n_embd")


def byte_gpt(settings, seed):
    """A fresh GPT over bytes."""
    torch.manual_seed(seed)
    shape = {key: settings[key] for key in SHAPE}
    return GPT(GPTConfig(vocab_size=256, block_size=settings["length"], **shape))


def scenario(data, settings, names=DOMAINS):
    """The domains `names` from the folders that make writes below `data`."""
    sizes = {key: settings[key] for key in ("length", "train_rows", "valid_rows")}
    return Scenario(
        "domains",
        [load_domain(need(Path(data) / name, f"make data/{name}"), name, **sizes) for name in names],
        learner=lambda seed, method: Learner(byte_gpt(settings, seed)),
        judge=lambda learner, task: {"bits": bits(learner, task.valid)},
        floor=lambda task: {"bits": round(unigram_bits(task), 6)},
        settings={**settings, "tasks": list(names)},
        higher_is_better=False,
        unit="bits per byte",
    )
