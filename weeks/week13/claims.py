"""Week 13: what three papers claim of penalties, of tiny memories and of own answers, asked of digits and short text.

    python weeks/week13/claims.py ewc-holds ewc-learns ewc-shares       # permuted MNIST
    python weeks/week13/claims.py tiny-helps tiny-gem tiny-ring         # split MNIST, ten classes, ten kept rows
    python weeks/week13/claims.py ssr-own-answers ssr-kmeans            # three classifications, a small byte-level base

The pages are papers/kirkpatrick2017_ewc.md, papers/chaudhry2019_tiny_memories.md and papers/huang2024_ssr.md; the
predictions are in papers/claims.toml. Claims that look at the same runs share them: name them in one command.
"""

import sys
from functools import cache
from pathlib import Path

import torch
from continual import Rows, Task, learn_sequence, make
from continual.tiers import labels
from continual.tiers.pictures import CLASSES, MLP, PictureLearner, accuracy, permuted_tasks, read_mnist, split_tasks
from continual.vendor.shared import claims
from continual.vendor.shared.errors import entry
from continual.vendor.shared.files import need
from continual.vendor.shared.results import models_folder

DATA = Path(__file__).resolve().parents[2] / "data"
TRAIN, TEST = 10_000, 2_000  # pictures
HIDDEN, RATE = 100, 1e-3


@cache
def mnist():
    parts = read_mnist(need(DATA / "mnist", "make data/mnist"))
    return {part: (pixels[:n], digits[:n]) for n, (part, (pixels, digits)) in zip((TRAIN, TEST), parts.items())}


def digits(run, seed, tasks, name, config, *, steps, batch):
    """(Matrix in percent, learner): a network of two hidden layers learns the tasks in order."""
    torch.manual_seed(seed)
    learner, steps = PictureLearner(MLP(hidden=HIDDEN)), run.steps(steps)
    ticks = iter(run.bar(range(steps * len(tasks)), total=steps * len(tasks), label=name))
    matrix = learn_sequence(
        learner, make(name, config, seed=seed), tasks, evaluate=accuracy, baseline=False, steps=steps,
        batch_size=batch, clip=None, seed=seed, on_step=lambda step, info: next(ticks),
        make_optimizer=lambda named: torch.optim.Adam(named.values(), lr=RATE),
    )  # fmt: skip
    next(ticks, None)  # closes the bar
    return matrix, learner


# --- Kirkpatrick et al. 2017: EWC -------------------------------------------------------------------------------------

ORDERS, PERMUTED = 3, dict(steps=200, batch=64)
STRENGTHS = {"ewc": (10.0, 100.0, 1000.0), "l2": (0.01, 0.1, 1.0)}
FISHER = dict(labels="model", fisher_rows=200)  # one target drawn from the prediction, row by row
SQUARES = {"near": 8, "far": 26}  # side of the part of a picture whose pixels are mixed, of 28


@claims.once
def permuted(run, seed, name, strength=0.0):
    """(ACC, learning accuracy) in percent after all orders of the pixels."""
    config = {} if name == "naive" else dict(strength=strength) | (FISHER if name == "ewc" else {})
    matrix, _ = digits(run, seed, permuted_tasks(mnist(), ORDERS, seed), name, config, **PERMUTED)
    found = matrix.summary()
    return found["acc"], found["learning_accuracy"]


def best(run, seed, name):
    """(ACC, learning accuracy) at the strength of the highest ACC."""
    return max(permuted(run, seed, name, strength) for strength in STRENGTHS[name])


def ewc_holds(seed, run):
    """Accuracy on all tasks at the end, EWC at its best strength less naive training."""
    (ewc, learned), (naive, _) = best(run, seed, "ewc"), permuted(run, seed, "naive")
    return {"value": ewc - naive, "ewc": ewc, "naive": naive, "ewc_learned": learned}


def ewc_learns(seed, run):
    """Accuracy on all tasks at the end, EWC less L2, each at its best strength."""
    (ewc, ewc_learned), (l2, l2_learned) = best(run, seed, "ewc"), best(run, seed, "l2")
    return {"value": ewc - l2, "ewc": ewc, "l2": l2, "ewc_learned": ewc_learned, "l2_learned": l2_learned}


def mixed(side, seed):
    """Two tasks: pictures as they are, and with the pixels of a square of `side` in their middle mixed."""
    middle = torch.zeros(28, 28, dtype=torch.bool)
    edge = (28 - side) // 2
    middle[edge : 28 - edge, edge : 28 - edge] = True
    places, order = middle.flatten().nonzero().flatten(), torch.arange(28 * 28)
    order[places] = places[torch.randperm(len(places), generator=torch.Generator().manual_seed(seed))]
    (plain,) = permuted_tasks(mnist(), 1)
    change = lambda rows: Rows(**{**rows.tensors, "pixels": rows.pixels[:, order]})
    return [plain, Task("mixed", change(plain.train), test=change(plain.test))]


