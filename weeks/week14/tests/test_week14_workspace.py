"""A course: save first and judge second, one command at a time, every option used or refused, and a way back."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from nanogpt import checkpoint, cli, upgrades
from nanogpt.answers import AnswerLearner, Row, make_task
from nanogpt.kinds import KINDS
from nanogpt.scores import answer_all
from nanogpt.sources import open_model
from nanogpt.train import TrainConfig, train
from nanogpt.vendor.bpe.fast import Tokenizer
from nanogpt.vendor.continual.methods import METHODS
from nanogpt.vendor.continual.strategy import Config, Strategy
from nanogpt.vendor.shared.errors import Mistake
from nanogpt.workspace import learn as workspace
from nanogpt.workspace.gate import change, verdict
from nanogpt.workspace.store import open_course
from week14_tiny import CHATML, QUICK, SIZES, furnish, interrupt, record, run, same_weights, tiny_model

pytestmark = pytest.mark.day(99)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return furnish(tmp_path_factory.mktemp("workspace"))


# --- nothing that minutes went into is lost ---------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [interrupt, lambda *a, **o: 1 / 0], ids=["Ctrl-C", "a crash"])
@pytest.mark.parametrize("command", ["train", "learn"])
def test_a_failing_exam_loses_no_training(home, tmp_path, monkeypatch, capsys, failure, command):
    """Training is saved before anything is judged; --resume then judges it, and ends where an undisturbed run does."""
    learn = ["learn", home / "dogs.txt", "--model", home / "m", *QUICK]
    argv = ["train", home / "cats.txt", *SIZES, *QUICK] if command == "train" else learn
    assert run(*argv, "--out", tmp_path / "whole") == 0
    monkeypatch.setattr(workspace, "judge", failure)
    if failure is interrupt:
        assert run(*argv, "--out", tmp_path / "cut") == 130
        said = f"the training is saved in {tmp_path / 'cut'}: go on with the same command plus --resume"
        assert said in capsys.readouterr().err
    else:
        with pytest.raises(ZeroDivisionError):
            run(*argv, "--out", tmp_path / "cut")
    monkeypatch.undo()
    assert run(*argv, "--out", tmp_path / "cut", "--resume") == 0
    assert same_weights(tmp_path / "whole", tmp_path / "cut")
    assert record(tmp_path / "whole") == record(tmp_path / "cut")


def test_a_second_ctrl_c_tells_what_was_saved(home, tmp_path, monkeypatch, capsys):
    """The second press stops in the middle of a step: what is promised is the last save, and it is there."""
    from nanogpt import train as loop

    real, calls = loop.step, []

    def pressed(*args, **options):
        calls.append(1)
        if len(calls) == 5:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return real(*args, **options)

    monkeypatch.setattr(loop, "step", pressed)
    argv = ["train", home / "cats.txt", "--out", tmp_path / "m", *SIZES, *QUICK, "--save-every", 2]
    assert run(*argv) == 130
    assert f"step 4 of 6 is saved in {tmp_path / 'm'}" in capsys.readouterr().err
    assert record(tmp_path / "m")["progress"]["step"] == 4
    monkeypatch.undo()
    assert run(*argv, "--resume") == 0 and same_weights(tmp_path / "m", home / "m")


def test_nothing_is_called_saved_that_is_not(capsys):
    """Without a folder there is nothing to go on from."""
    model, tokenizer = tiny_model()
    course = workspace.new_course(model.config, tokenizer)
    course.exams["a"] = "the sky is blue"
    task, _ = course.kind.task("a", "the sky is blue, the sea is red " * 40, course.loaded, 16)
    with pytest.raises(KeyboardInterrupt, match="nothing was saved; start again"):
        workspace.learn(course, task, TrainConfig(steps=2), autocast=nullcontext, on_step=interrupt)


def test_a_loss_that_breaks_at_once_leaves_a_way_on(home, tmp_path, monkeypatch, capsys):
    """The vocabulary took minutes: even at the first step it is saved, and another rate goes on from there."""
    from nanogpt import train as loop

    real = loop.step
    monkeypatch.setattr(loop, "step", lambda *a, **o: (_ for _ in ()).throw(FloatingPointError("the loss is nan")))
    argv = ["train", home / "cats.txt", "--out", tmp_path / "m", *SIZES, *QUICK]
    assert run(*argv) == 1
    said = capsys.readouterr().err
    assert "stopped at step 0: the loss is nan. step 0 of 6 is saved in" in said and "--resume and a lower --lr" in said
    monkeypatch.setattr(loop, "step", real)
    argv[argv.index("5e-3")] = "1e-3"
    assert run(*argv, "--resume") == 0
    assert record(tmp_path / "m")["learned"] == ["cats"]


def test_an_exam_at_the_contexts_end_is_judged(tmp_path):
    """A row of 93 tokens, a longest answer of 20, a context of 96: the answer ends there, and counts as it is."""
    model, tokenizer = tiny_model()
    from nanogpt.chat import Template

    template = Template(CHATML, tokenizer, eos="<|im_end|>")
    rows = [Row("great " * 200, "good"), Row("sky", "a " * 9 + "b")]
    answers = answer_all(AnswerLearner(model), template, rows, length=95)
    assert len(answers) == 2
    assert answers[1] == answer_all(AnswerLearner(model), template, rows[1:], length=95)[0]


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A chat model, imported, whose vocabulary has no byte ~: published ones lack some control characters."""
    model, full = tiny_model()
    ranks = {token: i for token, i in full.ranks.items() if b"~" not in token}
    words = {"template": CHATML, "bos": "<|im_start|>", "eos": "<|im_end|>", "begin": ""}
    folder = tmp_path_factory.mktemp("bare") / "model"
    checkpoint.save(folder, model, Tokenizer(ranks, special_tokens=full.special_tokens), {"from": "hf"}, chat=words)
    return folder


