# vendored from weeks/week12/lora/adapter.py, sha256 6598f54f70d028e582586d04aabd5807c87d9d6eac853055a21f5066a8fa02a0; edit there, then run: make vendor
"""LoRA: learn a small correction beside a frozen weight.

    y = x W^T + b  +  scale * dropout(x) A^T B^T          A (r, in), B (out, r), r much smaller than both

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", section 4; rsLoRA: Kalajdzievski 2023.

An adapter is a *name* that lives on many layers. `attach` puts it there, `using` says which one runs (or one for
each row of a batch), `parameters` is what an optimizer gets, `merge` folds it into the weights, `detach` takes it away.
A layer keeps its place, its parameters and their names: only its class changes. So checkpoints of the model still
load, `layer.weight` still works, and tied weights stay tied.

Torch and the standard library are all it needs. What one adapter computes is in variants/: a further kind is one class
and one row of VARIANTS. Left out: embeddings, convolutions, biases, 4-bit bases.
"""

import difflib
import math
import re
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase

import torch
from torch import nn
from torch.nn import functional as F

from .variants import VARIANTS

BASE = "__base__"  # the name that means "no adapter"


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@dataclass(frozen=True)
class LoRAConfig:
    """What to attach, and where.

    `targets`: "all-linear", or patterns. A pattern is the end of a module's dotted path ("attn.qkv") or a glob
    ("blocks.*.mlp.*"). `rank_pattern` and `alpha_pattern` override rank and alpha on the layers that they match.
    """

    rank: int = 8
    alpha: float = 16  # alpha / rank = 2: with it fixed, the learning rate need not follow the rank
    dropout: float = 0.0  # on the adapter's input only; the base layer sees everything
    targets: str | tuple[str, ...] = "all-linear"
    rslora: bool = False  # scale by alpha / sqrt(rank): keeps gradients alive at high rank
    rank_pattern: dict[str, int] = field(default_factory=dict)
    alpha_pattern: dict[str, float] = field(default_factory=dict)
    variant: str = "lora"  # a row of VARIANTS

    def __post_init__(self):
        for name in ("rank_pattern", "alpha_pattern"):
            patterns = getattr(self, name)
            if not isinstance(patterns, dict) or not all(isinstance(key, str) and key for key in patterns):
                raise ValueError(f'{name} must be {{pattern: value}}, got {patterns!r}; {{"mlp.up": 4}} is one')
        for rank in (self.rank, *self.rank_pattern.values()):
            if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
                raise ValueError(f"rank must be a whole number from 1 up, got {rank!r}; 8 is a good start")
        for alpha in (self.alpha, *self.alpha_pattern.values()):
            if not is_number(alpha) or not 0 < alpha < math.inf:
                raise ValueError(f"alpha must be a positive number, got {alpha!r}; twice the rank is a good start")
        if not is_number(self.dropout) or not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout!r}; 0 is a good start")
        if not isinstance(self.rslora, bool):
            raise ValueError(f"rslora must be true or false, got {self.rslora!r}; false is a good start")
        targets = (self.targets,) if isinstance(self.targets, str) else self.targets
        named = isinstance(targets, (list, tuple)) and all(isinstance(pattern, str) and pattern for pattern in targets)
        if not named or not targets:
            raise ValueError(f'targets must name at least one layer, got {self.targets!r}; "all-linear" takes them all')
        if "all-linear" in targets and len(targets) > 1:
            raise ValueError(f'"all-linear" stands alone in targets, got {targets!r}; leave the others out')
        if not isinstance(self.variant, str) or self.variant not in VARIANTS:
            raise ValueError(f"variant {self.variant!r} is not known; choose from {', '.join(VARIANTS)}")
        object.__setattr__(self, "targets", tuple(targets))

    def to_dict(self):
        """All of it as JSON can hold it; `from_dict` is the way back."""
        return asdict(self) | {"targets": list(self.targets)}

    @classmethod
    def from_dict(cls, fields):
        """The config that `to_dict` wrote; what is not given has its default, what is not known raises ValueError."""
        if not isinstance(fields, dict):
            raise ValueError(f"settings of an adapter are names and values, got {fields!r}; give what to_dict gave")
        if unknown := [name for name in fields if name not in cls.__dataclass_fields__]:
            known = ", ".join(cls.__dataclass_fields__)
            raise ValueError(f"an adapter has no setting {', '.join(map(repr, unknown))}; leave it out or use {known}")
        return cls(**fields)

    def for_layer(self, path):
        """(rank, alpha) of the layer at `path`; the first pattern that matches wins."""
        rank = next((r for pattern, r in self.rank_pattern.items() if matches(path, pattern)), self.rank)
        alpha = next((a for pattern, a in self.alpha_pattern.items() if matches(path, pattern)), self.alpha)
        return rank, alpha

    def scale(self, rank, alpha):
        return alpha / math.sqrt(rank) if self.rslora else alpha / rank


