"""The claims of week 12: each compares what its sentence says, and nothing besides. Nothing is trained here."""

import sys
from types import SimpleNamespace

import pytest
import torch


@pytest.fixture
def week(load_script, monkeypatch):
    """The script with a laboratory that knows what every run would have given: `known[(kind, rank, parts)]`."""
    script = load_script("week12", "claims")
    torch.manual_seed(0)
    lab = sys.modules["lora.lab"]
    model = lab.GPT(lab.GPTConfig(vocab_size=256, block_size=8, n_layer=1, n_head=2, n_embd=16))
    monkeypatch.setattr(script, "lab", lambda run, seed: SimpleNamespace(model=model))
    monkeypatch.setattr(script, "asked", [], raising=False)

    def record_of(here, config, rate, bar):
        script.asked.append((config, rate))
        learned = 0.5 if config is None else 0.01 * config.rank + (0.002 if config.variant == "dora" else 0)
        return {"learned": learned - rate, "forgot": 2 * learned, "val": rate, "rate": rate}

    monkeypatch.setattr(script, "record_of", record_of)
    best = lambda here, config, rates, bar: min(
        (record_of(here, config, r, bar) for r in rates), key=lambda r: r["val"]
    )
    monkeypatch.setattr(script, "best_of", best)
    return script


RUN = SimpleNamespace(bar=None, quick=False)


def size(week, config):
    """Parameters of an adapter on the laboratory's model."""
    import copy

    lora = sys.modules["lora"]
    model = copy.deepcopy(week.lab(RUN, 0).model)
    lora.attach(model, "a", config)
    return sum(p.numel() for p in lora.parameters(model, "a").values())


def configs(week):
    return list({str(config): config for config, _ in week.asked}.values())


@pytest.mark.parametrize("name", ["hu-places", "biderman-modules"])
def test_places_are_compared_at_equal_parameters(week, name):
    """Two configurations that differ in where they sit, and in no more than a twentieth of their parameters."""
    found = week.CLAIMS[name](0, RUN)
    one, other = configs(week)
    assert (one.targets, one.parts) != (other.targets, other.parts)
    assert size(week, one) == pytest.approx(size(week, other), rel=0.05)
    assert found["value"] == found["one"] - found["other"]


def test_every_method_has_its_rates(week):
    """Each run of a comparison has all rates of its kind; full fine-tuning those of its own."""
    week.hu_rank(0, RUN), week.biderman_learns(0, RUN), week.dora_better(0, RUN)
    rates = {}
    for config, rate in week.asked:
        rates.setdefault(str(config), set()).add(rate)
    assert rates.pop("None") == set(week.FULL_RATES)
    assert len(rates) == 5 and all(each == set(week.RATES) for each in rates.values())  # r4, r32, r2, dora 8, lora 8
    assert {"lora", "dora"} == {config.variant for config, _ in week.asked if config}
    assert all(config.alpha == 2 * config.rank for config, _ in week.asked if config)


def test_ratios_and_differences(week):
    """By hand: the known runs learn 0.5 and 0.01 a rank, less the lowest rate, which has the lowest loss."""
    low, full = min(week.RATES), min(week.FULL_RATES)
    assert week.hu_rank(0, RUN)["value"] == pytest.approx((0.04 - low) / (0.32 - low), abs=1e-12)
    assert week.biderman_learns(0, RUN)["value"] == pytest.approx(0.5 - full - (0.02 - low), abs=1e-12)
    assert week.biderman_forgets(0, RUN)["value"] == pytest.approx(2 * 0.5 - 2 * 0.02, abs=1e-12)
    assert week.dora_better(0, RUN)["value"] == pytest.approx(0.002, abs=1e-12)
    assert week.dora_low_rank(0, RUN)["value"] == pytest.approx(0.0, abs=1e-12)


def test_the_tradeoff_is_asked_at_equal_learning(week, monkeypatch):
    """Straight lines from the base: full fine-tuning forgets 2 a bit, rank 8 forgets 1; both reach 0.4 at least."""
    slopes = {None: 2.0, 8: 1.0}

    def record_of(here, config, rate, bar):
        learned = min(40 * rate, 0.4) if config is None else min(20 * rate, 0.6)
        return {"learned": learned, "forgot": slopes[config and config.rank] * learned}

    monkeypatch.setattr(week, "record_of", record_of)
    full = min(40 * max(week.FULL_RATES), 0.4)
    found = week.biderman_tradeoff(0, RUN)
    assert found["reach"] == pytest.approx(0.9 * full, abs=1e-12)
    assert found["value"] == pytest.approx(found["reach"], abs=1e-12)


def test_changes_are_those_of_the_adapted_matrices(week, monkeypatch):
    """Means over the matrices: changes of one direction against a weight that is 2 there, and of two equal ones."""
    line = torch.zeros(4, 4, dtype=torch.float64)
    line[0, 1] = 3.0
    two = torch.diag(torch.tensor([1.0, 1, 0, 0], dtype=torch.float64))
    weight = torch.full((4, 4), 2.0, dtype=torch.float64)
    known = {4: [(line, weight), (2 * line, weight)], 8: [(line, weight)], 32: [(-line, weight)], None: [(two, weight)]}
    monkeypatch.setattr(week, "changes", lambda run, seed, rank: known[rank])
    found = week.hu_subspace(0, RUN)
    assert found["value"] == pytest.approx(1.0, abs=1e-12)  # a direction has no sign
    assert week.biderman_rank(0, RUN) == {"value": 2.0, "full": 2.0, "low": 1.0}
    # All four directions of a 4 x 4 matrix: the whole weight, of size 8; changes of size 3 and 6.
    assert week.hu_amplify(0, RUN) == pytest.approx((3 / 8 + 6 / 8) / 2, abs=1e-12)
