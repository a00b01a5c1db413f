"""Day 12: optimizers, equal to torch's for a hundred steps."""

import math

import numpy as np
import pytest
import torch
from autograd.optim import SGD, Adam, AdamW, Optimizer, cosine
from autograd.tensor import Tensor

pytestmark = pytest.mark.day(12)

OPTIMIZERS = [
    (SGD, torch.optim.SGD, {"lr": 0.05}),
    (SGD, torch.optim.SGD, {"lr": 0.05, "weight_decay": 0.1}),
    (SGD, torch.optim.SGD, {"lr": 0.05, "momentum": 0.9}),
    (SGD, torch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1}),
    (SGD, torch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    (Adam, torch.optim.Adam, {"lr": 0.01}),
    (Adam, torch.optim.Adam, {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-3}),
    (Adam, torch.optim.Adam, {"lr": 0.01, "weight_decay": 0.1}),
    (AdamW, torch.optim.AdamW, {"lr": 0.01}),
    (AdamW, torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.3, "eps": 1e-3}),
]


@pytest.mark.parametrize("ours, theirs, options", OPTIMIZERS, ids=lambda v: str(v) if isinstance(v, dict) else None)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_hundred_steps_equal_torch(ours, theirs, options, dtype):
    """Two parameters, one of them left without a gradient now and then, a learning rate that falls.

    1e-6 in float32: a hundred steps of rounding at 6e-8 of values around 1; in float64 the same steps agree to 1e-13.
    """
    tiny = Tensor(np.ones(1, dtype), requires_grad=True)
    tiny.grad = np.ones(1, dtype)
    ours([tiny], **options).step()  # what is still to be written says so here: to import torch's takes a second
    rng = np.random.default_rng(0)
    starts = [rng.standard_normal(shape).astype(dtype) for shape in ((3, 4), (5,))]
    mine = [Tensor(x, requires_grad=True) for x in starts]
    other = [torch.tensor(x, requires_grad=True) for x in starts]
    a, b = ours(mine, **options), theirs(other, **options)
    for step in range(100):
        a.lr = b.param_groups[0]["lr"] = options["lr"] * cosine(step, 120)
        for i, (p, q) in enumerate(zip(mine, other)):
            g = (rng.standard_normal(p.shape) * 10.0 ** rng.integers(-3, 2)).astype(dtype)  # sizes far apart
            p.grad, q.grad = (None, None) if i == 1 and step % 3 == 0 else (g, torch.tensor(g))
        a.step()
        b.step()
    tolerance = 1e-6 if dtype == np.float32 else 1e-13
    for p, q, start in zip(mine, other, starts, strict=True):
        assert p.dtype == dtype and not np.allclose(p.data, start, atol=1e-2)  # it has moved
        np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", [SGD, Adam, AdamW])
def test_a_step_gives_a_new_array_and_leaves_the_old_one_to_the_graph(kind):
    """The classic mistake: a loss is computed, a step is taken, then its gradient is asked for. It is that of before.

    SGD at a rate of 0.5 with a gradient of 1 moves 1 and 2 to 0.5 and 1.5; d(a * a)/da at 1 and 2 is 2 and 4.
    """
    a = Tensor(np.array([1.0, 2.0]), requires_grad=True)
    before, loss = a.data, a * a
    a.grad = np.ones(2)
    kind([a], lr=0.5).step()
    assert a.data is not before and before.tolist() == [1.0, 2.0] and (a.data < before).all()
    assert kind is not SGD or a.data.tolist() == [0.5, 1.5]
    a.grad = None
    loss.backward(np.ones(2))
    assert a.grad.tolist() == [2.0, 4.0]


def test_the_first_step_of_adam_by_hand():
    """Corrected for its start at 0, Adam's first step is lr * sign(g) whatever the size of g; uncorrected it is not.

    With eps = 0 exact but for rounding in float64: 1e-15 of steps of 0.1.
    """
    x = Tensor(np.zeros(3), requires_grad=True)
    x.grad = np.array([1e-3, -5.0, 700.0])
    Adam([x], lr=0.1, eps=0).step()
    np.testing.assert_allclose(x.data, [-0.1, 0.1, -0.1], rtol=1e-14)


def test_decay_is_decoupled_in_adamw_and_not_in_adam():
    """With gradient 0 AdamW shrinks by lr * decay; Adam's L2 goes through the division and makes a step of lr."""
    weights = []
    for kind in (AdamW, Adam):
        x = Tensor(np.array([2.0]), requires_grad=True)
        x.grad = np.zeros(1)
        kind([x], lr=0.1, weight_decay=0.3).step()
        weights.append(x.item())
    assert weights[0] == 2 * (1 - 0.1 * 0.3)
    assert weights[1] == pytest.approx(2 - 0.1, abs=1e-8)  # eps = 1e-8 beside a gradient of 0.6


def test_zero_grad_forgets():
    """Without it every step would add up all gradients since the beginning."""
    x = Tensor([1.0], requires_grad=True)
    optimizer = SGD([x], lr=0.1)
    (x * 2).backward()
    optimizer.zero_grad()
    assert x.grad is None
    optimizer.step()
    assert x.data.tolist() == [1.0]


def test_cosine_rises_and_falls():
    """Warm-up in a line, 1 at its end, half way down half way through, 0 at the end."""
    values = [cosine(step, 110, warmup=10) for step in range(111)]
    assert values[0] == 0.1 and values[9] == values[10] == 1 and values[60] == pytest.approx(0.5) and values[110] == 0
    assert values[10:] == sorted(values[10:], reverse=True)
    assert cosine(0, 100) == 1 and math.isclose(cosine(25, 100), 0.5 + 0.5 * 2**-0.5)


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda x: SGD([], lr=0.1), "no parameters to optimize; pass model.parameters"),
        (lambda x: SGD([x], lr=-1), "learning rate is -1; it must be 0 or more"),
        (lambda x: SGD([x], lr=math.nan), "learning rate is nan; it must be 0 or more, and finite"),
        (lambda x: Adam([x], lr=math.inf), "learning rate is inf; it must be 0 or more, and finite"),
        (lambda x: AdamW([x], betas=(0.9, 1.0)), r"betas are \(0.9, 1.0\); each must be 0 or more and less than 1"),
        (lambda x: Adam([x], betas=(-0.1, 0.99)), "each must be 0 or more and less than 1"),
        (lambda x: SGD([x], lr=0.1, nesterov=True), "nesterov=True looks ahead along the momentum, which is 0"),
    ],
)
def test_wrong_settings_are_a_sentence(make, sentence):
    """A setting that cannot mean anything is refused where it is given."""
    with pytest.raises(ValueError, match=sentence):
        make(Tensor([1.0], requires_grad=True))


def test_an_optimizer_without_update_says_so():
    """What a new one must bring is one function."""
    x = Tensor([1.0], requires_grad=True)
    x.grad = np.ones(1, np.float32)
    with pytest.raises(NotImplementedError, match="Optimizer has no update"):
        Optimizer([x], lr=1).step()
