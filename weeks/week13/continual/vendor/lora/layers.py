# vendored from weeks/week12/lora/layers.py, sha256 ea5412f16523603bbe1495d25dee493aa64e1a43bd2b780a5bc2a7b00750402c; edit there, then run: make vendor
"""A layer with adapters, and finding the layers that can have some.

A layer keeps its place, its parameters and their names: only its class changes, to one that asks its adapters too.
"""

import difflib
import re
from functools import cache

import torch
from torch import nn

from .config import matches
from .int8 import Int8Linear

KINDS = (nn.Linear, nn.Embedding, Int8Linear)  # what a low-rank adapter can sit on
BASE = "__base__"  # the name that means "no adapter"


class Adapted:
    """Mixed into a module's class by `adapted`. Never constructed: `adopt` changes the class of a living module, so
    that whoever holds the module, its weight or its place in the model still holds the right thing."""

    def release(self):
        for name in ("adapters", "active", "merged", "kept"):
            delattr(self, name)
        self.__class__ = self.plain

    def forward(self, x):
        if self.merged is None and isinstance(self.active, dict) and len(self.active) == 1:
            ((name, share),) = self.active.items()
            if share == 1 and name in self.adapters and (y := self.adapters[name].with_base(x, self)) is not None:
                return y
        y = super().forward(x)  # (..., out)
        if self.merged is not None:
            return y
        if isinstance(self.active, tuple):
            return self.by_row(x, y)
        out = y
        for name, share in self.active.items():
            if name in self.adapters:
                delta = self.adapters[name].delta(x, self, y).to(y.dtype)
                out = out + (delta if share == 1 else share * delta)
        return out

    def by_row(self, x, y):
        """Row i of the batch goes through adapter active[i]; the base product was shared by all."""
        if x.dim() < 2 or x.shape[0] != len(self.active):
            raise ValueError(
                f"using() was given {len(self.active)} names, one a row, but a layer got a batch of shape "
                f"{tuple(x.shape)}; give as many names as rows, or a single name"
            )
        out = y
        for name in dict.fromkeys(self.active):
            if name in self.adapters:  # BASE is in none
                rows = torch.tensor([i for i, n in enumerate(self.active) if n == name], device=x.device)
                out = out.index_add(0, rows, self.adapters[name].delta(x[rows], self, y[rows]).to(y.dtype))
        return out

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

    def _apply(self, fn, recurse=True):  # .to(), .half(), .cuda(): what lies in the drawer moves along
        for parameter in self.kept.values():
            parameter.data = fn(parameter.data)
        return super()._apply(fn, recurse)


@cache
def adapted(kind):
    """The class of a `kind` with adapters: nn.Linear -> LoRALinear."""
    return type(f"LoRA{kind.__name__}", (Adapted, kind), {"plain": kind, "__module__": __name__})


LoRALinear = adapted(nn.Linear)


def kind_of(module):
    """The class of a module, or the one that it had before it was adopted."""
    return module.plain if isinstance(module, Adapted) else type(module)


def adopt(module):
    """Give a living module room for adapters; one that has it is left as it is."""
    if isinstance(module, Adapted):
        return
    module.__class__ = adapted(type(module))
    module.adapters = nn.ModuleDict()  # name -> variant
    module.active = {}  # {name: share} is summed; (name, name, ...) is one for each row
    module.merged = None  # name of the adapter that the *model* has merged, on every layer
    module.kept = {}  # {attribute: original parameter}, while this layer's is merged; a plain dict: not registered


# ----------------------------------------------------------------------------------------------------------------------
# finding layers


def layers(model):
    """{path: layer} of every layer that has an adapter."""
    return {path: module for path, module in model.named_modules() if isinstance(module, Adapted)}


def adaptable(model):
    """{path: layer} of KINDS. Subclasses are left out, except our own: their forward is their own, and may never call
    this one (nn.MultiheadAttention reads out_proj.weight, so that an adapter there would silently do nothing)."""
    return {path: m for path, m in own_modules(model) if kind_of(m) in KINDS and not renorms(m)}


def own_modules(model):
    """(path, module) of the model's own modules: not the model itself, and nothing of an adapter's."""
    return [(path, m) for path, m in model.named_modules() if path and ".adapters." not in f".{path}."]


def renorms(module):
    """An nn.Embedding with max_norm writes to its weight as it reads it: no base that stays what it was."""
    return getattr(module, "max_norm", None) is not None


def linears(model):
    """{path: layer} of those that multiply."""
    return {path: m for path, m in adaptable(model).items() if kind_of(m) is not nn.Embedding}


def whole(model):
    """{path: module} of those without parts that hold parameters: they can be trained as a copy."""
    found = {}
    for path, module in own_modules(model):
        parts = [name for name, _ in module.named_children() if name != "adapters"]
        if not parts and list(module.parameters(recurse=False)):
            found[path] = module
    return found


def output_layers(model):
    """Paths of the layers that turn features into vocabulary, which "all-linear" leaves alone as PEFT does."""
    found = linears(model)
    tied = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    declared = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    return {
        path
        for path, m in found.items()
        if m is declared or path in ("head", "lm_head") or id(m._parameters.get("weight")) in tied
    }


def all_linear(model):
    """Paths that "all-linear" means: every layer that multiplies, but for the output."""
    outputs = output_layers(model)
    return [path for path in linears(model) if path not in outputs]


def find(model, targets):
    """Paths of the layers that `targets` name, in the model's order; a pattern that names none raises."""
    if targets == ("all-linear",):
        if not (paths := all_linear(model)):
            raise ValueError("the model has no nn.Linear layer besides its output; LoRA has nothing to adapt")
        return paths
    paths = list(adaptable(model))
    for pattern in targets:
        if any(matches(path, pattern) for path in paths):
            continue
        other = next((m for path, m in model.named_modules() if path and matches(path, pattern)), None)
        if other is not None and renorms(other):
            raise ValueError(f"target {pattern!r} names an Embedding with max_norm, which changes its own weight")
        if other is not None:
            raise ValueError(
                f"target {pattern!r} names a {type(other).__name__}; only plain nn.Linear and nn.Embedding can be "
                "adapted"
            )
        ends = {".".join(path.split(".")[i:]) for path in paths for i in range(path.count(".") + 1)}
        near = difflib.get_close_matches(pattern, sorted(ends), n=3, cutoff=0.5)
        kinds = sorted({re.sub(r"(^|\.)\d+(?=\.|$)", r"\1*", path) for path in paths})
        hint = f"did you mean {', '.join(near)}?" if near else f"it has {', '.join(kinds[:12]) or 'none'}"
        raise ValueError(f"target {pattern!r} matches no linear layer or embedding of the model; {hint}")
    return [path for path in paths if any(matches(path, pattern) for pattern in targets)]
