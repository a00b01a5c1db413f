"""The race against nanoGPT and the price of each ingredient: the arithmetic, and both jobs in small."""

import json
import sys

import pytest
import torch
from nanogpt.vendor.shared.errors import Mistake

pytestmark = pytest.mark.day(100)


@pytest.fixture
def race(load_script):
    return load_script("week14", "race")


@pytest.fixture
def kitchen(load_script, monkeypatch):
    """What ingredients.py imports: where a learner's code is graded, its folder has no such script."""
    script = load_script("week14", "kitchen")
    monkeypatch.setitem(sys.modules, "kitchen", script)
    return script


@pytest.fixture
def ingredients(kitchen, load_script):
    return load_script("week14", "ingredients")


@pytest.fixture
def in_process(race, monkeypatch):
    """The command without a process of its own, which costs seconds of imports."""
    from nanogpt.cli import main

    def run(command, threads):
        return main([str(word) for word in command[3:]]) or 1.0, ""

    monkeypatch.setattr(race, "timed", run)


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


def test_the_best_is_chosen_without_the_validation_split(race, in_process, load_script, monkeypatch, tmp_path):
    """Two candidates, two seeds. What is chosen is best on the part that the train split holds out; an ensemble's loss
    is at most the mean of its members' (Jensen)."""
    monkeypatch.setitem(sys.modules, "race", race)
    best, text = load_script("week14", "best"), tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog.\n" * 300)
    seen, train = [], race.train

    def watched(options, folder, *rest, **more):
        seen.append((folder.name, (folder / "train.txt").read_text()))
        return train(options, folder, *rest, **more)

    monkeypatch.setattr(best, "train", watched)
    judge = best.ensemble
    monkeypatch.setattr(best, "ensemble", lambda *rest: 1 / 0)  # the first time it stops before its end
    argv = ["--preset", "smoke", "--data", str(text), "--out", str(tmp_path / "out"), "--threads", "1"]
    with pytest.raises(ZeroDivisionError):
        best.main(argv)
    monkeypatch.setattr(best, "ensemble", judge)
    metrics = best.main(argv)  # goes on, and trains nothing twice
    assert not list((tmp_path / "out").glob("models/best-smoke"))
    assert [name for name, _ in seen] == ["choice", "choice", "whole", "whole"]
    assert [len(part) for _, part in seen] == [10_935, 10_935, 12_150, 12_150], "of 13,500 characters"
    assert metrics["chosen"] == min(metrics["tried"], key=lambda name: metrics["tried"][name]["val"])
    assert len({run["val"] for run in metrics["runs"]}) == 2
    assert metrics["best_val"] < metrics["best_val_one_model"] < metrics["best_val"] + 0.1


def test_a_folder_that_is_no_checkout_is_named(race, tmp_path):
    with pytest.raises(Mistake, match="has no train.py; give a checkout: git clone"):
        race.main(["--peer", str(tmp_path)])


@pytest.mark.parametrize("seeds", ["0", "-1"])
@pytest.mark.parametrize("script", ["race", "ingredients"])
def test_no_seed_is_no_run(request, tmp_path, capsys, script, seeds):
    """An empty table would be written over an earlier one."""
    with pytest.raises(SystemExit) as stop:
        request.getfixturevalue(script).main(["--seeds", seeds, "--out", str(tmp_path)])
    assert stop.value.code == 2 and not list(tmp_path.iterdir())
    assert f"argument --seeds: {seeds} trains nothing; give a whole number from 1" in capsys.readouterr().err


def test_an_unknown_ingredient_is_named(ingredients):
    with pytest.raises(Mistake, match="there is no ingredient 'salt'; choose from: position=learned"):
        ingredients.main(["salt"])


def test_each_row_switches_what_the_default_has_otherwise(kitchen):
    """A row that changes nothing would be a price of nothing."""
    from nanogpt.config import GPTConfig
    from nanogpt.presets import SHAPE
    from nanogpt.train import TrainConfig

    default = {**vars(TrainConfig()), **kitchen.TRAINING, **GPTConfig(**SHAPE).to_dict(), **kitchen.MODEL}
    for row, changes in kitchen.SWITCHES.items():
        assert changes and all(default[name] != value for name, value in changes.items()), row


