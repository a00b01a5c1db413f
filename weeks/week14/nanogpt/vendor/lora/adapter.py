# vendored from weeks/week12/lora/adapter.py, sha256 90e7da9cc707bd4014e777056029554c7b83208a205a647990774457fa7681de; edit there, then run: make vendor
"""LoRA: learn a small correction beside a frozen weight.

    y = x W^T + b  +  scale * dropout(x) A^T B^T          A (r, in), B (out, r), r much smaller than both

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", section 4; rsLoRA: Kalajdzievski 2023.

An adapter is a *name* that lives on many layers. `attach` puts it there, `using` says which one runs (or one for
each row of a batch), `parameters` is what an optimizer gets, `merge` folds it into the weights, `detach` takes it away.
A layer keeps its place, its parameters and their names: only its class changes (layers.py). So `layer.weight` still
works, tied weights stay tied, and a checkpoint of the model loads with strict=False: only the adapters are missing in
it. The other way `base_state` gives what a plain model loads.

Torch and the standard library are all it needs. What one adapter computes is in variants/: a further kind is one class
and one row of VARIANTS. Left out: convolutions.
"""

import math
import re
from contextlib import contextmanager

import torch
from torch import nn

from .config import LoRAConfig, is_number, matches
from .int8 import Int8Linear
from .layers import BASE, LoRALinear, adaptable, adopt, find, kind_of, layers, whole
from .variants import VARIANTS, Variant
from .variants.whole import Bias, Whole

BIASED = (nn.Linear, nn.LayerNorm, Int8Linear)  # their bias is added to the output

__all__ = [
    "BASE", "VARIANTS", "LoRAConfig", "LoRALinear", "adapters", "attach", "base_state", "build", "check", "detach",
    "install", "layers", "merge", "parameters", "quantize", "require", "unmerge", "using",
]  # fmt: skip


def adapters(model):
    """{name: LoRAConfig} of every adapter on the model."""
    return {name: v.config for layer in layers(model).values() for name, v in layer.adapters.items()}


def require(model, name):
    """The layers of adapter `name`, as {path: layer}; an unknown name raises and tells the known ones."""
    found = {path: layer for path, layer in layers(model).items() if name in layer.adapters}
    if not found:
        raise ValueError(f"the model has no adapter {name!r}; it has {', '.join(map(repr, adapters(model))) or 'none'}")
    return found


def merged_name(model):
    return next((layer.merged for layer in layers(model).values() if layer.merged is not None), None)


def refuse_merged(model, what):
    if (name := merged_name(model)) is not None:
        raise ValueError(f"adapter {name!r} is merged into the weights, so {what}; run unmerge(model) first")


# ----------------------------------------------------------------------------------------------------------------------
# what one does with adapters


def attach(model, name, config, *, paths=None):
    """Put adapter `name` on the layers that config.targets name (or on exactly `paths`); returns their paths.

    The model's own parameters stop requiring a gradient, here and not in a step that one could forget, and the new
    adapter is the one that runs until `using` says otherwise. No output changes until its B is trained.
    """
    check(model, name)
    parts = build(model, config, find(model, config.targets) if paths is None else list(paths))
    install(model, name, parts)
    return [path for path, part in parts.items() if isinstance(part, Variant)]


def check(model, name):
    """Raise ValueError where `name` cannot be given to a new adapter of the model."""
    # A name becomes a key of state_dict (no dots) and of a ModuleDict (which refuses the names of its own methods).
    word = isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_-]+", name)
    if not word or name == BASE or hasattr(nn.ModuleDict, name):
        raise ValueError(f"{name!r} cannot name an adapter; use letters, digits, - and _, and no name that torch uses")
    refuse_merged(model, "nothing can be attached")
    if name in adapters(model):
        raise ValueError(f"the model already has an adapter {name!r}; detach it first or choose another name")


