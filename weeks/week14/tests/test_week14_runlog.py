"""The log of a long script: what it goes on with, what it starts over, and what it never deletes."""

from types import SimpleNamespace

import pytest
from nanogpt.vendor.shared.errors import Mistake
from nanogpt.workspace import runlog

pytestmark = pytest.mark.day(100)

SETTING, PARTS = {"steps": 3}, ("pretrained", "naive")


def train(work, name, content="ours"):
    """Stands for a training: a model's folder with its index."""
    (work / name).mkdir(parents=True, exist_ok=True)
    (work / name / "checkpoint.json").write_text(content)
    (work / name / "weights.safetensors").write_text(content)


def run(work, setting=SETTING, fresh=False, stop=False, parts=PARTS):
    """A script from begin to its end, or to Ctrl-C after the first part."""
    log = runlog.begin(work, setting, PARTS, fresh)
    with runlog.clocked(work, log):
        for name in parts:
            if not (work / name / "checkpoint.json").exists():
                train(work, name)
            if stop:
                raise KeyboardInterrupt
    return log


def kept(work):
    return {path.name: (path / "checkpoint.json").read_text() for path in work.glob("*-kept-*")}


def test_its_own_untouched_models_make_room_for_a_new_run(tmp_path, capsys):
    """The same command twice: the folder does not grow without end."""
    for _ in range(3):
        run(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["naive", "pretrained", "run.json"]
    assert "moved" not in capsys.readouterr().out


@pytest.mark.parametrize("again", [{}, {"fresh": True}, {"setting": {"steps": 4}}])
def test_what_a_user_taught_is_moved_aside(tmp_path, capsys, again):
    """`nanogpt learn --out` into a folder of the script: an hour of somebody's training must outlive the next run."""
    run(tmp_path)
    train(tmp_path, "naive", "taught by a user")
    run(tmp_path, **again)
    assert kept(tmp_path) == {"naive-kept-1": "taught by a user"}
    assert (tmp_path / "naive/checkpoint.json").read_text() == "ours"
    assert f"{tmp_path / 'naive'} is not as this script left it" in capsys.readouterr().out
    train(tmp_path, "naive", "taught again")
    run(tmp_path, **again)
    assert kept(tmp_path) == {"naive-kept-1": "taught by a user", "naive-kept-2": "taught again"}


def test_a_file_beside_the_model_is_kept_too(tmp_path):
    """A conversation that was saved there is the user's, though the model is as it was."""
    run(tmp_path)
    (tmp_path / "naive/chat.json").write_text("mine")
    run(tmp_path)
    assert (tmp_path / "naive-kept-1/chat.json").read_text() == "mine"


def test_a_stopped_run_goes_on_with_what_it_left(tmp_path, capsys):
    """Nothing is moved or done twice, however often it is stopped."""
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt, match="the same command again goes on"):
            run(tmp_path, stop=True)
    log = run(tmp_path)
    assert log["done"] and kept(tmp_path) == {}
    assert "going on with the run that was stopped" in capsys.readouterr().out


def test_a_stopped_run_does_not_go_on_with_what_a_user_taught(tmp_path):
    """Its numbers would be those of another model, and the next run would take that model for its own."""
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stop=True)
    train(tmp_path, "pretrained", "taught by a user")
    run(tmp_path)
    assert kept(tmp_path) == {"pretrained-kept-1": "taught by a user"}


def test_a_killed_run_goes_on(tmp_path):
    """No time to note anything: what lies there is where it was, and going on deletes nothing."""
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stop=True)
    runlog.begin(tmp_path, SETTING, PARTS)  # goes on, saves, and is killed
    train(tmp_path, "pretrained", "ours, further")
    run(tmp_path)
    assert kept(tmp_path) == {} and (tmp_path / "pretrained/checkpoint.json").read_text() == "ours, further"


def test_a_killed_run_is_not_deleted_either(tmp_path):
    """What nobody noted may be anybody's: starting over moves it."""
    runlog.begin(tmp_path, SETTING, PARTS)
    train(tmp_path, "pretrained", "half done")
    run(tmp_path, fresh=True)
    assert kept(tmp_path) == {"pretrained-kept-1": "half done"}


@pytest.mark.parametrize("log", [None, "not JSON", "[]", '{"other": "program"}'])
@pytest.mark.parametrize("fresh", [False, True])
def test_a_folder_of_somebody_else_is_refused(tmp_path, log, fresh):
    """`--work DIR` where DIR/naive is a model of the user's: named, and left alone, with --fresh as well."""
    train(tmp_path, "naive", "somebody's")
    if log is not None:
        (tmp_path / "run.json").write_text(log)
    with pytest.raises(Mistake, match="naive is there already, but no run of this script left it; give another --work"):
        run(tmp_path, fresh=fresh)
    assert (tmp_path / "naive/checkpoint.json").read_text() == "somebody's"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["naive"] + (["run.json"] if log is not None else [])


def test_folders_that_are_no_parts_do_not_matter(tmp_path):
    """Only what the script itself would write is in its way."""
    train(tmp_path, "mine", "a user's")
    (tmp_path / "naive").mkdir()  # empty
    run(tmp_path)
    assert (tmp_path / "mine/checkpoint.json").read_text() == "a user's" and kept(tmp_path) == {}


@pytest.mark.parametrize(("steps", "seconds"), [(0, None), (1, None), (3, 2.0)])
def test_a_task_notes_its_losses_and_the_seconds_of_a_step(monkeypatch, steps, seconds):
    """A run that was stopped after its last step goes on with none, so there is nothing to time."""
    clock = iter([10.0, 13.0, 14.0])

    def learn(*_, on_step, **__):
        for step in range(steps):
            on_step(step, {})
        return [3.0, 2.0, 1.0], None

    monkeypatch.setattr(runlog, "learn", learn)
    monkeypatch.setattr(runlog, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    log = {"losses": {}, "step_seconds": {}}
    runlog.teach(log, "naive: code", None, None, None, autocast=None, folder=None, save_every=1)
    assert log == {"losses": {"naive: code": [3.0, 2.0, 1.0]}, "step_seconds": {"naive: code": seconds}}
