"""Days 29, 31 and 32: every layer against torch's own, forward and back, and what the layers refuse."""

import copy

import pytest
import torch
from deepmlp.layers import (
    GELU,
    BatchNorm1d,
    Embedding,
    Flatten,
    LayerNorm,
    Linear,
    ReLU,
    Residual,
    Sequential,
    Tanh,
    keeping,
)
from torch import nn

# float64 on both sides and the same formula in another order: a few units in the last place of numbers near 1
CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def both(ours, theirs, x):
    """Outputs, and gradients with respect to x for one random upstream gradient, of ours and theirs."""
    results = []
    for layer in (ours, theirs):
        layer.zero_grad()
        leaf = x.clone().requires_grad_()
        out = layer(leaf)
        out.backward(normal(*out.shape, seed=9))
        results.append((out, leaf.grad))
    return results


def assert_alike(ours, theirs, x, pairs=()):
    """Outputs, input gradients, and the gradients of pairs (our parameter, theirs)."""
    (out, grad), (wanted, wanted_grad) = both(ours, theirs, x)
    torch.testing.assert_close(out, wanted, **CLOSE)
    torch.testing.assert_close(grad, wanted_grad, **CLOSE)
    for mine, other in pairs:
        torch.testing.assert_close(mine.grad, other.grad, **CLOSE)


# --- linear, embedding, plumbing --------------------------------------------------------------------------------------


@pytest.mark.day(29)
@pytest.mark.parametrize("bias", [True, False])
def test_linear_equals_torch(bias):
    """x W + b with W as (in, out), where torch keeps (out, in); three dimensions as well as two."""
    ours, theirs = Linear(5, 4, bias).double(), nn.Linear(5, 4, bias).double()
    with torch.no_grad():
        theirs.weight.copy_(ours.weight.T)
        if bias:
            ours.bias.copy_(normal(4))
            theirs.bias.copy_(ours.bias)
    for shape in ((6, 5), (2, 3, 5)):
        assert_alike(ours, theirs, normal(*shape, seed=1), [(ours.bias, theirs.bias)] if bias else [])
        torch.testing.assert_close(ours.weight.grad, theirs.weight.grad.T, **CLOSE)
    assert len(list(ours.parameters())) == 1 + bias


@pytest.mark.day(29)
@pytest.mark.parametrize("fan_in, gain", [(30, 1.0), (200, 5 / 3)])
def test_linear_starts_with_gain_over_root_fan_in(fan_in, gain):
    """The one line that decides whether depth works. An sd of n numbers has a standard error of 1/sqrt(2n): five."""
    layer = Linear(fan_in, 400, generator=seeded(), gain=gain)
    wanted = gain / fan_in**0.5
    assert layer.weight.std().item() == pytest.approx(wanted, rel=5 / (2 * fan_in * 400) ** 0.5)
    assert not layer.bias.any()
    assert torch.equal(layer.weight, Linear(fan_in, 400, generator=seeded(), gain=gain).weight)


@pytest.mark.day(29)
def test_embedding_and_flatten_equal_torch():
    """A row of the table for each id, an id used twice gets both gradients; then the rows of a context side by side."""
    ours, theirs = Embedding(7, 3, seeded()).double(), nn.Embedding(7, 3).double()
    with torch.no_grad():
        theirs.weight.copy_(ours.weight)
    ids = torch.tensor([[1, 2], [2, 6], [2, 0]])
    upstream = normal(3, 6)
    for table in (ours, theirs):
        out = Flatten()(table(ids))
        out.backward(upstream)
        assert out.shape == (3, 6)
        torch.testing.assert_close(out[1], torch.cat([table.weight[2], table.weight[6]]), **CLOSE)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, **CLOSE)


@pytest.mark.day(32)
def test_residual_adds_what_came_in():
    """x + body(x): with a body that gives 0 nothing changes, and the gradient comes through untouched."""
    body = Linear(4, 4, generator=seeded()).double()
    x = normal(3, 4).requires_grad_()
    torch.testing.assert_close(Residual(body)(x), x + body(x), **CLOSE)
    with torch.no_grad():
        body.weight.zero_()
    upstream = normal(3, 4, seed=1)
    Residual(body)(x).backward(upstream)
    torch.testing.assert_close(x.grad, upstream, **CLOSE)


@pytest.mark.day(29)
def test_sequential_is_a_list_and_keeping_remembers():
    """In order, by index; inside `keeping` each layer holds its output with its gradient, afterwards nothing."""
    stack = Sequential(Linear(3, 5, generator=seeded()), Tanh(), Linear(5, 2, generator=seeded(1))).double()
    x = normal(4, 3)
    wanted = stack[2](torch.tanh(stack[0](x)))
    assert len(stack) == 3 and list(stack) == [stack[0], stack[1], stack[2]]
    with keeping(stack):
        out = stack(x)
        out.sum().backward()
        torch.testing.assert_close(stack[1].out, torch.tanh(stack[0].out), **CLOSE)
        torch.testing.assert_close(stack[1].out.grad, stack[2].weight.sum(1).expand(4, 5), **CLOSE)
    torch.testing.assert_close(out, wanted, **CLOSE)
    assert all(layer.out is None and not layer.keep for layer in (stack, *stack))
    copy.deepcopy(stack)  # a tensor with a history that is left lying about would refuse


