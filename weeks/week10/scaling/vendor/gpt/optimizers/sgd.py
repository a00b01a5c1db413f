# vendored from weeks/week07-08/gpt/optimizers/sgd.py, sha256 9a0ccd38c297fc5bb8911e34eaa5183e65dd618cf7f3f49a5edfcd0ac9440c90; edit there, then run: make vendor
"""Gradient descent with momentum: x -= lr v, with v = momentum v + g. Sutskever et al. 2013, without Nesterov's step.

The decay joins g, as in torch. Torch's own; the one from scratch is in weeks 1 and 2.
"""

import torch

from .groups import groups


def sgd(named, *, lr, weight_decay, betas=(0.9, 0.99)):
    """betas[0] is the momentum; betas[1] has no meaning here, for the square of the gradient is not remembered."""
    return torch.optim.SGD(groups(named, weight_decay), lr=lr, momentum=betas[0])
