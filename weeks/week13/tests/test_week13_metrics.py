"""The results matrix: numbers by hand, the definitions written slowly, and the traps that other code fell into."""

import copy

import numpy as np
import pytest
from continual import metrics
from continual.metrics import Matrix
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.day(85)

# Three tasks, accuracies. By hand:
# acc = (.5 + .6 + .9) / 3;  bwt = ((.5 - .9) + (.6 - .8)) / 2;  la = (.9 + .8 + .9) / 3
# fwt = ((.2 - .1) + (.3 - .2)) / 2;  raw: (.2 + .3) / 2
# forgetting: task 0: best of .9, .7 is .9, minus .5; task 1: best of .2, .8 is .8, minus .6
# aia = (.9 + (.7 + .8) / 2 + 2.0 / 3) / 3
R = [[0.9, 0.2, 0.1], [0.7, 0.8, 0.3], [0.5, 0.6, 0.9]]
BASELINE = [0.0, 0.1, 0.2]
BY_HAND = {
    "acc": 2.0 / 3,
    "bwt": -0.3,
    "learning_accuracy": 2.6 / 3,
    "fwt": 0.1,
    "fwt_raw": 0.25,
    "forgetting": 0.3,
    "rise": -0.3,
    "aia": (0.9 + 0.75 + 2.0 / 3) / 3,
}
EXACT = dict(rel=1e-12, abs=1e-12)  # a handful of float64 additions: rounding only


@pytest.mark.parametrize("name", BY_HAND)
def test_hand_computed(name):
    """Each metric equals a number worked out with pencil and paper: the definitions leave no room."""
    assert Matrix(list("abc"), R, BASELINE).summary()[name] == pytest.approx(BY_HAND[name], **EXACT)


def test_bits_per_byte_turn_the_sign_but_not_the_unit():
    """For a loss, averages stay as they are, while good news is positive and forgetting is bad either way."""
    bits = [[2.0, 5.0], [3.5, 2.5]]  # learning task 1 made task 0 worse by 1.5 bits
    got = Matrix(["a", "b"], bits, [8.0, 8.0], higher_is_better=False).summary()
    assert got == pytest.approx({"acc": 3.0, "learning_accuracy": 2.25, "aia": 2.5, "bwt": -1.5, "fwt": 3.0,
                                 "fwt_raw": 5.0, "forgetting": 1.5, "rise": 1.5}, **EXACT)  # fmt: skip


def test_a_task_at_its_best_now_has_negative_forgetting():
    """The trap of taking the best over all rows, the last included: it can never show that an old task improved."""
    better = [[0.5, 0.0], [0.7, 0.9]]
    assert metrics.forgetting(better) == pytest.approx(-0.2, **EXACT)


def test_forgetting_looks_at_the_best_moment_bwt_at_the_first():
    """A task that improves and then falls forgets more than BWT says; the two are not one number with two names."""
    rows = [[0.5, 0.0, 0.0], [0.8, 0.9, 0.0], [0.4, 0.9, 0.9]]
    assert metrics.forgetting(rows) == pytest.approx(((0.8 - 0.4) + (0.9 - 0.9)) / 2, **EXACT)
    assert metrics.bwt(rows) == pytest.approx(((0.4 - 0.5) + 0) / 2, **EXACT)


def test_one_task_has_no_past():
    """With one task nothing can be forgotten: None says so, while 0 would claim that it was measured."""
    got = Matrix(["a"], [[0.7]], [0.1]).summary()
    assert got["acc"] == got["learning_accuracy"] == got["aia"] == 0.7
    assert [got[n] for n in ("bwt", "fwt", "fwt_raw", "forgetting", "rise")] == [None] * 5


def test_cells_that_are_not_needed_may_be_missing():
    """A run that judged only what it had learned (no future tasks) still has its ACC, BWT and forgetting."""
    lower = [[0.9, None, None], [0.7, 0.8, None], [0.5, 0.6, 0.9]]
    for name in ("acc", "bwt", "learning_accuracy", "forgetting", "aia"):
        assert getattr(metrics, name)(lower) == pytest.approx(BY_HAND[name], **EXACT)
    with pytest.raises(ValueError, match=r"R\[0\]\[1\] was not measured.*judge task 1 there"):
        metrics.fwt(lower, BASELINE)
    with pytest.raises(ValueError, match=r"baseline\[1\] was not measured"):
        metrics.fwt(R, [0.0, None, 0.2])
    hole = [[0.9, 0.2, 0.1], [0.7, None, 0.3], [0.5, 0.6, 0.9]]
    with pytest.raises(ValueError, match=r"R\[1\]\[1\] was not measured"):
        metrics.forgetting(hole)


def test_a_sequence_that_is_not_over_is_judged_on_what_it_has_learned():
    """After two of three tasks the third column is the future: it belongs to no average yet."""
    assert metrics.acc(R[:2]) == pytest.approx(0.75, **EXACT)
    assert metrics.bwt(R[:2]) == pytest.approx(-0.2, **EXACT)


def test_a_broken_matrix_is_refused_in_a_sentence():
    """No rows, short rows and a short baseline would otherwise give a number of something else."""
    with pytest.raises(ValueError, match="no row; train at least one task"):
        metrics.acc([])
    with pytest.raises(ValueError, match="row 0 has 1 scores, but 2 tasks were trained"):
        metrics.acc([[0.1], [0.2, 0.3]])
    with pytest.raises(ValueError, match="baseline.* 1 .* 3 "):
        metrics.fwt(R, [0.0])