def overlap(one, other):
    """1 where two Fishers lie on the same weights, 0 where on others: 1 - d^2, d of Frechet, each of trace 1."""
    return (one / one.sum() * (other / other.sum())).sqrt().sum().item()


@claims.once
def shared(run, seed, far):
    """[overlap of the two tasks' Fishers in each layer], from the input on."""
    tasks = mixed(SQUARES[far], seed)
    _, learner = digits(run, seed, tasks, "ewc", FISHER | dict(strength=STRENGTHS["ewc"][1]), **PERMUTED)
    first, second = (make("ewc", FISHER, seed=seed).importance(learner, task) for task in tasks)
    return [overlap(first[f"layers.{i}.weight"], second[f"layers.{i}.weight"]) for i in (0, 2, 4)]


def ewc_shares(seed, run):
    """Overlap of two tasks' Fishers in the first layer, little mixed less much mixed."""
    near, far = shared(run, seed, "near"), shared(run, seed, "far")
    return {"value": near[0] - far[0], "near": near[0], "far": far[0], "last_near": near[-1], "last_far": far[-1]}


# --- Chaudhry et al. 2019: tiny memories ------------------------------------------------------------------------------

ONE_EACH = CLASSES  # kept rows: one for each digit
SPLIT = dict(steps=150, batch=10)
TINY = {
    "naive": ("naive", {}),
    "ring": ("replay", dict(keep_rows=ONE_EACH, replay_rows=10)),
    "reservoir": ("replay", dict(keep_rows=ONE_EACH, replay_rows=10, memory="reservoir")),
    "gem": ("a-gem", dict(keep_rows=ONE_EACH, reference_rows=10)),
}


@claims.once
def split(run, seed, row):
    """ACC in percent after five tasks of two digits, where all ten are to be told apart."""
    name, config = TINY[row]
    matrix, _ = digits(run, seed, split_tasks(mnist(), "class", seed), name, config, **SPLIT)
    return matrix.summary()["acc"]


def tiny(one, other, about):
    """An experiment: the ACC of one row of TINY less that of another."""

    def ask(seed, run):
        found = {row: split(run, seed, row) for row in (one, other)}
        return {"value": found[one] - found[other], **found}

    ask.__doc__ = about
    return ask


# --- Huang et al. 2024: SSR -------------------------------------------------------------------------------------------

TASKS = ("trec-6", "sms-spam", "sarcasm")
KEPT = dict(keep_rows=24, replay_rows=4)
BYTES = 257  # and the end of a text: no merges
TEXT = dict(n_layer=2, n_head=4, n_embd=64, vocab_size=BYTES, length=96, batch_size=8, lr=1e-3, train_rows=300,
            test_rows=60, valid_rows=20, base_batch=16, base_lr=3e-3, base_rows=5_000)  # fmt: skip
STEPS, BASE_STEPS = 80, 200


@cache
def texts(steps, base_steps):
    settings = TEXT | dict(steps=steps, base_steps=base_steps)
    return labels.scenario(DATA, settings, models_folder(__file__, None), TASKS)


@claims.once
def classified(run, seed, name, memory="balanced"):
    """Mean share of right labels on all tasks at the end."""
    whole = texts(run.steps(STEPS), run.steps(BASE_STEPS))
    learner, settings = whole.learner(seed, name), whole.settings
    matrix = learn_sequence(
        learner, make(name, KEPT | dict(memory=memory), seed=seed), whole.tasks, baseline=False,
        evaluate=lambda learner, task: share(whole.judge(learner, task)["likelihood"]),
        steps=settings["steps"], batch_size=settings["batch_size"], seed=seed,
        make_optimizer=lambda named: torch.optim.AdamW(named.values(), lr=settings["lr"]),
    )  # fmt: skip
    return matrix.summary()["acc"]


def share(scores):
    return sum(scores) / len(scores)


def ssr_own_answers(seed, run):
    """Mean share right at the end, kept questions with own answers less with the true ones."""
    own, true = classified(run, seed, "self-labels"), classified(run, seed, "replay")
    return {"value": own - true, "own": own, "true": true}


def ssr_kmeans(seed, run):
    """Mean share right at the end, rows nearest the centres of clusters less random ones."""
    near, random = classified(run, seed, "replay", "kmeans"), classified(run, seed, "replay")
    return {"value": near - random, "kmeans": near, "random": random}


CLAIMS = {
    "ewc-holds": ewc_holds, "ewc-learns": ewc_learns, "ewc-shares": ewc_shares,
    "tiny-helps": tiny("ring", "naive", "Accuracy at the end with one kept row a class less without any."),
    "tiny-gem": tiny("ring", "gem", "Accuracy at the end, replay of one row a class less A-GEM with the same rows."),
    "tiny-ring": tiny("ring", "reservoir", "Accuracy at the end, ten rows shared out evenly less a reservoir of ten."),
    "ssr-own-answers": ssr_own_answers, "ssr-kmeans": ssr_kmeans,
}  # fmt: skip


def main(argv=None):
    return claims.main(__file__, CLAIMS, __doc__, argv)


if __name__ == "__main__":
    sys.exit(entry(main))