LACKS, LONG = "the byte b'~' is not in this vocabulary", "a response of [0-9]+ tokens leaves no place for its prompt"


@pytest.mark.parametrize(
    ("name", "row", "number", "said"),
    [
        ("r.jsonl", {"prompt": "red", "response": "nice " * 99}, 15, f"the exam of r, prompt 'red': {LONG}"),
        ("r.jsonl", {"prompt": "red ~", "response": "a"}, 15, f"the exam of r, prompt 'red ~': {LACKS}"),
        ("r.jsonl", {"prompt": "red", "response": "~"}, 3, f"r, row 4: {LACKS}"),
        ("r.jsonl", {"prompt": "great " * 99 + "~", "response": "a"}, 3, f"r, row 4: {LACKS}"),
        ("t.txt", "~", 39, f"the exam of t: {LACKS}"),
        ("t.txt", "~", 3, f"t: {LACKS}"),
    ],
)
def test_what_cannot_be_judged_is_told_before_training(bare, tmp_path, monkeypatch, capsys, name, row, number, said):
    """Held-out or trained on: one sentence, no step, nothing written; and the same of a file that `eval` is given."""
    monkeypatch.setattr(workspace, "train", lambda *a, **o: pytest.fail("trained"))
    lines = [{"prompt": f"is {i}", "response": "a"} if name == "r.jsonl" else "the sky is blue " * 9 for i in range(40)]
    lines[number] = row
    text = "".join((line if name == "t.txt" else json.dumps(line)) + "\n" for line in lines)
    (tmp_path / name).write_text(text)
    assert run("learn", tmp_path / name, "--model", bare, "--out", tmp_path / "x", *QUICK) == 1
    assert re.search(f"^error: {said}", capsys.readouterr().err, re.MULTILINE) and not (tmp_path / "x").exists()
    assert run("eval", tmp_path / name, "--model", bare) == 1
    assert re.search(f"^error: {tmp_path / name}.*({LACKS}|{LONG})", capsys.readouterr().err, re.MULTILINE)


def test_a_lower_rate_is_advised_for_a_broken_loss_only(home, tmp_path, monkeypatch, capsys):
    """What the exam complains of is no matter of the rate."""

    def refuse(*args, **options):
        raise Mistake("this exam cannot be read")

    monkeypatch.setattr(workspace, "judge", refuse)
    assert run("learn", home / "dogs.txt", "--model", home / "m", "--out", tmp_path / "x", *QUICK) == 1
    said = capsys.readouterr().err
    assert "go on with the same command plus --resume\n" in said and "--lr" not in said


