# vendored from weeks/week10/scaling/optimizers/lion.py, sha256 1441e43176e75986bfae3131e23efeb7e8f3b37dfda8114649f06b3bdbf5e29c; edit there, then run: make vendor
"""Lion: every weight moves by lr, up or down. Found by a search over programs. Chen et al. 2023, arXiv:2302.06675.

    step = sign(b1 m + (1 - b1) g)        then  m = b2 m + (1 - b2) g

It remembers m, and no second tensor as AdamW does. Most of its steps are larger than AdamW's, so lr should be 3 to 10
times smaller, and the decay as much larger.
"""

import torch

from .rule import Rule


def lion(grad, state, *, betas):
    """grad of any shape, state {"m": of that shape} -> the step: 1, -1, or 0 where all gradients were 0."""
    b1, b2 = betas
    step = torch.lerp(grad, state["m"], b1).sign_()  # with the memory of before
    state["m"].lerp_(grad, 1 - b2)
    return step


LION = Rule(lion, lambda p: {"m": torch.zeros_like(p)}, {"betas": (0.9, 0.99)})
