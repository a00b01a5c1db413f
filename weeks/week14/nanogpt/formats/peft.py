"""A LoRA adapter in PEFT's format, read as the whole model that it makes of its base. The base is named in it.

Week 12 reads and merges it: the base's weights are hung up as linear layers under Hugging Face's names, which is all
that an adapter's file knows of a model. Left out: writing, and GPT-2's transposed layers (fan_in_fan_out).
"""

import os
from dataclasses import replace
from pathlib import Path

from torch import nn

from ..vendor.lora import adapter, peft_format
from ..vendor.shared.errors import Mistake
from . import hf, row_of
from .hf_folder import read_json

ABOUT = f"a folder with {peft_format.CONFIG} and {peft_format.TENSORS}"
write = "what an adapter changed is kept in the weights; export to huggingface"


def probe(path):
    return (path / peft_format.CONFIG).is_file()


def files(folder):
    _, base, entry = _base(folder)
    return [*entry.files(base), folder / peft_format.TENSORS]


def settings(folder):
    return (folder / peft_format.CONFIG).read_bytes()  # rank and alpha change what the same tensors do


def read(folder):
    name, base, entry = _base(folder)
    published = entry.read(base)
    skeleton = nn.Module()
    try:
        theirs = hf.write_tensors(published.config, published.tensors)
        for path, tensor in theirs.items():
            if tensor.dim() == 2 and "embed" not in path:
                _hang(skeleton, path.removesuffix(".weight").split("."), tensor)
        peft_format.load(skeleton, folder, "read")
        adapter.merge(skeleton, "read")
    except (ValueError, OSError) as error:
        raise Mistake(
            f"{folder}, an adapter of {name}: {error}; or merge it where it was made: merge_and_unload() of "
            "peft, then save_pretrained, and give that folder"
        ) from error
    merged = {path: tensor for path, tensor in adapter.base_state(skeleton).items()}
    if published.config.tie and "lm_head.weight" in merged:
        published.config = replace(published.config, tie=False)
    published.tensors = hf.read_tensors(published.config, theirs | merged)
    return published


def _hang(module, path, weight):
    """Put a linear layer of that weight at a dotted path of `module`."""
    *above, last = path
    for name in above:
        if name not in module._modules:
            module.add_module(name, nn.Module())
        module = module._modules[name]
    layer = nn.Linear(1, 1, bias=False, device="meta")
    layer.out_features, layer.in_features = weight.shape
    layer.weight = nn.Parameter(weight, requires_grad=False)
    module.add_module(last, layer)


def _named(folder):
    """(name, path) of the base that an adapter names."""
    name = read_json(folder / peft_format.CONFIG).get("base_model_name_or_path")
    path = Path(os.path.expanduser(str(name)))
    return name, path if path.exists() or path.is_absolute() else folder / path


def _base(folder):
    """(name, path, row) of the base that an adapter names. It may be an adapter too, but not one on this one."""
    name, path = _named(folder)
    entry, below, seen = row_of(path), path, {folder.resolve()}
    while probe(below):
        if below.resolve() in seen:
            raise Mistake(
                f"{folder} is an adapter of {name!r}, which is an adapter of itself; write the path of a whole model's "
                f"folder into {below / peft_format.CONFIG}, as base_model_name_or_path"
            )
        seen.add(below.resolve())
        below = _named(below)[1]
    if entry is None:
        raise Mistake(
            f"{folder} is an adapter of {name!r}, and no model that nanogpt reads lies there; write the path of that "
            f"model's folder into {folder / peft_format.CONFIG}, as base_model_name_or_path"
        )
    return name, path, entry