def test_two_commands_on_one_folder(home, tmp_path):
    """The second is told so in a sentence, and the first one's files stay."""
    shutil.copytree(home / "m", tmp_path / "m")
    program = "import sys; from nanogpt.vendor.shared.files import locked\nwith locked(sys.argv[1]): print('in', flush=True); sys.stdin.read()"  # fmt: skip  # noqa: E501
    env = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[1])}
    first = subprocess.Popen([sys.executable, "-c", program, tmp_path / "m"], env=env, stdin=-1, stdout=-1)
    try:
        assert first.stdout.readline() == b"in\n"
        for command in (
            ["learn", home / "dogs.txt", "--model", tmp_path / "m", "--out", tmp_path / "m", *QUICK],
            ["train", home / "cats.txt", "--out", tmp_path / "m", "--resume"],
            ["undo", tmp_path / "m"],
        ):
            with pytest.raises(Mistake, match="another command is at work in .*; wait until it has ended"):
                cli.main([str(a) for a in command])
        assert run("eval", home / "cats.txt", "--model", tmp_path / "m") == 0, "reading needs no lock"
    finally:
        first.communicate(timeout=60)
    assert same_weights(home / "m", tmp_path / "m")


def test_nothing_is_left_of_a_command_that_did_not_begin(home, tmp_path):
    """A folder that holds only a lock would be in the way of the next one."""
    assert run("learn", home / "dogs.txt", "--model", tmp_path / "nothing", "--out", tmp_path / "x", *QUICK) == 1
    assert not (tmp_path / "x").exists()


# --- a way back -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["the same folder", "another folder"])
def test_undo_gives_the_state_before(home, tmp_path, where):
    """After a task the state before is one command away, and the new one is not lost by it."""
    shutil.copytree(home / "m", tmp_path / "m")
    out = tmp_path / ("m" if where == "the same folder" else "n")
    assert run("learn", home / "dogs.txt", "--model", tmp_path / "m", "--out", out, *QUICK) == 0
    taught = open_model(out).model.state_dict()
    assert run("undo", out) == 0
    assert record(out)["learned"] == ["cats"] and same_weights(out, home / "m")
    assert run("undo", out) == 0
    assert all(torch.equal(a, b) for a, b in zip(taught.values(), open_model(out).model.state_dict().values()))
    assert run("undo", home / "m") == 1


def test_too_much_forgetting_is_undone(home, tmp_path, capsys):
    """The gate's no leaves the state before in its place, says the number, and says how to have the other one."""
    argv = ["learn", home / "dogs.txt", "--model", home / "m", *QUICK, "--lr", "2", "--optimizer", "adamw"]
    assert run(*argv, "--out", tmp_path / "o", "--max-forgetting", "99") == 0
    scores = record(tmp_path / "o")["scores"]
    assert scores[1][0] > scores[0][0], "this rate forgets nothing, so there is nothing to refuse"
    out = tmp_path / "n"
    assert run(*argv, "--out", out, "--max-forgetting", "0") == 1
    said = capsys.readouterr().err
    assert "bits per byte on average, more than --max-forgetting 0 allows" in said and f"nanogpt undo {out}" in said
    assert record(out)["learned"] == ["cats"] and same_weights(out, home / "m")
    assert run("undo", out) == 0 and same_weights(out, tmp_path / "o")


def test_a_broken_model_is_not_committed(home, tmp_path, monkeypatch, capsys):
    """A score that is no number cannot be written down: the state before stays; a first training says where it is."""
    monkeypatch.setattr(workspace, "judge", lambda course, learner, **options: [math.nan] * len(course.exams))
    out = tmp_path / "n"
    assert run("learn", home / "dogs.txt", "--model", home / "m", "--out", out, *QUICK) == 1
    assert "no finite number" in capsys.readouterr().err
    assert record(out)["learned"] == ["cats"] and same_weights(out, home / "m")
    assert run("train", home / "cats.txt", "--out", tmp_path / "m", *SIZES, *QUICK) == 1
    assert "holds what was trained, not judged" in capsys.readouterr().err
    assert record(tmp_path / "m")["progress"]["stage"] == "judge"


