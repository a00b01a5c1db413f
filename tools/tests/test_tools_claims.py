"""The experiments of the paper pages: what they measure is what their sentences say. What they found is not tested."""

import math

import numpy as np
import pytest
import torch


@pytest.fixture
def first(load_script):
    return load_script("week01-02", "claims")


@pytest.fixture
def fifth(load_script, monkeypatch):
    """The experiments of week 5, on letters drawn at random instead of a file."""
    module = load_script("week05", "claims")
    draw = torch.Generator().manual_seed(0)
    made = torch.randint(27, (500, 3), generator=draw), torch.randint(27, (500,), generator=draw)
    monkeypatch.setattr(module, "letters", lambda: made)
    return module


class Silent:
    """A run without a bar, and with at most so many steps."""

    quick = False

    def __init__(self, most=10_000):
        self.most = most

    def steps(self, count):
        return min(count, self.most)

    def bar(self, steps, total, label=""):
        return steps


def test_symmetry_has_eight_rows(first):
    """Of 64 rows, three bits decide a symmetric one: the share of right answers must not reward "always no"."""
    rows, wanted = first.symmetry()
    assert rows.shape == (64, 6) and wanted.sum() == 8
    always_no = first.network(0, 0)
    always_no.load_state({"0.weight": np.zeros((6, 1), np.float32), "0.bias": np.full(1, -9, np.float32)})
    assert first.sweep(always_no, 0.0, 0.0, Silent(2), "")[1] == 0.5


def test_mirrored_is_zero_for_opposite_weights_and_ln_2_for_random_ones(first):
    """The neutral value in papers/claims.toml is what weights give that have learned nothing."""
    half = np.random.default_rng(0).uniform(-1, 1, (3, 2))
    assert first.mirrored(np.concatenate([half, -half[::-1]])) == 0
    assert first.mirrored(np.concatenate([half, half[::-1]])) == pytest.approx(1)
    random = np.random.default_rng(1).uniform(-1, 1, (6, 20_000))
    assert first.mirrored(random) == pytest.approx(math.log(2), abs=0.01)  # three standard errors of 60,000 pairs


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_probing_changes_nothing(fifth, norm):
    """The probe moves weights about to ask its question; the network must end as if nobody had asked."""
    ends, found = [], []
    for probed in (False, True):
        model = fifth.DeepMLP(fifth.Config(norm=norm, depth=3, n_hidden=8, activation="relu", head_std=1.0), 0)
        probe = fifth.shift_probe(model, 2, found) if probed else None
        fifth.learn(model, 0.05, 6, 0, Silent(), "", probe)
        ends.append(model.state_dict())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    assert len(found) == 3 * 2 and max(found) > 1e-5  # three probes of the two upper layers; rounding gives 1e-7


def test_no_step_turns_no_gradient(fifth):
    """At a rate of 0 the layers below do not change, so the number must be 0 but for rounding."""
    model, found = fifth.DeepMLP(fifth.Config(depth=3, n_hidden=8, activation="relu"), 0), []
    fifth.learn(model, 0.0, 3, 0, Silent(), "", fifth.shift_probe(model, 1, found))
    assert len(found) == 6 and max(map(abs, found)) < 1e-5  # a cosine in float32


def test_a_broken_training_costs_as_much_as_guessing(fifth):
    """A ratio or difference must not hang on how far a network flew away."""
    model = fifth.DeepMLP(fifth.Config(depth=6, n_hidden=8, activation="relu"), 0)
    losses = fifth.learn(model, 1e6, 50, 0, Silent(), "")
    assert len(losses) < 50 and fifth.final(losses, 50) == fifth.GUESSING == pytest.approx(math.log(27))
    assert fifth.final([9.0] * 50 + [2.0] * 50, 100) == 2.0


def test_the_funnel_starts_by_what_it_says(fifth):
    """2 / fan_in against 2 / fan_out, in each layer but the first, which reads letters."""
    for start, place in (("fan_in", 0), ("fan_out", 1)):
        for block in list(fifth.funnel(start, 0).body)[1:]:
            shape = block[0].weight.shape
            assert block[0].weight.std().item() == pytest.approx(math.sqrt(2 / shape[place]), rel=0.1)


def test_final_networks_are_shared(fifth, monkeypatch):
    """Three claims about residual layers look at the same four networks: each is trained once a seed."""
    trained = []
    monkeypatch.setattr(fifth, "learn", lambda model, *rest: trained.append(model) or [2.0] * 500)
    for claim in (fifth.res_degradation, fifth.res_reversal, fifth.res_response):
        claim(77, Silent())  # a seed that nobody else asks for
    assert len(trained) == 4
