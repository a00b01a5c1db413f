# vendored from weeks/week10/scaling/optimizers/muon.py, sha256 524d0a126b54413f00d602dab20a7746c9d2e757f708a4f4b85eb2430d80cb8d; edit there, then run: make vendor
"""Muon: the momentum of a matrix, made orthogonal before it becomes a step. Jordan 2024.

    m = momentum m + (1 - momentum) g        u = momentum m + (1 - momentum) g        (Nesterov: g counts twice)
    step = scale * U V^T        where u = U S V^T is the singular value decomposition

A gradient matrix has few large singular values and many small ones. With all of them set to 1, the model learns the
rare directions as fast as the common ones. A decomposition would be slow. Five rounds of Newton and Schulz, three
matmuls each, are fast, and bring most singular values between about 0.7 and 1.2, which is near enough.

Only for the matrices of hidden layers. Embeddings, the head, biases and norms take AdamW.
Source: Jordan 2024, kellerjordan.github.io/posts/muon; the scale: Liu et al. 2025, arXiv:2502.16982, section 2.
"""

import math

import torch

from .rule import Rule

A, B, C = 3.4445, -4.7750, 2.0315  # of x -> A x + B x^3 + C x^5 on each singular value: steep at 0, then near 1
SCALES = ("match_rms_adamw", "original")


def orthogonal(x, rounds=5, half=None):
    """(..., rows, columns) -> U V^T of each matrix, nearly; many of one shape cost little more than one large one.

    half: compute in bf16 (True), in x's own precision (False), or (None) in bf16 on a GPU alone, where it is faster.
    """
    shape, tall = x.shape, x.shape[-2] > x.shape[-1]
    half = x.is_cuda if half is None else half
    x = x.reshape(-1, *shape[-2:])
    y = x.mT if tall else x  # (n, small, large): the products x x^T are then the small ones
    y = y.bfloat16() if half else y
    y = y / torch.linalg.matrix_norm(y, keepdim=True).clamp(min=1e-7)  # no singular value above 1
    # On the small side 8 small^3 a round, in place of 4 small^2 large + 2 small^3; bf16 is too coarse for it.
    y = (on_the_small_side if not half and 2 * y.shape[-1] > 3 * y.shape[-2] else as_written)(y, rounds)
    return (y.mT if tall else y).reshape(shape).to(x.dtype)


def as_written(y, rounds):
    """y (n, small, large), no singular value above 1 -> y after `rounds` of y -> (A + B y y^T + C (y y^T)^2) y."""
    for _ in range(rounds):
        gram = y @ y.mT  # (n, small, small)
        poly = torch.baddbmm(gram, gram, gram, beta=B, alpha=C)  # B gram + C gram^2
        y = torch.baddbmm(y, poly, y, beta=A)
    return y


def on_the_small_side(y, rounds):
    """The same y: every round multiplies by a polynomial of y y^T alone, so the factors can be gathered first."""
    gram, factors = y @ y.mT, None  # (n, small, small) both
    for left in reversed(range(rounds)):
        factor = torch.baddbmm(gram, gram, gram, beta=B, alpha=C)
        factor.diagonal(dim1=-2, dim2=-1).add_(A)
        factors = factor if factors is None else factor @ factors
        if left:
            gram = factor @ gram @ factor  # y y^T of the next round, for polynomials of one matrix commute
    return y if factors is None else factors @ y


def muon(grad, state, *, momentum, nesterov, rounds, scale, half):
    """grad (..., rows, columns), state {"m": of that shape} -> the step.

    scale: "match_rms_adamw" gives the step the size of AdamW's, so that one learning rate serves both;
    "original" keeps U V^T, times sqrt(rows / columns) where there are more rows than columns. ValueError for others:
    "there is no scale 'big'; choose from match_rms_adamw, original"
    """
    m = state["m"].lerp_(grad, 1 - momentum)
    u = torch.lerp(grad, m, momentum) if nesterov else m
    rows, columns = grad.shape[-2:]
    if scale not in SCALES:
        raise ValueError(f"there is no scale {scale!r}; choose from {', '.join(SCALES)}")
    factor = math.sqrt(max(1, rows / columns)) if scale == "original" else 0.2 * math.sqrt(max(rows, columns))
    return orthogonal(u, rounds, half).mul_(factor)


MUON = Rule(
    muon,
    lambda p: {"m": torch.zeros_like(p)},
    {"momentum": 0.95, "nesterov": True, "rounds": 5, "scale": "match_rms_adamw", "half": None},
    matrices=True,
)
