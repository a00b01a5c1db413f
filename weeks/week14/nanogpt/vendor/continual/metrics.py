# vendored from weeks/week13/continual/metrics.py, sha256 bd435f35b6aba358247ef80b677ade3df3711136029db33099a6af647ef215ee; edit there, then run: make vendor
"""The results matrix and what is read off it. Pure Python: no torch, nothing changed in place.

R[i][j] is the score on task j after training task i; `baseline[j]` the score on task j before any training.
A cell that was not measured is None; a metric that needs it raises, one that does not ignores it.

Sign: with higher_is_better=False (a loss, bits per byte) scores are negated where a metric *compares* two of them.
So a positive BWT or FWT is always good news and a positive forgetting always bad. Averages keep the score's own unit.

With one task learned there is no old task: bwt, fwt, fwt_raw, forgetting and rise are then None, not 0.
"""

import random
from dataclasses import dataclass


@dataclass
class Matrix:
    """The matrix of one run. `rows` may still be fewer than `names`: the tasks learned so far."""

    names: list
    rows: list
    baseline: list | None = None
    higher_is_better: bool = True

    def summary(self):
        """Every metric of this file that needs no second run, by name."""
        up = self.higher_is_better
        return {
            "acc": acc(self.rows),
            "learning_accuracy": learning_accuracy(self.rows),
            "aia": aia(self.rows),
            "bwt": bwt(self.rows, up),
            "fwt": None if self.baseline is None else fwt(self.rows, self.baseline, up),
            "fwt_raw": fwt_raw(self.rows),
            "forgetting": forgetting(self.rows, up),
            "rise": rise(self.rows),
        }


def acc(rows):
    """ACC, final average score: mean_j R[T][j] (Lopez-Paz & Ranzato 2017, section 2)."""
    n = _size(rows)
    return _mean(_cell(rows, n - 1, j) for j in range(n))


def learning_accuracy(rows):
    """LA: mean_i R[i][i], how well each task was learned when its turn came (Riemer et al. 2019)."""
    return _mean(_cell(rows, i, i) for i in range(_size(rows)))


def aia(rows):
    """Average incremental score: the mean over t of the average score on the tasks 1..t after task t."""
    return _mean(_mean(_cell(rows, t, j) for j in range(t + 1)) for t in range(_size(rows)))


def bwt(rows, higher_is_better=True):
    """Backward transfer: mean_{i<T} R[T][i] - R[i][i]. Negative where old tasks got worse (GEM, section 2)."""
    change = rise(rows)
    return change if change is None or higher_is_better else -change


def rise(rows):
    """Mean over the old tasks of R[T][i] - R[i][i], in the score's own unit and sign.

    For bits per byte this is the damage: how far old text has risen. It is BWT with the sign a loss has.
    """
    n = _size(rows)
    return _mean(_cell(rows, n - 1, i) - _cell(rows, i, i) for i in range(n - 1))


def forgetting(rows, higher_is_better=True):
    """Mean_{i<T} of the best R[l][i] over l < T, minus R[T][i] (Chaudhry et al. 2018, section 3).

    The last row is left out of the best: a task that is at its best now has *negative* forgetting. Code that takes the
    best over all rows can never see that. A row before the task was learned (l < i) counts, as in the definition.
    """
    n = _size(rows)
    sign = 1 if higher_is_better else -1

    def best(i):
        _cell(rows, i, i)  # must have been measured; other moments may be missing
        return max(sign * rows[l][i] for l in range(n - 1) if rows[l][i] is not None)

    return _mean(best(i) - sign * _cell(rows, n - 1, i) for i in range(n - 1))


def fwt(rows, baseline, higher_is_better=True):
    """Forward transfer: mean_{i>=2} R[i-1][i] - b_i, what a task was given before its turn (GEM, section 2).

    A ValueError where the baseline has fewer scores than tasks were learned.
    """
    n = _size(rows)
    if len(baseline) < n:
        raise ValueError(f"the baseline has {len(baseline)} scores for {n} tasks; judge every task before training")
    sign = 1 if higher_is_better else -1
    return _mean(sign * (_cell(rows, i - 1, i) - _cell([baseline], 0, i, "baseline")) for i in range(1, n))


