"""Days 33 and 34: what each diagnostic measures, that looking changes nothing, and what the verdicts say."""

import math
import re

import pytest
import torch
from deepmlp import diagnostics
from deepmlp.diagnostics import Look, grad_to_data, gradients, look, saturation, step_size, update_to_data
from deepmlp.model import Config, DeepMLP


def batch(rows=256, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(27, (rows, 3), generator=generator), torch.randint(27, (rows,), generator=generator)


def made(z, kind="tanh", grads=None, weights=None):
    """A Look written by hand: pre-activations and gradients of each layer, (data, gradient) of each weight."""
    acts = {"tanh": torch.tanh, "relu": torch.relu, "gelu": torch.nn.functional.gelu}
    return Look(3.0, [kind] * len(z), z, [acts[kind](x) for x in z], grads or z, weights or {})


def normal(std=1.0, rows=200, columns=100, seed=0):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) * std


# --- looking ----------------------------------------------------------------------------------------------------------


@pytest.mark.day(33)
@pytest.mark.parametrize("norm, residual", [("none", False), ("batch", False), ("layer", True)])
def test_a_look_sees_what_training_would_see(norm, residual):
    """Outputs and gradients against an ordinary backward pass of the same model; the same operations, so exact."""
    model, data = DeepMLP(Config(depth=3, n_hidden=40, norm=norm, residual=residual)), batch()
    seen = look(model, *data)
    blocks = [block.body if residual and number else block for number, block in enumerate(model.body)]
    outputs = []
    handles = [block[-1].register_forward_hook(lambda module, x, out: outputs.append((x[0], out))) for block in blocks]
    _, loss = model(*data)
    loss.backward()
    assert seen.loss == loss.item() and seen.kinds == ["tanh"] * 3
    for z, out, (wanted_z, wanted) in zip(seen.z, seen.out, outputs, strict=True):
        assert torch.equal(z, wanted_z) and torch.equal(out, wanted)
    assert list(seen.weights) == ["embed", "hidden 1", "hidden 2", "hidden 3", "head"]
    matrices = [p for p in model.parameters() if p.dim() > 1]
    for (data, grad), parameter in zip(seen.weights.values(), matrices, strict=True):
        assert torch.equal(data, parameter) and torch.allclose(grad, parameter.grad, rtol=1e-5, atol=1e-9)
    for handle in handles:
        handle.remove()


@pytest.mark.day(33)
def test_a_look_changes_nothing():
    """No gradient is left, running statistics stay, the mode stays, no layer goes on keeping its output."""
    model = DeepMLP(Config(depth=2, norm="batch"))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    look(model, *batch())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters()) and model.training
    assert all(getattr(module, "out", None) is None for module in model.modules())


@pytest.mark.day(33)
def test_gradients_are_those_with_respect_to_the_outputs():
    """d loss / d out of the last layer is known: (softmax - truth) / B times the head's weights."""
    model, (tokens, targets) = DeepMLP(Config(depth=2, n_hidden=30, head_std=0.3)), batch()
    seen = look(model, tokens, targets)
    logits, _ = model(tokens)
    wrong = torch.softmax(logits, 1) - torch.nn.functional.one_hot(targets, 27)
    wanted = wrong @ model.head.weight.T / len(tokens)
    torch.testing.assert_close(seen.grads[-1], wanted, rtol=1e-4, atol=1e-7)  # float32
    row = gradients(seen).rows[-1]
    assert row["std"] == pytest.approx(wanted.std().item() * 256, rel=1e-4)
    assert row["mean"] == pytest.approx(wanted.mean().item() * 256, rel=1e-3, abs=1e-6)


# --- 1. saturation ----------------------------------------------------------------------------------------------------


