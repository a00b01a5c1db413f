# vendored from weeks/week07-08/gpt/optimizers/adamw.py, sha256 3d1d6ba9a1d7f51a1a23eb185b6c5f0761086cf9fbb90677aafd4d6915c54c97; edit there, then run: make vendor
"""AdamW: Adam whose decay does not pass through the division. Loshchilov and Hutter 2019, arXiv:1711.05101.

Torch's own; the one from scratch is in weeks 1 and 2.
"""

import torch

from .groups import groups


def adamw(named, *, lr, weight_decay, betas=(0.9, 0.99)):
    """betas: the memories of the gradient and of its square."""
    fused = all(p.device.type != "mps" for p in named.values())  # one pass over memory; torch refuses it on mps
    return torch.optim.AdamW(groups(named, weight_decay), lr=lr, betas=betas, fused=fused)
