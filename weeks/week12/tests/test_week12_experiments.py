"""Day 84: the laboratory and the experiments, on a model of seconds; their figures come from the results alone."""

import json

import pytest
import torch
from lora.lab import NEW, Setting, best_of, change_of, judge, open_lab, plain, read, record_of, teach
from lora.layers import all_linear

pytestmark = pytest.mark.day(84)

OLD_LINE, NEW_LINE = "Enter KING, and all his lords with him.\n", "And he said unto them: Go ye, and do thus.\n"
SHAPE = {"vocab_size": 256, "block_size": 16, "n_layer": 1, "n_head": 2, "n_embd": 16}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    for domain, line in (("shakespeare", OLD_LINE), ("bible", NEW_LINE)):
        (folder / domain).mkdir()
        for part, count in (("train", 60), ("val", 20), ("test", 25)):
            (folder / domain / f"{part}.txt").write_text(line * count)
    return folder


@pytest.fixture
def lab(data):
    whole = Setting()
    few = lambda recipe, steps: type(recipe)(**{**vars(recipe), "steps": steps, "batch_size": 8, "warmup": 1})
    setting = Setting(SHAPE, few(whole.base, 25), few(whole.tune, 25), 600)
    return open_lab(setting, read(data, setting.judged), 0)


def test_teaching_leaves_the_base_alone(lab):
    """The new text is learned and the old one forgotten, by either way; the base has the same bytes afterwards."""
    before = {key: tensor.clone() for key, tensor in lab.model.state_dict().items()}
    for config in (None, plain(4)):
        record, model = teach(lab, config, 2e-2)
        assert record["learned"] > 0.05 and record["parameters"] == (
            sum(p.numel() for p in model.parameters() if p.requires_grad)
        )
        assert judge(lab, model) == {key: record[key] for key in ("learned", "forgot")}
        assert judge(lab, lab.model) == {"learned": 0.0, "forgot": 0.0}
    assert all(torch.equal(before[key], tensor) for key, tensor in lab.model.state_dict().items())


def test_the_best_rate_is_that_of_the_validation_text(lab):
    """Chosen by `val` alone, and no run is made twice."""
    best = best_of(lab, plain(2), (1e-6, 2e-2))
    assert best["rate"] == 2e-2 and best is record_of(lab, plain(2), 2e-2) and len(lab.kept) == 2
    worse = record_of(lab, plain(2), 1e-6)
    worse["val"] = best["val"] - 1
    assert best_of(lab, plain(2), (1e-6, 2e-2)) is worse


@pytest.mark.parametrize("config", [None, plain(2)])
def test_the_change_added_to_the_base_is_the_model(lab, config):
    """Weight by weight, in float32 (1e-6); an adapter's change has its rank."""
    _, model = teach(lab, config, 2e-2)
    for path in all_linear(lab.model):
        change, layer = change_of(lab, model, path), model.get_submodule(path)
        after = layer.weight if config is None else layer.adapters[NEW].weight(layer)
        torch.testing.assert_close(lab.model.get_submodule(path).weight + change, after, rtol=0, atol=1e-6)
        if config is not None:
            values = torch.linalg.svdvals(change)
            assert values[1] > 1e-4 and values[2] < 1e-5 * values[0].clamp(min=1)


def test_every_job_and_every_figure(load_script, data, tmp_path, capsys):
    """The smoke preset from end to end: four results files, five figures, and numbers that must hold in any run."""
    experiments, figures = load_script("week12", "experiments"), load_script("week12", "figures")
    out = tmp_path / "results"
    experiments.main(["--preset", "smoke", "--data", str(data), "--out", str(out), "--threads", "1"])
    found = {job: json.loads((out / f"{job}-smoke.json").read_text())["metrics"] for job in experiments.JOBS}
    grid = found["grid"]
    assert set(grid["frontiers"]) == {"full", "r4"} and grid["frontiers"]["full"]
    ends = grid["beside_full"]["r4"]
    assert [ends["learned"], ends["forgot"]] == grid["frontiers"]["r4"][-1]
    places = found["places"]
    assert all(
        abs(row["parameters"] - places["budget"]) <= 0.15 * places["budget"] for row in places["places"].values()
    )
    spectrum = found["spectrum"]
    assert 1 <= spectrum["r4"]["directions"] <= 4 and spectrum["matrices"] == 4
    assert max(spectrum["r4"]["values"][4:]) < 1e-4  # beyond the rank there is only rounding
    held = found["memory"]["bytes"]
    assert held["full"]["optimizer"] > held["r8"]["optimizer"] > held["lora_fa"]["optimizer"] > held["r1"]["optimizer"]
    assert (
        held["int8"]["weights"] < held["r8"]["weights"] and held["lora_fa"]["activations"] < held["r8"]["activations"]
    )
    args = figures.drawing_parser("", figures.__file__).parse_args(
        ["--preset", "smoke", "--results", str(out), "--out", str(tmp_path)]
    )
    figures.draw_experiments(args)
    for name in ("frontiers", "ranks", "places", "spectrum", "memory"):
        assert (tmp_path / f"{name}.png").stat().st_size > 5_000
    (out / "grid-smoke.json").unlink()
    figures.draw_experiments(args)
    assert "to have its figures, run: python weeks/week12/experiments.py grid" in capsys.readouterr().out


def test_compared_at_equal_learning(load_script):
    """By hand: full fine-tuning is at 0.2 where rank 2 ends, and never came as far as rank 8."""
    experiments = load_script("week12", "experiments")
    ways = {"full": [(0.4, 0.4), (0.2, 0.7)], "r8": [(0.5, 0.3)], "r2": [(0.2, 0.1), (0.1, 0.5)]}
    beside = experiments.compared(ways)["beside_full"]
    assert list(beside) == ["r2", "r8"]
    assert beside["r2"] == {"learned": 0.2, "forgot": 0.1, "full": pytest.approx(0.2, abs=1e-12)}
    assert beside["r8"] == {"learned": 0.5, "forgot": 0.3, "full": -1.0}


def test_missing_text_is_told(load_script, tmp_path):
    """A sentence that names the make target."""
    with pytest.raises(Exception, match="does not exist; run: make data/shakespeare"):
        load_script("week12", "experiments").main(["grid", "--preset", "smoke", "--data", str(tmp_path)])