@pytest.mark.day(33)
def test_saturation_counts():
    """A batch of two rows and four units, counted by hand: two of eight outputs beyond 0.97."""
    z = torch.tensor([[3.0, 0.1, -2.2, 0.0], [0.2, -0.3, 1.0, 2.0]])
    (row,) = saturation(made([z])).rows
    out = torch.tanh(z)
    assert row["flat"] == 2 / 8 and row["dead"] == 0
    assert (row["mean"], row["std"]) == pytest.approx((out.mean().item(), out.std().item()), rel=1e-6)
    assert row["z_std"] == pytest.approx(z.std().item(), rel=1e-6)


@pytest.mark.day(33)
def test_a_unit_is_dead_when_no_row_wakes_it():
    """For each unit over all rows, not for each number: half of relu's outputs are 0 in a healthy layer."""
    z = torch.tensor([[-1.0, 1.0, -1.0, -5.0], [-2.0, -1.0, 2.0, -4.0]])
    assert saturation(made([z], "relu")).rows[0]["dead"] == 2 / 4
    assert saturation(made([z], "gelu")).rows[0]["dead"] == 1 / 4
    assert saturation(made([z], "tanh")).rows[0]["dead"] == 0


@pytest.mark.day(33)
@pytest.mark.parametrize(
    "z, kind, verdict",
    [
        ([normal(), normal(1.5)], "tanh", "every layer works in the range where it bends"),
        ([normal(), normal(6)], "tanh", r"\d\d% of layer 2 is saturated .* passes hardly any gradient"),
        ([normal(), normal(0.1)], "tanh", "layer 2 is asleep: its z spread by 0.1, below 0.3"),
        ([normal(8), normal()], "relu", r"layer 1 is loud: its z spread by (8|8\.0), above 3"),
        ([normal(), normal() - 9], "relu", "100% of the units of layer 2 are dead: no row of the batch wakes them"),
    ],
)
def test_the_verdict_on_saturation(z, kind, verdict):
    """Each sentence names the layer; the first alone is a clean bill of health."""
    report = saturation(made(z, kind))
    assert report.healthy == verdict.startswith("every")
    assert re.search(verdict, report.verdict), report.verdict


@pytest.mark.day(33)
def test_a_number_that_is_not_finite_is_named():
    """nan is neither loud nor asleep, so every comparison would call it fine; the first layer that has one is told."""
    broken = normal().index_fill(0, torch.tensor([3]), math.nan)
    report = saturation(made([normal(), broken, broken]))
    assert not report.healthy and report.verdict.startswith("layer 2 gets numbers that are not finite")