def fwt_raw(rows):
    """FWT as in SSR (Huang et al. 2024, section 5.1): mean_{i>=2} R[i-1][i]. A score, not a difference: no baseline."""
    return _mean(_cell(rows, i - 1, i) for i in range(1, _size(rows)))


def recovery(value, naive, joint, higher_is_better=True):
    """Share of the way from naive to joint training: 0 is naive, 1 is joint. Free of scale.

    None where joint training is no better: then nothing was lost that could be recovered.
    """
    gap = joint - naive if higher_is_better else naive - joint
    return None if gap <= 0 else (value - naive) / (joint - naive)


def forgetting_cut(rise_method, rise_naive):
    """Share of naive training's rise that a method avoided: 1 - rise / naive rise. None where naive did not rise.

    Above 1 where old tasks even got better.
    """
    return None if rise_naive is None or rise_naive <= 0 else 1 - rise_method / rise_naive


def intransigence(rows, joint, higher_is_better=True):
    """Mean_i joint[i] - R[i][i]: how much worse a task is learned at its turn than in joint training.

    Chaudhry et al. 2018, section 3, with one joint model of all tasks. `joint`: its score on each task, in the order
    of learning. The other side of forgetting: a method that never moves forgets nothing and is all intransigence.
    A ValueError where `joint` has fewer scores than tasks were learned.
    """
    n = _size(rows)
    if len(joint) < n:
        raise ValueError(f"joint has {len(joint)} scores for {n} tasks; judge the joint model on every task")
    sign = 1 if higher_is_better else -1
    return _mean(sign * (_cell([joint], 0, i, "joint") - _cell(rows, i, i)) for i in range(n))


def spurious(learned, now, realigned, higher_is_better=True):
    """Share of what old tasks lost that a short look at ten old rows each brings back.

    The three are scores on the old tasks: right after each was learned, at the end, and at the end after a few steps
    on ten of its own rows. What so little brings back was never lost: the model only had forgotten how to answer
    ("spurious forgetting", Zheng et al. 2025). 0: all of the loss is real. None where nothing was lost.
    A task that lost nothing does not count, and none counts for more than it lost, or for less than nothing: ten rows
    may teach something new, or disturb.
    """
    sign = 1 if higher_is_better else -1
    lost = [
        (sign * (a - b), sign * (c - b)) for a, b, c in zip(learned, now, realigned, strict=True) if sign * a > sign * b
    ]
    return sum(max(0, min(loss, back)) for loss, back in lost) / sum(loss for loss, _ in lost) if lost else None


def interval(groups, *, level=0.95, draws=1000, seed=0):
    """(low, high): bootstrap interval of the mean over groups of each group's mean (Efron 1979, percentile method).

    groups: for each task the scores of its test rows. Rows are drawn anew inside each task, so a task keeps its weight.
    It tells the chance of the test rows; that of training is told by the spread over seeds.
    """
    if not groups or not all(groups):
        raise ValueError("an interval needs at least one score in every group; judge every task on one row or more")
    draw = random.Random(seed)
    means = sorted(_mean(_mean(draw.choices(group, k=len(group))) for group in groups) for _ in range(draws))
    cut = round((1 - level) / 2 * draws)
    return means[cut], means[draws - 1 - cut]


def _size(rows):
    """Number of tasks learned so far, after checking that every row covers them."""
    if not rows:
        raise ValueError("the matrix has no row; train at least one task")
    for i, row in enumerate(rows):
        if len(row) < len(rows):
            raise ValueError(f"row {i} has {len(row)} scores, but {len(rows)} tasks were trained; give one for each")
    return len(rows)


def _cell(rows, i, j, name="R"):
    if rows[i][j] is None:
        where = f"{name}[{j}]" if name != "R" else f"R[{i}][{j}]"
        raise ValueError(f"{where} was not measured, but this metric needs it; judge task {j} there, or leave it out")
    return rows[i][j]


def _mean(values):
    values = list(values)
    return sum(values) / len(values) if values else None
