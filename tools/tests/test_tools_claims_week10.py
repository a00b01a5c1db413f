"""The claims of week 10 are derived from its runs: with made-up runs the numbers are known."""

import json
import math

import pytest

HIDDEN = {"E": 1.2, "A": 12.0, "alpha": 0.3, "B": 60.0, "beta": 0.33}  # the law that the made-up runs obey


def loss(n, d):
    return HIDDEN["E"] + HIDDEN["A"] / n ** HIDDEN["alpha"] + HIDDEN["B"] / d ** HIDDEN["beta"]


def row_of(width, tokens, without=0):
    """A run with 640 numbers a channel in its tables; the law speaks of all parameters, or of those without tables."""
    matrices = 30 * width**2
    n = matrices + 640 * width
    return {"params": n, "width": width, "tokens": tokens, "loss": loss(matrices if without else n, tokens)}


@pytest.fixture
def week(load_script, tmp_path, monkeypatch):
    """(the script, write(name, metrics)) on an empty results folder."""
    script = load_script("week10", "claims")
    monkeypatch.setattr(script, "RESULTS", tmp_path)
    for cached in (script.runs, script.drawn):
        cached.cache_clear()

    def write(name, metrics):
        (tmp_path / f"{name}-full.json").write_text(json.dumps({"metrics": metrics}))

    yield script, write
    for cached in (script.runs, script.drawn):
        cached.cache_clear()


@pytest.fixture
def swept(week):
    """The script, with a sweep of made-up runs; `without`: their law does not count the tables."""

    def make(without=0):
        rows = [row_of(w, d, without) for w in (16, 32, 64, 128, 208) for d in (3e5, 1e6, 3e6, 1e7)]
        week[1]("law", {"rows": rows, "vocab_size": 512})
        return week[0]

    return make


def test_each_seed_of_the_race_is_one_number(week):
    """Ratios as they stand, the overhead in percent; a seed that was not run is a sentence."""
    script, write = week
    races = [{"steps_ratio": 0.5, "time_ratio": 0.6, "step_seconds_ratio": 1.2}] * 2 + [{"steps_ratio": 0.7}]
    write("race", {"races": races})
    assert [script.CLAIMS["muon-steps"](seed, None) for seed in range(3)] == [0.5, 0.5, 0.7]
    assert script.CLAIMS["muon-time"](0, None) == 0.6
    assert script.CLAIMS["muon-overhead"](1, None) == pytest.approx(20.0, rel=1e-9)
    with pytest.raises(script.Mistake, match="the race has 3 seeds, so there is no seed 3; give fewer --seeds"):
        script.CLAIMS["muon-steps"](3, None)


def test_without_results_the_way_to_them_is_told(week):
    with pytest.raises(week[0].Mistake, match="race-full.json does not exist; run: make results WEEK=10 PRESET=full"):
        week[0].CLAIMS["muon-steps"](0, None)


def test_the_exponents_are_those_of_the_hidden_law(swept):
    """Runs without noise: every draw finds the law, to the 0.02 that a search of five numbers leaves."""
    script = swept()
    wanted = HIDDEN["beta"] / (HIDDEN["alpha"] + HIDDEN["beta"])
    assert script.law_a(0, None)["value"] == pytest.approx(wanted, abs=0.02)
    found = script.law_tokens(1, None)
    most = max(row["params"] * row["tokens"] for row in script.runs()[0])
    tried = min((10 ** (3 + k / 500) for k in range(2500)), key=lambda n: loss(n, most / n))
    assert found["value"] == pytest.approx(most / tried**2, rel=0.15)


def test_the_prediction_is_compared_with_the_run_that_was_held_out(swept, week):
    """A run that ended 2 % above what the law says was foretold 2 % too low."""
    script = swept()
    row = row_of(240, 4e7)
    week[1]("predict", {"run": row | {"loss": row["loss"] * 1.02}})
    assert script.law_predicts(0, None)["value"] == pytest.approx(100 / 1.02 - 100, abs=0.1)


def test_slopes_are_those_of_the_curves_in_the_middle(swept):
    """Against differences of the hidden law's own loss, with the other size unlimited; the tables are not counted."""
    script = swept(without=1)
    n = math.exp(sum(math.log(30 * w**2) for w in (16, 32, 64, 128, 208)) / 5)
    d = math.exp(sum(map(math.log, (3e5, 1e6, 3e6, 1e7))) / 4)
    slope_n = -math.log(loss(1.01 * n, math.inf) / loss(n, math.inf)) / math.log(1.01)
    slope_d = -math.log(loss(math.inf, 1.01 * d) / loss(math.inf, d)) / math.log(1.01)
    assert script.kaplan_n(0, None) == pytest.approx(slope_n, rel=0.05)
    assert script.kaplan_d(0, None) == pytest.approx(slope_d, rel=0.05)
    wanted = HIDDEN["beta"] / (HIDDEN["alpha"] + HIDDEN["beta"])
    assert script.kaplan_a(0, None) == pytest.approx(wanted, abs=0.02)


def test_shapes_of_one_size_are_of_one_size(week, monkeypatch):
    """Their matrices differ by at most 4 %, all see the same tokens; the number is the worst over the best."""
    script, seen = week[0], []
    ends = iter((2.0, 2.1, 2.05))
    corpus = type("Corpus", (), {"tokenizer": type("Tokenizer", (), {"vocab_size": 512})})
    monkeypatch.setattr(script, "load", lambda *folders: corpus)
    monkeypatch.setattr(script.sweep, "run", lambda trial, *rest: seen.append(trial) or {"loss": next(ends)})
    found = script.kaplan_shape(0, script.claims.Run(quick=False))
    assert found["value"] == pytest.approx(5.0, rel=1e-9)
    assert {trial.steps(512) for trial in seen} == {script.SHAPE_STEPS}
    matrices = [12 * layers * width**2 for layers, width in script.SAME_SIZE]
    assert max(matrices) / min(matrices) < 1.04
