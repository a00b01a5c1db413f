"""The exam that every hand-written backward takes: autograd on PyTorch's own form of the layer.

A row of EXAM is a layer: how its inputs are drawn, our pair of functions, and the oracle. The check job of train.py
prints the table; the tests take the same rows with many shapes. Adding a layer means its functions and a row here.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from . import attention, losses, manual, norms
from .compare import cmp, max_difference

PRINTED = (32, 27, 8)  # sizes of the table that the check job prints and the results quote


@dataclass(frozen=True)
class Row:
    """inputs(draw, n) -> tensors: draw(*shape) gives normal numbers, n a few sizes; whole numbers are ids.

    by_name: back returns a dictionary with the gradient of every intermediate; the first ones are `names`.
    """

    inputs: Callable
    forward: Callable
    back: Callable
    oracle: Callable
    names: str
    by_name: bool = False


def affine(draw, *lead):
    """Inputs of a norm: x, and a gain and a bias that are not the 1 and 0 that they start from."""
    return draw(*lead), 1 + 0.3 * draw(lead[-1]), 0.3 * draw(lead[-1])


def layer_weights(draw, B, T, C):
    """Inputs of a layer of attention, scaled so that its values are of order one."""
    small = 1 / math.sqrt(C)
    return draw(B, T, C), small * draw(C, 3 * C), draw(3 * C), small * draw(C, C), draw(C)


def ids(size, *shape):
    """Ids below `size` that repeat: 0, 3, 6 ... and around."""
    return (torch.arange(math.prod(shape)) * 3 % size).view(*shape)


def torch_batch_norm(x, gain, bias):
    rows = x.reshape(-1, x.shape[-1])
    return F.batch_norm(rows, None, None, gain, bias, training=True).view(x.shape)


def lecture_batch_norm(x, gain, bias):
    mean, var = x.mean(0, keepdim=True), x.var(0, keepdim=True)  # unbiased: over n - 1
    return gain * (x - mean) / torch.sqrt(var + 1e-5) + bias


def torch_layer_norm(x, gain, bias):
    return F.layer_norm(x, x.shape[-1:], gain, bias)


def torch_conv(dilation):
    """PyTorch's conv1d wants channels first and a weight (H, C, 2)."""

    def conv(x, weight):
        C = x.shape[-1]
        taps = weight.view(2, C, -1).permute(2, 1, 0)  # (H, C, 2)
        return F.conv1d(x.transpose(1, 2), taps, dilation=dilation).transpose(1, 2)

    return conv


