"""What people reported of programs like this one, tried through the commands: one number wherever it is asked."""

import io
import json
import re
import runpy
import sys
from pathlib import Path

import pytest
import torch
from nanogpt import checkpoint
from nanogpt.formats import hf_folder
from nanogpt.formats.published import Published
from nanogpt.kinds import kind_of
from nanogpt.sources import open_model
from nanogpt.vendor.bpe.fast import Tokenizer
from nanogpt.vendor.shared.files import locked
from week14_tiny import WORDS, publish, run, tiny_model

pytestmark = pytest.mark.day(100)

QUICK = "--batch-size 8 --lr 2e-2 --warmup 1 --row-length 64 --precision float32".split()
SIZES = "--vocab-size 280 --block-size 16 --n-layer 1 --n-head 2 --n-kv-head 1 --n-embd 16 --steps 1".split()


def write_rows(path, pairs):
    path.write_text("".join(json.dumps({"prompt": p, "response": r}) + "\n" for p, r in pairs))
    return path


@pytest.mark.parametrize("tie", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("targets", ["head", "attn.q", "mlp.up,mlp.down", "all-linear"])
def test_one_number_in_learn_eval_and_export(tmp_path, capsys, targets, tie):
    """An adapter on the head of a tied model once changed the embedding too, when it was folded in: 100 % in learn was
    0 % in eval. Judged in learn, read back, folded in and exported, the model is one."""
    publish(tmp_path / "hf", tie=tie)
    rows = write_rows(tmp_path / "mood.jsonl", [(f"is this {w} {i}", a) for i in range(4)
                                                for w, a in (("great", "good"), ("awful", "bad"))])  # fmt: skip
    argv = ["learn", rows, "--exam", rows, "--model", tmp_path / "hf", "--out", tmp_path / "m", "--targets", targets]
    assert run(*argv, *QUICK, "--steps", 30) == 0
    learned = checkpoint.read_index(tmp_path / "m")["record"]["scores"][0][0]
    capsys.readouterr()
    assert run("eval", rows, "--model", tmp_path / "m", "--precision", "float32") == 0
    assert float(capsys.readouterr().out.split(" %")[0]) == pytest.approx(100 * learned, abs=0.05)
    assert run("export", tmp_path / "out", "--model", tmp_path / "m") == 0
    assert run("import", tmp_path / "out", "--out", tmp_path / "own") == 0
    tokens = torch.tensor([[5, 80, 300, 12, 7]])
    with torch.no_grad():
        whole = open_model(tmp_path / "m").model(tokens)[0]
        others = [open_model(tmp_path / "m", fold=True), open_model(tmp_path / "out"), open_model(tmp_path / "own")]
        for other in others:
            torch.testing.assert_close(other.model(tokens)[0], whole, rtol=1e-4, atol=1e-3)  # W + sBA in one sum


def test_a_published_end_is_the_end_everywhere(tmp_path, capsys):
    """A folder whose eos is called <eos> was taken in, and then no command knew where a document ends."""
    model, _ = tiny_model()
    tokenizer = Tokenizer.train(WORDS * 4, model.config.vocab_size - 1, special_tokens=("<eos>",))
    hf_folder.write(tmp_path / "hf", Published(model.config, checkpoint.weights(model), tokenizer, None, "", "<eos>"))
    text = tmp_path / "sea.txt"
    text.write_text("the sky is blue, the sea is red, lovely nice.\n" * 60)
    assert run("import", tmp_path / "hf", "--out", tmp_path / "own") == 0
    for model in ("hf", "own"):
        assert run("sample", "--model", tmp_path / model, "--prompt", "the sky", "--max-tokens", 3) == 0
        assert run("eval", text, "--model", tmp_path / model) == 0
        out = tmp_path / f"{model}-taught"
        argv = ["learn", text, "--model", tmp_path / model, "--out", out, "--row-length", 24, "--batch-size", 2]
        assert run(*argv, "--steps", 2) == 0
        assert run("export", tmp_path / f"{model}-out", "--model", out) == 0
    written = json.loads((tmp_path / "own-out/config.json").read_text())
    assert written["eos_token_id"] == tokenizer.special_tokens["<eos>"]


def test_a_text_beside_the_folder_one_works_in(tmp_path, monkeypatch, capsys):
    """`cd data/bible && nanogpt train train.txt`: the name is that of the folder, though the path does not show it."""
    (tmp_path / "bible").mkdir()
    (tmp_path / "bible/train.txt").write_text("And the Lord said to the man, Where are you?\n" * 40)
    monkeypatch.chdir(tmp_path / "bible")
    assert run("train", "train.txt", "--out", "m", *SIZES) == 0
    assert checkpoint.read_index("m")["record"]["learned"] == ["bible"]


def test_a_relative_base_is_found_from_anywhere(tmp_path, monkeypatch):
    """`--model ./hf/` was kept as it was typed, and opened from nowhere else."""
    publish(tmp_path / "hf")
    rows = write_rows(tmp_path / "a.jsonl", [(f"is this nice {i}", "good") for i in range(4)])
    monkeypatch.chdir(tmp_path)
    assert run("learn", rows, "--model", "./hf/", "--out", "m", *QUICK, "--steps", 1) == 0
    monkeypatch.chdir("/")
    assert open_model(tmp_path / "m").base["model"] == str(tmp_path / "hf")


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_another_base_under_an_adapter_is_told(tmp_path, capsys, name):
    """The weights alone are not the model: its rope_theta, tokenizer and template are as much of it."""
    publish(tmp_path / "hf")
    rows = write_rows(tmp_path / "a.jsonl", [(f"is this nice {i}", "good") for i in range(4)])
    assert run("learn", rows, "--model", tmp_path / "hf", "--out", tmp_path / "m", *QUICK, "--steps", 1) == 0
    path = tmp_path / "hf" / name
    fields = json.loads(path.read_text())
    if name == "config.json":
        fields = json.loads(re.sub(r'("rope_theta": )[\d.]+', r"\g<1>5000.0", json.dumps(fields)))
    else:
        fields["chat_template"] = fields["chat_template"].replace("user", "user ") + " "
    path.write_text(json.dumps(fields))
    assert run("sample", "--model", tmp_path / "m", "--prompt", "nice", "--max-tokens", 2) == 1
    said = capsys.readouterr().err
    assert "was trained on another" in said and ("config" if name == "config.json" else "template") in said


def test_a_tilde_behind_an_equals_sign_is_the_home(tmp_path, monkeypatch, capsys):
    """No shell expands `--out=~/m`: the model went into a folder called ~, and `--model=~/m` did not find it there."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    text = tmp_path / "sea.txt"
    text.write_text("the sky is blue, the sea is red, lovely nice.\n" * 60)
    assert run("train", text, "--out=~/my m", *SIZES) == 0 and not (tmp_path / "~").exists()
    assert capsys.readouterr().out.endswith(f"; try: nanogpt sample --model '{tmp_path}/home/my m'\n")  # to be typed
    (tmp_path / "sky.txt").write_text("the sea is red, the sky is awful.\n" * 60)
    assert run("learn", tmp_path / "sky.txt", "--model=~/my m", "--out=~/my m", "--steps", 1) == 0
    assert checkpoint.read_index(tmp_path / "home/my m")["record"]["learned"] == ["sea", "sky"]
    assert run("sample", "--model", "~nobody-here/m") == 1
    assert "no model at ~nobody-here/m: there is no such folder" in capsys.readouterr().err


def test_rows_are_rows_in_capitals():
    """`SPAM.JSONL` was learned as plain text, braces and all."""
    assert kind_of(Path("SPAM.JSONL")) == kind_of(Path("spam.jsonl")) == "answers" and kind_of(Path("a.TXT")) == "text"


def test_an_import_waits_for_no_other_command(tmp_path, capsys):
    """It writes a folder, so it takes the lock as all others: else it would save between two saves of a training."""
    publish(tmp_path / "hf")
    with locked(tmp_path / "m"):
        assert run("import", tmp_path / "hf", "--out", tmp_path / "m") == 1
    assert "another command is at work" in capsys.readouterr().err and not (tmp_path / "m/checkpoint.json").exists()
    assert run("import", "someone/else", "--out", tmp_path / "m") == 1  # and to train a model is no advice for this
    assert "someone/else does not exist, and would be none of the models that are read here" in capsys.readouterr().err


def test_the_package_runs_as_a_module(monkeypatch, capsys):
    """`python -m nanogpt` is what one types where the script is not on the PATH."""
    monkeypatch.setattr(sys, "argv", ["nanogpt", "--help"])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))  # pytest's own has no encoding to set
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("nanogpt", run_name="__main__")
    assert stop.value.code == 0 and capsys.readouterr().out.startswith("usage: nanogpt COMMAND")


@pytest.mark.parametrize("command", ["train", "learn"])
def test_a_published_model_is_no_place_for_another(tmp_path, capsys, command):
    """A checkpoint beside its files would be opened in its place, and adapters on it would find another base."""
    publish(tmp_path / "hf"), publish(tmp_path / "raw", template=None)
    text = tmp_path / "sea.txt"
    text.write_text("the sky is blue, the sea is red, lovely nice.\n" * 60)
    model = ["--model", tmp_path / "raw"] if command == "learn" else []
    before = sorted(tmp_path.glob("hf/*"))
    assert run(command, text, *model, "--out", tmp_path / "hf", "--steps", 1) == 1
    assert "hf is a published model, and stays as it is; give another --out" in capsys.readouterr().err
    assert sorted(tmp_path.glob("hf/*")) == before


@pytest.mark.parametrize("argv", [["undo", "--help"], ["undo"]])
def test_a_narrow_terminal_gets_an_answer(monkeypatch, capsys, argv):
    """In a window of four columns --help, and the sentence for a wrong option, never came."""
    monkeypatch.setenv("COLUMNS", "4")
    assert run(*argv) == (0 if "--help" in argv else 2)
    assert "nanogpt undo" in "".join(capsys.readouterr())
