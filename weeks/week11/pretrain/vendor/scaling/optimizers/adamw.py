# vendored from weeks/week10/scaling/optimizers/adamw.py, sha256 81e46ebab2ae6960f4784d05433a05f09507f512dfe455145141cca56ceb919b; edit there, then run: make vendor
"""AdamW: every weight gets a step of about 1, whatever the size of its gradients. Loshchilov and Hutter 2019.

    m = b1 m + (1 - b1) g        v = b2 v + (1 - b2) g^2
    step = (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)        t = 1, 2, ...

m and v begin at 0; the divisions by 1 - b^t make up for it. Kingma and Ba 2015, arXiv:1412.6980, algorithm 1 and
section 3.
"""

import math

import torch

from .rule import Rule


def adamw(grad, state, *, betas, eps):
    """grad of any shape; state: m and v of that shape, and "step", a scalar that counts the calls -> the step."""
    b1, b2 = betas
    state["step"] += 1
    t = state["step"].item()
    m = state["m"].lerp_(grad, 1 - b1)
    v = state["v"].mul_(b2).addcmul_(grad, grad, value=1 - b2)
    c1, c2 = 1 - b1**t, math.sqrt(1 - b2**t)
    # (m / c1) / (sqrt(v) / c2 + eps), with c2 drawn out: one pass over memory less
    room = v.sqrt().add_(eps * c2)
    return (m / room).mul_(c2 / c1)


def start(p):
    return {"step": torch.zeros(()), "m": torch.zeros_like(p), "v": torch.zeros_like(p)}


ADAMW = Rule(adamw, start, {"betas": (0.9, 0.99), "eps": 1e-8})