def build(model, config, paths):
    """{path: the adapter's part for that layer}; the model is only read."""
    for patterns in (config.rank_pattern, config.alpha_pattern):
        for pattern in patterns:
            if not any(matches(path, pattern) for path in paths):
                raise ValueError(f"pattern {pattern!r} of rank_pattern or alpha_pattern matches no target layer")
    known, modules = adaptable(model), whole(model)
    if not paths or (strange := [path for path in paths if path not in known]):
        told = f"{strange[0]!r} is no layer that can be adapted" if paths else "there is no layer to adapt"
        raise ValueError(f"{told}; some that can be are {', '.join(list(known)[:6]) or 'none'}")
    kind = VARIANTS[config.variant]
    parts = {path: kind(known[path], config, *config.for_layer(path)) for path in paths}
    for pattern in config.modules_to_save:
        found = [path for path in modules if matches(path, pattern)]
        if not found:
            raise ValueError(
                f"modules_to_save {pattern!r} matches no module that holds parameters and no further modules; "
                f"some are {', '.join(list(modules)[:6])}"
            )
        if twice := [path for path in found if path in paths]:
            raise ValueError(f"modules_to_save {pattern!r} is {twice[0]}, which is a target too; leave one of them out")
        if beside := [name for path in found for name, _ in modules[path].named_buffers(recurse=False)]:
            raise ValueError(
                f"modules_to_save {pattern!r} keeps numbers beside its parameters ({', '.join(beside)}), which an "
                "adapter has no place for; leave it out"
            )
        parts |= {path: Whole(modules[path], config) for path in found}
    if config.bias == "all":
        have = (path for path, m in modules.items() if kind_of(m) in BIASED and m.bias is not None)
        parts |= {path: Bias(modules[path], config) for path in have if path not in parts}
    return parts


def install(model, name, parts):
    """Put what `build` gave on the model as adapter `name`, and let it run."""
    if not hasattr(model, "_frozen_by_lora"):
        own = {p: value for p, value in model.named_parameters() if ".adapters." not in f".{p}"}
        model._frozen_by_lora = [p for p, value in own.items() if value.requires_grad]
        for value in own.values():
            value.requires_grad_(False)
    for path, part in parts.items():
        layer = model.get_submodule(path)
        adopt(layer)
        layer.adapters[name] = part.train(layer.training)
    for layer in layers(model).values():
        layer.active = {name: 1.0}


def detach(model, name):
    """Take adapter `name` off. After the last one the model is what it was: classes, keys, what requires a gradient."""
    refuse_merged(model, "nothing can be detached")
    for layer in require(model, name).values():
        del layer.adapters[name]
        if isinstance(layer.active, dict):
            layer.active = {n: share for n, share in layer.active.items() if n != name}
        if not layer.adapters:
            layer.release()
    if not layers(model):
        for module in model.modules():  # a part of the model may have had an adapter first
            own = dict(module.named_parameters())
            for path in module.__dict__.pop("_frozen_by_lora", []):
                if path in own:
                    own[path].requires_grad_(True)


@contextmanager
def using(model, names):
    """Run the block with other adapters: a name; {name: share} summed; or a list, one name for each row of the batch.

    "__base__" means none. The choice is a state of the model, so threads that share a model share it too.
    """
    if not isinstance(names, (str, dict, list, tuple)):
        raise ValueError(f"using() takes a name, {{name: share}} or a list of names, one a row; got {names!r}")
    wanted = {names: 1.0} if isinstance(names, str) else dict(names) if isinstance(names, dict) else tuple(names)
    for name in wanted:
        if name != BASE:
            require(model, name)
        if isinstance(wanted, dict) and not (is_number(wanted[name]) and math.isfinite(wanted[name])):
            raise ValueError(f"the share of {name!r} must be a number, got {wanted[name]!r}; 1 takes all of it")
    if (name := merged_name(model)) is not None and wanted != {name: 1.0}:
        refuse_merged(model, f"using {names!r} would not compute what it says")
    before = {layer: layer.active for layer in layers(model).values()}
    try:
        for layer in before:
            layer.active = wanted
        yield model
    finally:
        for layer in layers(model).values():  # those of now: the block may have attached and detached
            layer.active = before.get(layer, next(iter(before.values()), layer.active))


