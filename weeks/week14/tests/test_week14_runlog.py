"""The log of a long script: what it goes on with, what it starts over, and what it never deletes."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from nanogpt.vendor.shared.errors import Mistake
from nanogpt.vendor.shared.files import LOCK, locked
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


def names(work):
    """What lies there, without the lock."""
    return sorted(path.name for path in work.iterdir() if path.name != LOCK)


def kept(work):
    return {path.name: (path / "checkpoint.json").read_text() for path in work.glob("*-kept-*") if path.is_dir()}


def test_its_own_untouched_models_make_room_for_a_new_run(tmp_path, capsys):
    """The same command twice: the folder does not grow without end."""
    for _ in range(3):
        run(tmp_path)
    assert names(tmp_path) == ["naive", "pretrained", "run.json"]
    assert "moved" not in capsys.readouterr().out


@pytest.mark.parametrize("again", [{}, {"fresh": True}, {"setting": {"steps": 4}}])
def test_what_a_user_taught_is_moved_aside(tmp_path, capsys, again):
    """`nanogpt learn --out` into a folder of the script: an hour of somebody's training must outlive the next run."""
    run(tmp_path)
    train(tmp_path, "naive", "taught by a user")
    run(tmp_path, **again)
    others = {"pretrained-kept-1": "ours"} if "setting" in again else {}
    assert kept(tmp_path) == {"naive-kept-1": "taught by a user", **others}
    assert (tmp_path / "naive/checkpoint.json").read_text() == "ours"
    assert f"{tmp_path / 'naive'} is not as this script left it" in capsys.readouterr().out
    train(tmp_path, "naive", "taught again")
    run(tmp_path, **again)
    assert kept(tmp_path) == {"naive-kept-1": "taught by a user", "naive-kept-2": "taught again", **others}


@pytest.mark.parametrize("stop", [False, True])
def test_a_run_with_other_settings_is_moved_aside(tmp_path, capsys, stop):
    """Minutes of training, perhaps half-way: one line says where they lie. Its log goes along, so that giving all back
    their names makes "the same command again goes on" true."""
    ended = pytest.raises(KeyboardInterrupt) if stop else nullcontext()
    with ended:
        run(tmp_path, stop=stop)
    run(tmp_path, setting={"steps": 4})
    parts = PARTS[:1] if stop else PARTS
    assert kept(tmp_path) == {f"{name}-kept-1": "ours" for name in parts}
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1 and said[0].startswith(f"the run in {tmp_path} has other settings; it was moved")
    assert all(str(tmp_path / f"{name}-kept-1") in said[0] for name in parts)
    for name in (*PARTS, "run.json"):
        path = tmp_path / name
        path.rename(tmp_path / f"new-{name}")
        if (old := path.with_name(f"{path.stem}-kept-1{path.suffix}")).exists():
            old.rename(path)
    runlog.begin(tmp_path, SETTING, PARTS)
    assert ("going on with the run" in capsys.readouterr().out) == stop


def test_starting_over_keeps_a_stopped_run(tmp_path, capsys):
    """--fresh begins anew; what was half done is not what it asks to delete."""
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stop=True)
    run(tmp_path, fresh=True)
    assert kept(tmp_path) == {"pretrained-kept-1": "ours"}
    assert "was stopped before its end; it was moved, and lies in" in capsys.readouterr().out


def test_a_finished_run_is_used_again_where_the_script_asks_for_it(tmp_path, capsys):
    """Also after a kill in between: what took hours is not trained twice."""
    run(tmp_path)
    train(tmp_path, "pretrained", "hours")
    first = runlog.read(tmp_path)
    runlog.write(tmp_path, first | {"left": {name: runlog.state(tmp_path / name) for name in PARTS}})
    for _ in range(2):
        log = runlog.begin(tmp_path, SETTING, PARTS, keep=True)  # and is killed
        assert log["elapsed"] == first["elapsed"] and (tmp_path / "pretrained/checkpoint.json").read_text() == "hours"
    assert kept(tmp_path) == {} and "this run is finished" in capsys.readouterr().out
    runlog.begin(tmp_path, SETTING, PARTS, fresh=True, keep=True)
    assert "pretrained-kept-1" in kept(tmp_path)


def test_one_run_at_a_time(tmp_path):
    """A second one changes nothing, whether the first one is at work or has just begun."""
    log = runlog.begin(tmp_path, SETTING, PARTS)
    with runlog.clocked(tmp_path, log):
        train(tmp_path, "naive")
        with pytest.raises(Mistake, match="another command is at work in"):
            run(tmp_path, fresh=True)
        with pytest.raises(Mistake, match="another command is at work in"), runlog.clocked(tmp_path, log):
            pass
        assert names(tmp_path) == ["naive", "run.json"]
    with locked(tmp_path):  # the first one has let go
        pass


def test_of_two_runs_that_begin_at_once_one_goes_on(tmp_path):
    first, second = (runlog.begin(tmp_path, SETTING, PARTS) for _ in range(2))
    with pytest.raises(Mistake, match="another command began in"), runlog.clocked(tmp_path, first):
        pass
    with runlog.clocked(tmp_path, second):
        pass
    assert runlog.read(tmp_path)["done"]


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
