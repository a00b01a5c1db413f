"""The command as a user meets it: each one run on a small text, each mistake with its sentence and status."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from nanogpt import cli
from nanogpt.workspace.store import opened
from week14_tiny import run

pytestmark = pytest.mark.day(100)

WORDS = {
    "cats": "The cat sat on the mat and looked at the moon.\n",
    "dogs": "A dog ran over the hill, barking at a 4x4.\n",
}
SIZES = "--vocab-size 280 --block-size 16 --n-layer 2 --n-head 2 --n-kv-head 1 --n-embd 16".split()
QUICK = "--batch-size 4 --lr 5e-3 --warmup 2 --precision float32 --save-every 5".split()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with two texts and a model trained on the first."""
    folder = tmp_path_factory.mktemp("cli")
    for name, line in WORDS.items():
        (folder / f"{name}.txt").write_text(line * 120)
    assert (
        run("train", folder / "cats.txt", "--out", folder / "m", *SIZES, *QUICK, "--steps", 30, "--keep-rows", 8) == 0
    )
    return folder


def test_train_leaves_a_model_that_samples(trained, capsys):
    """The five-minute tour: what train wrote, sample can read."""
    assert run("sample", "--model", trained / "m", "--prompt", "The cat", "--n", 2, "--max-tokens", 20) == 0
    out = capsys.readouterr().out
    assert out.count("The cat") >= 2


def test_learn_keeps_the_old_domain_in_view(trained, capsys):
    """After learning a second text the table has both, and says how far the old one rose."""
    assert (
        run("learn", trained / "dogs.txt", "--model", trained / "m", "--out", trained / "two", *QUICK, "--steps", 20)
        == 0
    )
    out = capsys.readouterr().out
    assert "cats" in out and "dogs" in out and re.search(r"old domains (rose|fell) by \d", out)
    record = json.loads((trained / "two" / "checkpoint.json").read_text())["record"]
    assert record["learned"] == ["cats", "dogs"] and [len(r) for r in record["scores"]] == [1, 2]
    assert run("info", "--model", trained / "two") == 0
    told = capsys.readouterr().out
    assert "'cats': 4, 'dogs': 4" in told and re.search(r"  [\d,]{5,} bytes beside the model", told)
    again = ["learn", trained / "dogs.txt", "--model", trained / "two", "--out", trained / "three"]
    assert run(*again) == 1
    assert "already learned 'dogs'" in capsys.readouterr().err
    assert run(*again, "--name", "puppies") == 1
    assert "dogs.txt, as 'dogs'; give another file, or an --exam FILE" in capsys.readouterr().err
    assert run(*again, "--name", "puppies", "--exam", trained / "dogs.txt", *QUICK, "--steps", 1) == 0


def test_what_cannot_be_exported_says_how_one_that_can_is_trained(trained, tmp_path, capsys):
    """The default recipe has what transformers lacks; the words in the error, and in the help, give a model that it
    reads. A shape of GPT-2 with shared heads is told its own words."""
    train = ["train", trained / "cats.txt", *SIZES, *QUICK, "--steps", 1, "--out"]
    shapes = [[], ["--set", "position=learned", "norm=layernorm", "mlp=gelu", "bias=true"]]
    for i, shape in enumerate(shapes):
        assert run(*train, tmp_path / f"m{i}", *shape) == 0
        assert run("export", tmp_path / "e", "--model", tmp_path / f"m{i}") == 1
        heads, chosen = re.search("give `nanogpt train` also (.*)--set (.*)", capsys.readouterr().err).groups()
        words = [*heads.split(), *(shape or ["--set"]), *chosen.split()]
        assert run(*train, tmp_path / f"n{i}", *words) == 0
        assert run("export", tmp_path / f"e{i}", "--model", tmp_path / f"n{i}") == 0
    capsys.readouterr()
    assert run("export", "--help") == 0
    assert "--set mlp=swiglu ngram=1 qk_norm=false" in " ".join(capsys.readouterr().out.split())


