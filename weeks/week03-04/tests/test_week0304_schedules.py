"""Day 18: the learning-rate schedules. One exam for every row of SCHEDULES, then each against its closed form."""

import math

import pytest
from makemore.fit import Recipe, learning_rate
from makemore.schedules import SCHEDULES

pytestmark = pytest.mark.day(18)

COURSES = [(1, 0, 0.0), (2, 1, 0.0), (10, 0, 0.5), (100, 10, 0.1), (1_000, 40, 0.0), (7, 3, 1.0), (12_500, 100, 1 / 3)]
FALLS = {"cosine": lambda t: 0.5 + 0.5 * math.cos(math.pi * t), "linear": lambda t: 1 - t, "constant": lambda t: 1.0}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps, warmup, floor", COURSES)
def test_schedule_exam(name, steps, warmup, floor):
    """Rises in a line that is never 0, peaks at exactly 1, never climbs again, and ends at exactly the floor."""
    f = SCHEDULES[name]
    course = [f(step, steps, warmup, floor) for step in range(steps + 1)]
    assert course == [f(step, steps, warmup=warmup, floor=floor) for step in range(steps + 1)]  # remembers nothing
    assert course[:warmup] == [(step + 1) / (warmup + 1) for step in range(warmup)]
    fall = course[warmup:]
    assert fall[0] == 1.0 == max(course) and fall == sorted(fall, reverse=True) and min(course) >= 0
    assert fall[-1] == floor or set(fall) == {1.0}  # down to the floor, or not down at all
    assert f(0, steps) == 1.0  # no warm-up unless it is asked for
    assert f(steps, steps) in (0.0, 1.0)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_warmup_longer_than_the_training_only_rises(name):
    """Short runs with the default warm-up are common: the rate rises all the way and never gets to the peak."""
    course = [SCHEDULES[name](step, 5, 9) for step in range(6)]
    assert course == [pytest.approx((step + 1) / 10, abs=1e-15) for step in range(6)]


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(
    "wrong, sentence",
    [
        ({"steps": 0}, "a training of 0 steps has no schedule; give 1 or more"),
        ({"steps": -3}, "a training of -3 steps"),
        ({"steps": 10**400}, "and fewer than"),
        ({"steps": math.inf}, "a training of inf steps"),
        ({"steps": math.nan}, "a training of nan steps"),
        ({"step": -1}, "step -1 is none of the 10 steps; count from 0"),
        ({"step": 11}, "step 11 is none of the 10 steps"),
        ({"step": math.nan}, "step nan is none of the 10 steps"),
        ({"warmup": -1}, "a warm-up of -1 steps cannot be counted; give 0 or more"),
        ({"warmup": 10**400}, "a warm-up of 1000"),
        ({"floor": -0.1}, "floor is -0.1, but it is a share of the peak rate; give a number from 0 to 1"),
        ({"floor": 1e-3 / 5e-4}, "floor is 2.0"),
        ({"floor": math.nan}, "floor is nan"),
    ],
)
def test_what_cannot_be_scheduled_is_told(name, wrong, sentence):
    """A wrong count gives a rate that trains badly and says nothing, so it is refused in a sentence."""
    with pytest.raises(ValueError, match=sentence):
        SCHEDULES[name](**{"step": 0, "steps": 10, **wrong})


@pytest.mark.parametrize("name, fall", FALLS.items())
@pytest.mark.parametrize("steps, warmup, floor", COURSES)
def test_closed_form(name, fall, steps, warmup, floor):
    """Each schedule against its formula written out. Only rounding differs: 1e-15 of numbers below 1."""
    for step in range(warmup, steps + 1):
        expected = floor + (1 - floor) * fall((step - warmup) / (steps - warmup))
        assert SCHEDULES[name](step, steps, warmup, floor) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("steps, warmup", [(8_000, 100), (20_000, 100), (800, 100), (60, 10), (2, 1), (3, 0), (4, 100)])
def test_the_rates_of_weeks_3_to_6(steps, warmup):
    """The loop's rate is the formula that its committed results were trained with, bit for bit."""
    recipe = Recipe(steps, lr=1.5e-2, warmup=warmup)
    for step in range(steps):
        rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
        expected = 1.5e-2 * rise * 0.5 * (1.0 + math.cos(math.pi * step / steps))
        assert learning_rate(step, recipe) == expected