@pytest.mark.parametrize(
    ("scores", "moved"),
    [
        ([[1.0, 5.0]], None),
        ([[1.0, 5.0], [1.5, 2.0]], 0.5),
        ([[1.0, 5.0, 9.0], [1.5, 2.0, 9.0], [2.0, 2.5, 3.0]], 0.75),
        ([[1.0, None], [None, 2.0]], None),
        ([[1.0, None, None], [1.5, 2.0, None], [2.0, None, 3.0]], 1.0),
    ],
)
def test_change_by_hand(scores, moved):
    """The mean over old tasks since each was learned; what was not measured is left out, and is not 0."""
    assert change(scores, list(range(len(scores)))) == moved


def test_the_gate_by_hand():
    """Which way is bad depends on the kind; a score that is no number is never kept."""
    worse = [[0.9, 0.1], [0.5, 0.8]]
    assert not verdict(KINDS["answers"], worse, [0, 1], most=0.3).keep
    assert verdict(KINDS["answers"], worse, [0, 1], most=0.5).keep
    assert verdict(KINDS["text"], worse, [0, 1], most=0.0).keep, "fewer bits are good news"
    assert not verdict(KINDS["text"], [[2.0, 1.0], [2.5, 1.0]], [0, 1], most=0.4).keep
    assert not verdict(KINDS["text"], [[math.nan]], [0]).keep and not verdict(KINDS["text"], [[math.nan]], [0]).finite


# --- losses that do not depend on how a step is parted ----------------------------------------------------------------


def test_accumulation_is_one_number(home):
    """The same 4 rows of answers of different lengths, as 1 x 4, 2 x 2 and 4 x 1: one loss, one update."""
    from nanogpt.chat import Template

    rows = [Row("sky", "a"), Row("sea", "a red blue sea of great nice words"), Row("a", "good bad"), Row("of", "nice")]
    moved = []
    for batch_size, accumulate in ((4, 1), (2, 2), (1, 4)):
        model, tokenizer = tiny_model()
        task, _ = make_task("t", rows, Template(CHATML, tokenizer, eos="<|im_end|>"), 64)
        config = TrainConfig(steps=2, batch_size=batch_size, accumulate=accumulate, optimizer="sgd", warmup=0, lr=0.1)
        losses = train(AnswerLearner(model), task.train, config)
        moved.append((losses, torch.cat([p.detach().flatten() for p in model.parameters()])))
    for losses, weights in moved[1:]:
        assert losses == pytest.approx(moved[0][0], rel=1e-5)  # float32, sums in another order
        torch.testing.assert_close(weights, moved[0][1], rtol=1e-4, atol=1e-5)


# --- joints -----------------------------------------------------------------------------------------------------------


def test_a_new_method_reaches_the_command_by_its_row(home, tmp_path, monkeypatch, capsys):
    """A class and a row: its settings are options, it trains, judges in its view, is stored, goes on, and is undone."""

    @dataclass(frozen=True)
    class Damp(Config):
        share: float = field(default=0.5, metadata={"help": "share of each update that is kept"})

    class Damped(Strategy):
        keeps = "weights"

        def start(self, learner, task):
            self.before = {name: p.detach().clone() for name, p in learner.parameters().items()}
            return task.train

        def view(self, learner, name):
            seen.append(name)
            return nullcontext()

        def state(self):
            return {"count": len(getattr(self, "before", {}))}

        def load(self, state):
            self.count = state["count"]

    seen = []
    monkeypatch.setitem(METHODS, "damp", (Damp, Damped))
    assert run("learn", "--method", "damp", "--help") == 0
    assert "--share" in capsys.readouterr().out
    out = tmp_path / "n"
    argv = ["learn", home / "dogs.txt", "--model", home / "m", "--out", out, "--method", "damp", *QUICK]
    assert run(*argv, "--share", "0.25") == 0
    assert record(out)["method"] == {"name": "damp", "config": {"share": 0.25}} and record(out)["state"]["count"] > 0
    assert seen == ["cats", "dogs"]
    course = open_course(out)
    assert course.method.config.share == 0.25 and course.method.count == record(out)["state"]["count"]
    (tmp_path / "fish.txt").write_text("A fish swam under the bridge.\n" * 120)
    more = ["learn", tmp_path / "fish.txt", "--model", out, "--out", tmp_path / "o", *QUICK]
    with pytest.raises(Mistake, match="has --share 0.25, not 0.75"):
        cli.main([*map(str, more), "--method", "damp", "--share", "0.75"])
    with pytest.raises(Mistake, match="taught with damp, has no --keep-rows"):
        cli.main([*map(str, more), "--keep-rows", "3"])
    assert run(*more) == 0 and record(tmp_path / "o")["learned"] == ["cats", "dogs", "fish"]


