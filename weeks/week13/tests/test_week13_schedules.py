"""The exam of the schedules over tasks: where the rate is at each task's beginning and end, by hand."""

import pytest
import torch
from continual import Learner, Strategy, Task, learn_sequence, windows
from continual.schedules import SCHEDULES
from continual.vendor.gpt.model import GPT, GPTConfig

pytestmark = pytest.mark.day(89)

STEPS = 200
# name -> (first rate, highest rate, rate at the last step) of each of three tasks; a cosine's last step lies just above
# the floor of 0.1, and a warm-up of 2 of 200 steps begins at 1/3, one of 6 of 600 at 1/7; 0.785 is
# 0.1 + 0.45 * (1 + cos(pi * 193 / 594)) and so on
EXAM = {
    "rewarm": [(1 / 3, 1, 0.1)] * 3,
    "stay_low": [(1 / 3, 1, 0.1), (0.1, 0.1, 0.1), (0.1, 0.1, 0.1)],
    "once": [(1 / 7, 1, 0.785), (0.783, 0.783, 0.331), (0.329, 0.329, 0.1)],
}


def test_every_schedule_takes_the_exam():
    assert EXAM.keys() == SCHEDULES.keys()


@pytest.mark.parametrize("name", EXAM)
def test_the_rate_of_each_task(name):
    for i, (first, highest, last) in enumerate(EXAM[name]):
        schedule = SCHEDULES[name](i, 3, STEPS)
        rates = [schedule(step) for step in range(STEPS)]
        assert [rates[0], max(rates), rates[-1]] == pytest.approx([first, highest, last], abs=2e-3)
        assert all(0 < rate <= 1 for rate in rates)


@pytest.mark.parametrize("name", EXAM)
def test_the_loop_takes_them(name):
    """Three tasks of three steps: the rates that the steps took are those of the schedule, task by task."""
    tasks = [Task(str(i), windows(torch.arange(40) % 7, 5)) for i in range(3)]
    learner, took = Learner(GPT(GPTConfig(7, 5, n_layer=1, n_head=1, n_embd=4))), []
    learn_sequence(
        learner, Strategy(), tasks, evaluate=lambda learner, task: 0.0, steps=3, batch_size=2,
        schedules=SCHEDULES[name], on_step=lambda step, info: took.append(info["lr"]),
        make_optimizer=lambda named: torch.optim.SGD(named.values(), lr=0.5),
    )  # fmt: skip
    assert took == [0.5 * SCHEDULES[name](i, 3, 3)(step) for i in range(3) for step in range(3)]
