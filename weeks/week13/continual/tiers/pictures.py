"""Tier 0: pictures of digits, learned a few classes at a time, or under a new order of the pixels each time.

The three scenarios are those of van de Ven, Tuytelaars & Tolias 2022 ("Three types of incremental learning"). They
differ in what the model is told and what it must answer:

    task    told which task a picture is of; chooses among the two digits of that task
    domain  not told; says only whether it is the first or the second digit of its task, whichever task that is
    class   not told; chooses among all ten digits

Left out: convolutions and colours. A two-layer network on MNIST shows every effect in seconds.
"""

from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from ..learner import Learner
from ..rows import Rows
from ..task import Task
from ..vendor.autograd.data import AGAIN, read_idx, read_labels
from ..vendor.shared.errors import Mistake

CLASSES = 10
EVAL_BATCH = 1000  # pictures judged at once; the score does not depend on it
SCENARIOS = ("task", "domain", "class")


class MLP(nn.Module):
    """Pixels -> two hidden layers with ReLU -> one output a class."""

    def __init__(self, pixels=784, hidden=400, classes=CLASSES):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(pixels, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, classes)
        )

    def forward(self, pixels, targets=None, allowed=None):
        """(B, P) bytes, (B,) targets, (B, C) bool: may this row be of that class? -> (B, C) logits, mean loss or None.

        The logits are of all classes, also of those that are not allowed; only the loss leaves these out.
        """
        logits = self.layers(pixels.float() / 255)
        return logits, None if targets is None else cross_entropy(logits.masked_fill(~allowed, -torch.inf), targets)


class PictureLearner(Learner):
    """Rows of `pixels` (N, P) uint8, `label` (N,) int64 and `allowed` (N, C) bool; one target a row."""

    def count(self, rows):
        return len(rows)

    def mask(self, rows):
        """(N,) bool: every row is one judged place."""
        return torch.ones(len(rows), dtype=torch.bool)

    def embed(self, rows):
        """(N, P) float32: a picture is its pixels, between 0 and 1."""
        return rows.pixels.float().cpu() / 255

    def forward(self, rows):
        """Rows -> (N, C) logits of all classes, and the mean cross-entropy over the allowed ones."""
        rows = rows.to(next(self.model.parameters()).device)
        with self.autocast():
            return self.model(rows.pixels, rows.label, rows.allowed)


def accuracy(learner, task):
    """Percent of the test rows whose best allowed class is the label."""
    right = 0
    for rows in task.test.split(EVAL_BATCH):
        best = learner.logits(rows).masked_fill(~rows.allowed, -torch.inf).argmax(-1)
        right += int((best == rows.label).sum())
    return 100 * right / len(task.test)


def read_mnist(folder):
    """{"train": (pixels (60000, 784) uint8, digits (60000,) int64), "test": ...}; a Mistake where a file is broken."""
    parts = {}
    for part, prefix in (("train", "train"), ("test", "t10k")):
        images, labels = (Path(folder) / f"{prefix}-{end}" for end in ("images-idx3-ubyte", "labels-idx1-ubyte"))
        pixels, digits = torch.tensor(read_idx(images, axes=3)).flatten(1), torch.tensor(read_labels(labels))
        if len(pixels) != len(digits):
            raise Mistake(f"{images} has {len(pixels)} images, {labels} {len(digits)} labels; {AGAIN}")
        parts[part] = pixels, digits
    return parts


def outputs(scenario):
    """How many classes the network tells apart: in domain-incremental learning each task reuses the same two."""
    return 2 if scenario == "domain" else CLASSES


def split_tasks(parts, scenario, seed=0):
    """Five tasks of two digits each. Seed 0 takes the digits in order, any other seed shuffles them first.

    `parts`: as of `read_mnist`. The shuffle is part of the protocol: which digits meet in a task moves a score by
    points, and three seeds with one order would hide that.
    """
    if scenario not in SCENARIOS:
        raise ValueError(f"no scenario is called {scenario!r}; choose one of {', '.join(SCENARIOS)}")
    g = torch.Generator().manual_seed(seed)
    digits = torch.randperm(CLASSES, generator=g).tolist() if seed else list(range(CLASSES))
    place = torch.tensor([digits.index(digit) for digit in range(CLASSES)])  # of a digit in that order
    tasks = []
    for start in range(0, CLASSES, 2):
        rows = {}
        for part, (pixels, labels) in parts.items():
            label = place[labels]
            mine = (label == start) | (label == start + 1)
            label = label[mine] - start if scenario == "domain" else label[mine]
            allowed = torch.ones(len(label), outputs(scenario), dtype=torch.bool)
            if scenario == "task":
                allowed[:, :start] = allowed[:, start + 2 :] = False
            rows[part] = Rows(pixels=pixels[mine], label=label, allowed=allowed)
        tasks.append(Task(f"{digits[start]}/{digits[start + 1]}", rows["train"], test=rows["test"]))
    return tasks


def permuted_tasks(parts, n, seed=0, test_rows=None):
    """`n` tasks of all ten digits, each under its own fixed order of the pixels; the first one leaves them in place.

    Domain-incremental: ten outputs, and nobody says which order a picture has. `test_rows`: pictures that each task is
    judged on, the same ones for all (None: all of them).
    """
    g = torch.Generator().manual_seed(seed)
    size = parts["train"][0].shape[1]
    tasks = []
    for i in range(n):
        order = torch.randperm(size, generator=g) if i else torch.arange(size)
        rows = {}
        for part, (pixels, labels) in parts.items():
            few = slice(test_rows if part == "test" else None)
            allowed = torch.ones(len(labels), CLASSES, dtype=torch.bool)
            rows[part] = Rows(pixels=pixels[few, order], label=labels[few], allowed=allowed[few])
        tasks.append(Task(f"order {i + 1}", rows["train"], test=rows["test"]))
    return tasks
