"""A GPT and a text small enough for tests of week 10."""

import torch
from scaling.vendor.gpt.model import GPT, GPTConfig


def small(*, layers=2, width=16, seed=0, dtype=torch.float64, **options):
    """A GPT of about 8,000 parameters; float64, so that rounding hides nothing."""
    torch.manual_seed(seed)
    return GPT(GPTConfig(20, 16, layers, 2, width, **options)).to(dtype)


def text(rows=4, length=16, seed=0):
    """Windows (rows, length) of a text that repeats itself, and their targets."""
    starts = torch.randint(20, (rows, 1), generator=torch.Generator().manual_seed(seed))
    windows = (starts + 3 * torch.arange(length + 1)) % 20
    return windows[:, :-1], windows[:, 1:]


def weights(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def distance(a, b):
    """The largest difference of two dicts of tensors."""
    assert a.keys() == b.keys()
    return max((a[key] - b[key]).abs().max().item() for key in a)
