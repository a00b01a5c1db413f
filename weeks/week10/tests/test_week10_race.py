"""Day 65: two optimizers until the same loss; where the crossing lies is arithmetic, so it is tested by hand."""

import math

import pytest
import torch
from scaling.race import Run, Setting, crossing, seconds_at, train
from scaling.vendor.gpt.model import GPTConfig

pytestmark = pytest.mark.day(65)


def run(steps, loss, seconds=1.0):
    return Run(steps, loss, seconds, [])


def test_the_crossing_lies_on_a_line_in_log_steps():
    """Losses 2.0 at 100 steps and 1.0 at 400: 1.5 is reached half way on a log scale, at 200."""
    assert crossing([run(400, 1.0), run(100, 2.0)], 1.5) == pytest.approx(200, rel=1e-12)
    assert crossing([run(100, 2.0), run(400, 1.0)], 1.0) == pytest.approx(400, rel=1e-12)


def test_a_target_outside_of_what_was_run():
    """Better than the shortest run needs: its length is an upper bound. Better than all: there is no crossing."""
    assert crossing([run(100, 2.0), run(400, 1.0)], 2.5) == 100
    assert crossing([run(100, 2.0), run(400, 1.0)], 0.9) == math.inf


def test_seconds_follow_the_mean_time_of_a_step():
    assert seconds_at([run(100, 2.0, 10.0), run(300, 1.0, 50.0)], 200) == pytest.approx(30.0)


@pytest.mark.parametrize("setting", [Setting("adamw", 0.01), Setting("muon", 0.02, rest=0.01)], ids=lambda s: s.name)
def test_a_run_learns_and_repeats(setting):
    """A text of one repeated phrase: the loss falls far below ln V, and the same seed gives the same numbers."""
    tokens = torch.tensor([3, 1, 4, 1, 5, 2, 6, 0] * 60)
    config = GPTConfig(8, 16, 1, 2, 16)
    first = train(config, tokens[:400], tokens[400:], setting, 60, batch_size=8)
    assert first.loss < 0.5 * math.log(8) and len(first.curve) == 8 and first.curve[-1][0] == 60
    again = train(config, tokens[:400], tokens[400:], setting, 60, batch_size=8)
    assert (first.loss, [row[::2] for row in first.curve]) == (again.loss, [row[::2] for row in again.curve])
