"""PiSSA, OLoRA, DoRA: what they start from, and what their parameters mean."""

import pytest
import torch
from lora import LoRAConfig
from lora.variants import DoRA, OLoRA, PiSSA
from torch import nn

pytestmark = pytest.mark.day(81)


def layer():
    torch.manual_seed(0)
    return nn.Linear(9, 6, dtype=torch.float64)


def start(kind, rank, alpha=6):
    """The layer's weight, and (A, B, scale) at the start."""
    base = layer()
    part = kind(base, LoRAConfig(rank=rank, alpha=alpha, variant="pissa"), rank, alpha)
    return base.weight.detach(), part.lora_A.detach(), part.lora_B.detach(), part.scale


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_pissa_starts_with_the_best_approximation(rank):
    """scale B A misses W by the singular values left out, no more (Eckart and Young 1936); both factors have one size.

    Float64, 1e-10.
    """
    W, A, B, scale = start(PiSSA, rank)
    left = torch.linalg.svdvals(W)[rank:].norm()
    torch.testing.assert_close((W - scale * B @ A).norm(), left, rtol=0, atol=1e-10)
    torch.testing.assert_close(A.norm(dim=1), B.norm(dim=0), rtol=0, atol=1e-10)


def test_the_scale_is_inside_the_start():
    """Another alpha gives other factors and the same product; float64, 1e-10."""
    products = [scale * B @ A for _, A, B, scale in (start(PiSSA, 3, alpha) for alpha in (1, 12))]
    torch.testing.assert_close(*products, rtol=0, atol=1e-10)


def test_olora_starts_with_orthonormal_columns():
    """B's columns are orthonormal, and B A are the first columns and rows of W = Q R; float64, 1e-10."""
    W, A, B, _ = start(OLoRA, 3)
    torch.testing.assert_close(B.T @ B, torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-10)
    # R is upper triangular, so the first three columns of W are made by the first three directions alone.
    torch.testing.assert_close((B @ A)[:, :3], W[:, :3], rtol=0, atol=1e-10)


def test_doras_magnitude_is_the_length_of_each_row():
    """At the start the weight's own, later whatever it has learned; a row of zeros stays one. Float64, 1e-12."""
    base = layer()
    with torch.no_grad():
        base.weight[2] = 0
    part = DoRA(base, LoRAConfig(rank=3, variant="dora"), 3, 6)
    lengths = base.weight.detach().norm(dim=1)
    torch.testing.assert_close(part.magnitude.detach(), lengths, rtol=0, atol=1e-12)
    assert torch.equal(part.weight(base)[2], torch.zeros(9, dtype=torch.float64))
    with torch.no_grad():
        part.lora_B.normal_()
        part.magnitude.copy_(torch.arange(1.0, 7.0))
    torch.testing.assert_close(part.weight(base).detach().norm(dim=1), part.magnitude.detach(), rtol=0, atol=1e-12)
