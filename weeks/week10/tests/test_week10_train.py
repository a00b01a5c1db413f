"""Day 70: the jobs of the train script on a small text, their files, their figures, and what they refuse."""

import json
import math

import pytest
from scaling import frozen
from scaling.law import Law

pytestmark = pytest.mark.day(70)

LINES = "Nay, good my lord, speak fair; the night is long and the word is {}.\n"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """data/ with the one text set that the smoke preset reads."""
    folder = tmp_path_factory.mktemp("data") / "shakespeare"
    folder.mkdir()
    for part, count in (("train", 3000), ("val", 300)):
        text = "".join(LINES.format(i**4 % 99991) for i in range(count))
        (folder / f"{part}.txt").write_text(text, encoding="utf-8")
    return folder.parent


@pytest.fixture(scope="module")
def done(data, tmp_path_factory, load_script):
    """What `train.py --preset smoke` leaves behind: (folder, metrics)."""
    out = tmp_path_factory.mktemp("week10")
    train = load_script("week10", "train")
    return out, train.main(["--preset", "smoke", "--data", str(data), "--out", str(out), "--threads", "1"])


def told(load_script, capsys, *argv):
    """(status, stderr) of the train script, run as a script."""
    train = load_script("week10", "train")
    status = train.entry(train.main, list(map(str, argv)))
    return status, capsys.readouterr().err


def test_a_round_writes_a_file_a_job(done):
    """Race, law and predict: the numbers of each file are those that main returns, and none is out of reach."""
    out, metrics = done
    files = {job: json.loads((out / f"{job}-smoke.json").read_text())["metrics"] for job in ("race", "law", "predict")}
    assert {key for found in files.values() for key in found} == metrics.keys()
    assert files["law"]["scaling_runs"] == 6 == len(files["law"]["rows"])
    one = files["race"]["races"][0]
    assert one["steps_ratio"] == one["muon_steps"] / files["race"]["adamw_steps"]
    assert one["time_ratio"] == pytest.approx(one["steps_ratio"] * one["step_seconds_ratio"], rel=1e-12)
    foretold, run = files["predict"]["foretold"], files["predict"]["run"]
    assert files["predict"]["scaling_prediction_error_pct"] == pytest.approx(
        100 * (foretold / run["loss"] - 1), rel=1e-9
    )
    assert foretold == files["law"]["held_out"]["loss"] and run["params"] == files["law"]["held_out"]["params"]


def test_the_law_is_frozen_before_the_run(done):
    """The file holds the law that was fitted; its word on the larger run is the one that predict compares."""
    out, metrics = done
    law = frozen.read(out / "frozen-smoke.json")
    assert law.law == Law(*(metrics[f"law_{key}"] for key in Law._fields))
    run = metrics["run"]
    assert law.law.loss(run["params"], run["tokens"]) == metrics["foretold"]
    assert run["flops"] > 2 * law.flops


def test_the_figures_are_drawn_from_the_results(done, load_script, tmp_path):
    out, _ = done
    load_script("week10", "figures").main(["--preset", "smoke", "--results", str(out), "--out", str(tmp_path)])
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"frontier.png", "isoflop.png", "misses.png", "race.png", "schedules.png"}


def test_a_plan_is_made_from_a_frozen_law(done, load_script, capsys, tmp_path):
    """Every line has its formula; a budget far beyond the sweep is called a guess."""
    out, _ = done
    law = ["--law", str(out / "frozen-smoke.json"), "--out", str(tmp_path)]
    found = load_script("week10", "train").main(["plan", "--budget", "1 core x 1 minute", "--threads", "1", *law])
    said = capsys.readouterr().out
    assert found["operations"] == pytest.approx(60 * found["operations_per_second"])
    assert "E + A / N^alpha + B / D^beta" in said and "take it as a guess" in said


@pytest.mark.parametrize("budget", ["", "0 cores x 1 hour", "2 cores x 1000 years"])
def test_budgets_that_are_refused(done, load_script, capsys, budget):
    """Nothing, and a thousand years: the sentence ends with a budget that can be typed."""
    out, _ = done
    status, error = told(load_script, capsys, "plan", "--budget", budget, "--law", out / "frozen-smoke.json")
    assert status == 1 and error.startswith("error: plan: ") and 'such as "2 cores x 1 hour"' in error


def test_a_budget_of_more_cores_than_there_are_is_refused(done, load_script, capsys):
    """Their speed would be measured with as many threads on the few that there are."""
    law = done[0] / "frozen-smoke.json"
    status, error = told(load_script, capsys, "plan", "--budget", "100000 cores x 1 minute", "--law", law)
    assert status == 1 and "the speed of 100000 cannot be measured; give --rate" in error


def test_a_race_at_a_rate_that_no_run_survives(data, load_script, capsys, tmp_path, monkeypatch):
    """A learning rate of 1e30: a sentence with the optimizer and its rate, not a traceback."""
    train = load_script("week10", "train")
    monkeypatch.setitem(train.RACES, "smoke", train.Race(1, 16, 16, 4, steps=4, judged=64, most=5000, adamw=(1e30,)))
    argv = ["race", "--preset", "smoke", "--data", data, "--out", tmp_path, "--threads", "1"]
    status, error = told(load_script, capsys, *argv)
    assert status == 1 and "adamw at 1e+30" in error and "give lower rates" in error


def test_a_job_that_waits_for_another(load_script, capsys, tmp_path):
    """predict needs a frozen law, law needs its text; both say which command makes it."""
    status, error = told(load_script, capsys, "predict", "--preset", "smoke", "--out", tmp_path)
    assert status == 1 and "frozen-smoke.json does not exist; run: python weeks/week10/train.py" in error
    status, error = told(load_script, capsys, "law", "--preset", "smoke", "--out", tmp_path, "--data", tmp_path)
    assert status == 1 and "run: make data/shakespeare" in error


def test_a_number_of_steps_is_used_or_refused(load_script, capsys, tmp_path, monkeypatch):
    """0 is a number too: it must not mean the preset's steps."""
    train = load_script("week10", "train")
    monkeypatch.setattr(train.large, "tokens", lambda data, keep: [])
    argv = ["gpt2", "--preset", "smoke", "--steps", "0", "--out", tmp_path, "--threads", "1"]
    status, error = told(load_script, capsys, *argv)
    assert status == 1 and "a run of 0 steps has no middle to stop in; give 2 or more" in error


def test_a_stopped_race_goes_on(data, load_script, capsys, tmp_path, monkeypatch):
    """Ctrl-C after the first run: it is kept, and the same command makes only the second."""
    train = load_script("week10", "train")
    real, made = train.races.attempt, []

    def stopped(job, *rest):
        if made:
            raise KeyboardInterrupt
        made.append(job)
        return real(job, *rest)

    argv = ["race", "--preset", "smoke", "--data", data, "--out", tmp_path, "--threads", "1"]
    monkeypatch.setattr(train.races, "attempt", stopped)
    status, error = told(load_script, capsys, *argv)
    again = "python weeks/week10/train.py race --preset smoke"
    assert status == 130 and f"what is finished is kept; to go on: {again}" in error
    monkeypatch.setattr(train.races, "attempt", lambda job, *rest: made.append(job) or real(job, *rest))
    assert told(load_script, capsys, *argv)[0] == 0
    assert [job[0].name for job in made] == ["adamw", "muon"]
    assert math.isfinite(json.loads((tmp_path / "race-smoke.json").read_text())["metrics"]["adamw_loss"])
