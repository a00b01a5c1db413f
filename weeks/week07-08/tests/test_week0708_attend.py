"""Day 45: attention as one node, forward and backward by hand, and dropout from bytes."""

import pytest
import torch
import torch.nn.functional as F
from gpt import attend as module
from gpt.attend import Attend, attend
from gpt.dropout import Dropout

pytestmark = pytest.mark.day(45)
SHAPES = [(2, 4, 4, 9, 9, 6), (2, 4, 2, 9, 9, 6), (1, 6, 1, 5, 11, 4), (1, 2, 2, 1, 1, 2), (1, 2, 1, 1, 7, 2)]


def parts(B, H, G, T, S, D, dtype=torch.float32):
    """q, k and v as a model has them: views of what a Linear gave."""
    torch.manual_seed(0)
    shapes = ((T, H), (S, G), (S, G))
    return [torch.randn(B, t, h, D, dtype=dtype).transpose(1, 2).requires_grad_() for t, h in shapes]


@pytest.mark.parametrize("block", [4, 128])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_node_is_torchs_attention(block, shape, monkeypatch):
    """Values and gradients; also with shared keys, with earlier keys, with blocks that do not divide the queries."""
    monkeypatch.setattr(module, "BLOCK", block)
    q, k, v = parts(*shape)
    seen = torch.ones(shape[3], shape[4], dtype=torch.bool).tril(shape[4] - shape[3])
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, enable_gqa=True)
    found, slope = Attend.apply(q, k, v, 0.0), torch.randn_like(expected)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)
    pairs = zip(torch.autograd.grad(found, (q, k, v), slope), torch.autograd.grad(expected, (q, k, v), slope))
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, rtol=0, atol=5e-6)
    with torch.no_grad():
        torch.testing.assert_close(attend(q, k, v, is_causal=True), expected, rtol=0, atol=2e-6)


def test_the_gradient_with_dropout_is_the_slope():
    """Finite differences, the same bytes each time."""

    def drawn(*tensors):
        torch.manual_seed(3)
        return attend(*tensors, dropout_p=0.3, is_causal=True)

    assert torch.autograd.gradcheck(drawn, parts(1, 2, 1, 6, 6, 3, torch.double))


def test_dropout_takes_its_share_and_keeps_the_mean():
    """With equal values the answer is how much weight is left: on average all of it."""
    q, k, v = parts(64, 2, 2, 32, 32, 4)
    ones = torch.ones_like(v).requires_grad_()
    left = attend(q, k, ones, dropout_p=0.25, is_causal=True)[..., 0]
    assert left.mean().item() == pytest.approx(1, abs=0.02)
    assert (left[:, :, 0] == 0).float().mean().item() == pytest.approx(0.25, abs=0.12)  # one key, dropped or not
    assert all(one in (0.0, pytest.approx(4 / 3)) for one in left[:, :, 0].flatten().tolist())


def test_who_answers(monkeypatch):
    """Our node in bfloat16 (also where autocast makes it so) and with dropout; torch's call elsewhere."""
    calls = []
    apply = Attend.apply
    monkeypatch.setattr(Attend, "apply", lambda *args: calls.append(1) or apply(*args))
    q, k, v = parts(1, 2, 2, 6, 6, 4)
    attend(q, k, v, is_causal=True)
    with torch.no_grad():
        attend(q, k, v, dropout_p=0.5, is_causal=True)
    assert not calls
    attend(q, k, v, dropout_p=0.5, is_causal=True)
    attend(*(part.bfloat16() for part in (q, k, v)), is_causal=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert attend(q, k, v, is_causal=True).dtype == torch.bfloat16
    assert len(calls) == 3
    monkeypatch.setattr(module, "LONGEST", 5)
    attend(q.bfloat16(), k.bfloat16(), v.bfloat16(), is_causal=True)
    assert len(calls) == 3


def test_dropout_module():
    """In training a share is 0 and the rest grows, forward and backward alike; in judging nothing happens."""
    torch.manual_seed(0)
    layer, x = Dropout(0.2), torch.ones(1000, 37, requires_grad=True)
    y = layer(x)
    (slope,) = torch.autograd.grad(y, x, torch.full_like(y, 2.0))
    torch.testing.assert_close(slope, 2 * y.detach())
    assert (y == 0).float().mean().item() == pytest.approx(51 / 256, abs=0.01)
    assert y.max().item() == pytest.approx(256 / 205) and y.mean().item() == pytest.approx(1, abs=0.01)
    assert layer.eval()(x) is x and Dropout(0.0)(x) is x


def test_neighbours_drop_alone():
    """Eight places come from one number, and know nothing of each other: of pairs, the square of the share."""
    torch.manual_seed(0)
    gone = Dropout(0.25)(torch.ones(100_000)) == 0
    assert gone.float().mean().item() == pytest.approx(0.25, abs=0.01)
    for step in (1, 7, 8):
        both = (gone[step:] & gone[:-step]).float().mean().item()
        assert both == pytest.approx(0.25**2, abs=0.005)
