"""Day 20: the learning-rate finder."""

import copy
import math

import pytest
import torch
from makemore import models
from makemore.finder import smooth, suggest, sweep
from makemore.fit import Recipe, evaluate, fit
from week0304_made_up import made_up

pytestmark = pytest.mark.day(20)


def mlp_and_data():
    known = made_up()
    model = models.build("mlp", known.vocab_size)
    return model, model.data(known, known.train)


def test_the_rate_grows_by_one_factor_and_the_model_stays():
    """From low to high, each rate the same multiple of the one before; the weights of the caller are not touched."""
    model, data = mlp_and_data()
    kept = copy.deepcopy(model.state_dict())
    rates, losses = sweep(model, data, 1e-5, 1e-2, steps=31, batch_size=16)
    assert len(rates) == len(losses) == 31
    assert rates[0] == pytest.approx(1e-5) and rates[-1] == pytest.approx(1e-2)
    assert all(b / a == pytest.approx(10 ** (3 / 30)) for a, b in zip(rates, rates[1:]))
    assert losses[0] == pytest.approx(math.log(27), abs=0.1) and losses[-1] < losses[0]  # and it has trained
    assert all(torch.equal(kept[key], tensor) for key, tensor in model.state_dict().items())
    assert (rates, losses) == sweep(model, data, 1e-5, 1e-2, steps=31, batch_size=16)


def test_a_sweep_stops_where_it_flies_apart():
    """Beyond four times the best loss there is nothing to see, and a NaN must not enter the curve."""
    model, data = mlp_and_data()
    rates, losses = sweep(model, data, 1e-3, 1e4, steps=60, batch_size=16)
    assert 10 < len(rates) < 60 and all(map(math.isfinite, losses)) and max(losses) <= 4 * min(losses)


def test_each_step_of_a_sweep_uses_its_rate():
    """The first step of AdamW moves each weight by its rate: after one step of 1e-3, a second loss that shows it."""
    model, data = mlp_and_data()
    low = sweep(model, data, 1e-7, 1e-6, steps=2, batch_size=64)[1]
    high = sweep(model, data, 1e-2, 2e-2, steps=2, batch_size=64)[1]
    assert low[0] == high[0] and low[1] > high[1]


def test_smooth_by_hand():
    """Weights 1, m, m^2 ... divided by their sum, so a constant stays what it is from the first loss on."""
    assert smooth([2.0, 2.0, 2.0]) == pytest.approx([2.0, 2.0, 2.0])
    assert smooth([1.0, 3.0], memory=0.5) == pytest.approx([1.0, (3.0 + 0.5) / 1.5])


def test_the_steepest_place_is_suggested():
    """Flat, then a steep fall, then a shallow one to the minimum, then up: the answer lies in the steep part."""
    losses = [3.3] * 20 + [3.3 - 0.1 * i for i in range(1, 11)] + [2.3 - 0.01 * i for i in range(1, 20)] + [9.0]
    rates = [10 ** (-5 + i / 10) for i in range(len(losses))]
    assert rates[22] < suggest(rates, losses) <= rates[30]


def test_the_suggested_rate_is_a_good_one():
    """Sixty steps with it end lower than with a rate 30 times smaller or 30 times larger."""
    model, data = mlp_and_data()
    rate = suggest(*sweep(model, data, 1e-5, 10.0, steps=100, batch_size=64))
    ends = []
    for factor in (1, 1 / 30, 30):
        trained = copy.deepcopy(model)
        for _ in fit(trained, data, Recipe(60, 64, rate * factor, 0.0, warmup=5)):
            pass
        ends.append(evaluate(trained, data))
    assert ends[0] < min(ends[1:])


@pytest.mark.parametrize(
    "call, sentence",
    [
        (lambda m, d: sweep(m, d, 1.0, 0.1), "a sweep from 1 to 0.1 in 200 steps has no way to grow; give 0 < low"),
        (lambda m, d: sweep(m, d, 0.0, 0.1), "give 0 < low < high"),
        (lambda m, d: sweep(m, d, steps=1), "in 1 steps"),
        (lambda m, d: suggest([1e-3, 1e-2], [3.3, 3.4]), "the loss only rises; start the sweep at a lower rate"),
        (
            lambda m, d: suggest([1e-3], [3.3]),
            "flew apart before a second rate was tried; start the sweep at a lower rate",
        ),
    ],
)
def test_a_sweep_that_cannot_be_is_a_sentence(call, sentence):
    """Where nothing can be seen, it says so instead of suggesting a rate."""
    with pytest.raises(ValueError, match=sentence):
        call(*mlp_and_data())
