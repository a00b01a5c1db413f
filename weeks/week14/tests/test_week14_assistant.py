"""An adapter learns task after task on a published model: what is saved, what comes back, what is refused."""

import json
import os
import shutil
import signal

import pytest
import torch
from nanogpt.checkpoint import read_index
from nanogpt.sources import NAMES, SHIPPED, open_model
from nanogpt.vendor.shared.errors import Mistake
from week14_tiny import publish, run

pytestmark = pytest.mark.day(100)

MOOD = [("great", "good"), ("awful", "bad"), ("lovely", "good"), ("nasty", "bad")]
QUICK = "--batch-size 8 --lr 1e-2 --warmup 1 --row-length 64 --precision float32 --save-every 3".split()


def write_task(path, pairs, question):
    lines = [{"prompt": f"{question} {word} {i}", "response": answer} for i in range(6) for word, answer in pairs]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A published model, two tasks, and a model that learned the first."""
    folder = tmp_path_factory.mktemp("assistant")
    publish(folder / "base")
    write_task(folder / "mood.jsonl", MOOD, "is this good or bad?")
    write_task(folder / "colour.jsonl", [("sky", "blue"), ("sea", "red")], "colour of the")
    assert run("learn", folder / "mood.jsonl", "--model", folder / "base", "--out", folder / "one", *QUICK,
               "--steps", 40, "--keep-rows", 8) == 0  # fmt: skip
    return folder


def logits(folder, tokens=(5, 80, 300, 12), **options):
    with torch.no_grad():
        return open_model(folder, **options).model(torch.tensor([tokens]))[0]


def test_only_the_adapter_is_saved_and_it_learned(home):
    """A model of 100 MB must not be copied for each thing that it learns."""
    index = read_index(home / "one")
    assert set(index["files"]) == {"adapter", "state", "exams"} and "model" not in index
    assert index["base"]["model"] == str((home / "base").resolve())
    assert index["record"]["scores"][-1][0] >= 0.75  # untrained it is 0: no word of the answers is likely
    assert sum(f.stat().st_size for f in (home / "one").iterdir()) < 300_000
    assert not torch.allclose(logits(home / "one"), logits(home / "base"))


def test_folding_in_computes_the_same(home):
    """Chat and eval add the adapter to the weights for speed: only rounding may differ."""
    torch.testing.assert_close(
        logits(home / "one", fold=True), logits(home / "one"), rtol=1e-4, atol=1e-3
    )  # float32, W + s B A in one sum instead of two


def test_second_task_keeps_the_first_in_view(home, capsys):
    """The matrix grows by a row, rows of both tasks are kept, and the base stays untouched."""
    before = logits(home / "base")
    assert run("learn", home / "colour.jsonl", "--model", home / "one", "--out", home / "two", *QUICK,
               "--steps", 20, "--replay-rows", 2) == 0  # fmt: skip
    out = capsys.readouterr().out
    assert "% of answers right after" in out and "old tasks changed by" in out
    record = read_index(home / "two")["record"]
    assert record["learned"] == ["mood", "colour"] and [len(row) for row in record["scores"]] == [1, 2]
    assert run("info", "--model", home / "two") == 0
    assert "'mood': 4, 'colour': 4" in capsys.readouterr().out
    assert torch.equal(before, logits(home / "base"))
    assert run("eval", home / "mood.jsonl", "--model", home / "two", "--row-length", 64) == 0
    assert "% of 24 answers right" in capsys.readouterr().out


def test_stopped_and_resumed_is_bit_equal(home, tmp_path, monkeypatch):
    """Ctrl-C, then the same command with --resume: the same adapter as in an undisturbed run."""
    from nanogpt.vendor.continual import loop

    def command(out, *more):
        return run("learn", home / "colour.jsonl", "--model", home / "one", "--out", out, *QUICK, "--steps", 8, *more)

    assert command(tmp_path / "whole") == 0
    steps, real = [], loop.step

    def pressed(*args, **options):
        steps.append(1)
        if len(steps) == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return real(*args, **options)

    monkeypatch.setattr("nanogpt.train.step", pressed)
    assert command(tmp_path / "parts") == 130
    monkeypatch.setattr("nanogpt.train.step", real)
    assert read_index(tmp_path / "parts")["record"]["progress"]["step"] == 4
    assert command(tmp_path / "parts", "--resume") == 0
    whole, parts = (read_index(tmp_path / name) for name in ("whole", "parts"))
    assert whole["files"]["adapter"]["sha256"] == parts["files"]["adapter"]["sha256"]
    assert whole["record"]["scores"] == parts["record"]["scores"]


def test_text_can_be_taught_too(home, capsys):
    """A published model may also learn plain text; it is judged by bits per byte, and the kinds do not mix."""
    (home / "sea.txt").write_text("the sky is blue, the sea is red, lovely nice. " * 60)
    quick = [*QUICK[:6], "--row-length", 24, "--steps", 6]
    assert run("learn", home / "sea.txt", "--model", home / "base", "--out", home / "text", *quick) == 0
    assert "bits per byte after learning" in capsys.readouterr().out
    assert run("learn", home / "mood.jsonl", "--model", home / "text", "--out", home / "x", *quick) == 1
    assert "learns text, and" in capsys.readouterr().err


def test_export_loads_in_transformers(home, capsys):
    """What was learned leaves the house: adapter folded in, tokenizer and template beside it."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert run("export", home / "exported", "--model", home / "one") == 0
    theirs = AutoModelForCausalLM.from_pretrained(home / "exported").eval()
    tokenizer = AutoTokenizer.from_pretrained(home / "exported")
    messages = [{"role": "user", "content": "is this good or bad? great 1"}]
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    loaded = open_model(home / "one", fold=True)
    assert ids == loaded.template().encode(messages)
    with torch.no_grad():
        got, wanted = loaded.model(torch.tensor([ids]))[0], theirs(torch.tensor([ids])).logits
    # float32 on both sides, the same order of operations but for attention: 1e-5 of the largest logit
    assert (got - wanted).abs().max() <= 1e-5 * wanted.abs().max()
    assert run("export", home / "exported", "--model", home / "one") == 1
    assert "exported" in capsys.readouterr().err