def torch_layer(x, w_in, b_in, w_out, b_out):
    B, T, C = x.shape
    q, k, v = (part.view(B, T, 2, C // 2).transpose(1, 2) for part in F.linear(x, w_in.T, b_in).split(C, -1))
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return F.linear(out.transpose(1, 2).flatten(2), w_out.T, b_out)


def block_weights(draw, B, T, C):
    """Inputs of a whole block: x, then the weights in the order of attention.block_forward."""
    x, *mix = layer_weights(draw, B, T, C)
    up = draw(C, 4 * C) / math.sqrt(C), draw(4 * C), draw(4 * C, C) / math.sqrt(4 * C), draw(C)
    return x, *affine(draw, C)[1:], *mix, *affine(draw, C)[1:], *up


def torch_block(x, gain1, bias1, w_in, b_in, w_out, b_out, gain2, bias2, w_up, b_up, w_down, b_down):
    x = x + torch_layer(torch_layer_norm(x, gain1, bias1), w_in, b_in, w_out, b_out)
    return x + F.linear(F.gelu(F.linear(torch_layer_norm(x, gain2, bias2), w_up.T, b_up)), w_down.T, b_down)


def qkv(draw, n):
    return tuple(draw(2, n[0], n[1], 4) for _ in range(3))


def matrix(draw, n):
    return (draw(n[0] + 1, n[1]),)


def scores(draw, n):
    return draw(n[0], n[1]), ids(n[1], n[0])


def places(draw, n):
    return affine(draw, n[0] + 1, n[1], n[2])


norm_names = "x gain bias"
EXAM = {
    "linear": Row(
        lambda draw, n: (draw(n[0], n[1]), draw(n[1], n[2]) / math.sqrt(n[1]), draw(n[2])),
        manual.linear_forward, manual.linear_backward, lambda x, w, b: F.linear(x, w.T, b), "x weight bias",
    ),
    "linear (B, T, C)": Row(
        lambda draw, n: (draw(2, n[0], n[1]), draw(n[1], n[2]) / math.sqrt(n[1]), draw(n[2])),
        manual.linear_forward, manual.linear_backward, lambda x, w, b: F.linear(x, w.T, b), "x weight bias",
    ),
    "embedding": Row(
        lambda draw, n: (draw(n[0], n[1]), ids(n[0], n[2], 3)),
        manual.embedding_forward, manual.embedding_backward, lambda table, i: F.embedding(i, table), "table",
    ),
    "embedding, plain": Row(
        lambda draw, n: (draw(n[0], n[1]), ids(n[0], n[2], 3)),
        manual.embedding_forward, manual.embedding_backward_plain, lambda table, i: F.embedding(i, table), "table",
    ),
    "tanh": Row(matrix, manual.tanh_forward, manual.tanh_backward, torch.tanh, "x"),
    "relu": Row(matrix, manual.relu_forward, manual.relu_backward, F.relu, "x"),
    "gelu": Row(matrix, manual.gelu_forward, manual.gelu_backward, F.gelu, "x"),
    "gelu, GPT-2's": Row(
        matrix, manual.gelu_tanh_forward, manual.gelu_tanh_backward, lambda x: F.gelu(x, approximate="tanh"), "x"
    ),
    "residual": Row(
        lambda draw, n: (draw(n[0], n[1]), draw(n[0], n[1])),
        manual.residual_forward, manual.residual_backward, torch.add, "x branch",
    ),
    "flatten_consecutive": Row(
        lambda draw, n: (draw(n[0], 2 * n[1], n[2]),),
        lambda x: manual.flatten_consecutive_forward(x, 2), manual.flatten_consecutive_backward,
        lambda x: torch.cat([x[:, ::2], x[:, 1::2]], dim=-1), "x",
    ),
    "causal_conv": Row(
        lambda draw, n: (draw(2, n[0] + 2, n[1]), draw(2 * n[1], n[2]) / math.sqrt(2 * n[1])),
        lambda x, w: manual.causal_conv_forward(x, w, 2), manual.causal_conv_backward, torch_conv(2), "x weight",
    ),
    "batch_norm, plain": Row(
        lambda draw, n: affine(draw, n[0] + 1, n[1]),
        norms.norm_plain_forward, norms.norm_plain_backward, torch_batch_norm, norm_names, by_name=True,
    ),
    "batch_norm": Row(
        lambda draw, n: affine(draw, n[0] + 1, n[1]),
        norms.batch_norm_forward, norms.batch_norm_backward, torch_batch_norm, norm_names,
    ),
    "batch_norm, lecture's": Row(
        lambda draw, n: affine(draw, n[0] + 1, n[1]),
        lambda *x: norms.batch_norm_forward(*x, correction=1), norms.batch_norm_backward, lecture_batch_norm,
        norm_names,
    ),
    "batch_norm (B, T, C)": Row(
        places, norms.batch_norm_forward, norms.batch_norm_backward, torch_batch_norm, norm_names
    ),
    "layer_norm, plain": Row(
        lambda draw, n: affine(draw, n[0], n[1], n[2] + 1),
        lambda *x: norms.norm_plain_forward(*x, layer=True), norms.norm_plain_backward, torch_layer_norm, norm_names,
        by_name=True,
    ),
    "layer_norm": Row(
        lambda draw, n: affine(draw, n[0], n[1], n[2] + 1),
        norms.layer_norm_forward, norms.norm_backward, torch_layer_norm, norm_names,
    ),
    "softmax": Row(matrix, losses.softmax_forward, losses.softmax_backward, lambda x: F.softmax(x, -1), "x"),
    "cross_entropy, plain": Row(
        scores, losses.cross_entropy_plain_forward, losses.cross_entropy_plain_backward, F.cross_entropy, "logits",
        by_name=True,
    ),
    "cross_entropy": Row(
        scores, losses.cross_entropy_forward, losses.cross_entropy_backward, F.cross_entropy, "logits"
    ),
    "attention, plain": Row(
        qkv, attention.attention_plain_forward, attention.attention_plain_backward,
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), "q k v", by_name=True,
    ),
    "attention": Row(
        qkv, attention.attention_forward, attention.attention_backward,
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), "q k v",
    ),
    "block": Row(
        lambda draw, n: block_weights(draw, 2, n[0], 2 * n[1]),
        lambda x, *w: attention.block_forward(x, w, n_head=2), attention.block_backward, torch_block,
        "x ln1_gain ln1_bias w_in b_in w_out b_out ln2_gain ln2_bias w_up b_up w_down b_down",
    ),
    "self_attention": Row(
        lambda draw, n: layer_weights(draw, 2, n[0], 2 * n[1]),
        lambda *x: attention.self_attention_forward(*x, n_head=2), attention.self_attention_backward, torch_layer,
        "x w_in b_in w_out b_out",
    ),
}  # fmt: skip


