"""Causal attention three times: loops that say what it is, matmuls that say how fast, one fused call that is used.

All take q, k, v of shape (B, H, T, D) and return (B, H, T, D); the tests hold them equal, forward and backward.
Also here: the weights alone, to look at, and the backward pass by hand. Left out: dropout, caches (see model.py).
"""

import math

import torch
import torch.nn.functional as F


def attention_loops(q, k, v):
    """Position t asks (q_t), every earlier position s answers with its key (k_s), and t takes a mean of their values.

        y_t = sum_{s <= t} a_ts v_s,    a_ts = exp(q_t . k_s / sqrt(D)) / sum_{r <= t} exp(q_t . k_r / sqrt(D))

    For reading and for tests: B * H * T * T / 2 dot products, one at a time.
    """
    B, H, T, D = q.shape
    out = []
    for b in range(B):
        for h in range(H):
            for t in range(T):
                scores = [(q[b, h, t] * k[b, h, s]).sum() / math.sqrt(D) for s in range(t + 1)]  # t + 1 numbers
                top = max(score.item() for score in scores)  # shifts all scores alike: exp cannot overflow
                shares = [torch.exp(score - top) for score in scores]
                total = sum(shares)
                out.append(sum(share / total * v[b, h, s] for s, share in enumerate(shares)))  # (D,)
    return torch.stack(out).view(B, H, T, D)


def attention_weights(q, k):
    """The shares a (B, H, T, T): row t is where position t looks; each row sums to 1, zero above the diagonal."""
    T, D = q.shape[-2:]
    scores = q @ k.transpose(-2, -1) / math.sqrt(D)  # (B, H, T, T); without the root, their variance would grow with D
    future = torch.ones(T, T, dtype=torch.bool, device=q.device).triu(1)
    return scores.masked_fill(future, float("-inf")).softmax(dim=-1)  # exp(-inf) = 0: mask before softmax, not after


def attention_masked(q, k, v):
    """The same in two matmuls; it holds a (B, H, T, T) matrix in memory, which is what the fused call avoids."""
    return attention_weights(q, k) @ v


def attention_fused(q, k, v):
    """The same in one call, which never writes the (T, T) matrix to memory (FlashAttention, Dao et al. 2022)."""
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def attention_backward(grad, q, k, v):
    """Gradients for q, k, v by hand, given grad = dL/dy (B, H, T, D).

    With scores S = q k^T / sqrt(D), A = softmax(S) and y = A v, row by row:
        dv = A^T dy,    dA = dy v^T,    dS = A * (dA - sum_s dA_s A_s),    dq = dS k / sqrt(D),    dk = dS^T q / sqrt(D)
    A masked entry has A = 0, so its dS is 0 too: the mask needs no line of its own.
    """
    scale = 1.0 / math.sqrt(q.shape[-1])
    weights = attention_weights(q, k)  # (B, H, T, T)
    dv = weights.transpose(-2, -1) @ grad
    dweights = grad @ v.transpose(-2, -1)  # (B, H, T, T)
    dscores = weights * (dweights - (dweights * weights).sum(dim=-1, keepdim=True))
    return dscores @ k * scale, dscores.transpose(-2, -1) @ q * scale, dv


def attention_maps(model, tokens):
    """Where each head of a GPT looks: tokens (B, T) -> weights (n_layer, B, n_head, T, T).

    Runs the model once, keeps what enters each attention, and repeats its first step (qkv) on it.
    """
    inputs = []
    hooks = [
        block.attn.register_forward_pre_hook(lambda _, args: inputs.append(args[0].detach())) for block in model.blocks
    ]
    try:
        with torch.no_grad():
            model(tokens)
            maps = []
            for block, x in zip(model.blocks, inputs):
                B, T, C = x.shape
                q, k, _ = block.attn.qkv(x).view(B, T, 3, block.attn.n_head, -1).permute(2, 0, 3, 1, 4)  # (B, H, T, D)
                maps.append(attention_weights(q, k))
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(maps)
