"""The claims of papers ask what they say: which pixels are mixed, where two Fishers lie, whose numbers are compared."""

import pytest
import torch
from continual.tiers.base import KEYS

pytestmark = pytest.mark.day(91)


@pytest.fixture
def claims(load_script):
    return load_script("week13", "claims")


def test_overlap_of_fishers(claims):
    """The same weights, whatever the size: 1. Others: 0. Half of them: by hand, sqrt(1/2 * 1)."""
    a = torch.tensor([1.0, 0.0, 0.0, 0.0])
    assert claims.overlap(a, 5 * a) == 1.0
    assert claims.overlap(a, torch.tensor([0.0, 2.0, 2.0, 0.0])) == 0.0
    assert claims.overlap(a, torch.tensor([3.0, 0.0, 3.0, 0.0])) == pytest.approx(0.5**0.5, rel=1e-6)  # float32


@pytest.mark.parametrize("side", [8, 26])
def test_only_a_square_in_the_middle_is_mixed(claims, side, monkeypatch):
    pictures = torch.arange(28 * 28).remainder(251).to(torch.uint8).repeat(2, 1)
    monkeypatch.setattr(claims, "mnist", lambda: dict.fromkeys(("train", "test"), (pictures, torch.tensor([0, 1]))))
    plain, mixed = claims.mixed(side, seed=0)
    inside = torch.zeros(28, 28, dtype=torch.bool)
    edge = (28 - side) // 2
    inside[edge : edge + side, edge : edge + side] = True
    inside = inside.flatten()
    for part in ("train", "test"):
        before, after = getattr(plain, part).pixels, getattr(mixed, part).pixels
        assert torch.equal(before[:, ~inside], after[:, ~inside])
        assert torch.equal(before[:, inside].sort().values, after[:, inside].sort().values)
        assert not torch.equal(before[:, inside], after[:, inside])


def test_each_method_has_its_best_strength(claims, monkeypatch):
    """EWC and L2 are compared at their own best strengths, and naive training, which has none, as it is."""
    accuracy = {"naive": {0.0: 60.0}, "ewc": {10.0: 65.0, 100.0: 80.0, 1000.0: 70.0},
                "l2": {0.01: 75.0, 0.1: 74.0, 1.0: 20.0}}  # fmt: skip
    monkeypatch.setattr(claims, "permuted", lambda run, seed, name, strength=0.0: (accuracy[name][strength], 90.0))
    assert claims.ewc_holds(0, None)["value"] == 20.0
    assert claims.ewc_learns(0, None)["value"] == 5.0


def test_the_same_rows_are_kept_by_replay_and_by_agem(claims):
    """Ten rows in all, one a class; and what is compared is one row of the table less another."""
    assert {config.get("keep_rows", 10) for _, config in claims.TINY.values()} == {10}
    asked = {"ring": 50.0, "gem": 30.0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claims, "split", lambda run, seed, row: asked[row])
        assert claims.CLAIMS["tiny-gem"](0, None) == {"value": 20.0, **asked}


def test_the_base_of_the_classifications_has_all_that_it_is_built_from(claims):
    """Its settings once lacked what a base had come to need, and nothing asked before the hours of a run."""
    settings = claims.TEXT | {"steps": claims.STEPS, "base_steps": claims.BASE_STEPS}
    assert set(KEYS) <= settings.keys()
