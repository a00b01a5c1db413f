"""The job of the ablations: every cell once, kept as it comes, and a table that says what was measured."""

import importlib.util
import json
from pathlib import Path

import pytest
from gpt.ablations import ABLATIONS
from gpt.vendor.shared.errors import Mistake

pytestmark = pytest.mark.day(56)
WEEK = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def job():
    spec = importlib.util.spec_from_file_location("week0708_ablations_job", WEEK / "ablations.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def argv(tmp_path):
    (tmp_path / "text.txt").write_text("to be or not to be, that is the question\n" * 40)
    return ["--preset", "smoke", "--data", str(tmp_path / "text.txt"), "--out", str(tmp_path / "out"), "--threads", "1"]


def test_a_smoke_run_has_a_row_an_ablation_and_goes_on_where_it_stopped(job, argv, tmp_path, monkeypatch):
    """Stopped after five cells, the second command trains the other thirteen, and keeps those five as they are."""
    true, calls = job.run_cell, []

    def stopped(name, seed, *rest):
        if len(calls) == 5:
            raise KeyboardInterrupt
        calls.append((name, seed))
        return true(name, seed, *rest)

    monkeypatch.setattr(job, "run_cell", stopped)
    with pytest.raises(KeyboardInterrupt):
        job.main(argv)
    cells = tmp_path / "out" / "traces" / "ablations-smoke.json"
    first = json.loads(cells.read_text())["cells"]
    assert [(cell["name"], cell["seed"]) for cell in first] == calls
    monkeypatch.setattr(
        job, "run_cell", lambda name, seed, *rest: calls.append((name, seed)) or true(name, seed, *rest)
    )
    metrics = job.main(argv)
    assert sorted(calls) == sorted((name, seed) for name in ABLATIONS for seed in (0, 1)), "each cell exactly once"
    assert json.loads(cells.read_text())["cells"][:5] == first
    assert [row["name"] for row in metrics["rows"]] == list(ABLATIONS)
    assert metrics["rows"][0]["above_whole"] == 0 and metrics["rows"][0]["loss_sd"] > 0
    assert json.loads((tmp_path / "out" / "ablations-smoke.json").read_text())["metrics"] == metrics


def cell(name, seed, loss):
    return {"name": name, "seed": seed, "loss": loss, "seconds": 2.0 + seed, "params": 7, "why": None}


def test_the_summary_compares_seed_by_seed(job):
    """Whole: 1, 3; without residual: 2, 5. Mean 3.5, above by 1 and 2: mean 1.5, sd sqrt(1/2). Least seconds: 2."""
    cells = [cell(name, seed, loss) for name in ABLATIONS for seed, loss in enumerate((1.0, 3.0))]
    cells = [c | {"loss": (2.0, 5.0)[c["seed"]]} if c["name"] == "no residual" else c for c in cells]
    row = job.summary(cells)[1]
    assert (row["name"], row["loss"], row["above_whole"], row["seconds"]) == ("no residual", 3.5, 1.5, 2.0)
    assert row["above_whole_sd"] == pytest.approx(0.5**0.5, rel=1e-12)


def test_a_training_that_broke_off_has_no_loss(job):
    """A mean over the seeds that survived would flatter an ablation."""
    cells = [cell(name, seed, 1.0 + seed) for name in ABLATIONS for seed in (0, 1)]
    cells = [c | {"loss": None} if (c["name"], c["seed"]) == ("no norm", 1) else c for c in cells]
    row = job.summary(cells)[2]
    assert row["name"] == "no norm" and row["loss"] is None and row["above_whole"] is None


def test_cells_of_another_setting_do_not_count(job, tmp_path):
    (tmp_path / "cells.json").write_text(json.dumps({"setting": {"steps": 3}, "cells": [1]}))
    assert job.kept_cells(tmp_path / "cells.json", {"steps": 4}) == []
    assert job.kept_cells(tmp_path / "cells.json", {"steps": 3}) == [1]
    assert job.kept_cells(tmp_path / "absent.json", {}) == []
    (tmp_path / "cells.json").write_text("{")
    with pytest.raises(Mistake, match="does not hold cells .* move it away, and run again"):
        job.kept_cells(tmp_path / "cells.json", {})
