"""A course that a hand has edited, and a method that cannot begin: one sentence each, and nothing is lost by it."""

import json
import math
import shutil

import pytest
from nanogpt.vendor.continual.methods import METHODS
from nanogpt.vendor.shared.errors import Mistake
from nanogpt.workspace import learn as workspace
from nanogpt.workspace.store import open_course
from week14_tiny import QUICK, furnish, interrupt, record, run, same_weights

pytestmark = pytest.mark.day(99)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """`furnish`, and a model that learned a second text with each of three methods that remember other things."""
    folder = furnish(tmp_path_factory.mktemp("edited"))
    for name in ("finch", "ewc", "joint"):
        argv = ["learn", folder / "dogs.txt", "--model", folder / "m", "--out", folder / name, "--method", name]
        assert run(*argv, *QUICK) == 0
    return folder


def edit(folder, where, key, value):
    """Set record[where...][key] of a checkpoint.json."""
    path = folder / "checkpoint.json"
    index = json.loads(path.read_text())
    place = index["record"]
    for name in where:
        place = place[name]
    place[key] = value
    path.write_text(json.dumps(index))
    return path.read_text()


@pytest.mark.parametrize(
    ("model", "where", "key", "value", "said"),
    [
        ("m", (), "row_length", 8, "row_length is 8, and replay keeps rows of 16 tokens"),
        ("joint", (), "row_length", 8, "row_length is 8, and joint keeps rows of 16 tokens"),
        ("m", ("method", "config"), "replay_rows", 2.5, "replay_rows is 2.5; use a whole number"),
        ("m", ("method", "config"), "memory", 5, "memory is 5; use a text"),
        ("m", ("method",), "config", [], r"the settings of replay are \[\]"),
        ("ewc", ("method", "config"), "strength", "strong", "strength is 'strong'; use a number"),
        ("finch", ("state",), "learned", math.nan, "learned of the state of finch is 'nan'"),
        ("finch", ("state",), "mean", math.nan, "mean of the state of finch is nan"),
        ("finch", ("state",), "learned", -1, "learned of the state of finch is -1"),
        ("finch", ("state",), "learned", None, "learned of the state of finch is 'None'"),
        ("m", ("state",), "tasks", [3] * 8, "tasks of the state of replay is"),
        ("m", ("state",), "tasks", [], "the state has 8 rows, and tasks for 0"),
        ("m", ("method",), "name", "ewc", "ewc has no setting keep_rows"),
        ("joint", ("method",), "name", "cumulative", None),  # it remembers the same
        ("joint", ("state",), "tasks", [], "joint does not know 0.ids, 0.judged"),
        ("ewc", (), "row_length", 8, None),  # no row is kept that would not fit
    ],
)
def test_an_edited_course_opens_or_says_what_is_wrong(home, tmp_path, capsys, model, where, key, value, said):
    """Before any training, and the folder stays as it was."""
    shutil.copytree(home / model, tmp_path / "e")
    written = edit(tmp_path / "e", where, key, value)
    if said is None:
        open_course(tmp_path / "e")
        return
    with pytest.raises(Mistake, match=f"lacks what a course needs .*{said}.*restore the folder from a copy"):
        open_course(tmp_path / "e")
    argv = ["learn", home / "dogs.txt", "--name", "more", "--model", tmp_path / "e", "--out", tmp_path / "e", *QUICK]
    assert run(*argv) == 1 and "lacks what a course needs" in capsys.readouterr().err
    assert (tmp_path / "e/checkpoint.json").read_text() == written


@pytest.mark.parametrize(
    ("where", "key", "value", "said"),
    [
        ((), "losses", [math.nan], "progress has losses that are no numbers"),
        ((), "losses", ["2.0"], "progress has losses that are no numbers"),
        ((), "step", 7, "step 7 is beyond the last one, 6"),
        (("config",), "steps", 6.5, "--steps is 6.5; it must be a whole number"),
        (("config",), "accumulate", 1.5, "--accumulate is 1.5; it must be a whole number"),
        (("config",), "lr", "high", "--lr is 'high'; it must be a number"),
        (("config",), "optimizer", 3, "--optimizer is 3; it must be a name"),
        (("config",), "seed", True, "--seed is True; it must be a whole number"),
    ],
)
def test_an_edited_run_says_what_is_wrong(home, tmp_path, monkeypatch, capsys, where, key, value, said):
    """It was stopped in the middle of a task; what it is to go on with has been changed since."""
    argv = ["learn", home / "dogs.txt", "--model", home / "m", "--out", tmp_path / "e", *QUICK]
    if not (home / "stopped").exists():
        monkeypatch.setattr(workspace, "train", interrupt)
        assert run(*argv) == 130
        monkeypatch.undo()
        shutil.copytree(tmp_path / "e", home / "stopped")
    shutil.copytree(home / "stopped", tmp_path / "e", dirs_exist_ok=True)
    capsys.readouterr()
    edit(tmp_path / "e", ("progress", *where), key, value)
    assert run("learn", home / "dogs.txt", "--out", tmp_path / "e", "--resume") == 1
    said_at_all = capsys.readouterr().err
    assert said in said_at_all and "from a copy, or train again" in said_at_all