def test_a_method_that_cannot_be_served_is_refused(tmp_path):
    """A chat names no task, and adapters of a method's own would be lost; the methods that can be served are named."""
    argv = ["learn", tmp_path / "a.txt", "--model", tmp_path / "m", "--out", tmp_path / "n", "--method", "packnet"]
    with pytest.raises(Mistake, match="--method packnet must be told the task of each prompt; choose one of naive, "):
        cli.main([*map(str, argv)])
    argv[-1] = "o-lora"
    with pytest.raises(Mistake, match="--method o-lora grows adapters of its own on a bare model; choose one of naive"):
        cli.main([*map(str, argv)])
    argv[-1] = "packnot"
    with pytest.raises(Mistake, match="--method packnot is not known; choose one of naive, (?!.*packnet)"):
        cli.main([*map(str, argv)])


def test_a_folder_of_the_first_format_opens(home, tmp_path, capsys):
    """What was trained with the first version is judged the same, and learns on."""
    shutil.copytree(Path(__file__).parent / "stored/format1", tmp_path / "old")
    assert json.loads((tmp_path / "old/checkpoint.json").read_text())["format"] == 1 < upgrades.FORMAT
    course = open_course(tmp_path / "old")
    assert course.learned == ["cats"] and course.method.memory.counts() == {"cats": 4}
    learner = course.kind.learner(course.loaded, nullcontext)
    assert workspace.judge(course, learner) == pytest.approx(course.scores[0], abs=1e-6)  # as it was judged then
    assert run("learn", home / "dogs.txt", "--model", tmp_path / "old", "--out", tmp_path / "new", *QUICK) == 0
    assert record(tmp_path / "new")["learned"] == ["cats", "dogs"]
    assert json.loads((tmp_path / "new/checkpoint.json").read_text())["format"] == upgrades.FORMAT


def test_rows_of_the_second_format():
    """Ids that are only read stood as their complement, and -1 filled a row up."""
    old = torch.tensor([[~7, ~8, 5, 2, -1], [3, 4, 5, 6, 7]])
    new = upgrades.upgrade_tensors({"was": 2}, "state", {"rows": old, "keys": torch.zeros(2)})
    assert new["rows.ids"].tolist() == [[7, 8, 5, 2, 0], [3, 4, 5, 6, 7]]
    assert new["rows.judged"].tolist() == [[False, False, True, True, False], [False, True, True, True, True]]
    assert set(new) == {"rows.ids", "rows.judged", "keys"}


def test_an_adapter_of_the_second_format_opens(home, tmp_path):
    """Its base was known by its weights alone; that much is still compared."""
    shutil.copytree(home / "rows", tmp_path / "old")
    index = json.loads((tmp_path / "old/checkpoint.json").read_text())
    base, record = index["base"], index["record"]
    index |= {"format": 2, "base": {"model": base["model"], "sha256": base["digest"]["weights"]}}
    index["adapter"] = {"rank": 8, "alpha": 16.0, "dropout": 0.0, "targets": ["all-linear"]}
    index["files"].pop("state")
    index["record"] = {"kind": "answers", "row_length": record["row_length"], "taught": record["learned"],
                       "exams": record["exams"], "rows": record["scores"], "progress": None,
                       "replay": {"budget": 0, "state": {"budget": 0, "tasks": [], "names": []}}}  # fmt: skip
    (tmp_path / "old/checkpoint.json").write_text(json.dumps(index))
    with pytest.raises(Mistake, match="lacks what a course needs .*generator"):
        open_course(tmp_path / "old")  # the generator's state lay in the part that is gone
    old, new = open_model(tmp_path / "old").model, open_model(home / "rows").model
    assert all(torch.equal(a, b) for a, b in zip(old.state_dict().values(), new.state_dict().values(), strict=True))


def test_one_mistake_in_a_process():
    """Copies of copies would each bring their own class, and `except Mistake` would miss the others'."""
    import nanogpt.commands.learn  # noqa: F401

    found = {getattr(m, "Mistake", None) for name, m in list(sys.modules.items()) if name.startswith("nanogpt")}
    assert found - {None} == {Mistake}