def parameters(model, name):
    """{"path.lora_A": Parameter, ...}: what an optimizer of adapter `name` gets."""
    found = require(model, name).items()
    return {f"{path}.{key}": p for path, layer in found for key, p in layer.adapters[name].named_parameters()}


@torch.no_grad()
def merge(model, name):
    """Fold adapter `name` into the weights: the same outputs (to rounding) at the base model's speed.

    Arithmetic in at least float32; nothing is written unless every merged weight is finite. The original weights are
    kept, and tied partners of a merged weight (an embedding) keep the original: they were never adapted.
    """
    refuse_merged(model, f"{name!r} cannot be merged as well")
    found, merged = require(model, name), {}
    for path, layer in found.items():
        if kind_of(layer) is Int8Linear:
            raise ValueError(
                f"{path} has a weight of 8 bits, too coarse to take {name!r}; save the adapter, and load and merge it "
                "on the model before quantize"
            )
        with torch.autocast(next(layer.parameters()).device.type, enabled=False):
            values = layer.adapters[name].merged(layer)
        merged[path] = {key: value.to(getattr(layer, key).dtype).contiguous() for key, value in values.items()}
        if not all(torch.isfinite(value).all() for value in merged[path].values()):
            raise ValueError(
                f"merging {name!r} gives NaN or infinity in {path}; nothing changed: train at a lower rate"
            )
    for path, layer in found.items():
        for key, value in merged[path].items():
            # A new Parameter object, not new numbers in the old one: whoever shares the old one does not change.
            layer.kept[key] = getattr(layer, key)
            setattr(layer, key, nn.Parameter(value, requires_grad=False))
    for layer in layers(model).values():
        layer.merged = name
    # Told before anything is loaded; a layer alone could only tell when those before it have been written over.
    model._guard = model.register_load_state_dict_pre_hook(refuse_loading)


def refuse_loading(model, *_):
    refuse_merged(model, "nothing can be loaded")


def unmerge(model):
    """Put the kept weights back: not by subtracting, which rounds, so the model is byte for byte what it was."""
    if merged_name(model) is None:
        raise ValueError("no adapter is merged, so there is nothing to unmerge")
    for layer in layers(model).values():
        for key, parameter in layer.kept.items():
            setattr(layer, key, parameter)
        layer.kept, layer.merged = {}, None
    if guard := model.__dict__.pop("_guard", None):
        guard.remove()


def base_state(model):
    """state_dict of the model under its own keys, without adapters; while merged, with the merged weights."""
    inside = tuple(f"{path}.adapters." for path in layers(model))
    return {key: value for key, value in model.state_dict().items() if not key.startswith(inside)}


@torch.no_grad()
def quantize(model, targets="all-linear"):
    """Turn the nn.Linear layers that `targets` name into Int8Linear, in place and for good; returns their paths.

    A weight that another layer shares, such as a tied output, would be held twice, so it is refused.
    """
    paths = find(model, (targets,) if isinstance(targets, str) else tuple(targets))
    holders = [p for module in model.modules() for p in module._parameters.values() if p is not None]
    for path in paths:
        layer = model.get_submodule(path)
        if type(layer) is not nn.Linear:
            raise ValueError(f"{path} is a {type(layer).__name__}; only a plain nn.Linear can be quantized")
        if not torch.isfinite(layer.weight).all():
            raise ValueError(f"{path} holds NaN or infinity, which 8 bits cannot; nothing changed, load it again")
        if sum(layer.weight is p for p in holders) > 1:
            raise ValueError(f"{path} shares its weight with another layer; leave it out of targets")
    for path in paths:
        above, _, last = path.rpartition(".")
        setattr(model.get_submodule(above), last, Int8Linear(model.get_submodule(path)))
    return paths
