"""A trained model as a folder: its weights, its shape and its tokenizer, and nothing of the run that made it.

    FOLDER/config.json   FOLDER/model.safetensors   FOLDER/tokenizer.json

A checkpoint of the trainer holds the optimizer too, three times as much. Left out: other people's formats (week 14).
"""

import json
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes

from .vendor.bpe.fast import Tokenizer
from .vendor.gpt.model import GPT, GPTConfig
from .vendor.shared.errors import Mistake
from .vendor.shared.files import atomic_write

CONFIG, WEIGHTS, WORDS = "config.json", "model.safetensors", "tokenizer.json"


class Loaded(NamedTuple):
    model: GPT
    tokenizer: Tokenizer


def save(folder, model, tokenizer):
    """Write the three files, the shape last: a folder without it is unfinished."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).unlink(missing_ok=True)
    weights = {name: p.detach().contiguous() for name, p in model.named_parameters()}  # a tied one once
    atomic_write(folder / WEIGHTS, to_bytes(weights))
    tokenizer.save(folder / WORDS)
    atomic_write(folder / CONFIG, json.dumps(vars(model.config), indent=1) + "\n")


def open_model(folder):
    """The Loaded of a folder, the model in eval mode. A Mistake names what is missing, damaged or does not fit."""
    folder = Path(folder)
    if not (folder / CONFIG).is_file():
        raise Mistake(f"{folder} holds no {CONFIG}, so it is no trained model; train one: python weeks/week11/train.py")
    try:
        model = GPT(GPTConfig(**json.loads((folder / CONFIG).read_text(encoding="utf-8")))).eval()
        weights, tokenizer = from_bytes((folder / WEIGHTS).read_bytes()), Tokenizer.load(folder / WORDS)
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:  # RuntimeError: absurd sizes
        raise Mistake(f"{folder} cannot be read ({error}); train the model again, or copy the folder again") from None
    own = dict(model.named_parameters())
    wrong = [name for name in own.keys() | weights.keys()
             if name not in own or name not in weights or own[name].shape != weights[name].shape]  # fmt: skip
    if wrong:
        raise Mistake(f"{folder / WEIGHTS} does not fit {CONFIG}: {', '.join(sorted(wrong)[:5])}; copy both again")
    with torch.no_grad():
        for name, p in own.items():
            p.copy_(weights[name])
    return Loaded(model, tokenizer)