# ----------------------------------------------------------------------------------------------------------------------
# a layer with adapters


class LoRALinear(nn.Linear):
    """An nn.Linear that was given adapters. Never constructed: `attach` changes the class of a living layer, so that
    whoever holds the layer, its weight or its place in the model still holds the right thing."""

    @classmethod
    def adopt(cls, linear):
        linear.__class__ = cls
        linear.adapters = nn.ModuleDict()  # name -> variant
        linear.active = {}  # {name: share} is summed; (name, name, ...) is one for each row
        linear.merged = None  # name of the adapter that the *model* has merged, on every layer
        linear.kept = None  # (the original weight,), while this layer's is merged; a tuple, so it isn't registered

    def release(self):
        for name in ("adapters", "active", "merged", "kept"):
            delattr(self, name)
        self.__class__ = nn.Linear

    def forward(self, x):
        y = F.linear(x, self.weight, self.bias)  # (..., out)
        if self.merged is not None:
            return y
        if isinstance(self.active, tuple):
            return self.by_row(x, y)
        for name, share in self.active.items():
            if name in self.adapters:
                delta = self.adapters[name](x, self).to(y.dtype)
                y = y + (delta if share == 1 else share * delta)
        return y

    def by_row(self, x, y):
        """Row i of the batch goes through adapter active[i]; the base matmul above was shared by all."""
        if x.dim() < 2 or x.shape[0] != len(self.active):
            raise ValueError(
                f"using() was given {len(self.active)} names, one a row, but a layer got a batch of shape "
                f"{tuple(x.shape)}; give as many names as rows, or a single name"
            )
        for name in dict.fromkeys(self.active):
            if name in self.adapters:  # BASE is in none
                rows = torch.tensor([i for i, n in enumerate(self.active) if n == name], device=x.device)
                y = y.index_add(0, rows, self.adapters[name](x[rows], self).to(y.dtype))
        return y

    def state_dict(self, *args, destination=None, prefix="", keep_vars=False):
        """While merged: the merged weight, and no adapter beside it that a reader would add a second time."""
        out = super().state_dict(*args, destination=destination, prefix=prefix, keep_vars=keep_vars)
        if self.merged is not None:
            for key in [key for key in out if key.startswith(f"{prefix}adapters.")]:
                del out[key]
        return out

    def _load_from_state_dict(self, *args):
        if self.merged is not None:
            raise ValueError(f"adapter {self.merged!r} is merged into the weights; run unmerge(model) before loading")
        super()._load_from_state_dict(*args)

    def _apply(self, fn, recurse=True):  # .to(), .half(), .cuda(): the weight in the drawer moves along
        if self.kept is not None:
            self.kept[0].data = fn(self.kept[0].data)
        return super()._apply(fn, recurse)


# ----------------------------------------------------------------------------------------------------------------------
# finding layers


def layers(model):
    """{path: LoRALinear} of every layer that has an adapter."""
    return {path: module for path, module in model.named_modules() if isinstance(module, LoRALinear)}


def adapters(model):
    """{name: LoRAConfig} of every adapter on the model."""
    return {name: v.config for layer in layers(model).values() for name, v in layer.adapters.items()}


def matches(path, pattern):
    """Is `pattern` the path, an end of it, or a glob of either?  "qkv" and "attn.q*" match "blocks.0.attn.qkv"."""
    return fnmatchcase(path, pattern) or fnmatchcase(path, f"*.{pattern}")


def linears(model):
    """{path: nn.Linear}. Subclasses are left out, except our own: their forward is their own, and may never call this
    one (nn.MultiheadAttention reads out_proj.weight, so that an adapter there would silently do nothing)."""
    return {path: m for path, m in model.named_modules() if path and type(m) in (nn.Linear, LoRALinear)}


def output_layers(model):
    """Paths of the layers that turn features into vocabulary, which "all-linear" leaves alone as PEFT does."""
    found = linears(model)
    tied = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    declared = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    return {path for path, m in found.items() if m is declared or id(m.weight) in tied or path in ("head", "lm_head")}


