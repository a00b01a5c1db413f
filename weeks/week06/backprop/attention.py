"""Causal attention, forward and back by hand: scores, mask, softmax, weighted sum; then several heads in one layer.

q, k, v have the shape (..., T, D), with whatever axes in front. Left out: dropout, padding masks, and the blocked
form that never writes the (T, T) table down (Dao et al. 2022); its trick for the softmax's sum is here, though.
"""

import math

import torch

from .losses import softmax_forward
from .manual import gelu_backward, gelu_forward, linear_backward, linear_forward, residual_backward, residual_forward
from .norms import layer_norm_forward, norm_backward


def attention_plain_forward(q, k, v):
    """Returns (out, every value by its name): place t reads from the places up to t."""
    T, D = q.shape[-2:]
    s = {"q": q, "k": k, "v": v}
    s["scores"] = q @ k.transpose(-1, -2) / math.sqrt(D)  # (..., T, T): row t asks, column s answers
    later = torch.ones(T, T, dtype=torch.bool, device=q.device).triu(1)
    s["masked"] = s["scores"].masked_fill(later, float("-inf"))
    s["weights"] = softmax_forward(s["masked"])[0]  # rows sum to 1, later places weigh 0
    return s["weights"] @ v, s


def attention_plain_backward(g, s):
    """The gradient of every name of the forward pass."""
    d = {"weights": g @ s["v"].transpose(-1, -2)}  # out = weights v, a matrix product
    d["v"] = s["weights"].transpose(-1, -2) @ g
    mean = (d["weights"] * s["weights"]).sum(-1, keepdim=True)
    d["masked"] = s["weights"] * (d["weights"] - mean)  # softmax; 0 where the weight is 0, so behind the mask
    d["scores"] = d["masked"]  # what was not masked was copied
    scaled = d["scores"] / math.sqrt(s["q"].shape[-1])
    d["q"] = scaled @ s["k"]
    d["k"] = scaled.transpose(-1, -2) @ s["q"]
    return d


def attention_forward(q, k, v):
    """The same with as few names as possible."""
    out, s = attention_plain_forward(q, k, v)
    return out, (q, k, v, s["weights"], out)


def attention_backward(g, saved):
    """(dq, dk, dv). The softmax's sum over T numbers is one over D: sum_s dw_s w_s = g . sum_s w_s v_s = g . out."""
    q, k, v, weights, out = saved
    dscores = weights * (g @ v.transpose(-1, -2) - (g * out).sum(-1, keepdim=True)) / math.sqrt(q.shape[-1])
    return dscores @ k, dscores.transpose(-1, -2) @ q, weights.transpose(-1, -2) @ g


def self_attention_forward(x, w_in, b_in, w_out, b_out, n_head):
    """A whole layer: x (B, T, C), w_in (C, 3 C), w_out (C, C); queries, keys and values come from one product."""
    B, T, C = x.shape
    if C % n_head:
        raise ValueError(f"{C} channels cannot be shared by {n_head} heads; give a number of heads that divides {C}")
    mixed, saved_in = linear_forward(x, w_in, b_in)  # (B, T, 3 C)
    q, k, v = (heads(part, n_head) for part in mixed.chunk(3, dim=-1))  # (B, H, T, D) each
    out, saved_core = attention_forward(q, k, v)
    out, saved_out = linear_forward(joined(out), w_out, b_out)
    return out, (saved_in, saved_core, saved_out, n_head)


def self_attention_backward(g, saved):
    """(dx, dw_in, db_in, dw_out, db_out): three steps back, and the heads parted and joined the other way round."""
    saved_in, saved_core, saved_out, n_head = saved
    d, dw_out, db_out = linear_backward(g, saved_out)
    parts = attention_backward(heads(d, n_head), saved_core)
    dx, dw_in, db_in = linear_backward(torch.cat([joined(part) for part in parts], dim=-1), saved_in)
    return dx, dw_in, db_in, dw_out, db_out


def block_forward(x, weights, n_head):
    """A block of a GPT: x + attention(norm(x)), then x + mlp(norm(x)). weights: the two norms, attention, the MLP.

    In order: gain, bias; w_in, b_in, w_out, b_out; gain, bias; w_up, b_up, w_down, b_down.
    """
    gain1, bias1, *mix, gain2, bias2, w_up, b_up, w_down, b_down = weights
    y, norm1 = layer_norm_forward(x, gain1, bias1)
    y, core = self_attention_forward(y, *mix, n_head)
    x, _ = residual_forward(x, y)
    y, norm2 = layer_norm_forward(x, gain2, bias2)
    y, up = linear_forward(y, w_up, b_up)
    y, bend = gelu_forward(y)
    y, down = linear_forward(y, w_down, b_down)
    return residual_forward(x, y)[0], (norm1, core, norm2, up, bend, down)


def block_backward(g, saved):
    """(dx, and the weights' gradients in their order): the same lines from the last to the first."""
    norm1, core, norm2, up, bend, down = saved
    dx, d = residual_backward(g, ())
    d, dw_down, db_down = linear_backward(d, down)
    (d,) = gelu_backward(d, bend)
    d, dw_up, db_up = linear_backward(d, up)
    d, dgain2, dbias2 = norm_backward(d, norm2)
    dx, d = residual_backward(dx + d, ())  # two ways back to x: around the MLP, and through it
    d, *dmix = self_attention_backward(d, core)
    d, dgain1, dbias1 = norm_backward(d, norm1)
    return dx + d, dgain1, dbias1, *dmix, dgain2, dbias2, dw_up, db_up, dw_down, db_down


def heads(x, n_head):
    """(B, T, C) -> (B, H, T, C/H)."""
    B, T, C = x.shape
    return x.view(B, T, n_head, C // n_head).transpose(1, 2)


def joined(x):
    """(B, H, T, D) -> (B, T, H D); undoes `heads`."""
    B, H, T, D = x.shape
    return x.transpose(1, 2).reshape(B, T, H * D)
