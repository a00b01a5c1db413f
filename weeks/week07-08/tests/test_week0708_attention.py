"""Three ways to compute attention, held together; and the backward pass, against numbers that know no calculus."""

import pytest
import torch
from gpt.attention import (
    attention_backward,
    attention_fused,
    attention_loops,
    attention_maps,
    attention_masked,
    attention_weights,
)
from gpt.model import GPT, GPTConfig

ALL = [attention_loops, attention_masked, attention_fused]


def qkv(B=2, H=3, T=5, D=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(B, H, T, D, dtype=torch.float64, generator=generator) for _ in range(3)]


def numeric_gradient(f, inputs, upstream, eps=1e-6):
    """Central differences of sum(f(*inputs) * upstream) in each entry of each input."""
    gradients = []
    for x in inputs:
        g = torch.zeros_like(x)
        flat, out = x.view(-1), g.view(-1)
        for i in range(flat.numel()):
            keep = flat[i].item()
            flat[i] = keep + eps
            high = (f(*inputs) * upstream).sum()
            flat[i] = keep - eps
            low = (f(*inputs) * upstream).sum()
            flat[i] = keep
            out[i] = (high - low) / (2 * eps)
        gradients.append(g)
    return gradients


@pytest.mark.day(43)
def test_loops_do_what_the_formula_says():
    """The loops are the reference for the rest, so they are checked by a case that fits in the head.

    With q = 0 all scores are equal and position t gets the plain mean of v_0 ... v_t. Tolerance: float64 rounding.
    """
    _, k, v = qkv()
    y = attention_loops(torch.zeros_like(k), k, v)
    means = v.cumsum(dim=2) / torch.arange(1, 6, dtype=torch.float64).view(1, 1, 5, 1)
    torch.testing.assert_close(y, means, rtol=0, atol=1e-14)


@pytest.mark.day(45)
@pytest.mark.parametrize("fast", [attention_masked, attention_fused])
def test_three_implementations_agree(fast):
    """Plain and fast must be the same function. float64, sums of 5 terms in another order: 1e-12 is ample."""
    q, k, v = qkv()
    torch.testing.assert_close(fast(q, k, v), attention_loops(q, k, v), rtol=0, atol=1e-12)


@pytest.mark.day(45)
@pytest.mark.parametrize("implementation", ALL)
def test_large_scores_do_not_overflow(implementation):
    """exp(1000) is infinite: each must shift by the maximum. One key wins, so y_t is exactly its value."""
    q = torch.full((1, 1, 3, 1), 40.0, dtype=torch.float64)
    k = torch.tensor([1000.0, 0.0, -1000.0], dtype=torch.float64).view(1, 1, 3, 1)
    v = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64).view(1, 1, 3, 1)
    torch.testing.assert_close(implementation(q, k, v), torch.ones(1, 1, 3, 1, dtype=torch.float64), rtol=0, atol=0)


@pytest.mark.day(46)
@pytest.mark.parametrize("implementation", ALL)
def test_backward_equals_finite_differences(implementation):
    """Autograd through each implementation, for a random upstream gradient (with a sum, softmax errors can hide).

    Central differences in float64 with eps 1e-6: truncation 1e-12, rounding 1e-16 / 1e-6 = 1e-10; tolerance 1e-7.
    """
    inputs = qkv(B=1, H=2, T=4, D=3, seed=1)
    upstream = qkv(B=1, H=2, T=4, D=3, seed=2)[0]
    expected = numeric_gradient(implementation, [x.clone() for x in inputs], upstream)
    leaves = [x.clone().requires_grad_() for x in inputs]
    (implementation(*leaves) * upstream).sum().backward()
    for leaf, numeric in zip(leaves, expected):
        torch.testing.assert_close(leaf.grad, numeric, rtol=0, atol=1e-7)


@pytest.mark.day(46)
def test_backward_by_hand_equals_autograd():
    """The five lines of calculus in attention_backward, against torch. Same formulas, float64: 1e-12."""
    leaves = [x.requires_grad_() for x in qkv()]
    upstream = qkv(seed=3)[0]
    expected = torch.autograd.grad(attention_fused(*leaves), leaves, upstream)
    by_hand = attention_backward(upstream, *(x.detach() for x in leaves))
    for ours, theirs in zip(by_hand, expected):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.day(44)
def test_weights_are_shares_of_the_past():
    """Rows sum to 1 (1e-12 in float64) and the future is exactly zero: masking after softmax would break the first."""
    q, k, _ = qkv()
    weights = attention_weights(q, k)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 3, 5, dtype=torch.float64), rtol=0, atol=1e-12)
    assert (weights.triu(1) == 0).all()


@pytest.mark.day(44)
def test_weights_divide_by_the_root_of_the_width():
    """Doubling q's and k's width by repeating them doubles q . k, and sqrt(2D) must take back a factor of sqrt(2)."""
    q, k, _ = qkv(B=1, H=1, T=2, D=3)
    q2, k2 = torch.cat([q, q], -1), torch.cat([k, k], -1)
    log_odds = lambda w: (w[0, 0, 1, 1] / w[0, 0, 1, 0]).log()
    ratio = log_odds(attention_weights(q2, k2)) / log_odds(attention_weights(q, k))
    torch.testing.assert_close(ratio.item(), 2**0.5, rtol=1e-9, atol=0)


@pytest.mark.day(49)
def test_maps_are_what_the_model_computed():
    """The figure shows maps recomputed beside the model; weights @ v through proj must be the attention's own output.

    float32, two orders of summation: 1e-5.
    """
    torch.manual_seed(0)
    model = GPT(GPTConfig(11, 8, 2, 2, 8)).eval()
    with torch.no_grad():
        for p in model.parameters():  # a fresh model looks evenly, in every layer alike
            p.add_(0.3 * torch.randn_like(p))
    tokens = torch.randint(11, (3, 6))
    seen = []
    hook = model.blocks[1].attn.register_forward_hook(lambda m, args, out: seen.append((args[0], out)))
    maps = attention_maps(model, tokens)
    hook.remove()
    assert maps.shape == (2, 3, 2, 6, 6)
    x, out = seen[0]
    attn = model.blocks[1].attn
    v = attn.qkv(x)[..., 16:].view(3, 6, 2, 4).transpose(1, 2)
    again = attn.proj((maps[1] @ v).transpose(1, 2).reshape(3, 6, 8))
    torch.testing.assert_close(again, out, rtol=0, atol=1e-5)
    assert not any(block.attn._forward_pre_hooks for block in model.blocks), "the hooks must be taken off again"
