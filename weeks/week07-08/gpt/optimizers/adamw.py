"""AdamW: Adam whose decay does not pass through the division. Loshchilov and Hutter 2019, arXiv:1711.05101.

Torch's own; the one from scratch is in weeks 1 and 2.
"""

import torch

from .groups import groups


def adamw(named, *, lr, weight_decay, betas=(0.9, 0.99)):
    """betas: the memories of the gradient and of its square."""
    fused = all(p.device.type != "mps" for p in named.values())  # one pass over memory; torch refuses it on mps
    return torch.optim.AdamW(groups(named, weight_decay), lr=lr, betas=betas, fused=fused)
