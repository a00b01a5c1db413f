"""Every option of `nanogpt learn` is used, or refused with both values: none is ever ignored."""

import json
import re
import shutil

import pytest
from nanogpt import cli
from nanogpt.commands.learn import reported
from nanogpt.vendor.shared.errors import Mistake
from nanogpt.workspace import learn as workspace
from nanogpt.workspace.store import open_course, save_course
from week14_tiny import QUICK, SIZES, TEXTS, furnish, interrupt, record, run

pytestmark = pytest.mark.day(100)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return furnish(tmp_path_factory.mktemp("workspace"))


# --- every option is used, or refused with both values ----------------------------------------------------------------

REFUSED = {  # options of `learn` when a course goes on: a value, and what the sentence must hold
    "--rank": ("2", "--rank 8, not 2"),
    "--alpha": ("99", "--alpha 16.0, not 99"),
    "--targets": ("attn.q", "--targets .*all-linear.*, not attn.q"),
    "--variant": ("magic", "variant 'magic' is not known"),
    "--row-length": ("32", "rows of 95 tokens, not --row-length 32"),
    "--keep-rows": ("3", "--keep-rows 512, not 3"),
    "--memory": ("reservoir", "--memory balanced, not reservoir"),
}
USED = {"--replay-rows": "2", "--steps": "3", "--batch-size": "3", "--accumulate": "2", "--lr": "0.001",
        "--min-lr": "0.5", "--warmup": "1", "--schedule": "linear", "--optimizer": "sgd", "--weight-decay": "0.5",
        "--beta2": "0.9", "--clip": "0.5", "--seed": "7", "--precision": "bfloat16"}  # fmt: skip
ELSEWHERE = {"--out", "--model", "--name", "--exam", "--keep-exam", "--method", "--max-forgetting", "--save-every",
             "--resume", "--device", "--threads"}  # fmt: skip


def options_of_learn():
    import tyro

    command = cli_command("learn", [])
    try:
        tyro.cli(command, args=["--help"], console_outputs=False)
    except SystemExit:
        pass
    import dataclasses

    return {f"--{f.name.replace('_', '-')}" for f in dataclasses.fields(command)} - {"--file"}


def cli_command(name, argv):
    import importlib

    from nanogpt.commands import COMMANDS

    module, kind, _ = COMMANDS[name]
    return getattr(importlib.import_module(f"nanogpt.commands.{module}"), kind).of(argv)


def test_every_option_of_learn_is_in_these_tables():
    """An option that is added later is tried too, or this fails."""
    assert options_of_learn() == REFUSED.keys() | USED.keys() | ELSEWHERE


@pytest.mark.parametrize("option", REFUSED)
def test_an_option_that_a_course_cannot_take_is_refused(home, tmp_path, capsys, option):
    """Both values are named, and nothing is written."""
    value, said = REFUSED[option]
    argv = ["learn", home / "colour.jsonl", "--model", home / "rows", "--out", tmp_path / "x", *QUICK]
    assert run(*argv, option, value) == 1
    import re

    assert re.search(said, capsys.readouterr().err.replace("\n", " "))
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("option", ["--rank", "--alpha", "--targets"])
def test_a_model_without_an_adapter_refuses_its_options(home, tmp_path, capsys, option):
    """They would have no effect."""
    argv = ["learn", home / "dogs.txt", "--model", home / "m", "--out", tmp_path / "x", *QUICK]
    assert run(*argv, option, REFUSED[option][0]) == 1
    assert f"learns with all its weights: {option} {REFUSED[option][0]}" in capsys.readouterr().err


@pytest.mark.parametrize("option", USED)
def test_an_option_that_a_course_can_take_is_used(home, tmp_path, monkeypatch, option):
    """It reaches the training, and on --resume another value is refused with both named (lr is taken)."""
    seen = {}

    def stop(learner, rows, config, *, strategy, **rest):
        seen.update(vars(config), replay_rows=strategy.config.replay_rows)
        raise KeyboardInterrupt

    monkeypatch.setattr(workspace, "train", stop)
    argv = ["learn", home / "colour.jsonl", "--model", home / "rows", "--out", tmp_path / "x"]
    assert run(*argv, option, USED[option]) == 130
    name, wanted = option.removeprefix("--").replace("-", "_"), USED[option]
    assert str(seen[name]) == wanted
    for other, value in (("9", "9"),) if wanted.isdigit() else ():
        with pytest.raises(Mistake, match=f"{option} {wanted}, not {other}"):
            cli.main([*map(str, argv), "--resume", option, value])
    monkeypatch.undo()
    assert run(*argv, "--resume") == 0, "what is not repeated is taken from where it is stored"


