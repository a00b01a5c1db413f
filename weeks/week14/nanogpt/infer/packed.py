"""Weights of 16 bits in the order in which a processor multiplies them: a step of a few rows takes about half the time.

A product in bfloat16 wants pairs of rows of the weight side by side. Given a plain weight, the library brings it into
that order for each product anew; with many tokens that is nothing, with one it costs more than the product. Here it is
done once. *Measured* (an AMD EPYC with AVX512-BF16, one core, all weights of SmolLM2-135M): 1.6 times as fast at one
row, 2.0 at four, 1.6 at sixteen, 1.2 at sixty-four, to the same bits; in float32, whose order is the plain one, it
would be 1.2 at one row, and take seconds. So only 16 bits are packed, and the plain weights stay where they are.
The operations are those that torch's own compiler calls (torch 2.13, torch/_inductor/mkldnn_lowerings.py).
"""

from contextlib import contextmanager
from functools import cache
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import nn

from ..vendor.shared.results import fast_in_bf16

PAYS = 8  # steps from which on packing has paid
ROWS = 16  # how many the order is chosen for; others take the same order
MOST = 2**31  # bytes of weights that are held twice
_kept = WeakKeyDictionary()  # model -> its packs


class Packed(torch.Tensor):
    """A weight (out, in) that is multiplied through its packed copy. All else that is done with it is done with it."""

    @classmethod
    def of(cls, weight):
        made = weight.detach().as_subclass(cls)
        made.packed, made.state = reordered(weight.detach()), state(weight)
        return made

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function is F.linear and not kwargs and isinstance(args[1], cls) and args[0].dtype == args[1].dtype:
            x, weight, bias = (*args, None)[:3]
            return product(x, weight.packed, bias)
        with torch._C.DisableTorchFunctionSubclass():
            return function(*args, **(kwargs or {}))


def reordered(weight):
    return torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)


def product(x, weight, bias):
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def state(weight):
    """What changes when a weight does: where it lies, and how often it was written to. A Packed one holds on to the
    place, so nothing else can come to lie there."""
    return weight.data_ptr(), weight._version


def packs(model, steps):
    """{linear layer: its Packed weight}, {} where that would not pay: `steps` are made or to come. What was packed once
    serves until a weight changes, or the model is gone."""
    if model.embed.weight.dtype != torch.bfloat16 or (model not in _kept and steps < PAYS):
        return {}  # asked at each token, so without a look at every layer
    if model not in _kept or any(weight.state != state(own(layer)) for layer, weight in _kept[model].items()):
        _kept[model] = pack(model)
    return _kept[model] or _kept.pop(model)  # nothing to pack is looked at again: the model may change its precision


def pack(model):
    """The packs of a model on a processor that computes in bfloat16; {} of any other."""
    layers = [m for m in model.modules() if isinstance(m, nn.Linear) and own(m).dtype == torch.bfloat16]
    size = sum(2 * own(layer).numel() for layer in layers)
    if size > MOST or any(own(layer).device.type != "cpu" for layer in layers) or not possible():
        return {}
    return {layer: Packed.of(own(layer)) for layer in layers}


def own(layer):
    """The weight that is registered, whatever takes its place for a while."""
    return layer._parameters["weight"]


@cache
def possible():
    return torch.backends.mkldnn.is_available() and fast_in_bf16()


@contextmanager
def using(packs):
    """While the block runs, products with these weights read the packed ones."""
    for layer, weight in packs.items():
        layer.__dict__["weight"] = weight  # found before the parameter, which stays registered
    try:
        yield
    finally:
        for layer in packs:
            layer.__dict__.pop("weight", None)
