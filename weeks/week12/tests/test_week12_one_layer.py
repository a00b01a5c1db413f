"""Day 78: one adapter on one layer, before there is anything that attaches it. Written out, and by autograd."""

import math

import pytest
import torch
from lora import LoRA, LoRAConfig
from lora.product import adapted_linear
from torch import nn
from torch.nn import functional as F

pytestmark = pytest.mark.day(78)


def layer(has_bias=True, dtype=torch.float64, n_in=7, n_out=5):
    torch.manual_seed(0)
    return nn.Linear(n_in, n_out, bias=has_bias, dtype=dtype).requires_grad_(False)


def adapter(base, rank=3, alpha=6, **settings):
    """An adapter as if trained."""
    part = LoRA(base, LoRAConfig(rank=rank, alpha=alpha, **settings), rank, alpha)
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in part.parameters():
            p.copy_(torch.randn(p.shape, generator=g, dtype=torch.float64) * 0.3)
    return part


@pytest.mark.parametrize("rank, alpha", [(4, 16), (9, 6), (1, 2.5)])
def test_the_scale_of_both_kinds(rank, alpha):
    """alpha / r, and with rslora alpha over the root of r; exact."""
    assert LoRAConfig().scale(rank, alpha) == alpha / rank
    assert LoRAConfig(rslora=True).scale(rank, alpha) == alpha / math.sqrt(rank)


def test_one_factor_starts_at_zero_and_the_other_does_not():
    """B = 0 makes the first change 0; A is drawn evenly within 1 / sqrt(in), as a linear layer's weight is.

    Of 8,000 even draws the mean size is half the bound, within 5 standard errors: 5 / sqrt(12 * 8000) of the bound.
    """
    base = layer(n_in=400, n_out=30, dtype=torch.float32)
    part = LoRA(base, LoRAConfig(rank=20), 20, 16)
    assert not part.lora_B.any()
    bound = 1 / math.sqrt(400)
    assert part.lora_A.abs().max() <= bound
    assert abs(part.lora_A.abs().mean().item() / bound - 0.5) < 5 / math.sqrt(12 * 8000)
    x = torch.randn(3, 400)
    assert not part(x, base, base(x)).any()


def test_a_table_draws_its_factor_as_tables_do():
    """A of an embedding is a table of r numbers an id: normal, standard deviation 1 (8,000 draws: within 0.04)."""
    base = nn.Embedding(400, 6)
    part = LoRA(base, LoRAConfig(rank=20), 20, 16)
    assert abs(part.lora_A.std().item() - 1) < 0.04 and not part.lora_B.any()
    assert not part(torch.arange(4), base, base(torch.arange(4))).any()


def test_the_change_by_hand():
    """scale * x A^T B^T, number by number in Python's own arithmetic; float64, 1e-12."""
    base, part = layer(), adapter(layer())
    x = torch.randn(2, 7, dtype=torch.float64)
    A, B = part.lora_A.tolist(), part.lora_B.tolist()
    for row, found in zip(x.tolist(), part(x, base, base(x)).tolist()):
        low = [sum(a * v for a, v in zip(line, row)) for line in A]
        by_hand = [2.0 * sum(b * v for b, v in zip(line, low)) for line in B]
        assert found == pytest.approx(by_hand, rel=0, abs=1e-12)


@pytest.mark.parametrize("kind", ["linear", "embedding"])
def test_one_weight_computes_the_same(kind):
    """base(x) plus the change is the plain layer with `weight`; ids are one-hot rows; float64, 1e-12."""
    if kind == "embedding":
        base, ids = nn.Embedding(7, 5, dtype=torch.float64), torch.tensor([[0, 6], [3, 3]])
        x, rows, bias = ids, F.one_hot(ids, 7).double(), None
    else:
        base, bias = layer(), layer().bias
        x = rows = torch.randn(2, 2, 7, dtype=torch.float64)
    part = adapter(base)
    y = base(x)
    torch.testing.assert_close(y + part(x, base, y), F.linear(rows, part.weight(base), bias), rtol=0, atol=1e-12)


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("shape", [(7,), (4, 7), (2, 3, 7)])
def test_the_short_way_equals_the_long_one(shape, has_bias):
    """Output and all gradients of the two products in one, a random gradient upstream; float64, 1e-12."""
    base = layer(has_bias)
    part = adapter(base)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(*shape[:-1], 5, dtype=torch.float64)
    y = base(x)
    long, short = y + part(x, base, y), adapted_linear(x, base, part.lora_A, part.lora_B, part.scale)
    wanted = (x, part.lora_A, part.lora_B)
    torch.testing.assert_close(short, long, rtol=0, atol=1e-12)
    pairs = zip(torch.autograd.grad(short, wanted, upstream), torch.autograd.grad(long, wanted, upstream))
    for mine, theirs in pairs:
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


def test_only_what_learns_gets_a_gradient():
    """With A frozen its gradient is none, and x is not kept for it; B's and x's are what they were. Exact."""
    base = layer()
    part = adapter(base)
    x = torch.randn(4, 7, dtype=torch.float64, requires_grad=True)
    whole = torch.autograd.grad(adapted_linear(x, base, part.lora_A, part.lora_B, 2.0).sum(), (x, part.lora_B))
    part.lora_A.requires_grad_(False)
    held = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: held.append(t.data_ptr()) or t, lambda t: t):
        y = adapted_linear(x, base, part.lora_A, part.lora_B, 2.0)
    y.sum().backward()
    assert torch.equal(x.grad, whole[0]) and torch.equal(part.lora_B.grad, whole[1]) and part.lora_A.grad is None
    assert x.data_ptr() not in held


def test_half_precision_takes_the_short_way_only_under_autocast():
    """A bf16 input meets a float32 adapter: None, so that the layer takes the long way. Autocast turns all to bf16."""
    base = layer(dtype=torch.float32)
    part, x = adapter(base), torch.randn(4, 7)
    assert adapted_linear(x.bfloat16(), base, part.lora_A, part.lora_B, 2.0) is None
    with torch.autocast("cpu", torch.bfloat16):
        low = adapted_linear(x, base, part.lora_A, part.lora_B, 2.0)
    assert low.dtype == torch.bfloat16
    full = adapted_linear(x, base, part.lora_A, part.lora_B, 2.0)
    assert (low.float() - full).abs().max() < 0.02 * full.abs().max()  # bf16 has 8 bits: 0.4 % a rounding
    base.weight.requires_grad_(True)
    assert adapted_linear(x, base, part.lora_A, part.lora_B, 2.0) is None  # a thawed base needs its own gradient
