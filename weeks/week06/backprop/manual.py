"""Layers walked back by hand: linear, embedding, tanh, ReLU, GELU, residual, groups of neighbours, causal convolution.

Each layer is a pair. `X_forward(...)` returns (out, saved); `X_backward(g, saved)` takes the gradient of the loss with
respect to `out` and returns that of each input, in the inputs' order. All are pure functions of tensors: nothing is
kept, and nothing here knows of automatic differentiation. Norms are in norms.py, softmax and the loss in losses.py,
attention in attention.py. Left out: in-place forms (network.py has them), second derivatives.
"""

import math

import torch

# --- matrix product and table -----------------------------------------------------------------------------------------


def linear_forward(x, weight, bias):
    """y = x W + b for x (..., n), weight (n, m), bias (m,)."""
    if x.shape[-1] != len(weight):
        raise ValueError(f"x has {x.shape[-1]} columns but the weight {len(weight)} rows; they must be the same number")
    return x @ weight + bias, (x, weight)


def linear_backward(g, saved):
    """dx = g W^T, dW = x^T g, db = the sum of g over all rows: the bias was added to each of them."""
    x, weight = saved
    rows, g_rows = x.reshape(-1, x.shape[-1]), g.reshape(-1, g.shape[-1])  # (N, n), (N, m)
    return g @ weight.T, rows.T @ g_rows, g_rows.sum(0)


def embedding_forward(table, ids):
    """out[...] = table[ids[...]] for table (V, C). Raises ValueError for an id that is no row of the table."""
    if ids.numel() and not 0 <= ids.min() <= ids.max() < len(table):  # -1 would quietly read the last row
        last = len(table) - 1
        raise ValueError(
            f"ids from {ids.min()} to {ids.max()} do not fit a table of {last + 1} rows; give ids from 0 to {last}"
        )
    return table[ids], (ids, len(table))


def embedding_backward_plain(g, saved):
    """One place after the other: whoever was looked up gets what came back from there, again for each time."""
    ids, size = saved
    out = g.new_zeros(size, g.shape[-1])
    for i, row in zip(ids.flatten().tolist(), g.reshape(-1, g.shape[-1])):
        out[i] += row
    return (out,)


def embedding_backward(g, saved):
    """The same sum in one call: row i of the table collects the gradients of all places where i was looked up."""
    ids, size = saved
    out = g.new_zeros(size, g.shape[-1])
    return (out.index_add_(0, ids.flatten(), g.reshape(-1, g.shape[-1])),)


# --- activations ------------------------------------------------------------------------------------------------------


def tanh_forward(x):
    y = torch.tanh(x)
    return y, (y,)


def tanh_backward(g, saved):
    """dy/dx = 1 - y^2, from the result alone."""
    (y,) = saved
    return (g * (1 - y * y),)


def relu_forward(x):
    y = x.clamp(min=0)
    return y, (y,)


def relu_backward(g, saved):
    """1 where the unit is on, else 0; at x = 0, where there is no slope, 0 as in PyTorch."""
    (y,) = saved
    return (g * (y > 0),)


def gelu_forward(x):
    """x Phi(x), with Phi the normal distribution's cumulative function (Hendrycks and Gimpel 2016)."""
    below = 0.5 * (1 + torch.erf(x / math.sqrt(2)))  # Phi(x): the share of a normal distribution below x
    return x * below, (x, below)


def gelu_backward(g, saved):
    """The product rule: Phi(x) + x phi(x), for the slope of Phi is the density phi."""
    x, below = saved
    density = torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return (g * (below + x * density),)


def gelu_tanh_forward(x):
    """GPT-2's form: x (1 + tanh(u)) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3)."""
    t = torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
    return 0.5 * x * (1 + t), (x, t)


def gelu_tanh_backward(g, saved):
    """(1 + t) / 2 + x (1 - t^2) u' / 2, with u' = sqrt(2 / pi) (1 + 3 * 0.044715 x^2)."""
    x, t = saved
    slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)
    return (g * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * slope),)


# --- shapes and sums --------------------------------------------------------------------------------------------------


def residual_forward(x, branch):
    """x + branch, where the branch was itself computed from x."""
    return x + branch, ()


def residual_backward(g, saved):
    """g for both: the way around the branch is free. Who used x twice adds up what comes back on the two ways."""
    return g, g


def flatten_consecutive_forward(x, n):
    """(B, T, C) -> (B, T/n, n C): n neighbours become one vector. Raises ValueError where n does not divide T."""
    B, T, C = x.shape
    if T % n:
        raise ValueError(f"{T} places cannot be grouped by {n}; give a number of places that {n} divides")
    return x.reshape(B, T // n, n * C), x.shape


def flatten_consecutive_backward(g, saved):
    """Numbers were only laid out anew, so the gradient is laid out as before."""
    return (g.reshape(saved),)


def causal_conv_forward(x, weight, dilation):
    """y[t] = x[t - dilation] W0 + x[t] W1 for x (B, T, C), weight (2 C, H) = [W0; W1]: (B, T - dilation, H).

    Nothing after t is read. The two taps are the two halves of the weight that a tree would give to a pair. Raises
    ValueError for a dilation below 1 ("a dilation of 0 joins no two places; give 1 or more") and for too few places.
    """
    T, C = x.shape[1:]
    if dilation < 1:  # -1 would read the first and the last place, and say nothing
        raise ValueError(f"a dilation of {dilation} joins no two places; give 1 or more")
    if T <= dilation:
        raise ValueError(f"{T} places are too few for a dilation of {dilation}; put borders in front")
    return x[:, :-dilation] @ weight[:C] + x[:, dilation:] @ weight[C:], (x, weight, dilation)


def causal_conv_backward(g, saved):
    """Each place was read twice, as the earlier and as the later of a pair: its gradient is the sum of the two."""
    x, weight, dilation = saved
    C = x.shape[-1]
    dx = torch.zeros_like(x)
    dx[:, :-dilation] += g @ weight[:C].T
    dx[:, dilation:] += g @ weight[C:].T
    rows = g.reshape(-1, g.shape[-1])  # (B (T - dilation), H)
    early, late = x[:, :-dilation].reshape(-1, C), x[:, dilation:].reshape(-1, C)
    return dx, torch.cat([early.T @ rows, late.T @ rows])
