"""The race against nanoGPT and the price of each ingredient: the arithmetic, and both jobs in small."""

import json

import pytest
from nanogpt.vendor.shared.errors import Mistake

pytestmark = pytest.mark.day(100)


@pytest.fixture
def race(load_script):
    return load_script("week14", "race")


@pytest.fixture
def ingredients(load_script):
    return load_script("week14", "ingredients")


def run(name, seed, steps, seconds, val):
    return {"name": name, "seed": seed, "steps": steps, "seconds": seconds, "val": val}


def test_ratios_are_of_means_over_seeds(race):
    """Time to the goal is the shortest run whose mean loss is there; equal time takes the best that is not slower."""
    runs = [{"name": "nanogpt_peer", "seed": seed, "seconds": 100.0, "val": 1.9} for seed in (0, 1)]
    for seed, shift in ((0, -1.0), (1, 1.0)):
        runs += [run("free", seed, 10, 5 + shift, 2.0), run("free", seed, 20, 10 + shift, 1.9 + 0.01 * shift)]
        runs += [run("free", seed, 90, 90 + shift, 1.5), run("free", seed, 200, 120 + shift, 1.4)]
        runs += [run("char", seed, 10, 40, 2.5)]
    metrics = race.summary(runs)
    assert metrics["seeds"] == 2 and metrics["peer_seconds"] == 100
    assert metrics["free_curve"][1] == [20, 10.0, pytest.approx(1.9)]
    assert metrics["time_to_1905_ratio"] == pytest.approx(0.1) and metrics["equal_time_val"] == pytest.approx(1.5)
    assert metrics["char_time_to_1905_ratio"] is None and metrics["char_equal_time_val"] == pytest.approx(2.5)


def test_without_a_peer_there_is_no_ratio(race, tmp_path, capsys):
    """Whole processes of the command on a small text: a loss in nats a character, and nothing that was not measured."""
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog.\n" * 300)
    argv = ["--preset", "smoke", "--data", str(text), "--out", str(tmp_path / "out"), "--threads", "1"]
    metrics = race.main(argv)
    assert "time_to_1905_ratio" not in metrics
    assert 0 < metrics["char_curve"][0][2] < 6, "ln 257 is 5.5"
    assert json.loads((tmp_path / "out" / "race-smoke.json").read_text())["metrics"] == metrics


def test_a_folder_that_is_no_checkout_is_named(race, tmp_path):
    with pytest.raises(Mistake, match="has no train.py; give a checkout: git clone"):
        race.main(["--peer", str(tmp_path)])


def test_an_unknown_ingredient_is_named(ingredients):
    with pytest.raises(Mistake, match="there is no ingredient 'salt'; choose from: position=learned"):
        ingredients.main(["salt"])


def test_each_row_switches_what_the_default_has_otherwise(ingredients):
    """A row that changes nothing would be a price of nothing."""
    from nanogpt.config import GPTConfig
    from nanogpt.presets import SHAPE
    from nanogpt.train import TrainConfig

    default = {**vars(TrainConfig()), **ingredients.TRAINING, **GPTConfig(**SHAPE).to_dict(), **ingredients.MODEL}
    for row, changes in ingredients.SWITCHES.items():
        assert changes and all(default[name] != value for name, value in changes.items()), row


def test_ingredients_in_small(ingredients, tmp_path, capsys):
    """The table has a line for each row asked for, with what it costs in parameters and cache."""
    for name in ("train", "val"):
        (tmp_path / f"{name}.txt").write_text("In the beginning was the word, and the word was long.\n" * 200)
    argv = ["tie", "n_kv_head=4", "--preset", "smoke", "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    rows = ingredients.main(argv)["rows"]
    assert set(rows) == {"default", "tie", "n_kv_head=4"}
    assert rows["tie"]["n_params"] < rows["default"]["n_params"] < rows["n_kv_head=4"]["n_params"]
    assert rows["n_kv_head=4"]["cache_bytes_per_token"] == 4 * rows["default"]["cache_bytes_per_token"]
    assert "equal seconds" in capsys.readouterr().out
