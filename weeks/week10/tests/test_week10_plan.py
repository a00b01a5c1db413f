"""Day 69: from a budget to a model, its tokens, and the loss that the law expects."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scaling import cost, plan
from scaling.law import Law
from scaling.plan import SHORT, UNITS, Budget, advise, best, beyond, choices, parse_budget, shapes
from scaling.sweep import BLOCK, SHAPES, Trial

pytestmark = pytest.mark.day(69)

LAW = Law(E=1.2, A=12.0, alpha=0.3, B=60.0, beta=0.33)
LAWS = [Law(1.2 + shift, 12.0, 0.3 + shift / 5, 60.0, 0.33 - shift / 5) for shift in (-0.06, -0.02, 0.0, 0.03, 0.05)]


def rate(width):
    """A rule that tells widths apart, whatever the sweep's is."""
    return 0.3 / width


# --- the budget -------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(
    cores=st.integers(1, 10_000), amount=st.integers(1, 50), unit=st.sampled_from(sorted({*UNITS, *SHORT} - {"year"})),
    plural=st.booleans(), gap=st.sampled_from(["", " ", "  "]), sign=st.sampled_from("x*×X"),
)  # fmt: skip
def test_a_budget_is_read_however_it_is_written(cores, amount, unit, plural, gap, sign):
    """Any spelling of cores times time; the seconds by the calendar's own numbers."""
    ending = "s" if plural and unit in UNITS else ""
    text = f" {cores} core{'s' * plural}{gap}{sign}{gap}{amount}{gap}{unit}{ending}"
    long = SHORT.get(unit, unit)
    wanted = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}[long] * amount
    assert parse_budget(text) == Budget(cores, wanted)


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=30))
def test_any_text_is_a_budget_or_a_sentence(text):
    """Never another error, whatever was typed."""
    try:
        budget = parse_budget(text)
    except ValueError as error:
        assert 'give a budget such as "2 cores x 1 hour"' in str(error) or "is no unit of time" in str(error)
    else:
        assert budget.cores > 0 and 0 < budget.seconds <= 365 * 86400


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("  ", 'the budget is empty; give a budget such as "2 cores x 1 hour"'),
        ("an hour", "'an hour' is no budget of cores and time; give"),
        ("-2 cores x 1 hour", "'-2 cores x 1 hour' is no budget of cores and time"),
        ("2 cores x nan hours", "is no budget of cores and time"),
        ("2 cores x 1 fortnight", "'fortnight' is no unit of time; write one of second, minute, hour"),
        ("0 cores x 1 hour", "'0 cores x 1 hour' is a budget of nothing"),
        ("2 cores x 0.0 hours", "is a budget of nothing, and nothing can be trained with it"),
        ("2 cores x 1000 years", "is longer than a year, far beyond what a law of minutes and hours can tell"),
    ],
)
def test_budgets_that_nobody_can_plan_with(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        parse_budget(text)


def test_half_an_hour():
    assert parse_budget("1 core x 0.5 h") == Budget(1, 1800.0)


# --- the advice -------------------------------------------------------------------------------------------------------


def test_shapes_go_on_where_the_sweep_ends():
    """Larger each time, in whole heads of 16 channels."""
    found = list(itertools.islice(shapes(), 40))
    assert tuple(found[: len(SHAPES)]) == SHAPES and found[len(SHAPES)] == (8, 240)
    sizes = [cost.parameters(Trial(*shape, 1.0).config(512)) for shape in found]
    assert sizes == sorted(set(sizes)) and all(width % 16 == 0 for _, width in found)


@settings(max_examples=10, deadline=None)
@given(exponent=st.floats(12, 16))
def test_a_choice_spends_the_budget_and_the_best_is_the_lowest(exponent):
    """Tokens times the model's own operations are the budget; no other shape is expected to be better."""
    budget = 10**exponent
    found = list(choices(LAW, budget, 512))
    for one in found:
        config = Trial(one.layers, one.width, budget).config(512)
        assert cost.flops(config, one.d) == pytest.approx(budget, rel=1e-12) and one.n == cost.parameters(config)
        assert one.loss == LAW.loss(one.n, one.d)
    chosen = best(LAW, budget, 512)
    assert chosen in found and chosen.loss == min(one.loss for one in found)


def test_the_best_lies_where_equation_4_has_it():
    """With 6 N D operations the paper's formula gives N; attention and the steps between shapes allow a factor of 1.5.

    Over six decades of compute N grows as C^a, a = beta / (alpha + beta), to the 0.06 that such factors can make.
    """
    sizes = {}
    for budget in (1e15, 1e21):
        sizes[budget] = best(LAW, budget, 512).n
        assert 1 / 1.5 < sizes[budget] / LAW.best(budget / 6)[0] < 1.5
    grown = math.log(sizes[1e21] / sizes[1e15]) / math.log(1e6)
    assert grown == pytest.approx(LAW.beta / (LAW.alpha + LAW.beta), abs=0.06)


def test_advice_has_its_intervals():
    """The law's own answer lies inside what its resampled kin answer, and the steps spend the tokens."""
    found = advise(LAW, LAWS, 1e14, rate, 512)
    assert found.low < found.loss < found.high
    assert found.sizes[0] <= found.n <= found.sizes[1] and found.sizes[0] < found.sizes[1]
    assert found.tokens[0] <= found.d <= found.tokens[1]
    assert found.lr == rate(found.width) and found.rates[0] <= found.lr <= found.rates[1]
    assert abs(found.steps * found.batch * BLOCK - found.d) <= found.batch * BLOCK / 2


def test_the_table_has_a_formula_a_line():
    found = advise(LAW, LAWS, 1e14, rate, 512)
    rows = {what: (value, span, formula) for what, value, span, formula in found.table()}
    assert rows["operations C"][0] == "1e+14" and rows["model"][0] == f"{found.layers} layers x {found.width}"
    assert rows["expected loss"][:2] == (f"{found.loss:.3f} nats", f"{found.low:.3f} to {found.high:.3f}")
    assert all(formula for _, _, formula in rows.values()) and len(rows) == 8


def test_laws_that_know_no_valley_do_not_hold_the_advice_up():
    """A resampled law may say that tokens harm: then the end of the curve is its choice, and there is an end."""
    chosen = best(Law(1.0, 10.0, 0.3, 1.0, -0.01), 1e15, 512)
    assert 0.1 <= chosen.d / chosen.n < 0.2


@pytest.mark.parametrize("budget", [1e9, 0.0, math.nan])
def test_a_budget_that_pays_for_no_model(budget):
    with pytest.raises(ValueError, match=r"of the smallest model, 1 layers x 16, and fewer than 100 .* more time"):
        advise(LAW, LAWS, budget, rate, 512)


def test_how_far_the_law_is_stretched():
    assert beyond(1e13, 1e13) == "" and "4.0 times" in beyond(4e13, 1e13) and "was checked" in beyond(4e13, 1e13)
    assert "take it as a guess" in beyond(1e15, 1e13)
    assert plan.LONGEST == 365 * 86400
