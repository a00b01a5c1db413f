"""Day 66: activation checkpointing gives the same numbers from less memory, and the memory is counted."""

import pytest
import torch
from scaling.memory import Peak, checkpointing
from torch import nn
from week10_small import small, text

pytestmark = pytest.mark.day(66)


def gradients(model, on, rows=4):
    """{name: gradient}, the loss, and the peak of bytes of one forward and backward."""
    model.zero_grad()
    torch.manual_seed(7)  # for dropout
    with Peak() as memory, checkpointing(model.blocks, on):
        _, loss = model(*text(rows))
        loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}, loss.item(), memory.peak


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_checkpointing_changes_no_number(dropout):
    """Bit for bit, dropout included: the second forward draws what the first drew."""
    model = small(layers=3, dropout=dropout)
    names = list(model.state_dict())
    (plain, loss, _), (saved, again, _) = gradients(model, False), gradients(model, True)
    assert loss == again and all(torch.equal(plain[name], saved[name]) for name in plain)
    assert list(model.state_dict()) == names and all("forward" not in vars(block) for block in model.blocks)
    with pytest.raises(RuntimeError, match="stop"), checkpointing(model.blocks):
        raise RuntimeError("stop")
    assert all("forward" not in vars(block) for block in model.blocks)  # taken off whatever happens


def test_checkpointing_saves_memory():
    """With six layers the inside of five need not be kept: at most half of the peak, by count of bytes."""
    model = small(layers=6, width=32)
    plain, saved = gradients(model, False, rows=16)[2], gradients(model, True, rows=16)[2]
    assert saved < 0.5 * plain


def test_it_computes_each_block_twice():
    """The price: one more forward of every block."""
    model, calls = small(layers=3), []
    for block in model.blocks:
        block.mlp.register_forward_pre_hook(lambda *args: calls.append(1))
    gradients(model, False)
    assert len(calls) == 3
    gradients(model, True)
    assert len(calls) == 3 + 6


def test_the_peak_counts_what_is_made_and_not_yet_freed():
    """By hand: tensors of 4,000 bytes; views and writes in place take nothing, what was there before is not counted."""
    old = torch.ones(1000)
    with Peak() as memory:
        a = old + 1
        b = a.view(10, 100)
        b.mul_(2)
        assert (memory.now, memory.peak) == (4000, 4000)
        c = a + b.view(-1)
        assert memory.now == 8000
        del c
        assert (memory.now, memory.peak) == (4000, 8000)
        del a
        assert memory.now == 4000  # b still looks at it
        del b
        assert (memory.now, memory.peak) == (0, 8000)
        old.view(10, 100).add_(1)
        assert memory.now == 0


def test_the_peak_of_a_backward_is_counted():
    """A linear layer keeps its input, and its backward makes two gradients and the one of the output."""
    layer = nn.Linear(100, 100, bias=False)
    with Peak() as memory:
        layer(torch.ones(50, 100)).sum().backward()
    assert layer.weight.grad.nbytes == 40_000 == memory.now
    assert 60_000 <= memory.peak <= 110_000
