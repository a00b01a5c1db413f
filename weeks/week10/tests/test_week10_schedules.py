"""Day 66: the schedules. One exam for every row, the closed forms of the new ones, and what sets them apart."""

import math

import pytest
from scaling.schedules import SCHEDULES, WEEK3, infinite, stable_decay

pytestmark = pytest.mark.day(66)

COURSES = [(1, 0, 0.0), (2, 1, 0.0), (10, 0, 0.5), (100, 10, 0.1), (1_000, 40, 0.0), (7, 3, 1.0), (900, 100, 1 / 3)]


def falling(step, steps, warmup=0, floor=0.0):
    """The infinite one with a fall of 30 steps, as a row of its own."""
    return infinite(step, steps, warmup, floor, anneal=30)


ROWS = [*SCHEDULES.values(), falling]


@pytest.mark.parametrize("f", ROWS)
@pytest.mark.parametrize("steps, warmup, floor", COURSES)
def test_schedule_exam(f, steps, warmup, floor):
    """Rises in a line that is never 0, peaks at exactly 1, never climbs again; it ends at the floor or never falls."""
    course = [f(step, steps, warmup, floor) for step in range(steps + 1)]
    assert course == [f(step, steps, warmup=warmup, floor=floor) for step in range(steps + 1)]  # remembers nothing
    assert course[:warmup] == [(step + 1) / (warmup + 1) for step in range(warmup)]
    fall = course[warmup:]
    assert fall[0] == 1.0 == max(course) and fall == sorted(fall, reverse=True) and min(course) >= 0
    assert fall[-1] == floor or set(fall) == {1.0}
    assert f(0, steps) == 1.0  # no warm-up unless it is asked for


@pytest.mark.parametrize("f", ROWS)
@pytest.mark.parametrize(
    "wrong, sentence",
    [
        ({"steps": 0}, "a training of 0 steps has no schedule; give 1 or more"),
        ({"steps": math.nan}, "a training of nan steps"),
        ({"step": -1}, "step -1 is none of the 10 steps; count from 0"),
        ({"step": 11}, "step 11 is none of the 10 steps"),
        ({"warmup": -1}, "a warm-up of -1 steps cannot be counted; give 0 or more"),
        ({"floor": 2}, "floor is 2, but it is a share of the peak rate; give a number from 0 to 1"),
    ],
)
def test_what_cannot_be_scheduled_is_told(f, wrong, sentence):
    """A wrong count gives a rate that trains badly and says nothing, so it is refused in a sentence."""
    with pytest.raises(ValueError, match=sentence):
        f(**{"step": 0, "steps": 10, **wrong})


def test_week_3_is_extended_not_repeated():
    """Its rows are the very functions that it wrote; the new names are added."""
    assert {name: f for name, f in SCHEDULES.items() if name in WEEK3} == WEEK3
    assert set(SCHEDULES) - set(WEEK3) == {"stable_decay", "infinite"}


@pytest.mark.parametrize("decay", [0.1, 0.2, 0.5])
def test_stable_decay_by_its_formula(decay):
    """1 until the last share of all steps, then a line: 1e-12 for rounding."""
    steps, warmup, floor = 200, 20, 0.1
    for step in range(warmup, steps + 1):
        left = min(1.0, (steps - step) / (decay * steps))
        expected = floor + (1 - floor) * left
        assert stable_decay(step, steps, warmup, floor, decay=decay) == pytest.approx(expected, abs=1e-12)
    course = [stable_decay(step, 10, 8, decay=0.5) for step in range(11)]
    assert course[8:] == [1.0, 0.5, 0.0]  # the warm-up left two steps for a fall of five
    for decay in (0.0, -1, 1.5, math.nan):
        with pytest.raises(ValueError, match="decay is .*, but it is the share of the steps that the fall takes"):
            stable_decay(0, 10, decay=decay)


def test_infinite_by_its_formula():
    """1 until `anneal` steps before the end, then 1 - sqrt: half of the fall is over after a quarter of it."""
    for step in range(200, 501):
        expected = 0.1 + 0.9 * (1 - math.sqrt(max(0, step - 400) / 100))
        assert infinite(step, 500, 20, 0.1, anneal=100) == pytest.approx(expected, abs=1e-12)
    assert infinite(425, 500, anneal=100) == 0.5
    with pytest.raises(ValueError, match="a fall of 5 steps has no place before the end None; give both, or anneal=0"):
        infinite(3, anneal=5)
    with pytest.raises(ValueError, match="a fall of -1 steps"):
        infinite(3, 10, anneal=-1)


def test_the_infinite_one_needs_no_end():
    """Step 10**9 has the rate of step 100, and the fall can be hung on anywhere: before it, all ends agree."""
    assert [infinite(step, warmup=4) for step in (0, 3, 4, 10**9)] == [0.2, 0.8, 1.0, 1.0]
    for step in range(70):
        assert infinite(step, 100, 4, anneal=30) == infinite(step, 10_000, 4, anneal=30) == infinite(step, warmup=4)
    cosine = WEEK3["cosine"]
    assert cosine(50, 100) != cosine(50, 10_000)  # what the others lack