# Average ROUGE-L after five tasks on Llama-2-7b: SSR (Huang et al., ACL 2024), tables 1 and 5.
PUBLISHED = {"SSR": (52.61, 98.8), "RandSel 1%": (51.16, 94.7), "RandSel 10%": (50.81, 93.7), "L2": (29.22, 32.6),
             "EWC": (15.94, -4.9)}  # fmt: skip


@pytest.mark.parametrize("row", PUBLISHED)
def test_recovery_of_published_numbers(row):
    """The shares that this course quotes follow from the published averages (17.67 naive, 53.05 joint)."""
    value, percent = PUBLISHED[row]
    assert 100 * metrics.recovery(value, 17.67, 53.05) == pytest.approx(percent, abs=0.05)  # printed with one decimal


def test_recovery_and_cut_where_there_is_nothing_to_recover():
    """Dividing by no gap would give infinity, and a cut of no damage is no merit: both are None."""
    assert metrics.recovery(0.5, 0.4, 0.4) is None
    assert metrics.recovery(0.5, naive=0.4, joint=0.3) is None  # joint training is worse
    assert metrics.recovery(2.5, naive=3.0, joint=2.0, higher_is_better=False) == 0.5  # a loss
    assert metrics.recovery(2.5, naive=2.0, joint=3.0, higher_is_better=False) is None
    assert metrics.forgetting_cut(0.1, 0.0) is None and metrics.forgetting_cut(None, None) is None
    assert metrics.forgetting_cut(0.2, 1.0) == pytest.approx(0.8, **EXACT)
    assert metrics.forgetting_cut(-0.1, 1.0) == pytest.approx(1.1, **EXACT)


score = st.floats(-100, 100)
square = st.integers(2, 6).flatmap(
    lambda n: st.tuples(st.lists(st.lists(score, min_size=n, max_size=n), min_size=n, max_size=n),
                        st.lists(score, min_size=n, max_size=n))
)  # fmt: skip


@given(square, st.booleans())
def test_against_the_definitions_in_numpy(case, higher):
    """Any matrix: the same numbers as the formulas of the papers, written with numpy indexing; input left alone."""
    rows, baseline = case
    before = copy.deepcopy(case)
    a, b = np.array(rows), np.array(baseline)
    up = a if higher else -a  # the definitions speak of accuracy; a loss is its negative
    b = b if higher else -b
    n = len(a)
    old = np.arange(n - 1)
    slow = {
        "acc": a[-1].mean(),
        "learning_accuracy": a.diagonal().mean(),
        "aia": np.mean([a[t, : t + 1].mean() for t in range(n)]),
        "bwt": (up[-1, old] - up[old, old]).mean(),
        "fwt": (up[old, old + 1] - b[1:]).mean(),
        "fwt_raw": a[old, old + 1].mean(),
        "forgetting": (up[:-1].max(0)[old] - up[-1, old]).mean(),
        "rise": (a[-1, old] - a[old, old]).mean(),
    }
    got = Matrix([str(i) for i in range(n)], rows, baseline, higher).summary()
    assert got == pytest.approx(slow, rel=1e-9, abs=1e-9)  # another order of addition, values up to 100
    assert case == before


def test_intransigence_by_hand():
    """A task learned worse than jointly counts up, one learned better counts down; a loss turns the sign."""
    assert metrics.intransigence(R, [1.0, 0.8, 0.8]) == pytest.approx((0.1 + 0.0 - 0.1) / 3, **EXACT)
    assert metrics.intransigence([[2.0, 5.0], [3.5, 2.5]], [1.5, 2.5], False) == pytest.approx(0.25, **EXACT)
    with pytest.raises(ValueError, match="joint has 2 scores for 3 tasks; judge the joint model"):
        metrics.intransigence(R, [1.0, 0.8])


def test_spurious_forgetting_comes_back_with_ten_rows():
    """0.8 was lost on two tasks, 0.6 came back: three quarters were never forgotten."""
    assert metrics.spurious([0.9, 0.8], [0.4, 0.5], [0.8, 0.7]) == pytest.approx(0.75, **EXACT)
    assert metrics.spurious([2.0], [4.0], [3.0], higher_is_better=False) == pytest.approx(0.5, **EXACT)
    assert metrics.spurious([0.5], [0.5], [0.9]) is None, "nothing was lost, so nothing can come back"
    gained = metrics.spurious([0.9, 0.5, 0.3], [0.5, 0.8, 0.2], [0.7, 1.0, 0.6])
    assert gained == pytest.approx((0.2 + 0.1) / (0.4 + 0.1), **EXACT), "what was gained is not what was lost"
    assert metrics.spurious([0.9, 0.9], [0.5, 0.5], [0.7, 0.1]) == pytest.approx(0.25, **EXACT), "ten rows may disturb"


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """400 samples of 40 coin tosses a task, two tasks: about 95 % of the intervals hold 0.5.

    The count is binomial, its standard deviation 1.1 points, and the percentile method is a little narrow: from 90 %.
    """
    toss = np.random.default_rng(0).integers(0, 2, (400, 2, 40)).tolist()
    held = sum(low <= 0.5 <= high for low, high in (metrics.interval(groups, draws=200) for groups in toss))
    assert 0.90 <= held / 400 <= 0.98
    low, high = metrics.interval([[0.3] * 5, [0.5]])
    assert (low, high) == pytest.approx((0.4, 0.4), **EXACT), "rows that all agree leave no doubt"
    with pytest.raises(ValueError, match="at least one score in every group"):
        metrics.interval([[0.1], []])