def test_an_adapter_of_another_rank_is_told(home, tmp_path):
    """Every tensor with the shape that it has and the one that is needed, and what to do."""
    shutil.copytree(home / "rows", tmp_path / "e")
    path = tmp_path / "e/checkpoint.json"
    index = json.loads(path.read_text())
    index["adapter"]["rank"] = 3
    path.write_text(json.dumps(index))
    with pytest.raises(Mistake, match=r"q.lora_A has shape \(8, 32\), not \(3, 32\).* more; restore it from a copy"):
        open_course(tmp_path / "e")


def test_weights_that_a_method_keeps_and_that_are_no_numbers_are_told(home, monkeypatch):
    """A file of tensors is known by its hash, so this takes more than an editor; but then it would be NaN in a loss."""
    load = workspace.checkpoint.load_part

    def broken(folder, part, index=None):
        found = load(folder, part, index)
        return {k: t * math.nan if k.startswith("anchor.") else t for k, t in found.items()}

    monkeypatch.setattr(workspace.checkpoint, "load_part", broken)
    with pytest.raises(Mistake, match="anchor.* of the state of ewc holds NaN or infinity"):
        open_course(home / "ewc")


@pytest.mark.parametrize("name", [name for name, (_, method) in METHODS.items() if method.needs_text])
def test_a_method_for_questions_is_refused_for_text(home, tmp_path, capsys, name):
    """Said before the model is opened, in the words of whoever typed it."""
    more = ["--generic-text", home / "cats.txt"] if name == "generic" else []
    argv = ["learn", home / "dogs.txt", "--model", home / "m", "--out", tmp_path / "n", "--method", name, *more, *QUICK]
    assert run(*argv) == 1 and not (tmp_path / "n").exists()
    assert f"--method {name} is for rows of prompt and response" in capsys.readouterr().err


@pytest.mark.parametrize("stop", ["a sentence", "Ctrl-C"])
def test_a_method_that_cannot_begin_leaves_the_folder_free(home, tmp_path, monkeypatch, capsys, stop):
    """The state before is saved first. Where nothing follows, it must not be in the way of the next try."""
    out = tmp_path / "n"
    argv = ["learn", home / "dogs.txt", "--model", home / "m", "--out", out, "--method", "ewc", *QUICK]
    if stop == "Ctrl-C":
        monkeypatch.setattr(METHODS["ewc"][1], "start", interrupt)
        assert run(*argv) == 130 and "nothing was saved; start again" in capsys.readouterr().err
        monkeypatch.undo()
    else:
        assert run(*argv, "--labels", "all") == 1
        assert capsys.readouterr().err.endswith("take 4480 gradients; use 'model'\n")
    assert not out.exists()
    assert run(*argv, "--labels", "model") == 0 and record(out)["learned"] == ["cats", "dogs"]


def test_what_lay_there_before_stays_where_a_method_cannot_begin(home, tmp_path, capsys):
    """In the model's own folder nothing is taken away, and a file of somebody else's never is."""
    shutil.copytree(home / "ewc", tmp_path / "m")
    (tmp_path / "m/notes.txt").write_text("mine")
    edit(tmp_path / "m", ("method", "config"), "labels", "all")
    (tmp_path / "fish.txt").write_text("A fish swam under the bridge.\n" * 120)
    argv = ["learn", tmp_path / "fish.txt", "--model", tmp_path / "m", "--out", tmp_path / "m", *QUICK]
    assert run(*argv) == 1 and "labels" in capsys.readouterr().err
    assert same_weights(tmp_path / "m", home / "ewc") and (tmp_path / "m/notes.txt").read_text() == "mine"


def test_a_name_of_blanks_is_no_name(home, tmp_path):
    """The file's name stands in its place, as it does for an empty one."""
    argv = ["learn", home / "dogs.txt", "--model", home / "m", "--out", tmp_path / "n", "--name", "  ", *QUICK]
    assert run(*argv) == 0 and record(tmp_path / "n")["learned"] == ["cats", "dogs"]


def test_undo_names_the_task_that_is_under_way(home, tmp_path, monkeypatch, capsys):
    """Both states have learned the same; only one of them was stopped in the middle of more."""
    monkeypatch.setattr(workspace, "judge", interrupt)
    out = tmp_path / "n"
    assert run("learn", home / "dogs.txt", "--model", home / "m", "--out", out, *QUICK) == 130
    capsys.readouterr()
    for more in ("", ", stopped while it learned dogs"):
        assert run("undo", out) == 0
        assert f"is now the model that learned cats{more}; once more" in capsys.readouterr().out