def test_a_resumed_run_has_the_same_method_and_precision(home, tmp_path, monkeypatch):
    """Each option that differs is named with both values: nothing of the first command is silently dropped."""
    monkeypatch.setattr(workspace, "train", interrupt)
    argv = ["learn", home / "dogs.txt", "--model", home / "m", "--out", tmp_path / "x", "--precision", "float32"]
    assert run(*map(str, argv)) == 130
    argv = [*map(str, argv[:-2]), "--resume"]
    for more, said in (
        (["--method", "naive"], "--method replay, not naive"),
        (["--replay-rows", "3"], "--replay-rows 8, not 3"),
        (["--precision", "bfloat16"], "--precision float32, not bfloat16"),
        (["--steps", "3", "--seed", "4"], "--steps 60, not 3 and --seed 0, not 4"),
        (["--name", "wolves"], "was stopped while it learned dogs, not wolves"),
    ):
        with pytest.raises(Mistake, match=said):
            cli.main([*argv, *more])
    (home / "dogs2.txt").write_text(TEXTS["cats"] * 120)
    with pytest.raises(Mistake, match="learned other rows than dogs has now"):
        cli.main(["learn", str(home / "dogs2.txt"), "--name", "dogs", *argv[2:]])


@pytest.mark.parametrize(
    ("words", "others"),
    [
        (["--vocab-size", "2000"], {"--vocab-size=280": "--vocab-size [0-9]+, not 280"}),
        (["--n-kv-head", "0"], {"--n-kv-head=1": "--n-kv-head 2, not 1"}),
        (
            ["--set", "n_hidden=0", "mlp=swiglu", "bias=true"],
            {"--set=n_hidden=9": "--set n_hidden=64, not 9", "--set=mlp=gelu": "--set mlp=swiglu, not gelu"},
        ),
    ],
)
def test_the_same_command_goes_on(home, tmp_path, monkeypatch, capsys, words, others):
    """What the config, or a short text, made of a size is no other size; another one is named as it is typed."""
    monkeypatch.setattr(workspace, "train", interrupt)
    sizes = list(SIZES)
    if words[0] in sizes:
        at = sizes.index(words[0])
        del sizes[at : at + 2]
    argv = ["train", home / "cats.txt", "--out", tmp_path / "m", *sizes, *QUICK]
    assert run(*argv, *words) == 130
    said = capsys.readouterr().err
    assert ("note: the text gives only" in said) == (words[0] == "--vocab-size") and "Warning" not in said
    monkeypatch.undo()
    for word, sentence in others.items():
        with pytest.raises(Mistake, match=sentence):
            cli.main([*map(str, argv), "--resume", *word.split("=", 1)])
    assert run(*argv, *words, "--resume") == 0


def test_a_larger_vocabulary_is_refused_where_the_text_gives_one(home, tmp_path, monkeypatch, capsys):
    """It was asked to be small, so a larger one is another model."""
    monkeypatch.setattr(workspace, "train", interrupt)
    argv = ["train", home / "cats.txt", "--out", tmp_path / "m", *SIZES, *QUICK]
    assert run(*argv) == 130
    argv[argv.index("280")] = "290"
    with pytest.raises(Mistake, match="--vocab-size 280, not 290"):
        cli.main([*map(str, argv), "--resume"])


def test_a_limit_on_forgetting_needs_an_exam_of_an_old_task(home, tmp_path, capsys):
    """Without one nothing is compared, and the limit would protect nothing."""
    course = open_course(home / "m")
    course.exams = {name: None for name in course.exams}
    save_course(tmp_path / "bare", course)
    argv = ["learn", home / "dogs.txt", "--model", tmp_path / "bare", "--out", tmp_path / "n", *QUICK]
    assert run(*argv, "--max-forgetting", "0") == 1
    assert "--max-forgetting compares old tasks, and" in capsys.readouterr().err
    assert not (tmp_path / "n" / "checkpoint.json").exists() and run(*argv) == 0


def test_another_method_is_taken_where_nothing_is_lost(home, tmp_path, capsys):
    """In another folder the rows kept so far stay where they are; in the same one they would be gone."""
    assert run("learn", home / "dogs.txt", "--model", home / "m", "--out", home / "m", "--method", "naive", *QUICK) == 1
    assert "give another --out" in capsys.readouterr().err
    out = tmp_path / "n"
    assert run("learn", home / "dogs.txt", "--model", home / "m", "--out", out, "--method", "naive", *QUICK) == 0
    assert "what replay remembers is not taken along" in capsys.readouterr().err
    assert record(out)["method"] == {"name": "naive", "config": {}} and record(out)["state"] == {}


