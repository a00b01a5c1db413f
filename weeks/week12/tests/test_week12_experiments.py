"""Day 84: the laboratory and the experiments, on a model of seconds; their figures come from the results alone."""

import json

import pytest
import torch
from lora import lab as laboratory
from lora.lab import NEW, Diverged, Setting, best_of, change_of, judge, open_lab, plain, read, record_of, teach
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


def test_a_rate_that_diverges_is_lost_and_no_other(lab, load_script, monkeypatch, capsys):
    """Trained once, passed over when the best is chosen, recorded in the grid; all of them lost is told."""
    whole, made = laboratory.train, []

    def train(model, text, recipe, *, seed):
        made.append(recipe.lr)
        for step, loss in whole(model, text, recipe, seed=seed):
            if recipe.lr == 2e-2 and step == 2:
                raise FloatingPointError("the loss became nan")
            yield step, loss

    monkeypatch.setattr(laboratory, "train", train)
    assert best_of(lab, plain(2), (1e-2, 2e-2, 5e-3))["rate"] == 1e-2
    for _ in range(2):
        with pytest.raises(Diverged, match="the loss became nan"):
            record_of(lab, plain(2), 2e-2)
    assert made == [1e-2, 2e-2, 5e-3]
    with pytest.raises(Diverged, match="every learning rate of full fine-tuning diverged .*; give lower ones"):
        best_of(lab, None, (2e-2,))
    experiments = load_script("week12", "experiments")
    preset = experiments.Preset(lab.setting, full_rates=(4e-3, 2e-2), rates=(1e-2, 2e-2), ranks=(2,), drawn=(2,))
    metrics = experiments.grid(preset, [lab])
    assert [point[0] for point in metrics["r2"]["points"]] == [1e-2] and metrics["r2"]["diverged"] == [2e-2]
    assert metrics["full"]["rate"] == 4e-3
    assert "r2: rate 0.02 is lost: the loss became nan" in capsys.readouterr().out


def test_a_model_that_the_last_step_broke_is_a_lost_rate(lab, monkeypatch):
    """No loss of training tells of it, the judgement does."""
    monkeypatch.setattr(laboratory, "bits", lambda model, text: float("nan"))
    with pytest.raises(Diverged, match=r"the last step broke the model \(learned nan, forgot nan, val nan\)"):
        teach(lab, plain(2), 1e-2)


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
    # without the frontier's results, too: what is there is drawn, what is missing is said
    figures.main(["--preset", "smoke", "--results", str(out), "--out", str(tmp_path / "drawn")])
    assert {path.name for path in (tmp_path / "drawn").iterdir()} == {"places.png", "spectrum.png", "memory.png"}
    assert "smoke.json does not exist; to have its figures, run: python weeks/week12/train.py --preset smoke" in (
        capsys.readouterr().out
    )


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


def test_an_interrupted_job_goes_on(load_script, data, tmp_path, monkeypatch):
    """No run that was finished is made again, in the same process or in a new one, and the numbers are those of one
    piece; a further job has what the first one measured."""
    experiments = load_script("week12", "experiments")
    whole, made, stop = laboratory.teach, [], [None]

    def teach(lab, config, rate, bar):
        if len(made) == stop[0]:
            raise KeyboardInterrupt
        made.append((str(config), rate))
        return whole(lab, config, rate, bar)

    def measure(job, at=None):
        stop[0] = at
        made.clear()
        experiments.main([job, "--preset", "smoke", "--data", str(data), "--out", str(tmp_path), "--threads", "1"])
        return json.loads((tmp_path / f"{job}-smoke.json").read_text())["metrics"]

    monkeypatch.setattr(laboratory, "teach", teach)
    monkeypatch.setattr(experiments, "OPEN", {})
    in_one_piece, runs = measure("grid"), list(made)
    monkeypatch.setattr(experiments, "OPEN", {})
    with pytest.raises(KeyboardInterrupt, match=r"3 results are kept in .*grid-smoke-0.part; the same command goes on"):
        measure("grid", at=3)
    monkeypatch.setattr(experiments, "OPEN", {})
    assert measure("grid") == in_one_piece and made == runs[3:]
    assert len(runs) == len(set(runs)) and [path.name for path in tmp_path.iterdir()] == ["grid-smoke.json"]
    measure("spectrum")
    assert made and not {config for config, _ in made} & {"None"}  # full fine-tuning has been measured by the grid
