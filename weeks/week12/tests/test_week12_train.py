"""Week 12, the scripts: a whole small run on a text of its own, its promises, and its refusals."""

import json
import random
import shutil
from dataclasses import replace

import pytest
from lora.lab import Diverged

pytestmark = pytest.mark.day(84)


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Two domains that share letters and differ in words, with the separator line of our data files."""
    root = tmp_path_factory.mktemp("data")
    for domain, words in (("shakespeare", "thou art a knave good sir"), ("bible", "and the lord said unto them")):
        (root / domain).mkdir()
        for part in ("train", "val", "test"):
            g = random.Random(domain + part)
            lines = [" ".join(g.choices(words.split(), k=8)) + ".\n" for _ in range(200)]
            (root / domain / f"{part}.txt").write_text("".join(lines[:100]) + "<|endoftext|>\n" + "".join(lines[100:]))
    return root


def test_smoke_run(load_script, texts, tmp_path, capsys):
    """The whole job on a small text: results in the shared shape, and what the week promises holds in it."""
    argv = ["--preset", "smoke", "--data", str(texts), "--out", str(tmp_path), "--threads", "1"]
    metrics = load_script("week12", "train").main(argv)
    record = json.loads((tmp_path / "smoke.json").read_text())
    assert record["metrics"] == metrics
    assert record["command"].startswith("python weeks/week12/train.py --preset smoke")
    for name in ("r2", "r8"):
        assert metrics[name]["base_tensors_changed"] == 0
        assert metrics[name]["reload_gap"] == 0  # the file holds every bit
        assert metrics[name]["merge_gap"] < 1e-5  # float32 rounding
        assert metrics[name]["learned"] > 0
        assert metrics[name]["parameters"] < metrics["full"]["parameters"]
    assert metrics["full"]["learned"] > 0
    assert metrics["r8"]["sample"].startswith("And he said, ")
    assert capsys.readouterr().out.strip().endswith("smoke.json")


def test_figure_is_drawn_from_the_results_alone(load_script, texts, tmp_path):
    """figures.py needs no data and no training; without results it names the command that makes them."""
    figures = load_script("week12", "figures")
    with pytest.raises(Exception, match=r"full.json does not exist, .*; run: python weeks/week12/train.py"):
        figures.main(["--results", str(tmp_path), "--out", str(tmp_path)])
    curve = [[10, 3.0, 2.2], [20, 2.8, 2.4]]
    method = {"parameters": 5, "rate": 0.1, "curve": curve, "learned_vs_full_pct": 90.0, "forgot_vs_full_pct": 50.0}
    metrics = {
        "base": {"new": 3.5, "old": 2.0},
        "full": method,
        "r2": method,
        "ranks": [2],
        "seeds": 1,
        "tune_steps": 20,
    }
    tried = {name: [[0.1, 0.7, 0.4], [0.2, 0.6, 0.5]] for name in ("full", "r2")}
    results = {"metrics": metrics | {"old": "shakespeare", "new": "bible", "tried": tried}}
    (tmp_path / "default.json").write_text(json.dumps(results))
    figures.main(["--preset", "default", "--results", str(tmp_path), "--out", str(tmp_path / "drawn")])
    assert (tmp_path / "drawn" / "learned_vs_forgot.png").stat().st_size > 10_000


def test_missing_and_short_texts_are_told(load_script, texts, tmp_path):
    """A sentence that names the make target, not a stack trace from inside torch."""
    train = load_script("week12", "train")
    with pytest.raises(Exception, match="does not exist; run: make data/shakespeare"):
        train.main(["--preset", "smoke", "--data", str(tmp_path)])
    shutil.copytree(texts, tmp_path / "copy")
    (tmp_path / "copy" / "bible" / "test.txt").write_text("too short")
    with pytest.raises(Exception, match="bible/test.txt is shorter than one window; give more text"):
        train.main(["--preset", "smoke", "--data", str(tmp_path / "copy")])


@pytest.fixture
def quick(load_script, texts, tmp_path, monkeypatch):
    """frontier(), of steps that take no time: two rates for all weights and for rank 2. `trained` are its runs' rates.

    quick.errors: what is raised where a rate is to be trained; quick.broken: rates whose last step breaks the model.
    """
    script = load_script("week12", "train")
    smoke = script.PRESETS["smoke"]
    few = lambda recipe: replace(recipe, steps=4, batch_size=4, warmup=1)
    rates = {"full": (1e-3, 2e-3), "r2": (1e-2, 2e-2)}
    preset = replace(smoke, base=few(smoke.base), tune=few(smoke.tune), ranks=(2,), rates=rates, judged=256)
    monkeypatch.setitem(script.PRESETS, "smoke", preset)
    whole, errors = script.learn, {}

    def learn(model, text, recipe, seed, tell):
        if recipe.lr in errors:
            raise errors[recipe.lr]
        quick.trained.append(recipe.lr)
        whole(model, text, recipe, seed, tell)
        if recipe.lr in quick.broken:
            model.head.weight.data.fill_(float("nan"))

    monkeypatch.setattr(script, "learn", learn)

    def quick():
        argv = ["frontier", "--preset", "smoke", "--data", str(texts), "--out", str(tmp_path / "out"), "--threads", "1"]
        return script.main(argv)

    quick.trained, quick.broken, quick.errors, quick.script, quick.out = [], set(), errors, script, tmp_path / "out"
    return quick


def test_a_rate_that_diverges_is_lost_and_no_other(quick, capsys):
    """It is named, recorded and never chosen; a method without a rate that is left is left out."""
    quick.errors[2e-3] = Diverged("the loss became nan")
    metrics = quick()
    assert quick.trained == [3e-3, 1e-3, 1e-2, 2e-2]
    assert metrics["diverged"] == {"full": [[0, 2e-3]]} and metrics["full"]["rate"] == 1e-3
    assert [rate for rate, *_ in metrics["tried"]["full"]] == [1e-3]
    assert "rate 0.002 is lost: the loss became nan" in capsys.readouterr().out
    quick.errors |= {1e-2: quick.errors[2e-3], 2e-2: quick.errors[2e-3]}
    metrics = quick()
    assert metrics["ranks"] == [] and "r2" not in metrics and metrics["full"]["rate"] == 1e-3
    assert "r2: every learning rate diverged" in capsys.readouterr().out


def test_a_broken_model_is_a_lost_rate(quick):
    """The last step of all may break the weights: no loss of training tells, the judgement does."""
    quick.broken.add(2e-2)
    metrics = quick()
    assert metrics["diverged"] == {"r2": [[0, 2e-2]]} and metrics["r2"]["rate"] == 1e-2


def test_an_interrupted_run_goes_on(quick):
    """What Ctrl-C left is not measured again, the numbers are those of a run in one piece, and no file stays."""

    def numbers(metrics):
        rows = {name: dict(metrics[name]) for name in ("base", "full", "r2")}
        for row in rows.values():
            row.pop("seconds"), row.pop("tokens_per_second", None)
        return rows, metrics["tried"]

    whole = numbers(quick())
    quick.errors[1e-2] = KeyboardInterrupt()
    with pytest.raises(
        KeyboardInterrupt, match=r"results are kept in .*frontier-smoke-0.part; the same command goes on"
    ):
        quick()
    quick.errors.clear()
    quick.trained.clear()
    assert numbers(quick()) == whole
    assert quick.trained == [3e-3, 1e-2, 2e-2]  # the base once more, and nothing of full fine-tuning
    assert [path.name for path in quick.out.iterdir()] == ["smoke.json"]
    quick.errors[1e-2] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        quick()
    quick.errors.clear()
    quick.script.PRESETS["smoke"] = replace(quick.script.PRESETS["smoke"], judged=200)
    quick.trained.clear()
    quick()
    assert quick.trained == [3e-3, 1e-3, 2e-3, 1e-2, 2e-2]  # of another setting: measured anew