def test_import_makes_a_model_of_our_own(home, capsys):
    """An imported model needs its source no more, computes the same, and can be taught."""
    assert run("import", home / "base", "--out", home / "own") == 0
    assert torch.equal(logits(home / "own"), logits(home / "base"))
    assert run("info", "--model", home / "own") == 0 and "chat template" in capsys.readouterr().out
    assert run("learn", home / "mood.jsonl", "--model", home / "own", "--out", home / "o2", *QUICK, "--steps", 2) == 0
    assert read_index(home / "o2")["base"]["model"] == str((home / "own").resolve())
    assert run("import", home / "one", "--out", home / "again") == 1
    assert "is one of our own models already" in capsys.readouterr().err
    assert run("import", home / "base", "--out", home / "own") == 1
    assert "is not an empty folder" in capsys.readouterr().err


def test_sample_answers_or_continues(home, capsys):
    """With a template a prompt is a question, and --raw takes it as text; both end with status 0."""
    short = ["--model", home / "one", "--temperature", 0, "--max-tokens", 4]
    assert run("sample", "--prompt", "is this good or bad? great 1", *short) == 0
    answer = capsys.readouterr().out
    assert answer.strip() == "good"
    assert run("sample", "--prompt", "is this", "--raw", *short) == 0
    assert capsys.readouterr().out.startswith("is this")