# --- nonlinearities ---------------------------------------------------------------------------------------------------


@pytest.mark.day(32)
@pytest.mark.parametrize("ours, theirs", [(Tanh, nn.Tanh), (ReLU, nn.ReLU), (GELU, nn.GELU)])
def test_nonlinearities_equal_torch(ours, theirs):
    """Small, large and exactly 0, where relu has a corner and the slope is 0 by agreement."""
    x = torch.cat([normal(60) * 3, torch.tensor([0.0, -0.0, 30.0, -30.0], dtype=torch.float64)])
    assert_alike(ours(), theirs(), x)


# --- batch norm -------------------------------------------------------------------------------------------------------


def pair(eps=1e-5, momentum=0.1, dim=4):
    """Our batch norm and torch's, with the same random gain and bias."""
    ours, theirs = BatchNorm1d(dim, eps, momentum).double(), nn.BatchNorm1d(dim, eps, momentum).double()
    with torch.no_grad():
        for mine, other, seed in ((ours.gain, theirs.weight, 1), (ours.bias, theirs.bias, 2)):
            mine.copy_(normal(dim, seed=seed))
            other.copy_(mine)
    return ours, theirs, [(ours.gain, theirs.weight), (ours.bias, theirs.bias)]


@pytest.mark.day(31)
@pytest.mark.parametrize("eps, momentum, rows", [(1e-5, 0.1, 6), (0.3, 0.7, 6), (1e-5, 0.1, 2)])
def test_batchnorm_in_training_equals_torch(eps, momentum, rows):
    """Output and all gradients, through mean and variance; three batches, so that running numbers must add up.

    Running numbers carry no graph: it would grow with every batch.
    """
    ours, theirs, pairs = pair(eps, momentum)
    for seed in range(3):
        assert_alike(ours, theirs, 3 + 2 * normal(rows, 4, seed=seed), pairs)
        torch.testing.assert_close(ours.running_mean, theirs.running_mean, **CLOSE)
        torch.testing.assert_close(ours.running_var, theirs.running_var, **CLOSE)
        assert ours.running_mean.requires_grad is False, "torch.no_grad is missing around the running numbers"
        assert ours.running_var.requires_grad is False, "torch.no_grad is missing around the running numbers"


@pytest.mark.day(31)
def test_batchnorm_in_evaluation_equals_torch():
    """Output and gradients with the statistics of training, which evaluation must leave as they are."""
    ours, theirs, pairs = pair()
    for seed in range(3):
        batch = 3 + 2 * normal(6, 4, seed=seed)
        ours(batch), theirs(batch)
    ours.eval(), theirs.eval()
    mean, var = ours.running_mean.clone(), ours.running_var.clone()
    assert_alike(ours, theirs, normal(5, 4, seed=7), pairs)
    assert torch.equal(ours.running_mean, mean) and torch.equal(ours.running_var, var)


@pytest.mark.day(31)
def test_eval_uses_running_statistics():
    """The trap: in evaluation a row gives the same alone as in company, and not what training gives."""
    layer = BatchNorm1d(4).double()
    for seed in range(5):
        layer(3 + 2 * normal(32, 4, seed=seed))
    x = normal(8, 4, seed=9)
    in_training = layer(x)
    layer.eval()
    together = layer(x)
    alone = torch.cat([layer(row[None]) for row in x])
    torch.testing.assert_close(alone, together, **CLOSE)
    assert not torch.allclose(in_training, together, atol=0.1)


@pytest.mark.day(31)
def test_batchnorm_refuses_what_it_cannot_measure():
    """A single row would become all zeros, three dimensions be measured along the wrong one, silently."""
    layer = BatchNorm1d(4)
    with pytest.raises(ValueError, match=r"a batch of 1 has no variance.*give two rows or more, or call model\.eval"):
        layer(torch.zeros(1, 4))
    assert not layer.running_mean.any()
    for shape in ((2, 3, 4), (2, 5), (4,)):
        with pytest.raises(ValueError, match=r"batch norm of 4 columns was given .*; give \(batch, 4\)"):
            layer(torch.zeros(shape))


# --- layer norm -------------------------------------------------------------------------------------------------------


@pytest.mark.day(32)
@pytest.mark.parametrize("shape", [(6, 4), (1, 4), (2, 3, 4)])
def test_layernorm_equals_torch(shape):
    """Output and gradients; a batch of one is an ordinary batch."""
    ours, theirs = LayerNorm(4).double(), nn.LayerNorm(4).double()
    with torch.no_grad():
        for mine, other, seed in ((ours.gain, theirs.weight, 1), (ours.bias, theirs.bias, 2)):
            mine.copy_(normal(4, seed=seed))
            other.copy_(mine)
    pairs = [(ours.gain, theirs.weight), (ours.bias, theirs.bias)]
    assert_alike(ours, theirs, 3 + 2 * normal(*shape, seed=3), pairs)


@pytest.mark.day(32)
def test_layernorm_knows_no_modes():
    """What a row gives depends on nothing but the row: not on the mode, not on its company."""
    layer, x = LayerNorm(4).double(), normal(5, 4)
    together = layer(x)
    torch.testing.assert_close(layer.eval()(x[2:3]), together[2:3], **CLOSE)
    assert not list(layer.buffers())
