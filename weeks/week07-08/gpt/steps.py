"""From the mean of the past to attention, in six steps: each is the one before, with one thing changed.

    mean_loops -> mean_triangle -> mean_softmax -> one_head -> many_heads -> fused_heads

All read x (B, T, C), and position t reads positions s <= t alone. The first three weigh these alike; in the last three
the text decides. The maps of a head are wq, wk, wv, each (C, D), as x @ w; those of H heads (H, C, D).
attention.py goes on from here, with q, k and v already made. Left out: the map after the heads, dropout.
"""

import math

import torch
import torch.nn.functional as F


def mean_loops(x):
    """y_t is the mean of x_0 ... x_t: (B, T, C) -> (B, T, C), with a sum of its own for each position."""
    B, T, C = x.shape
    y = torch.zeros_like(x)
    for b in range(B):
        for t in range(T):
            total = torch.zeros(C, dtype=x.dtype)
            for s in range(t + 1):
                total = total + x[b, s]
            y[b, t] = total / (t + 1)
    return y


def mean_triangle(x):
    """The same as one product: row t of a lower triangle holds 1 / (t + 1) up to its diagonal, then zeros."""
    T = x.shape[1]
    triangle = torch.ones(T, T, dtype=x.dtype).tril()
    return triangle / triangle.sum(dim=1, keepdim=True) @ x  # (T, T) @ (B, T, C)


def masked_shares(scores):
    """Scores (..., T, T) -> shares: row t is a softmax over s <= t, and exactly 0 for s > t."""
    future = torch.ones_like(scores, dtype=torch.bool).triu(1)
    return scores.masked_fill(future, float("-inf")).softmax(dim=-1)  # exp(-inf) = 0


def mean_softmax(x):
    """The same as a softmax of equal scores. Now the shares may differ: it is enough to change the scores."""
    T = x.shape[1]
    return masked_shares(torch.zeros(T, T, dtype=x.dtype)) @ x


def one_head(x, wq, wk, wv):
    """The scores come from the text: query t times key s. What is averaged is a map of x too: (B, T, C) -> (B, T, D).

    With wq = 0 all scores are 0, and with wv = 1 this is `mean_softmax`.
    """
    q, k, v = x @ wq, x @ wk, x @ wv  # each (B, T, D)
    scores = q @ k.transpose(-2, -1) / math.sqrt(wq.shape[-1])  # (B, T, T)
    return masked_shares(scores) @ v


def many_heads(x, wq, wk, wv):
    """H heads, one after the other, their results side by side: (B, T, C) -> (B, T, H * D). One head: `one_head`."""
    return torch.cat([one_head(x, *maps) for maps in zip(wq, wk, wv)], dim=-1)


def fused_heads(x, wq, wk, wv):
    """All heads in one product, and attention in one call that keeps no (T, T) matrix: what model.py does."""
    q, k, v = (x[:, None] @ w for w in (wq, wk, wv))  # (B, 1, T, C) @ (H, C, D) -> (B, H, T, D)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
