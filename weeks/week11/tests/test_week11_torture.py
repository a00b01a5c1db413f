"""Real kills: torture.py in small, on whichever package is graded."""

import importlib.util
import json
import os
from pathlib import Path

import pytest
from pretrain.vendor.shared.errors import Mistake

pytestmark = [
    pytest.mark.day(75),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="kills are of forked processes"),
]


@pytest.fixture(scope="module")
def torture():
    """The script as a module. It imports the package that is graded, which a process of its own would not."""
    spec = importlib.util.spec_from_file_location("torture", Path(__file__).parents[1] / "torture.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def metrics(folder):
    return json.loads((folder / "torture.json").read_text())["metrics"]


def test_a_run_that_was_killed_ends_with_the_same_bits(torture, tmp_path):
    """One trial of each kind, with the loss spike of batch 40. Bit for bit: going on is the same arithmetic again."""
    found = torture.main(["--preset", "smoke", "--out", str(tmp_path)])
    assert found == metrics(tmp_path)
    assert found["kill_resume_trials"] == found["kill_resume_identical"] == 3
    assert [row[:2] for row in found["rows"]] == [[0, "any"], [1, "writing"], [2, "twice"]]
    assert 3 <= found["kills"] <= 4 and found["spikes_in_each_run"] == 1


def test_the_same_command_goes_on(torture, tmp_path, monkeypatch):
    tiny = ["--steps", "5", "--out", str(tmp_path)]
    torture.main(["--trials", "1", *tiny])
    first = metrics(tmp_path)["rows"]

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(torture, "trial", interrupted)
        with pytest.raises(KeyboardInterrupt, match="1 of 2 trials are kept; the same command goes on"):
            torture.main(["--trials", "2", *tiny])
    torture.main(["--trials", "2", *tiny])
    assert metrics(tmp_path)["rows"][:1] == first and metrics(tmp_path)["kill_resume_trials"] == 2


def test_a_run_that_differs_is_told_and_kept(torture, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(torture, "same", lambda *_: False)
    with pytest.raises(Mistake, match="1 of 1 runs differ from the undisturbed one; .*torture.json says which"):
        torture.main(["--trials", "1", "--steps", "5", "--out", str(tmp_path)])
    assert metrics(tmp_path)["kill_resume_identical"] == 0
    (kept,) = tmp_path.glob("torture-*/trial-000")
    assert f"trial 0 differs; its run stays in {kept}" in capsys.readouterr().err


def test_a_run_that_fails_is_told_and_kept(torture, tmp_path, monkeypatch, capfd):
    def broken(*_, **__):
        raise ValueError("no such thing")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(torture, "trainer", broken)
    with pytest.raises(Mistake, match="undisturbed failed, and what it said stands above"):
        torture.main(["--trials", "1", "--steps", "5", "--out", str(tmp_path)])
    assert "ValueError: no such thing" in capfd.readouterr().err and list(tmp_path.glob("torture-*"))


def test_what_shows_nothing_is_refused(torture):
    with pytest.raises(Mistake, match="0 trials of 60 steps show nothing; give --trials 1 and --steps 5, or more"):
        torture.main(["--trials", "0"])
    with pytest.raises(Mistake, match="takes one thread; leave --data and --threads out"):
        torture.main(["--threads", "2"])