def test_eval_prints_bits_per_byte(trained, capsys):
    """One line a file, in order; the text it was trained on is the easier one."""
    assert run("eval", trained / "cats.txt", trained / "dogs.txt", "--model", trained / "m") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines] == [str(trained / "cats.txt"), str(trained / "dogs.txt")]
    assert float(lines[0].split()[0]) < float(lines[1].split()[0]) < 9


def test_chat_answers_and_ends(trained, capsys, monkeypatch):
    """Lines in, text out; /reset and /quit are obeyed, and so is the end of input."""
    for lines in (["The cat", "/reset", "a dog", "/quit", "never read"], ["The cat"]):
        feed = iter(lines)

        def ask(prompt, feed=feed):
            try:
                return next(feed)
            except StopIteration:
                raise EOFError from None

        monkeypatch.setattr("builtins.input", ask)
        assert run("chat", "--model", trained / "m", "--max-tokens", 5, "--seed", 1) == 0
        assert f"{trained / 'm'} learned cats. It continues text; it follows no orders" in capsys.readouterr().out
    assert next(feed, None) is None


@pytest.mark.parametrize("closed", ["<&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_an_empty_one(trained, closed):
    """As under a supervisor: what reads ends as at the end of input, what is printed goes nowhere."""
    call = f'{sys.executable} -c "from nanogpt.cli import script; script()"'
    env = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[1])}
    shell = f"{call} chat --model {trained / 'm'} {closed} && {call} --help {closed}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, env=env, stdin=subprocess.DEVNULL)
    assert done.returncode == 0 and not done.stderr
    assert ("usage: nanogpt" in done.stdout) == (closed == "<&-")


def test_too_long_prompt_is_cropped_and_told(trained, capsys):
    """A prompt longer than the context must work, and say what was not read."""
    assert run("sample", "--model", trained / "m", "--prompt", "The cat sat. " * 40, "--max-tokens", 3) == 0
    assert "do not fit the context of 16; using the last 16" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", "learn"])