def test_a_base_that_is_gone_or_changed_is_told(home, tmp_path):
    """An adapter on other weights would answer nonsense without a word."""
    publish(tmp_path / "base")
    assert run("learn", home / "mood.jsonl", "--model", tmp_path / "base", "--out", tmp_path / "m", *QUICK,
               "--steps", 1) == 0  # fmt: skip
    shutil.rmtree(tmp_path / "base")
    with pytest.raises(Mistake, match="is an adapter of .*base, and nothing is there; put that model back, or write"):
        open_model(tmp_path / "m")
    publish(tmp_path / "moved")
    edited = (tmp_path / "m/checkpoint.json").read_text().replace(str(tmp_path / "base"), str(tmp_path / "moved"))
    (tmp_path / "m/checkpoint.json").write_text(edited)
    assert open_model(tmp_path / "m").base["model"] == str(tmp_path / "moved")
    shutil.move(tmp_path / "moved", tmp_path / "base")
    (tmp_path / "m/checkpoint.json").write_text(edited.replace(str(tmp_path / "moved"), str(tmp_path / "base")))
    shutil.rmtree(tmp_path / "base")
    publish(tmp_path / "base", seed=1)
    with pytest.raises(Mistake, match="was trained on another .*base than is there now"):
        open_model(tmp_path / "m")


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["learn", "MOOD", "--model", "BASE", "--out", "BASE"], "is a published model, and stays as it is"),
        (["learn", "MOOD", "--model", "ONE", "--out", "X"], "already learned 'mood'"),
        (["learn", "MOOD", "--model", "ONE", "--out", "X", "--name", "new"], "already learned the rows of"),
        (["learn", "MOOD", "--model", "BASE", "--out", "X", "--rank", "0"], "rank must be a whole number"),
        (["learn", "MOOD", "--model", "BASE", "--out", "X", "--targets", "attn.z"], "matches no linear layer"),
        (["learn", "MOOD", "--model", "BASE", "--out", "X", "--row-length", "4"], "--row-length is 4"),
        (["learn", "MOOD", "--model", "BASE", "--out", "X", "--keep-rows", "-1"], "--keep-rows is -1; use 0"),
        (["learn", "BROKEN", "--model", "BASE", "--out", "X"], "line 2 is not JSON"),
        (["learn", "MOOD", "--model", "BASE", "--out", "X", "--exam", "BROKEN"], "line 2 is not JSON"),
        (["learn", "MOOD", "--model", "PLAIN", "--out", "X"], "has no chat template"),
        (["eval", "MOOD", "--model", "PLAIN"], "has no chat template"),
        (["sample", "--model", "smollm2-135m"], "run: make data/smollm2-135m"),
        (["chat", "--model", "BASE", "--load", "MOOD"], "is not a conversation"),
        (["import", "nowhere", "--out", "X"], "nowhere"),
    ],
)
def test_mistakes_get_a_sentence(home, tmp_path, monkeypatch, capsys, argv, sentence):
    """Each ends with one sentence and status 1, and leaves nothing behind."""
    monkeypatch.setenv("CHASE_DATA", str(tmp_path))  # where no model is
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.jsonl").write_text('{"prompt": "a", "response": "b"}\n{"prompt"\n')
    publish(tmp_path / "plain", template=None)
    known = {"MOOD": home / "mood.jsonl", "BASE": home / "base", "ONE": home / "one", "X": tmp_path / "x",
             "BROKEN": tmp_path / "broken.jsonl", "PLAIN": tmp_path / "plain"}  # fmt: skip
    assert run(*(known.get(a, a) for a in argv)) == 1
    err = capsys.readouterr().err
    assert sentence in err and "Traceback" not in err
    assert not (tmp_path / "x").exists()


def test_every_name_says_how_to_get_it():
    """A name of the table is nothing without the command that fetches its file."""
    fetched = [made_by for _, made_by in NAMES.values() if made_by.startswith("make ")]
    assert fetched == [f"make data/{file.split('/')[0]}" for file, by in NAMES.values() if by in fetched] != []
    assert all((SHIPPED / file).is_dir() for file, made_by in NAMES.values() if made_by not in fetched)
