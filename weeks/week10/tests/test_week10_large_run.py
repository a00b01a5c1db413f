"""Day 70: a run of GPT-2's size that stops in its middle and goes on; it keeps its state as distributed runs do."""

import json

import pytest
import torch
from scaling import large
from scaling.distributed.run import Job
from scaling.large import PRESETS, advance, build, run
from scaling.vendor.gpt.loop import Recipe
from scaling.vendor.shared.errors import Mistake

pytestmark = pytest.mark.day(70)


@pytest.fixture
def ids():
    return torch.randint(50257, (400,), generator=torch.Generator().manual_seed(0))


# --- the run ----------------------------------------------------------------------------------------------------------


def go(ids, folder, **options):
    return run("tiny", ids, folder, **{"steps": 4, "batch": 2, "compile": False, "square": 16, **options})


def test_a_run_stopped_in_its_middle_ends_with_the_bits_of_an_undisturbed_one(ids, tmp_path):
    found = go(ids, tmp_path / "halves")
    model, curve = build(PRESETS["tiny"], 0), []
    job = Job(Recipe(4, 2, lr=6e-4, min_lr=6e-5, warmup=0, betas=(0.9, 0.95)), accumulate=2)
    (tmp_path / "whole").mkdir()
    advance(model, ids, job, tmp_path / "whole", curve, 4)
    assert [row[:2] for row in found["curve"]] == [row[:2] for row in curve]
    assert (tmp_path / "halves/model.safetensors").read_bytes() == (tmp_path / "whole/model.safetensors").read_bytes()
    assert found["starts"] == 2 and found["resumed_at"] == 2 and found["steps"] == 4


def test_a_run_that_was_interrupted_goes_on(ids, tmp_path, monkeypatch):
    """Interrupted after step 3: the checkpoint is of step 2, and the curve forgets what came after it."""
    whole = go(ids, tmp_path / "whole")["curve"]
    right = large.train

    def broken(*args):
        for step, loss in right(*args):
            yield step, loss
            if step == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(large, "train", broken)
    with pytest.raises(KeyboardInterrupt):
        go(ids, tmp_path / "a")
    assert len(json.loads((tmp_path / "a/curve.json").read_text())) == 3
    monkeypatch.undo()
    found = go(ids, tmp_path / "a")
    assert [row[:2] for row in found["curve"]] == [row[:2] for row in whole] and found["starts"] == 1


def test_the_numbers_of_a_run_fit_each_other(ids, tmp_path):
    found = go(ids, tmp_path)
    expected = found["tokens_per_second"] * found["flops_per_token"] / found["matmul_flops_per_second"]
    assert found["mfu"] == pytest.approx(expected) and found["batch_tokens"] == 32
    assert found["flops_per_token"] == build(PRESETS["tiny"]).flops_per_token()
    with pytest.raises(Mistake, match="holds a run of 4 steps that has ended; give another folder"):
        go(ids, tmp_path)


def test_a_damaged_or_lost_curve_is_told(ids, tmp_path):
    go(ids, tmp_path)
    (tmp_path / "step-00000004").rename(tmp_path / "away")
    (tmp_path / "curve.json").write_text("[[0,")
    with pytest.raises(Mistake, match="curve.json is damaged; give another folder"):
        go(ids, tmp_path)
    (tmp_path / "curve.json").write_text("[]")
    with pytest.raises(Mistake, match="lacks steps before 2; give another folder"):
        go(ids, tmp_path)


@pytest.mark.parametrize(
    "options, sentence",
    [({"steps": 1}, "a run of 1 steps has no middle to stop in; give 2 or more"), ({"batch": 0}, "a batch of 0 rows")],
)
def test_a_run_of_nothing_is_refused(options, sentence, ids, tmp_path):
    with pytest.raises(Mistake, match=sentence):
        go(ids, tmp_path / "a", **options)
    assert not (tmp_path / "a").exists()