def test_there_must_be_something_to_resume(command, trained, capsys):
    """Where nothing lies nothing is made, and the sentence says what to leave out."""
    assert run(command, trained / "dogs.txt", "--out", trained / "nowhere", "--resume") == 1
    assert "nowhere holds no run that was stopped; leave --resume out" in capsys.readouterr().err
    assert not (trained / "nowhere").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--optimizer sgd --beta2 0.5", "--beta2 0.5 does nothing without --optimizer adamw or muon; give that too"),
        ("--grow 0.7", "--grow 0.7 does nothing without --first-batch or --first-context"),
        ("--schedule constant --min-lr 0.1", "--min-lr 0.1 does nothing without a --schedule that falls"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(words, sentence, trained, capsys):
    """Somebody believes that it does something."""
    assert run("train", trained / "cats.txt", "--out", trained / "idle", *SIZES, *QUICK, *words.split()) == 1
    assert sentence in capsys.readouterr().err


def test_a_model_answers_in_bfloat16_where_that_is_asked_for(trained, capsys):
    """What was trained here lies in float32 and answers in it, unless somebody says otherwise."""
    for precision, kind in (("auto", torch.float32), ("bfloat16", torch.bfloat16)):
        assert {p.dtype for p in opened(trained / "m", precision=precision)[0].model.parameters()} == {kind}
        assert run("sample", "--model", trained / "m", "--max-tokens", 3, "--precision", precision) == 0
    assert "error" not in capsys.readouterr().err


def test_ctrl_c_saves_and_resume_completes(trained, capsys, monkeypatch):
    """Status 130, a saved model, the words to type; --resume ends in the model of an undisturbed run, byte for byte."""
    import signal

    from nanogpt import train

    real = train.step
    calls = []

    def pressed(*args, **kwargs):
        calls.append(1)
        if len(calls) == 7:
            signal.raise_signal(signal.SIGINT)
        return real(*args, **kwargs)

    command = ["train", trained / "cats.txt", *SIZES, *QUICK, "--steps", 30, "--keep-rows", 8]
    monkeypatch.setattr(train, "step", pressed)
    assert run(*command, "--out", trained / "again") == 130
    assert "is saved in" in capsys.readouterr().err
    assert run("learn", trained / "dogs.txt", "--model", trained / "again", "--out", trained / "x") == 1
    assert "finish that with --resume" in capsys.readouterr().err
    monkeypatch.setattr(train, "step", real)
    assert run(*command, "--out", trained / "again", "--resume") == 0
    names = [sorted(p.name for p in (trained / d).glob("model-*")) for d in ("m", "again")]
    assert names[0] == names[1]  # the name is the content's hash
    assert run(*command, "--out", trained / "again", "--resume") == 1
    assert "there is nothing to resume" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "status", "sentence"),
    [
        (["train", "nope.txt", "--out", "q"], 1, "nope.txt does not exist"),
        (["train", "short.txt", "--out", "q"], 1, "give more text"),
        (["train", "cats.txt", "--out", "q", "--n-head", "7"], 1, "n_head 7 does not divide n_embd 160"),
        (["train", "cats.txt", "--out", "q", "--n-layer", "0"], 1, "n_layer is 0"),
        (["train", "cats.txt", "--out", "q", "--steps", "-3"], 1, "--steps is -3"),
        (["train", "cats.txt", "--out", "q", "--vocab-size", "9"], 1, "vocab_size"),
        (
            ["train", "cats.txt", "--out", "m"],
            1,
            "holds a model; give another --out. To teach it more: nanogpt learn",
        ),
        (["train", "cats.txt", "--out", "q", "--device", "tpu"], 1, "try --device cpu"),
        (
            ["learn", "dogs.txt", "--model", "m", "--out", "q", "--method", "magic"],
            1,
            "one of naive, joint, cumulative",
        ),
        (["learn", "dogs.txt", "--model", "m", "--out", "q", "--replay-rows", "-1"], 1, "--replay-rows is -1"),
        (
            ["sample", "--model", "nothing"],
            1,
            "there is no such folder; use the model that ships, --model story",
        ),
        (["learn", "cats.txt", "--model", "nothing", "--out", "nothing"], 1, "no model at nothing: there is no such"),
        (["train", "cats.txt", "--out", "n", "--set", "tie=true", "--set", "mlp=swiglu"], 1, "--set is there twice"),
        (["train", "cats.txt", "--out", "n", "--method", "ssr"], 1, "--method ssr is for rows of prompt and response"),
        (["eval", "cats.txt", "--model", "m", "--row-length", "20"], 1, "--row-length is for .jsonl rows"),
        (["sample", "--model", "m", "--temperature", "-1"], 2, "'-1' cannot be used; give 0, or"),
        (["sample", "--model", "m", "--top-p", "7"], 2, "'7' cannot be used; give a number above 0"),
        (["sample", "--model", "m", "--n", "0"], 2, "'0' cannot be used; give a whole number"),
        (["eval", "--model", "m"], 1, "name at least one"),
        (["eval", "binary.dat", "--model", "m"], 1, "is not text"),
        (["train", "cats.txt"], 2, "--out"),
        (["train", "cats.txt", "--out", "q", "--steps", "many"], 2, "many"),
        (["lern"], 2, "choose one of: train, learn"),
        ([], 2, ""),
    ],
)
def test_mistakes_get_a_sentence_and_a_status(trained, capsys, monkeypatch, argv, status, sentence):
    """1 for what cannot be done, 2 for what cannot be understood; a traceback for neither, and nothing half-made."""
    monkeypatch.chdir(trained)
    (trained / "short.txt").write_text("too short\n")
    (trained / "binary.dat").write_bytes(b"\x89PNG\0")
    assert run(*argv) == status
    captured = capsys.readouterr()
    assert sentence in captured.err + captured.out and "Traceback" not in captured.err
    assert not (trained / "q" / "checkpoint.json").exists()
