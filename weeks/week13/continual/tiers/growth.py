"""What one task more costs when many have come before: its last tasks' seconds over those of the first ones, and bytes.

The tasks are texts of made-up words, each with words of its own, so that there can be as many as asked for.
"""

import random

import torch

from ..learner import Learner
from ..rows import windows
from ..task import Task
from .domains import byte_gpt
from .scenario import Scenario
from .scores import bits

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def text(number, size):
    """`size` bytes over thirty made-up words that belong to task `number`."""
    draw = random.Random(number)
    words = ["".join(draw.choices(LETTERS, k=draw.randint(2, 7))) for _ in range(30)]
    made = ""
    while len(made) < size:
        made += f"{draw.choice(words)} "
    return torch.frombuffer(bytearray(made[:size].encode()), dtype=torch.uint8).long()


def scenario(settings, count):
    """`count` tasks of made-up words."""
    length, tasks = settings["length"], []
    for number in range(count):
        rows = windows(text(number, (settings["train_rows"] + settings["valid_rows"]) * length + 1), length)
        tasks.append(Task(f"words-{number}", rows[: settings["train_rows"]], rows[settings["train_rows"] :]))
    return Scenario(
        "growth", tasks,
        learner=lambda seed, method: Learner(byte_gpt(settings, seed)),
        judge=lambda learner, task: {"bits": bits(learner, task.valid)},
        floor=lambda task: {"bits": 8.0},
        settings={**settings, "count": count}, higher_is_better=False, unit="bits per byte",
    )  # fmt: skip


def growth(record):
    """(seconds, extra bytes) of the last tasks over those of the second and those after it: 1 where nothing grows.

    Seconds are the processors', and means of three tasks, for one is too short to time. The first task is left out:
    most methods have nothing to do in it yet. The bytes are None where a method keeps none.
    """
    seconds, kept, n = record["cpu_seconds"], record["extra_bytes"], min(3, len(record["cpu_seconds"]) - 1)
    return sum(seconds[-n:]) / max(sum(seconds[1 : 1 + n]), 1e-9), kept[-1] / kept[1] if kept[1] > 0 else None