DAMAGE = {  # of a course's record: each is a sentence of every command that opens it, and no traceback
    "exams": ([], ["dogs", 5], "x"),
    "learned": (["wolves"], "cats", [[]]),
    "scores": ("abc", [["x"]], [[]], [], [[1.0, 2.0]], [5]),
    "row_length": (None, -1, 1.5, 10**9),
    "tasks": ("magic", []),
    "progress": ({"task": "a"}, 5, {"task": "cats", "config": {}, "step": -1, "losses": [], "stage": "judge"},
                 {"task": "cats", "config": {}, "step": 1, "losses": []}),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_record_is_told(home, tmp_path, capsys, name):
    """Written by another program, or by hand: what does not hold together is found before anything is done with it."""
    for value in DAMAGE[name]:
        shutil.copytree(home / "m", tmp_path / "m", dirs_exist_ok=True)
        path = tmp_path / "m" / "checkpoint.json"
        index = json.loads(path.read_text())
        index["record"][name] = value
        path.write_text(json.dumps(index))
        assert run("info", "--model", tmp_path / "m") == 1
        assert "lacks what a course needs" in capsys.readouterr().err
        assert run("train", home / "cats.txt", "--out", tmp_path / "m", "--resume") == 1
        said = "lacks what a (run|course) needs" if name == "progress" else "there is nothing to resume"
        assert re.search(said, capsys.readouterr().err)


def test_held_out_rows_are_kept_only_if_wanted(home, tmp_path, capsys):
    """--keep-rows 0 keeps no training row, and says that the exam is kept; --keep-exam no keeps neither."""
    rows = [json.loads(line)["prompt"] for line in (home / "mood.jsonl").read_text().splitlines()]
    for keep in ("yes", "no"):
        out = tmp_path / keep
        argv = ["learn", home / "mood.jsonl", "--model", home / "hf", "--out", out, *QUICK, "--keep-rows", 0]
        assert run(*argv, "--keep-exam", keep) == 0
        said = capsys.readouterr().out
        stored = b"".join(path.read_bytes() for path in out.iterdir())
        found = sum(row.encode() + b'"' in stored for row in rows)
        assert found == (2 if keep == "yes" else 0)
        assert ("is kept in it as an exam" in said) == (keep == "yes")
    assert run("learn", home / "colour.jsonl", "--model", tmp_path / "no", "--out", tmp_path / "two", *QUICK) == 0
    table = capsys.readouterr().out
    assert "on average" not in table, "what was not measured is not told as 0"
    assert record(tmp_path / "two")["scores"][1][0] is None


def test_what_a_method_wrote_to_rehearse_is_told():
    """A method that found no usable row of its own protects nothing, and nobody would know."""
    from types import SimpleNamespace

    counted = SimpleNamespace(report={"spam": {"written": 12, "usable": 3, "kept": 1}})
    assert reported(counted, "spam") == "to rehearse spam: written 12, usable 3, kept 1\n"
    assert reported(counted, "trec") == reported(SimpleNamespace(), "spam") == ""


def test_a_text_can_be_rehearsed_without_keeping_a_row_of_it(home, tmp_path):
    """Generative replay: the rows in the checkpoint are the model's own, and a third text goes on with them."""
    method, out = ["--method", "generative-replay", "--keep-rows", "6"], tmp_path / "n"
    assert run("learn", home / "dogs.txt", "--model", home / "m", "--out", out, *method, *QUICK) == 0
    course = open_course(out)
    task, _ = course.kind.task("dogs", (home / "dogs.txt").read_text(), course.loaded, course.row_length)
    theirs, own = set(map(tuple, task.train.ids.tolist())), course.method.memory.rows.ids
    assert course.method.memory.counts() == {"dogs": 6} and own.shape[1] == task.train.ids.shape[1]
    assert not theirs & set(map(tuple, own.tolist()))
    (tmp_path / "fish.txt").write_text("A fish swam under the bridge.\n" * 120)
    more = ["learn", tmp_path / "fish.txt", "--name", "again", "--model", out, "--out", tmp_path / "o", *QUICK]
    assert run(*more) == 0 and open_course(tmp_path / "o").method.memory.counts() == {"dogs": 3, "again": 3}


def test_a_setting_that_two_methods_share_needs_no_method(home, tmp_path):
    """A course taught with shared replay has --replay-rows too: once it was told that it has none."""
    out = tmp_path / "n"
    argv = ["learn", home / "dogs.txt", "--model", home / "m", "--out", out, "--method", "shared-replay", *QUICK]
    assert run(*argv, "--keep-rows", "4", "--replay-rows", "2") == 0
    (tmp_path / "fish.txt").write_text("A fish swam under the bridge.\n" * 120)
    more = ["learn", tmp_path / "fish.txt", "--model", out, "--out", tmp_path / "o", *QUICK]
    with pytest.raises(Mistake, match="taught with shared-replay, has --keep-rows 4, not 3"):
        cli.main([*map(str, more), "--keep-rows", "3"])
    assert run(*more, "--replay-rows", "1") == 0
    assert record(tmp_path / "o")["method"]["config"]["replay_rows"] == 1