@pytest.fixture
def small(tmp_path, kitchen, monkeypatch):
    """A folder with a text; the model is as small as it can be."""
    monkeypatch.setattr(kitchen, "MODEL", {"block_size": 16, "n_layer": 1, "n_head": 4, "n_kv_head": 1, "n_embd": 16})
    for name in ("train", "val"):
        (tmp_path / f"{name}.txt").write_text("In the beginning was the word, and the word was long.\n" * 200)
    return tmp_path


def test_ingredients_in_small(ingredients, kitchen, small, capsys, monkeypatch):
    """The table has a line for each row asked for, with what it costs in parameters and cache. The same command once
    more trains nothing, and has the same table."""
    argv = ["tie", "n_kv_head=4", "--preset", "smoke", "--data", str(small), "--out", str(small / "out")]
    rows = ingredients.main(argv)["rows"]
    assert set(rows) == {"default", "tie", "n_kv_head=4"}
    assert rows["tie"]["n_params"] < rows["default"]["n_params"] < rows["n_kv_head=4"]["n_params"]
    assert rows["n_kv_head=4"]["cache_bytes_per_token"] == 4 * rows["default"]["cache_bytes_per_token"]
    assert "equal seconds" in capsys.readouterr().out
    monkeypatch.setattr(kitchen, "train", lambda *a, **k: pytest.fail("trained a cell that was kept"))
    assert ingredients.main(argv)["rows"] == rows


def test_both_jobs_ask_for_the_same_cell(kitchen, small):
    """What one Kitchen has trained another finds, weights bit for bit; after a change of the text it does not."""
    size = kitchen.SIZES["smoke"]
    first = kitchen.Kitchen(small, size, small / "cells")
    cell, weights = first.cell("default", 1), first.trained("default", 1).model.state_dict()
    again = kitchen.Kitchen(small, size, small / "cells")
    assert again.cell("default", 1) == cell and "tokenizer" not in vars(again), "a kept cell needs no tokenizer"
    model = again.trained("default", 1).model
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    assert again.judge(again.trained("default", 1)) == cell["bpb"]
    (small / "val.txt").write_text("Another exam, and a longer one.\n" * 99)
    other = kitchen.Kitchen(small, size, small / "cells")
    assert other.folder != first.folder and first.folder.is_dir() and not other.folder.exists()


def test_a_cell_that_cannot_be_read_is_named(kitchen, tmp_path):
    (tmp_path / "default-3-s0.json").write_text('{"cell"')
    with pytest.raises(Mistake, match="default-3-s0.json does not hold a cell .*; move it away, and run again"):
        kitchen.read_cell(tmp_path / "default-3-s0.json")


@pytest.mark.parametrize("row", ["default", "first_batch=2", "first_context=4"])
def test_each_row_reads_as_many_tokens(kitchen, small, monkeypatch, row):
    """Counted where they are read. Few rows at first are made up for by further steps, by less than one too many."""
    from nanogpt.feed import Feed

    monkeypatch.setitem(kitchen.SWITCHES, "first_context=4", {"first_context": 4})
    seen, at = [], Feed.at

    def counted(feed, step):
        rows = at(feed, step)
        seen.append(rows.ids.shape[0] * (rows.ids.shape[1] - 1))
        return rows

    kitchen_ = kitchen.Kitchen(small, kitchen.SIZES["smoke"]._replace(steps=20), None)
    assert kitchen_.tokens is not None  # the first steps of a process are no row's
    monkeypatch.setattr(Feed, "at", counted)
    monkeypatch.setattr(kitchen.time, "process_time", iter([10.0, 12.0]).__next__)
    cell = kitchen_.cell(row, 0)
    step, wanted = kitchen.TRAINING["batch_size"] * 16, 20 * kitchen.TRAINING["batch_size"] * 16
    assert wanted <= sum(seen) < wanted + step
    assert len(seen) == kitchen_.steps(row, {}) and (len(seen) > 20) == (row == "first_batch=2")
    assert cell["tokens_per_second"] == sum(seen) / 2 and cell["step_seconds"] == 2 / len(seen)