@pytest.mark.day(33)
def test_the_thresholds_are_what_they_say():
    """Slope at FLAT, flat share at LOUD, straightness at ASLEEP: the reasons in the file, computed."""
    assert 1 - diagnostics.FLAT**2 < 1 / 16
    z = torch.randn(100_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    share = lambda std: (torch.tanh(std * z).abs() > diagnostics.FLAT).double().mean().item()
    assert share(diagnostics.LOUD) == pytest.approx(diagnostics.SATURATED, abs=0.03)
    assert 1 - math.tanh(diagnostics.ASLEEP) / diagnostics.ASLEEP < 0.03


# --- 2. gradients -----------------------------------------------------------------------------------------------------


@pytest.mark.day(33)
@pytest.mark.parametrize(
    "scales, verdict",
    [
        ((1, 2, 3), "gradients of all layers are alike, within a factor of 3"),
        ((1, 10, 100), "gradients fade on their way down: the layers differ by a factor of 1e+02"),
        ((100, 10, 1), "gradients grow on their way down: the layers differ by a factor of 1e+02"),
        ((0, 0, 0), "no gradient reaches any layer"),
    ],
)
def test_the_verdict_on_gradients(scales, verdict):
    """Down is from the loss to the input: a small first layer has faded, a large one has grown."""
    report = gradients(made([normal()] * 3, grads=[normal() * scale for scale in scales]))
    assert verdict in report.verdict and report.healthy == ("alike" in verdict)


@pytest.mark.day(33)
@pytest.mark.parametrize("scale", [math.nan, math.inf])
def test_gradients_that_are_not_finite(scale):
    """They neither fade nor grow by a factor: the sentence says what they are."""
    report = gradients(made([normal()] * 3, grads=[normal(), normal() * scale, normal()]))
    assert not report.healthy and report.verdict.startswith("gradients are not finite")


# --- 3. gradient : data -----------------------------------------------------------------------------------------------


@pytest.mark.day(34)
def test_grad_to_data_is_one_spread_over_the_other():
    """By hand for three weights; the embedding and the head are shown, and only hidden weights are judged."""
    weights = {
        "embed": (normal(1), normal(7, seed=1)), "hidden 1": (normal(0.1), normal(0.02, seed=1)),
        "hidden 2": (normal(0.2), normal(0.004, seed=1)), "head": (normal(0.01), normal(0.05, seed=1)),
    }  # fmt: skip
    report = grad_to_data(made([normal()], weights=weights))
    one = normal(1, seed=1).std().item() / normal(1).std().item()  # the draw's own spreads are not quite 1
    assert [row["ratio"] / one for row in report.rows] == pytest.approx([7, 0.2, 0.02, 5], rel=1e-4)
    assert report.rows[1]["shape"] == [200, 100] and report.rows[1]["data"] == pytest.approx(0.1, rel=0.02)
    assert report.healthy and "within a factor of 10; the last layer's is 25 times theirs" in report.verdict
    weights["hidden 2"] = (normal(0.2), normal(0.0002, seed=1))
    report = grad_to_data(made([normal()], weights=weights))
    assert not report.healthy and "differs by a factor of 2e+02: some would stand still" in report.verdict


@pytest.mark.day(34)
def test_grad_to_data_of_zeros_and_of_nan():
    """A last layer may start at 0: no division by it, and no blame. A weight that is nan is not in order."""
    weights = {"hidden 1": (normal(0.1), normal(seed=1)), "head": (normal(0), normal(seed=1))}
    report = grad_to_data(made([normal()], weights=weights))
    assert report.healthy and math.isfinite(report.rows[-1]["ratio"])
    weights["hidden 1"] = (normal() * math.nan, normal(seed=1))
    report = grad_to_data(made([normal()], weights=weights))
    assert not report.healthy and report.verdict.startswith("gradient:data is not finite")


# --- 4. update : data -------------------------------------------------------------------------------------------------


@pytest.mark.day(34)
def test_a_step_is_measured_by_what_it_changed():
    """The actual update, whatever the optimizer: half of a weight's spread added gives log10 0.5."""
    before = normal()
    assert step_size(before, before * 1.5) == pytest.approx(math.log10(0.5), abs=1e-4)
    assert step_size(before, before + 7.0) < -5  # a common shift does not spread; what is left is rounding
    assert step_size(before, before) == -10  # no step at all still has a logarithm
    zeros = torch.zeros(200, 100)
    assert step_size(zeros, zeros) == -10 and step_size(zeros, before) == pytest.approx(10, abs=0.01)  # 1 over NOTHING


@pytest.mark.day(34)
@pytest.mark.parametrize(
    "size, verdict",
    [
        (-3.0, r"by 10^-3.0 of its size; the rule of thumb is 10^-3"),
        (-1.0, "above 10^-1.6: it is made anew in 10 steps"),
        (-6.0, "below 10^-4.5: it hardly moves"),
    ],
)
def test_the_verdict_on_updates(size, verdict):
    """The median over hidden weights, each the median over time; a head that moves fast at first is no reason."""
    steps = [{"embed": -5.0, "hidden 1": size - d, "hidden 2": size + d, "head": 0.0} for d in (0.1, 0.2, 5.0)]
    report = update_to_data(steps)
    assert verdict in report.verdict and report.healthy == (size == -3)
    assert [row["log10"] for row in report.rows] == pytest.approx([-5, size - 0.2, size + 0.2, 0])


@pytest.mark.day(34)
def test_updates_that_are_not_finite():
    """A step of nan is above no line and below none."""
    report = update_to_data([{"hidden 1": -3.0, "hidden 2": math.nan, "head": 0.0}])
    assert not report.healthy and report.verdict.startswith("steps are not finite")
