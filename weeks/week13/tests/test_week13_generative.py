"""Generative replay: what is kept is the model's own, it is like what it learned, and it holds."""

import pytest
import torch
from continual import Learner, Rows, Task, all_judged, learn, make
from continual.tiers.domains import byte_gpt
from week13_questions import TEXT, learner, task

pytestmark = pytest.mark.day(91)

SHAPE = dict(n_layer=1, n_head=2, n_embd=32, length=16)


def letters(name, which, n=60):
    """Rows over the letters `which`, each letter followed by the next one of them."""
    starts = torch.randint(len(which), (n, 1), generator=torch.Generator().manual_seed(len(name)))
    places = (starts + torch.arange(17)) % len(which)
    return Task(name, all_judged(torch.tensor([ord(c) for c in which])[places]))


def taught(method, who, tasks, steps=60):
    for one in tasks:
        learn(who, method, one, steps=steps, batch_size=8,
              make_optimizer=lambda named: torch.optim.AdamW(named.values(), lr=1e-2))  # fmt: skip


def test_what_is_kept_is_written_by_the_model_in_the_manner_of_the_task():
    """Only the first token comes from a row of the task. The rest follows the rule that the model has learned; fresh
    weights write something else."""
    follows = lambda a, b: (a + 1 - ord("a")) % 5 + ord("a") == b
    rule = lambda rows: [follows(a, b) for row in rows.ids.tolist() for a, b in zip(row, row[1:-1])]
    share = {}
    for steps in (0, 60):
        method, who = make("generative-replay", dict(keep_rows=20)), Learner(byte_gpt(SHAPE, 0))
        taught(method, who, [letters("low", "abcde")], steps)
        rows = method.memory.rows
        assert len(rows) == 20 and set(rows.ids[:, 0].tolist()) <= set(map(ord, "abcde"))
        assert rows.judged[:, 1:16].all() and not rows.judged[:, 0].any()
        share[steps] = sum(rule(rows)) / len(rule(rows))
    assert share[0] < 0.1 < 0.9 < share[60]


def test_tasks_share_the_memory_and_old_rows_stay():
    method, who = make("generative-replay", dict(keep_rows=20)), Learner(byte_gpt(SHAPE, 0))
    taught(method, who, [letters("low", "abcde")])
    first = set(map(tuple, method.memory.rows.ids.tolist()))
    taught(method, who, [letters("high", "vwxyz")])
    assert method.memory.counts() == {"low": 10, "high": 10}
    old = [tuple(row) for row, owner in zip(method.memory.rows.ids.tolist(), method.memory.tasks) if owner == "low"]
    assert set(old) <= first


@pytest.mark.parametrize("share", [0.0, 0.35])
def test_no_row_of_the_user_is_kept_whatever_the_share(share):
    """With a share of 0 nothing is rehearsed in this task; once the user's own rows were then kept for the next."""
    method, who = make("generative-replay", dict(keep_rows=20, share=share)), Learner(byte_gpt(SHAPE, 0))
    low = letters("low", "abcde")
    taught(method, who, [low], steps=0)  # fresh weights: none of their rows is one of the task's by chance
    kept = set(map(tuple, method.memory.rows.ids[:, :16].tolist()))
    assert len(method.memory) == 20 and not kept & set(map(tuple, low.train.ids[:, :16].tolist()))


def test_it_forgets_less_than_naive_training():
    low, loss = letters("low", "abcde"), {}
    for name in ("naive", "generative-replay"):
        method, who = make(name, dict(keep_rows=40) if name != "naive" else {}), Learner(byte_gpt(SHAPE, 0))
        taught(method, who, [low, letters("other", "edcba")])  # the second task turns the first one round
        with torch.no_grad():
            loss[name] = who.loss(low.train).item()
    assert loss["generative-replay"] < loss["naive"] / 2


def test_with_a_vocabulary_of_prompts_it_begins_where_prompts_begin():
    method, who = make("generative-replay", dict(keep_rows=6)), learner()
    method.finish(who, task("a"))
    opening = TEXT.opening()
    assert (method.memory.rows.ids[:, : len(opening)] == torch.tensor(opening)).all()
    assert method.memory.rows.shape() == task("a").train.shape()


def test_rows_that_no_model_writes_are_refused():
    pictures = Task("digits", Rows(pixels=torch.zeros(2, 4), label=torch.zeros(2)))
    with pytest.raises(ValueError, match="'digits' has rows of pixels, label; a model writes only ids"):
        make("generative-replay").start(learner(), pictures)
