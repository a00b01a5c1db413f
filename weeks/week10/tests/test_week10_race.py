"""Two optimizers until the same loss. Day 65: where the crossing lies. Day 66: a run. Day 67: rates, and finished runs.

What is arithmetic is tested by hand, with losses that are made up.
"""

import math

import pytest
import torch
from scaling import race
from scaling.race import Book, Course, Run, Setting, crossing, seconds_at, train, tune
from scaling.vendor.gpt.model import GPTConfig
from scaling.vendor.shared.errors import Mistake


def run(steps, loss, seconds=1.0):
    return Run(steps, loss, seconds, [])


@pytest.mark.day(65)
def test_the_crossing_lies_on_a_line_in_log_steps():
    """Losses 2.0 at 100 steps and 1.0 at 400: 1.5 is reached half way on a log scale, at 200."""
    assert crossing([run(400, 1.0), run(100, 2.0)], 1.5) == pytest.approx(200, rel=1e-12)
    assert crossing([run(100, 2.0), run(400, 1.0)], 1.0) == pytest.approx(400, rel=1e-12)


@pytest.mark.day(65)
def test_a_target_outside_of_what_was_run():
    """Better than the shortest run needs: its length is an upper bound. Better than all: there is no crossing."""
    assert crossing([run(100, 2.0), run(400, 1.0)], 2.5) == 100
    assert crossing([run(100, 2.0), run(400, 1.0)], 0.9) == math.inf


@pytest.mark.day(65)
def test_seconds_follow_the_mean_time_of_a_step():
    assert seconds_at([run(100, 2.0, 10.0), run(300, 1.0, 50.0)], 200) == pytest.approx(30.0)


@pytest.mark.day(66)
@pytest.mark.parametrize("setting", [Setting("adamw", 0.01), Setting("muon", 0.02, rest=0.01)], ids=lambda s: s.name)
def test_a_run_learns_and_repeats(setting):
    """A text of one repeated phrase: the loss falls far below ln V, and the same seed gives the same numbers."""
    tokens = torch.tensor([3, 1, 4, 1, 5, 2, 6, 0] * 60)
    config = GPTConfig(8, 16, 1, 2, 16)
    first = train(config, tokens[:400], tokens[400:], setting, 60, batch_size=8)
    assert first.loss < 0.5 * math.log(8) and len(first.curve) == 8 and first.curve[-1][0] == 60
    again = train(config, tokens[:400], tokens[400:], setting, 60, batch_size=8)
    assert (first.loss, [row[::2] for row in first.curve]) == (again.loss, [row[::2] for row in again.curve])


# --- day 67: rates, and runs that are finished ------------------------------------------------------------------------


class Made:
    """A Book whose runs cost nothing: their loss is a function of the rate alone."""

    def __init__(self, loss):
        self.loss, self.asked = loss, []

    def runs(self, jobs, course, workers=1):
        for job in reversed(jobs):  # as workers may: in any order
            self.asked.append(job)
            loss = self.loss(job[0].lr)
            yield job, None if loss is None else run(job[1], loss)


@pytest.mark.day(67)
@pytest.mark.parametrize("best", [0.3, 0.01, 1.0, 30.0])
def test_a_rate_is_tuned_where_both_neighbours_are_worse(best):
    """The grid grows by its own factor, 3 here, down or up, until its best is inside. No rate is tried twice."""
    book = Made(lambda lr: 2 + math.log(lr / best) ** 2)
    rows = tune(Setting("sgd", 0.0), [0.9, 0.1, 0.3], 70, None, book)
    rates, losses = zip(*rows)
    assert list(rates) == sorted(rates) and {0.1, 0.3, 0.9} <= set(rates) and len(book.asked) == len(rows)
    assert all(high / low == pytest.approx(3) for low, high in zip(rates, rates[1:]))
    lowest = losses.index(min(losses))
    assert 0 < lowest < len(losses) - 1 and abs(math.log(rates[lowest] / best)) < math.log(3) / 2 + 1e-9
    assert all(steps == 70 and setting.name == "sgd" for setting, steps, _ in book.asked)


@pytest.mark.day(67)
def test_a_run_that_blew_up_is_a_row_and_no_winner():
    """None is its loss; a rate below it that is good is then inside of the grid. Where all blow up, it is told."""
    rows = tune(Setting("sgd", 0.0), [0.1, 0.3, 0.9], 70, None, Made(lambda lr: None if lr > 0.5 else 2 - lr))
    assert [loss for _, loss in rows] == [pytest.approx(1.9), pytest.approx(1.7), None]
    with pytest.raises(ValueError, match=r"sgd reached no finite loss at any of the rates \[0.1, 0.3\]; give lower"):
        tune(Setting("sgd", 0.0), [0.1, 0.3], 70, None, Made(lambda lr: None))


@pytest.mark.day(67)
def test_finished_runs_are_not_made_again(tmp_path, monkeypatch):
    """Each run is in the file when it ends, also one that blew up; the same command goes on."""
    path, made = tmp_path / "race.json", []
    course = Course(GPTConfig(8, 16, 1, 2, 16), torch.zeros(9).long(), torch.zeros(9).long(), 2)

    def attempt(job, course, shown):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(job)
        return job, None if job[0].lr > 1 else run(job[1], 2.0)

    monkeypatch.setattr(race, "attempt", attempt)
    jobs = [(Setting("sgd", lr), 5, 0) for lr in (0.5, 2.0, 0.25)]
    with pytest.raises(KeyboardInterrupt):
        list(Book(path).runs(jobs, course))
    made.clear()
    found = dict(Book(path).runs(jobs, course))
    assert made == [jobs[2]] and found == {jobs[0]: run(5, 2.0), jobs[1]: None, jobs[2]: run(5, 2.0)}
    made[:] = jobs[:1]  # room for one
    other = course._replace(tokens=torch.ones(9).long())
    assert dict(Book(path).runs(jobs[2:], other)) and made == [jobs[0], jobs[2]], "another text has runs of its own"
    path.write_text("[1")
    with pytest.raises(Mistake, match="holds no runs of a race .*; move it away to start anew"):
        Book(path)