def find(model, targets):
    """Paths of the linear layers that `targets` name, in the model's order; a pattern that names none raises."""
    paths = list(linears(model))
    if targets == ("all-linear",):
        paths = [path for path in paths if path not in output_layers(model)]
        if not paths:
            raise ValueError("the model has no nn.Linear layer besides its output; LoRA has nothing to adapt")
        return paths
    for pattern in targets:
        if any(matches(path, pattern) for path in paths):
            continue
        other = next((m for path, m in model.named_modules() if path and matches(path, pattern)), None)
        if other is not None:
            raise ValueError(f"target {pattern!r} names a {type(other).__name__}; only plain nn.Linear can be adapted")
        ends = {".".join(path.split(".")[i:]) for path in paths for i in range(path.count(".") + 1)}
        near = difflib.get_close_matches(pattern, sorted(ends), n=3, cutoff=0.5)
        kinds = sorted({re.sub(r"(^|\.)\d+(?=\.|$)", r"\1*", path) for path in paths})
        hint = f"did you mean {', '.join(near)}?" if near else f"it has {', '.join(kinds[:12]) or 'none'}"
        raise ValueError(f"target {pattern!r} matches no linear layer of the model; {hint}")
    return [path for path in paths if any(matches(path, pattern) for pattern in targets)]


def require(model, name):
    """The layers of adapter `name`, as {path: LoRALinear}; an unknown name raises and tells the known ones."""
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
    # A name becomes a key of state_dict (no dots) and of a ModuleDict (which refuses the names of its own methods).
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or name == BASE or hasattr(nn.ModuleDict, name):
        raise ValueError(f"{name!r} cannot name an adapter; use letters, digits, - and _, and no name that torch uses")
    refuse_merged(model, "nothing can be attached")
    if name in adapters(model):
        raise ValueError(f"the model already has an adapter {name!r}; detach it first or choose another name")
    known = linears(model)
    paths = find(model, config.targets) if paths is None else list(paths)
    for patterns in (config.rank_pattern, config.alpha_pattern):
        for pattern in patterns:
            if not any(matches(path, pattern) for path in paths):
                raise ValueError(f"pattern {pattern!r} of rank_pattern or alpha_pattern matches no target layer")
    if not hasattr(model, "_frozen_by_lora"):
        model._frozen_by_lora = [p for p, value in model.named_parameters() if value.requires_grad]
        model.requires_grad_(False)
    for path in paths:
        layer = known[path]
        if type(layer) is nn.Linear:
            LoRALinear.adopt(layer)
        variant = VARIANTS[config.variant](layer, config, *config.for_layer(path))
        layer.adapters[name] = variant.train(layer.training)
    for layer in layers(model).values():
        layer.active = {name: 1.0}
    return paths


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
        own = dict(model.named_parameters())
        for path in model.__dict__.pop("_frozen_by_lora", []):
            if path in own:
                own[path].requires_grad_(True)


@contextmanager
def using(model, names):
    """Run the block with other adapters: a name; {name: share} summed; or a list, one name for each row of the batch.

    "__base__" means none. The choice is a state of the model, so threads that share a model share it too.
    """
    wanted = {names: 1.0} if isinstance(names, str) else dict(names) if isinstance(names, dict) else tuple(names)
    for name in wanted:
        if name != BASE:
            require(model, name)
    if (name := merged_name(model)) is not None and wanted != {name: 1.0}:
        refuse_merged(model, f"using {names!r} would not compute what it says")
    before = {layer: layer.active for layer in layers(model).values()}
    try:
        for layer in before:
            layer.active = wanted
        yield model
    finally:
        for layer, active in before.items():
            layer.active = active


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
        with torch.autocast(layer.weight.device.type, enabled=False):
            merged[path] = layer.adapters[name].weight(layer).to(layer.weight.dtype)
        if not torch.isfinite(merged[path]).all():
            raise ValueError(
                f"merging {name!r} gives NaN or infinity in {path}; nothing changed: train at a lower rate"
            )
    for path, layer in found.items():
        # A new Parameter object, not new numbers in the old one: whoever shares the old one does not change.
        layer.kept, layer.weight = (layer.weight,), nn.Parameter(merged[path], requires_grad=False)
    for layer in layers(model).values():
        layer.merged = name


def unmerge(model):
    """Put the kept weights back: not by subtracting, which rounds, so the model is byte for byte what it was."""
    if merged_name(model) is None:
        raise ValueError("no adapter is merged, so there is nothing to unmerge")
    for layer in layers(model).values():
        if layer.kept is not None:
            layer.weight, layer.kept = layer.kept[0], None
        layer.merged = None


def base_state(model):
    """state_dict of the model under its own keys, without adapters; while merged, with the merged weights."""
    inside = tuple(f"{path}.adapters." for path in layers(model))
    return {key: value for key, value in model.state_dict().items() if not key.startswith(inside)}
