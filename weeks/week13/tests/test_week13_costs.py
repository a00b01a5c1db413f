"""Costs in turns: whose clock is read when, and what becomes of the ratio; on a clock that the test moves itself."""

import json
import math
import random

import pytest
from continual.learner import Learner
from continual.rows import windows
from continual.task import Task
from continual.tiers import costs
from continual.tiers.domains import byte_gpt
from continual.tiers.scenario import Scenario
from continual.tiers.scores import bits
from continual.vendor.shared.errors import Mistake

pytestmark = pytest.mark.day(91)

SETTINGS = dict(n_layer=1, n_head=2, n_embd=16, length=12, batch_size=4, steps=50, lr=1e-2, budget=12, replay_rows=2)


def scenario():
    from continual.tiers.growth import text

    tasks = [Task(f"t{i}", windows(text(i, 40 * 12 + 1), 12), windows(text(i, 4 * 12 + 1), 12)) for i in range(2)]
    return Scenario(
        "toy", tasks, lambda seed, method: Learner(byte_gpt(SETTINGS, seed)),
        lambda learner, task: {"bits": bits(learner, task.valid)}, lambda task: {"bits": 8.0}, SETTINGS,
        higher_is_better=False,
    )  # fmt: skip


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only where the test says so; and what was done, in its order."""
    seen = []

    class Clock:
        now = 0.0

    monkeypatch.setattr(costs.time, "process_time", lambda: Clock.now)

    def step(learner, strategy, optimizer, rows, clip):
        seen.append((type(strategy).__name__, len(rows)))
        Clock.now += 3.0 if type(strategy).__name__ == "Replay" else 1.0

    monkeypatch.setattr(costs, "step", step)
    Clock.seen = seen
    return Clock


def test_the_two_take_turns_and_only_the_second_task_counts(clock):
    """A method whose step takes three times as long costs three times as much, whatever was measured before."""
    found = costs.cost(scenario(), "replay", steps=5)
    assert [name for name, _ in clock.seen] == ["Replay", "Strategy"] * (2 + 5)
    assert found == {"time_ratio": 3.0, "step_ratio": 3.0}


def test_what_comes_once_a_task_counts_once(clock, monkeypatch):
    """100 seconds after the steps stand beside 50 steps of a second each, not beside the five that were measured."""
    from continual.methods.replay import Replay

    finish = Replay.finish

    def slow(self, learner, task):
        clock.now += 100.0
        finish(self, learner, task)

    monkeypatch.setattr(Replay, "finish", slow)
    found = costs.cost(scenario(), "replay", steps=5)
    assert found == {"time_ratio": (50 * 3 + 100) / 50, "step_ratio": 3.0}


def test_naive_is_the_unit(clock):
    assert costs.cost(scenario(), "naive") == {"time_ratio": 1.0, "step_ratio": 1.0} and not clock.seen


def test_the_comparison_takes_the_costs_that_were_measured(load_script, tmp_path):
    """With a costs file no seconds of cells are shown: rows of several days would be compared."""
    for i, name in enumerate(("shakespeare", "bible", "recipes", "code")):
        rng = random.Random(i)
        for part, n in (("train", 4000), ("val", 600)):
            path = tmp_path / name / f"{part}.txt"
            path.parent.mkdir(exist_ok=True)
            path.write_text("".join(rng.choice("abcdefghijklmnopqrstuvwxyz "[6 * i : 6 * i + 8]) for _ in range(n)))
    train, words = load_script("week13", "train"), ["--preset", "smoke", "--data", tmp_path, "--out", tmp_path / "out"]
    job = lambda name, *more: train.main([name, *map(str, words), "--threads", "1", *more])
    with pytest.raises(Mistake, match="holds no table yet; run: python weeks/week13/train.py domains"):
        job("costs")
    job("domains")
    before = job("compare")["domains"]["replay"]["time_ratio"]
    measured = job("costs")["domains"]
    assert measured.keys() == {"naive", "replay", "joint"} and measured["replay"]["time_ratio"] > 0
    job("domains", "--methods", "l2")
    after = job("compare")["domains"]
    assert after["replay"]["time_ratio"] == measured["replay"]["time_ratio"] and math.isfinite(before)
    assert "time_ratio" not in after["l2"] and "time_ratio" not in after["separate"]
    again = job("costs")["domains"]
    assert again.items() > measured.items() and again.keys() == {*measured, "l2"}, "only what is missing is measured"
    assert json.loads((tmp_path / "out" / "costs-smoke.json").read_text())["metrics"]["domains"] == again


def test_each_ratio_is_kept_as_it_comes(load_script, tmp_path, monkeypatch):
    """Stopped in its third row the job keeps two, and those of a table that it had not come to."""
    train = load_script("week13", "train")
    path, rows = tmp_path / "costs-smoke.json", ("ewc", "l2", "naive", "replay")
    kept = lambda: json.loads(path.read_text())["metrics"]
    path.write_text(json.dumps({"metrics": {"labels": {"mas": {"time_ratio": 2.0}}}}))
    found = {"domains": [{"method": name} for name in rows], "labels": []}
    monkeypatch.setattr(train, "read_cells", lambda folder: found[folder.parent.name])
    monkeypatch.setattr(train, "SMALL", dict.fromkeys(found, lambda job: "made"))
    asked = []

    def cost(made, spec, seed):
        asked.append(spec)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return {"time_ratio": float(len(asked))}

    monkeypatch.setattr(costs, "cost", cost)
    words = ["costs", "--preset", "smoke", "--out", str(tmp_path), "--threads", "1"]
    with pytest.raises(KeyboardInterrupt):
        train.main(words)
    old = {"labels": {"mas": {"time_ratio": 2.0}}}
    assert kept() == {**old, "domains": {"ewc": {"time_ratio": 1.0}, "l2": {"time_ratio": 2.0}}}
    assert list(train.main(words)["domains"]) == list(rows) and asked[2:] == ["naive", "naive", "replay"]
    path.write_text("{")
    with pytest.raises(Mistake, match="costs-smoke.json is not a results file .*move it away"):
        train.main(words)
