"""The copying task has one right answer and no shortcut; the scores are right; the job writes what it measured."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from gpt.ablations import build
from gpt.induction import Copying, copying_accuracy, head_scores, is_known, repeated_rows, train_copier
from gpt.model import GPTConfig
from torch import nn

pytestmark = pytest.mark.day(49)
TASK = Copying(vocab_size=20, block_size=12, shortest=3, n_head=2, n_embd=8, steps=4, batch_size=8, lr=1e-3)


def rows(n=50, seed=0):
    return repeated_rows(TASK, n, torch.Generator().manual_seed(seed))


def test_a_row_ends_with_a_piece_twice_and_has_no_other_repetition():
    tokens, lengths = rows()
    assert tokens.shape == (50, 13) and set(lengths.flatten().tolist()) == {3, 4, 5, 6}
    for row, P in zip(tokens.tolist(), lengths.flatten().tolist()):
        assert row[-P:] == row[-2 * P : -P]
        assert len(set(row[:-P])) == 13 - P


def test_known_is_what_could_be_copied():
    """By the plain definition: the token at hand occurred before, and then the right token followed."""
    tokens, lengths = rows()
    for row, known in zip(tokens.tolist(), is_known(TASK, lengths).tolist()):
        for t, said in enumerate(known):
            assert said is any(row[s] == row[t] and row[s + 1] == row[t + 1] for s in range(t))


class Copier(nn.Module):
    """A model that is right where it should be: it finds the token at hand and gives what followed, else token 0."""

    def forward(self, tokens):
        logits = torch.zeros(*tokens.shape, TASK.vocab_size)
        logits[..., 0] = 0.5
        for b, row in enumerate(tokens.tolist()):
            for t, token in enumerate(row):
                if token in row[:t]:
                    logits[b, t, row[row.index(token) + 1]] = 1.0
        return logits, None


def test_the_rule_itself_copies_without_a_mistake():
    """An induction rule written out scores 1 exactly; a fresh model is far from it."""
    tokens, lengths = rows()
    assert copying_accuracy(Copier(), TASK, tokens, lengths) == 1.0
    torch.manual_seed(0)
    fresh = build("no MLP", GPTConfig(20, 12, 2, 2, 8))
    assert copying_accuracy(fresh, TASK, tokens, lengths) < 0.4


def test_heads_that_look_evenly_have_the_scores_of_counting():
    """With all scores equal, position t gives each of its t + 1 tokens 1 / (t + 1): both scores are that mean.

    float32: 1e-6.
    """
    model = build("no MLP", GPTConfig(20, 12, 2, 2, 8))
    for block in model.blocks:
        nn.init.zeros_(block.attn.qkv.weight)
    tokens, lengths = rows()
    known = is_known(TASK, lengths)
    even = (1 / (torch.arange(12) + 1.0)).expand_as(known)[known].mean().item()
    for score in head_scores(model, TASK, tokens, lengths).values():
        torch.testing.assert_close(score, torch.full((2, 2), even), rtol=0, atol=1e-6)


def test_a_head_that_looks_one_back_has_that_score(monkeypatch):
    """Maps made by hand: layer 0 looks one back, layer 1 at what followed the token at hand."""
    tokens, lengths = rows(5)
    maps = torch.zeros(2, 5, 1, 12, 12)
    for b, P in enumerate(lengths.flatten().tolist()):
        for t in range(1, 12):
            maps[0, b, 0, t, t - 1] = 1.0
            maps[1, b, 0, t, max(0, t - P + 1)] = 1.0
    monkeypatch.setattr("gpt.induction.attention_maps", lambda model, seen: maps)
    scores = head_scores(None, TASK, tokens, lengths)
    assert scores["previous"].flatten().tolist() == [1.0, 0.0]
    assert scores["induction"].flatten().tolist() == [0.0, 1.0]


def test_training_repeats_with_its_seed():
    runs = [[loss for _, loss, _ in train_copier(TASK, 1, seed)] for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (dict(shortest=1), "a piece of 1 tokens does not fit twice .* give shortest = 2 or more, at most 6"),
        (dict(shortest=7), "a piece of 7 tokens does not fit twice into rows of 13"),
        (dict(vocab_size=11), "11 tokens are too few for 12 positions .* give vocab_size = 12 or more"),
    ],
)
def test_a_task_that_cannot_be_is_refused(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        Copying(**{**TASK.__dict__, **change})


def test_a_smoke_run_writes_its_results(tmp_path):
    """Two numbers for the page, each a mean over the seeds of the runs that stand beside it."""
    spec = importlib.util.spec_from_file_location(
        "week0708_induction_job", Path(__file__).resolve().parents[1] / "induction.py"
    )
    job = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(job)
    metrics = job.main(["--preset", "smoke", "--out", str(tmp_path), "--threads", "1"])
    assert json.loads((tmp_path / "induction-smoke.json").read_text())["metrics"] == metrics
    for layers, word in ((1, "one"), (2, "two")):
        last = [run["curve"][-1][1] for run in metrics["runs"] if run["n_layer"] == layers]
        assert len(last) == metrics["seeds"] == 3
        assert metrics[f"induction_{word}_layer_acc"] == pytest.approx(sum(last) / 3, abs=1e-12)
    assert {run["seed"] for run in metrics["runs"]} == {0, 1, 2}
    trace = json.loads((tmp_path / "traces" / "induction-smoke.json").read_text())
    assert len(trace["map"]) == len(trace["tokens"]) - 1 == len(trace["map"][0])
