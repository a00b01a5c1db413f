"""Day 34: each disease is planted in several networks and must be named; healthy networks must be left alone."""

import math
import string
from dataclasses import replace

import pytest
import torch
from deepmlp import doctor
from deepmlp.diagnostics import Report, weights_of
from deepmlp.model import Config, DeepMLP
from deepmlp.vendor.makemore.fit import Recipe
from deepmlp.vendor.makemore.names import Names
from week05_names import data, invented

pytestmark = pytest.mark.day(34)
NAMES = Names(invented(2000), [], [], string.ascii_lowercase)
DATA = data(NAMES)
AT_THE_START = {"bad_init", "wrong_gain", "dead_relu"}  # seen before the first step, so a short training will do


def chart_of(disease, depth, seed):
    """The patient of the train script, narrower and trained for a shorter time."""
    config, recipe = doctor.patient(disease, depth, seed)
    steps = 8 if disease in AT_THE_START else 100
    recipe = replace(recipe, steps=steps, batch_size=128, warmup=steps // 10)
    return doctor.examine(DeepMLP(replace(config, n_hidden=64), seed), DATA, recipe, seed)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("depth", [4, 6])
@pytest.mark.parametrize("disease", sorted(AT_THE_START))
def test_a_sick_start_is_named(disease, depth, seed):
    """tanh and relu, batch norm, layer norm and residual (patient() goes through them with the seed)."""
    found = doctor.diagnose(chart_of(disease, depth, seed))
    assert found.disease == disease, found.evidence
    assert found.advice == doctor.ADVICE[disease]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("disease", ["high_lr", "low_lr", "no_norm"])
def test_a_sick_training_is_named(disease, seed):
    """A network that starts well and is then moved too fast, or held by nothing; the depth changes with the seed."""
    found = doctor.diagnose(chart_of(disease, 4 + seed % 2 * 2, seed))
    assert found.disease == disease, found.evidence


@pytest.mark.parametrize("seed", range(12))
def test_a_healthy_network_gets_no_diagnosis(seed):
    """The other half of being right: batch norm, layer norm, residual; tanh and relu; two depths, twelve seeds."""
    found = doctor.diagnose(chart_of(None, 4 + seed // 6 * 2, seed))
    assert found.disease is None, found.evidence
    assert found.advice == "nothing to do"


def test_one_hidden_layer_needs_no_norm():
    """The ladder's own networks are shallow: their drift is learning, and no disease."""
    model = DeepMLP(Config(n_hidden=64), 0)
    found = doctor.diagnose(doctor.examine(model, DATA, Recipe(100, 128, 5e-3, warmup=10)))
    assert found.disease is None, found.evidence


def test_the_doctor_sees_nothing_but_the_chart():
    """Reports written by hand are enough, and causes are named before their consequences."""
    fine = Report("any", [{"layer": n, "z_std": 1.0, "dead": 0.0} for n in (1, 2, 3, 4)], True, "fine")
    dead = Report("any", [row | {"dead": 0.9} for row in fine.rows], False, "90% are dead")
    grown = Report("any", [row | {"z_std": 1.0 + row["layer"]} for row in fine.rows], True, "fine")
    steps = lambda log10: Report("update:data", [{"weight": "hidden 1", "log10": log10}], False, "not in order")
    fast, slow = steps(-1.0), steps(-5.0)
    grads = lambda std, healthy: Report("gradients", [{"layer": n, "std": std} for n in (1, 2)], healthy, "any")
    alike = grads(1.0, True)

    def told(first=3.3, before=fine, after=fine, updates=fine, gradients=alike, last=2.5):
        chart = doctor.Chart(
            27, first, last, {"saturation": before, "gradients": gradients}, {"saturation": after}, updates
        )
        return doctor.diagnose(chart).disease

    assert told() is None
    loud = Report("any", fine.rows, False, "loud")
    assert told(before=dead) == told(first=9, before=dead, after=dead, updates=fast) == "dead_relu"
    assert told(before=loud) == told(first=9, before=loud, updates=fast) == "wrong_gain"
    assert told(first=3.3 + doctor.SURPRISE) == told(first=9, updates=fast, after=grown) == "bad_init"
    assert told(first=3.2 + doctor.SURPRISE) is None
    assert told(gradients=grads(1.0, False), updates=fast) == "wrong_gain"
    assert told(gradients=grads(0.0, False), updates=fast) == "bad_init"
    assert told(before=grown, after=grown) == "wrong_gain"  # it starts uneven: no drift, but a gain that is off
    assert told(updates=slow) == "low_lr"
    nan = Report("any", [row | {"z_std": math.nan} for row in fine.rows], False, "not finite")
    assert told(first=math.nan) == "bad_init" and told(before=nan) == "wrong_gain"
    assert told(updates=steps(math.nan)) == told(after=nan) == told(last=math.nan) == "high_lr"
    assert told(updates=fast, after=dead) == told(updates=fast, after=grown) == "high_lr"
    assert told(after=dead) == "dead_relu"
    assert told(after=grown) == "no_norm"
    shrunk = Report("any", [row | {"z_std": 1 / row["layer"]} for row in fine.rows], True, "fine")
    assert told(after=shrunk) == "no_norm"
    shallow = lambda report: Report("any", report.rows[1:], True, "fine")  # three layers: no depth to speak of
    assert told(before=shallow(fine), after=shallow(grown)) is None


def test_a_last_layer_of_zeros_is_a_bad_start():
    """Nothing can be divided by its spread, and no gradient passes it: still a sentence, and the right one."""
    config, recipe = doctor.patient(None, 4, 0)
    model = DeepMLP(replace(config, n_hidden=32, head_std=0.0))
    found = doctor.diagnose(doctor.examine(model, DATA, replace(recipe, steps=8, batch_size=64, warmup=2)))
    assert found.disease == "bad_init" and "the last layer starts at 0" in found.evidence


def test_a_start_that_fades_is_a_wrong_gain():
    """A gain of 1 lets tanh shrink layer by layer, though no layer alone is asleep yet."""
    model = DeepMLP(Config(n_hidden=64, depth=6, gain=1.0), 0)
    found = doctor.diagnose(doctor.examine(model, DATA, Recipe(8, 64, 5e-3, warmup=2)))
    assert found.disease == "wrong_gain" and "the spread of z goes from" in found.evidence


def test_a_rate_of_a_hundred_thousandth_is_too_low():
    """Not in order for the opposite reason: dividing it by 10 again would be the wrong advice."""
    config, recipe = doctor.patient(None, 4, 0)
    recipe = replace(recipe, lr=1e-5, steps=40, batch_size=128)
    found = doctor.diagnose(doctor.examine(DeepMLP(replace(config, n_hidden=64)), DATA, recipe))
    assert found.disease == "low_lr" and found.advice.startswith("multiply the learning rate by 10")


@pytest.mark.parametrize("weight", ["hidden 2", "head"])
def test_numbers_that_are_not_finite_are_no_health(weight):
    """Before training or after it; one nan in one weight is enough, and the drift shows it instead of hiding it."""
    config, recipe = doctor.patient(None, 4, 0)
    model = DeepMLP(replace(config, n_hidden=16))
    chart = doctor.examine(model, DATA, replace(recipe, steps=8, batch_size=64, warmup=2))
    with torch.no_grad():
        weights_of(model)[weight][0, 0] = math.nan
    loss, sick = doctor.reports(model, DATA)
    assert doctor.diagnose(replace(chart, first_loss=loss, before=sick)).disease in ("wrong_gain", "bad_init")
    found = doctor.diagnose(replace(chart, last_loss=loss, after=sick))
    assert found.disease == "high_lr" and "finite" in found.evidence
    assert math.isnan(doctor.drift(replace(chart, after=sick))[0]) == (weight == "hidden 2")


def test_a_history_holds_every_step_but_the_first():
    """What the figure of updates over time is drawn from."""
    history = []
    config, recipe = doctor.patient(None, 4, 0)
    doctor.examine(DeepMLP(replace(config, n_hidden=16)), DATA, replace(recipe, steps=9, warmup=2), 0, history)
    assert [step for step, _ in history] == list(range(1, 9))
    assert list(history[0][1]) == ["embed", "hidden 1", "hidden 2", "hidden 3", "hidden 4", "head"]


def test_what_the_doctor_refuses():
    """A disease that nobody planted yet, and an examination too short to see a step's size."""
    with pytest.raises(ValueError, match="the disease 'flu' is unknown; choose one of bad_init, wrong_gain, dead_relu"):
        doctor.patient("flu")
    config, recipe = doctor.patient(None)
    with pytest.raises(ValueError, match="3 steps are too few to see how large they are; give 8 or more"):
        doctor.examine(DeepMLP(config), DATA, replace(recipe, steps=3))