def draw_inputs(row, sizes, seed, dtype):
    """The inputs of a row; drawn in float64, so that both precisions are asked about the same numbers."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float64)
    inputs = [x.to(dtype) if x.is_floating_point() else x for x in row.inputs(draw, sizes)]
    return inputs, draw


def upstream(draw, out):
    rows = out.numel() // out.shape[-1] if out.dim() else 1
    return draw(*out.shape) / rows


def take(name, sizes=(6, 5, 4), seed=0, dtype=torch.float32):
    """[(what, ours, autograd's)]: the result, and the gradient of each input.

    The gradient that comes from above is random, of the size that a mean over all rows leaves: order 1 / rows.
    """
    row = EXAM[name]
    inputs, draw = draw_inputs(row, sizes, seed, dtype)
    leaves = [x.clone().requires_grad_() if x.is_floating_point() else x for x in inputs]
    theirs = row.oracle(*leaves)
    g = upstream(draw, theirs).to(dtype)
    asked = [x for x in leaves if x.requires_grad]
    their_gradients = torch.autograd.grad(theirs, asked, g)
    with torch.inference_mode():
        mine, saved = row.forward(*inputs)
        gradients = row.back(g, saved)
    names = row.names.split()
    gradients = in_order(name, names, gradients)
    return [("result", mine, theirs.detach()), *zip(names, gradients, their_gradients, strict=True)]


def take_names(name, sizes=(6, 5, 4), seed=0, dtype=torch.float32):
    """[(value, our gradient, autograd's)] for every value between input and result that a plain form names."""
    row = EXAM[name]
    inputs, draw = draw_inputs(row, sizes, seed, dtype)
    out, values = row.forward(*[x.clone().requires_grad_() if x.is_floating_point() else x for x in inputs])
    g = upstream(draw, out).to(dtype)
    names = [n for n, value in values.items() if torch.is_tensor(value) and value.requires_grad]
    theirs = torch.autograd.grad(out, [values[n] for n in names], g)
    with torch.no_grad():
        mine = row.back(g, {n: v.detach() if torch.is_tensor(v) else v for n, v in values.items()})
    return list(zip(names, in_order(name, names, mine), theirs))


def in_order(layer, names, gradients):
    """The gradients that a backward function gave, as a list in the order of `names`.

    Raises TypeError for what is no tuple (or, in a plain form, no dictionary), ValueError where one is missing.
    """
    if EXAM[layer].by_name:
        if not isinstance(gradients, dict):
            raise TypeError(f"{layer}: the backward function gave a {type(gradients).__name__}; return a dictionary")
        if missing := [n for n in names if n not in gradients]:
            raise ValueError(f"{layer}: the dictionary has no gradient of {', '.join(missing)}")
        return [gradients[n] for n in names]
    if not isinstance(gradients, tuple | list):
        wanted = ", ".join(f"d{n}" for n in names) + ("," if len(names) == 1 else "")
        raise TypeError(f"{layer}: the backward function gave a {type(gradients).__name__}; "
                        f"return a tuple with the gradient of each input: ({wanted})")  # fmt: skip
    if len(gradients) != len(names):
        raise ValueError(f"{layer}: the backward function gave {len(gradients)} gradients; there are {len(names)} "
                         f"inputs: {', '.join(names)}")  # fmt: skip
    return list(gradients)


def worst(dtype, sizes=(6, 5, 4), seed=0):
    """{layer: the largest difference of its gradients}."""
    return {
        name: max(max_difference(f"{name}, {what}", a, b) for what, a, b in take(name, sizes, seed, dtype)[1:])
        for name in EXAM
    }


def print_table(dtype, sizes=PRINTED, seed=0):
    """A line for each gradient of each layer, as `cmp` prints it; returns the largest difference."""
    largest = 0.0
    for name, row in EXAM.items():
        rows = take_names(name, sizes, seed, dtype) if row.by_name else take(name, sizes, seed, dtype)[1:]
        largest = max([largest, *(cmp(f"{name}: {what}", mine, theirs) for what, mine, theirs in rows)])
    return largest
