"""Day 30: gains are derived, not looked up; an experiment with real layers decides."""

import math

import pytest
import torch
from deepmlp.init import GAINS, derived_gain, mean_square, settled_std
from deepmlp.layers import GELU, Linear, ReLU, Tanh

pytestmark = pytest.mark.day(30)
ACTS = {"tanh": Tanh(), "relu": ReLU(), "gelu": GELU()}


@pytest.mark.parametrize("name", ACTS)
@pytest.mark.parametrize("std", [0.5, 1.0, 2.0])
def test_the_integral_agrees_with_drawing_numbers(name, std):
    """E[act(std z)^2] against the mean over a million drawn z; allowed: five standard errors of that mean."""
    z = torch.randn(1_000_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    squares = ACTS[name](std * z) ** 2
    error = squares.std().item() / 1000
    assert abs(mean_square(ACTS[name], std) - squares.mean().item()) < 5 * error


def test_the_gains_of_the_table():
    """relu and gelu are the derived ones; tanh is the field's 5/3, as torch has it, a little above the derived."""
    assert derived_gain(ACTS["relu"]) == pytest.approx(math.sqrt(2), rel=1e-9)  # half of z^2 is left
    assert derived_gain(lambda z: z) == pytest.approx(GAINS["linear"], rel=1e-9)
    assert derived_gain(ACTS["gelu"]) == pytest.approx(GAINS["gelu"], rel=1e-6)
    for name in ("linear", "tanh", "relu"):
        assert GAINS[name] == pytest.approx(torch.nn.init.calculate_gain(name), rel=1e-12)
    assert 1.5 < derived_gain(ACTS["tanh"]) < GAINS["tanh"]


@pytest.mark.parametrize("name, gain", [("tanh", GAINS["tanh"]), ("relu", GAINS["relu"]), ("tanh", 1.0), ("tanh", 3.0)])
def test_a_stack_of_real_layers_settles_where_the_integral_says(name, gain):
    """Eight layers, 1,000 wide, against as many steps of the formula. The width's chance: a few percent a layer."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, 1000, generator=generator)
    for _ in range(8):
        z = Linear(1000, 1000, False, generator, gain)(x)
        x = ACTS[name](z)
    # settled_std starts from z of 1; here the inputs are standard normal, so the first z has the size of the gain
    wanted = gain
    for _ in range(7):
        wanted = gain * math.sqrt(mean_square(ACTS[name], wanted))
    assert z.std().item() == pytest.approx(wanted, rel=0.1)


@pytest.mark.parametrize(
    "name, slope, wanted",
    [("relu", lambda z: (z > 0).double(), 1.0), ("tanh", lambda z: 1 - torch.tanh(z) ** 2, 1.1)],
)
def test_the_way_back_has_a_factor_of_its_own(name, slope, wanted):
    """A gradient grows by gain * sqrt(E[act'(z)^2]) a layer: 1 for relu, a tenth more for tanh, as the page says.

    The integral is good to the width of a slice where relu's slope jumps; real layers, 1,000 wide, to 3 % a layer.
    """
    act, gain = ACTS[name], GAINS[name]
    std = settled_std(act, gain)  # the spread of z deep in a stack
    assert gain * math.sqrt(mean_square(slope, std)) == pytest.approx(wanted, abs=1e-3)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 1000, generator=generator)  # and a first gain of std, so that z starts where it stays
    outs = [x.requires_grad_()]
    for _ in range(6):
        outs.append(act(Linear(1000, 1000, False, generator, std if len(outs) == 1 else gain)(outs[-1])))
    upstream = torch.randn(200, 1000, generator=generator)
    grads = torch.autograd.grad(outs[-1], outs[1:-1], upstream)
    sizes = [grad.std().item() for grad in (*grads, upstream)]
    assert (sizes[0] / sizes[-1]) ** (1 / 5) == pytest.approx(wanted, rel=0.03)


def test_where_depth_ends():
    """The right gain keeps a size over 50 layers, a gain of 1 lets tanh fade; the field's 5/3 settles above 1."""
    assert settled_std(ACTS["relu"], GAINS["relu"], 50) == pytest.approx(1, rel=1e-6)
    assert settled_std(ACTS["tanh"], derived_gain(ACTS["tanh"])) == pytest.approx(1, rel=1e-6)
    assert 1.05 < settled_std(ACTS["tanh"], GAINS["tanh"]) < 1.1
    assert settled_std(ACTS["tanh"], 1.0, 50) < 0.2
    assert settled_std(ACTS["relu"], 1.0, 50) == pytest.approx(2**-25, rel=1e-6)  # 1 / sqrt 2 a layer
