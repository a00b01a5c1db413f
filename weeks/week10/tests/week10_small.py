"""A GPT and a text small enough for tests of week 10, steps to take, and Muon's loop as its page has it."""

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


def walk(model, optimizer, steps, seed=0):
    """Steps along made-up gradients, the same for the same seed."""
    g = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        for p in model.parameters():
            p.grad = torch.randn(p.shape, generator=g, dtype=torch.float64).to(p.dtype)
        optimizer.step()


def newton_schulz(u, rounds=5):
    """Jordan's loop on one matrix, as his page has it, without the bf16."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = u / (u.norm() + 1e-30)
    x = x.T if len(u) > len(u.T) else x
    for _ in range(rounds):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if len(u) > len(u.T) else x
