# vendored from weeks/week10/scaling/optimizers/sgd.py, sha256 8ec03b72093b5fb08096792d9c27d16a9ffa8b0171d3fa34e72036b4c4ec1728; edit there, then run: make vendor
"""Gradient descent with momentum: the step is a running sum of gradients. Sutskever et al. 2013, section 2.

    v = momentum v + g
    step = v, or with Nesterov's look ahead g + momentum v

v begins at 0, so with a steady gradient the step grows to 1 / (1 - momentum) times that gradient.
"""

import torch

from .rule import Rule


def sgd(grad, state, *, momentum, nesterov):
    """grad of any shape, state {"v": of that shape} -> the step, which must be used before the next call."""
    v = state["v"].mul_(momentum).add_(grad)
    return grad.add(v, alpha=momentum) if nesterov else v


SGD = Rule(sgd, lambda p: {"v": torch.zeros_like(p)}, {"momentum": 0.9, "nesterov": False})
