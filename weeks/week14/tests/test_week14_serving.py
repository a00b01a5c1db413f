"""Methods that answer with other weights than those that they train: whoever asks gets the ones that were judged."""

import io
import sys

import pytest
import torch
from nanogpt import checkpoint
from nanogpt.sources import open_model
from nanogpt.vendor.continual.learner import Learner
from nanogpt.workspace.store import open_course, opened
from week14_tiny import SIZES, furnish, record, run

pytestmark = pytest.mark.day(100)

QUICK = "--batch-size 4 --warmup 1 --precision float32".split()
ROWS = [*QUICK, "--lr", "1e-2", "--steps", "80"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Two courses taught with experts: `both` of two tasks on a published model, `texts` of two texts from scratch."""
    home = furnish(tmp_path_factory.mktemp("serving"))
    model = home / "hf"
    for name in ("mood", "colour"):
        rows = ["learn", home / f"{name}.jsonl", "--model", model, "--out", home / "both", "--row-length", 64]
        assert run(*rows, "--method", "experts", *ROWS) == 0
        model = home / "both"
    first = ["train", home / "cats.txt", "--out", home / "texts", *SIZES, "--method", "experts"]
    assert run(*first, *QUICK, "--lr", "5e-3", "--steps", "6") == 0
    argv = ["learn", home / "dogs.txt", "--model", home / "texts", "--out", home / "texts"]
    assert run(*argv, *QUICK, "--lr", "5e-3", "--steps", "6") == 0
    return home


def sampled(folder, prompt, capsys):
    capsys.readouterr()
    argv = ["sample", "--model", folder, "--prompt", prompt, "--max-tokens", 6, "--temperature", 0]
    assert run(*argv, "--precision", "float32") == 0
    return capsys.readouterr().out.strip()


def test_each_prompt_is_answered_as_its_task_was_learned(home, capsys):
    """The second task taught another answer to questions of the same form; nothing of the first is lost, and no row of
    it was kept."""
    (first,), (old, new) = record(home / "both")["scores"]
    assert (first, old, new) == (1.0, 1.0, 1.0)
    assert sampled(home / "both", "is this mood 3", capsys) == "good"
    assert sampled(home / "both", "is this colour 3", capsys) == "blue"
    assert not any(key.endswith(".ids") for key in checkpoint.load_part(home / "both", "state"))


def test_eval_judges_with_the_weights_of_each_row(home, capsys):
    for name in ("mood", "colour"):
        capsys.readouterr()
        assert run("eval", home / f"{name}.jsonl", "--model", home / "both", "--precision", "float32") == 0
        assert capsys.readouterr().out.startswith("100.0 % of 20 answers right")


def test_a_chat_may_go_from_task_to_task(home, capsys, monkeypatch):
    """Each turn is answered by the expert of its own line, which reads what was said before anew."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("is this mood 4\n/reset\nis this colour 4\n/reset\nis this mood 5\n"))
    assert run("chat", "--model", home / "both", "--temperature", 0, "--max-tokens", 4, "--precision", "float32") == 0
    said = capsys.readouterr().out
    assert [word for word in said.replace(">", " ").split() if word in ("good", "blue")] == ["good", "blue", "good"]


def test_a_text_is_judged_by_all_experts_together(home, capsys):
    """What the matrix says is what eval says; of the first text no more is lost than Bayes' rule costs."""
    (first,), (old, _) = record(home / "texts")["scores"]
    text = open_course(home / "texts").exams["cats"]
    (home / "exam.txt").write_text(text)
    capsys.readouterr()
    assert run("eval", home / "exam.txt", "--model", home / "texts") == 0
    assert float(capsys.readouterr().out.split()[0]) == pytest.approx(old, abs=5e-5)
    assert old < first + 1.0 / 16 + 1e-6  # bits a token of rows of 16; a token is at least a byte


def test_a_prompt_longer_than_the_context_is_served_too(home, capsys):
    assert sampled(home / "texts", "The cat sat on the mat and looked at the moon. " * 3, capsys)


def test_what_chooses_by_the_prompt_cannot_be_exported(home, tmp_path, capsys):
    assert run("export", tmp_path / "out", "--model", home / "both") == 1
    assert "has weights for each task and chooses by the prompt, which transformers cannot" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_averaged_weights_are_what_is_exported(home, tmp_path):
    """EMA serves slow weights: the exported model is these, not the ones that were trained last."""
    argv = ["learn", home / "mood.jsonl", "--model", home / "hf", "--out", tmp_path / "m", "--row-length", 64, *ROWS]
    assert run(*argv, "--method", "ema", "--decay", "0.9") == 0
    assert run("export", tmp_path / "out", "--model", tmp_path / "m") == 0
    tokens = torch.tensor([[5, 80, 200, 12, 7]])
    loaded, method = opened(tmp_path / "m")
    with torch.no_grad(), method.serving(Learner(loaded.model), [5]):
        served = loaded.model(tokens)[0]
    with torch.no_grad():
        exported, last = open_model(tmp_path / "out").model(tokens)[0], loaded.model(tokens)[0]
    torch.testing.assert_close(exported, served, rtol=1e-4, atol=1e-3)  # W + sBA in one sum
    assert (last - served).abs().max() > 0.01, "or the average was never another"
