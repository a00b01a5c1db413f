"""Day 65: Muon. Its step against the decomposition, its fast forms against the plain one, and torch's own."""

import pytest
import torch
from scaling.optimizers import make
from scaling.optimizers.muon import SCALES, as_written, on_the_small_side, orthogonal
from torch import nn
from week10_small import newton_schulz, small, walk

pytestmark = pytest.mark.day(65)

LR, DECAY = 0.02, 0.3


@pytest.mark.parametrize("shape", [(8, 8), (8, 24), (24, 8), (5, 1), (4, 8, 24)])
def test_orthogonal_sets_every_singular_value_near_one(shape):
    """The directions stay those of the decomposition (float64: 1e-9), and the values come near 1."""
    x = torch.randn(shape, dtype=torch.float64)
    y = orthogonal(x)
    u, s, v = torch.linalg.svd(x, full_matrices=False)
    new = u.mT @ y @ v.mT  # diagonal where the directions are kept
    values = new.diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(new, torch.diag_embed(values), rtol=0, atol=1e-9)
    assert 0.5 < values.min() and values.max() < 1.25
    assert torch.equal(orthogonal(torch.zeros(shape)), torch.zeros(shape))  # no direction, no step, and no nan


@pytest.mark.parametrize("shape", [(1, 6, 6), (3, 4, 20), (1, 1, 9), (2, 48, 192)])
def test_the_small_side_gives_what_is_written(shape):
    """Float64: 1e-9. Float32, with singular values whose squares are lost to rounding: 1e-3, where 0.2 is harmless."""
    y = torch.randn(shape, dtype=torch.float64)
    y /= torch.linalg.matrix_norm(y, keepdim=True)
    for rounds in (0, 1, 5):
        torch.testing.assert_close(on_the_small_side(y, rounds), as_written(y, rounds), rtol=0, atol=1e-9)
    u, s, v = torch.linalg.svd(y, full_matrices=False)
    rough = u @ torch.diag_embed(torch.logspace(0, -8, s.shape[-1], dtype=y.dtype).expand_as(s)) @ v
    rough /= torch.linalg.matrix_norm(rough, keepdim=True)
    torch.testing.assert_close(on_the_small_side(rough.float(), 5).double(), as_written(rough, 5), rtol=0, atol=1e-3)


def test_a_stack_of_matrices_equals_each_alone():
    """The fast form in one call against the plain loop on each; a qkv is three matrices. Float64: only sums differ."""
    x = torch.randn(6, 10, 24, dtype=torch.float64)
    torch.testing.assert_close(orthogonal(x), torch.stack([newton_schulz(one) for one in x]), rtol=0, atol=1e-11)
    whole = nn.Parameter(torch.zeros(30, 8, dtype=torch.float64))
    whole.grad = torch.randn(30, 8, dtype=torch.float64)
    apart = [nn.Parameter(torch.zeros(10, 8, dtype=torch.float64)) for _ in range(3)]
    for p, grad in zip(apart, whole.grad.chunk(3)):
        p.grad = grad
    make("muon", {"0.attn.qkv.weight": whole}, lr=LR).step()
    make("muon", {f"{i}.q": p for i, p in enumerate(apart)}, lr=LR).step()
    torch.testing.assert_close(whole.detach(), torch.cat([p.detach() for p in apart]), rtol=0, atol=1e-12)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon; the equations are the oracle")
@pytest.mark.parametrize("scale", SCALES)
def test_muon_equals_torchs(scale, monkeypatch):
    """torch rounds to bf16 inside. Without that rounding its 100 steps are ours.

    With it, one step is as near as bf16's 8 bits allow.
    """
    settings = dict(lr=LR, weight_decay=DECAY)

    def both(half):
        torch.manual_seed(1)
        ours = [nn.Parameter(torch.randn(shape, dtype=torch.float64)) for shape in [(8, 8), (8, 24), (24, 8), (8, 8)]]
        theirs = [nn.Parameter(p.detach().clone()) for p in ours]
        named = {f"{i}.w": p for i, p in enumerate(ours)}
        return ours, theirs, make("muon", named, scale=scale, half=half, **settings), torch.optim.Muon(
            theirs, adjust_lr_fn=scale, **settings
        )  # fmt: skip

    def run(ours, theirs, mine, torchs, steps):
        for step in range(steps):
            for a, b in zip(ours, theirs):
                a.grad = torch.randn(a.shape, dtype=a.dtype) + 0.1 * a.detach() * step
                b.grad = a.grad.clone()
            mine.step(), torchs.step()
        return max((a - b).abs().max().item() for a, b in zip(ours, theirs))

    assert run(*both(True), steps=1) < 0.03 * LR * 5  # bf16: 2^-8 of entries up to 1, times the scale
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "bfloat16", lambda tensor: tensor)
        assert run(*both(False), steps=100) < 1e-6


def test_muon_gives_the_rest_to_adamw():
    """Embeddings, head and vectors, with settings of their own; a matrix rule refuses what is no matrix."""
    optimizer = make("muon", small(), lr=LR, weight_decay=DECAY, momentum=0.8, rest={"lr": 1e-3, "eps": 1e-7})
    found = [(group["rule"], group["lr"], group["weight_decay"]) for group in optimizer.param_groups]
    assert found == [("adamw", 1e-3, 0.0), ("muon", LR, DECAY), ("muon", LR, DECAY), ("adamw", 1e-3, DECAY)]
    assert [len(group["params"]) for group in optimizer.param_groups] == [18, 2, 6, 2]
    assert [group.get("momentum", group.get("eps")) for group in optimizer.param_groups] == [1e-7, 0.8, 0.8, 1e-7]
    with pytest.raises(ValueError, match=r"muon needs matrices .* one has shape \(16,\); give it to another rule"):
        make("muon", small(), lr=LR, recipe=[("*", {})])
    with pytest.raises(ValueError, match="no scale 'big'; choose from match_rms_adamw, original"):
        model = small()
        walk(model, make("muon", model, lr=LR, scale="big"), 1)
