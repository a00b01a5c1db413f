"""Weights of 16 bits in the order in which a processor multiplies them: a step of a few rows takes about half the time.

A product in bfloat16 wants pairs of rows of the weight side by side. Given a plain weight, the library brings it into
that order for each product anew; with many tokens that is nothing, with one it costs more than the product. Here it is
done once. *Measured* (an AMD EPYC with AVX512-BF16, one core, all weights of SmolLM2-135M): 1.6 times as fast at one
row, 2.0 at four, 1.6 at sixteen, 1.2 at sixty-four, to the same bits; in float32, whose order is the plain one, it
would be 1.2 at one row, and take seconds. So only 16 bits are packed, and the plain weights stay where they are.
The operations are those that torch's own compiler calls (torch 2.13, torch/_inductor/mkldnn_lowerings.py).
"""

from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import nn

from ..vendor.shared.results import fast_in_bf16

PAYS = 8  # steps from which on packing has paid
ROWS = 16  # how many the order is chosen for; others take the same order
MOST = 2**31  # bytes of weights that are held twice


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
    """What changes when a weight does: where it lies, and how often it was written to."""
    return weight.data_ptr(), weight._version


def pack(model):
    """{linear layer: its Packed weight} of a model on a processor that computes in bfloat16; {} of any other."""
    layers = [m for m in model.modules() if isinstance(m, nn.Linear) and m.weight.dtype == torch.bfloat16]
    size = sum(2 * layer.weight.numel() for layer in layers)
    if size > MOST or any(layer.weight.device.type != "cpu" for layer in layers) or not possible():
        return {}
    return {layer: Packed.of(layer.weight) for layer in layers}


def possible():
    return torch.backends.mkldnn.is_available() and fast_in_bf16()


def stale(packs):
    """Whether a weight has changed since it was packed."""
    return any(weight.state != state(layer.weight) for layer, weight in packs.items())


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
