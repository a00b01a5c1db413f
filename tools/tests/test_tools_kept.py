"""What an interrupted run has measured, and a folder for results that cannot be used."""

import json

import pytest
from shared import results
from shared.kept import Kept


@pytest.fixture
def script(tmp_path):
    (tmp_path / "week/package").mkdir(parents=True)
    (tmp_path / "week/package/model.py").write_text("a = 1\n")
    (tmp_path / "week/train.py").write_text("import package\n")
    return tmp_path / "week/train.py"


def stopped(path, script, *setting, by=KeyboardInterrupt):
    """A run that has two results when something ends it; what it said."""
    with pytest.raises(by) as told, Kept(path, script, *setting) as kept:
        kept["a"] = [1.5, None]
        kept.setdefault("b", {"x": "text"})
        raise by
    return str(told.value)


def test_an_interrupted_run_goes_on(tmp_path, script, capsys):
    """It says what is there, the next one has it to the digit, and at its end there is no file and no folder more."""
    path = tmp_path / "models/run.part"
    assert stopped(path, script, "smoke") == f"2 results are kept in {path}; the same command goes on"
    with Kept(path, script, "smoke") as kept:
        assert dict(kept) == {"a": [1.5, None], "b": {"x": "text"}} and "c" not in kept
        kept["c"] = 3
        assert json.loads(path.read_text())["kept"] == dict(kept)
    assert capsys.readouterr().out == f"2 results of an interrupted run are in {path}; they are not measured again\n"
    assert not path.parent.exists()


def test_an_error_keeps_what_was_measured_and_says_its_own_sentence(tmp_path, script):
    assert stopped(tmp_path / "run.part", script, by=ValueError) == ""
    assert len(Kept(tmp_path / "run.part", script)) == 2


def test_nothing_measured_is_nothing_kept(tmp_path, script):
    """Neither a file, nor a sentence about one."""
    with pytest.raises(KeyboardInterrupt) as told, Kept(tmp_path / "run.part", script):
        raise KeyboardInterrupt
    assert str(told.value) == "" and not (tmp_path / "run.part").exists()


def test_what_other_code_or_another_setting_measured_is_not_taken(tmp_path, script):
    """The script's code, that of its package, and all else that was named; tests change no number."""
    path = tmp_path / "run.part"
    stopped(path, script, "smoke", 1)
    assert len(Kept(path, script, "smoke", 1)) == 2 and len(Kept(path, script, "smoke", 2)) == 0
    (script.parent / "tests").mkdir()
    (script.parent / "tests/test_it.py").write_text("b = 2\n")
    assert len(Kept(path, script, "smoke", 1)) == 2
    for changed in (script, script.parent / "package/model.py"):
        before = changed.read_text()
        changed.write_text("a = 2\n")
        assert len(Kept(path, script, "smoke", 1)) == 0
        changed.write_text(before)


@pytest.mark.parametrize("content", ["", "[1, 2]", '{"setting": []}', '{"kept": {"a": 1}}', "\udcff"])
def test_a_file_that_is_none_of_ours_is_no_result(tmp_path, script, content):
    path = tmp_path / "run.part"
    path.write_bytes(content.encode(errors="surrogateescape"))
    assert len(Kept(path, script)) == 0


def test_the_seconds_are_those_of_all_runs(tmp_path, script, monkeypatch):
    """So that a results file says what its numbers took."""
    clock = [100.0]
    monkeypatch.setattr("shared.results.time.perf_counter", lambda: clock[0])
    with pytest.raises(KeyboardInterrupt), Kept(tmp_path / "run.part", script) as kept:
        clock[0] += 7
        kept["a"] = 1
        raise KeyboardInterrupt
    clock[0] += 1000
    with Kept(tmp_path / "run.part", script) as kept:
        clock[0] += 5
        assert kept.seconds == 12


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("file", "file is no folder; give another path"),
        ("file/below", "file is no folder; give another path"),
        ("x" * 300, "file name too long; give another folder"),
    ],
)
def test_a_folder_that_cannot_be_used_is_told_at_once(tmp_path, capsys, out, said):
    """Every script asks here, before hours are measured."""
    (tmp_path / "file").write_text("mine")
    for parser in (results.parser("a script"), results.drawing_parser("a script", tmp_path / "train.py")):
        with pytest.raises(SystemExit):
            parser.parse_args(["--out", str(tmp_path / out)])
        assert said in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_without_the_right_to_write_is_told_at_once(tmp_path, capsys, monkeypatch):
    """The nearest one that is there decides; who may do everything is asked, too."""
    monkeypatch.setattr(results.os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(SystemExit):
        results.parser("a script").parse_args(["--out", str(tmp_path / "new/below")])
    assert f"nothing can be written in {tmp_path}; give another folder" in capsys.readouterr().err


def test_a_new_folder_is_taken_and_not_made(tmp_path, monkeypatch):
    """Where the command fails later, nothing of it should lie about."""
    monkeypatch.chdir(tmp_path)
    for out in (tmp_path / "new/below", tmp_path, "new"):
        assert str(results.parser("a script").parse_args(["--out", str(out)]).out) == str(out)
    assert results.parser("a script").parse_args([]).out is None
    assert not (tmp_path / "new").exists()
