"""The claims of papers ask what they say: which rows are compared, what is looked at. Nothing is trained here."""

import math
import sys
from types import SimpleNamespace

import pytest
import torch
from nanogpt.model import GPT, GPTConfig
from nanogpt.vendor.continual.learner import Learner
from nanogpt.vendor.shared.claims import Run

pytestmark = pytest.mark.day(100)
RUN = SimpleNamespace(quick=False)


@pytest.fixture
def claims(load_script, monkeypatch):
    monkeypatch.setitem(sys.modules, "kitchen", load_script("week14", "kitchen"))
    return load_script("week14", "claims")


def learner(**changes):
    torch.manual_seed(0)
    shape = {"block_size": 32, "n_layer": 2, "n_head": 4, "n_kv_head": 4, "n_embd": 32, "n_hidden": 48} | changes
    return Learner(GPT(GPTConfig(40, **shape)).eval())


@pytest.fixture
def stage(claims, monkeypatch):
    """A kitchen that trains nothing: `bpb` says what each cell would give, `models` what was trained."""
    bpb, models = {}, {}
    tokenizer = SimpleNamespace(encode_ordinary=lambda text: [(7 * i * i) % 40 for i in range(len(text))])
    here = SimpleNamespace(
        size=SimpleNamespace(steps=150, vocab_size=40),
        exam="x" * 128,
        tokens=range(10_240),
        tokenizer=tokenizer,
        cell=lambda name, seed, steps=None, **more: {"bpb": bpb[name, steps, *more.values()]},
        trained=lambda name, seed: models[name],
        model=lambda changes, seed: learner(**{"n_kv_head": 1, **changes}).model,
    )
    monkeypatch.setattr(claims, "kitchen", lambda quick, **other: here)
    monkeypatch.setattr(claims, "trained", lambda run, name, seed: here.trained(name, seed))  # nothing from before
    return SimpleNamespace(bpb=bpb, models=models, here=here)


PAIRS = {
    "rope-learned": ("position=learned", "default"),
    "gqa-close": ("n_kv_head=2", "n_kv_head=4"),
    "rms-quality": ("norm=layernorm", "default"),
    "swiglu-better": ("mlp=gelu", "mlp=swiglu"),
    "qk-loss": ("no qk_norm", "default"),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_claim_is_one_cell_less_another(claims, stage, name):
    """The first row's loss less the second's: both are cells of the table of ingredients."""
    one, other = PAIRS[name]
    stage.bpb.update({(one, None): 2.5, (other, None): 2.25})
    assert claims.CLAIMS[name](0, RUN) == {"value": 0.25, "one": 2.5, "other": 2.25}


def test_passes_over_a_text_are_steps_and_the_better_of_two_weight_decays_counts(claims, stage):
    """10,240 tokens are ten steps of eight rows of 128 tokens."""
    few, many = 10 * claims.FEW, 10 * claims.MANY
    stage.bpb.update({("default", few, 0.1): 2.0, ("default", many, 0.1): 2.5})
    stage.bpb.update({("default", many, 1.0): 1.75, ("default", many, 3.0): 1.5})
    run = Run("reread")
    assert claims.CLAIMS["reread-overfit"](0, run) == {"value": 0.5, "one": 2.5, "other": 2.0}
    assert claims.CLAIMS["reread-decay"](0, run) == {"value": 1.0, "one": 2.5, "other": 1.5}
    assert claims.CLAIMS["reread-gain"](0, run) == {"value": 0.5, "one": 2.0, "other": 1.5}


def test_every_row_that_is_looked_into_keeps_its_weights(claims, stage):
    """What claims.py asks `trained` for must be in the kitchen's list, or each job would train it for itself."""
    asked, longer = set(), {"block_size": 128, "n_embd": 16}
    stage.here.trained = lambda name, seed: (
        asked.add(name) or learner(n_kv_head=4 if name == "n_kv_head=4" else 1, **longer)
    )
    stage.here.model = lambda changes, seed: learner(**{"n_kv_head": 1, **longer, **changes}).model
    stage.here.train = lambda changes, steps, seed, model: SimpleNamespace(learner=Learner(model))
    stage.here.judge = lambda learner: 1.0
    for name in ("rope-decay", "rope-length", "gqa-pool", "rms-scaling", "qk-saturation", "muon-entropy"):
        assert math.isfinite(claims.CLAIMS[name](0, RUN)["value"])
    assert asked == set(sys.modules["kitchen"].LOOKED_INTO)


def test_the_product_of_turned_vectors_depends_on_distance_alone(claims, stage):
    """Positions up to 2,047 in float32: an angle is exact to 1e-4, and so is the product."""
    assert 0 < claims.rope_relative(0, RUN)["value"] < 1e-3


def test_watched_logits_are_those_of_attention(claims, stage):
    """By hand for the first block: q and k of the normalised embedding, at length sqrt(D), turned, times 1 / sqrt(D).
    Rounding: 1e-5."""
    from nanogpt.model import rotate

    asked = learner(qk_norm=True)
    logits = claims.attention(RUN, asked)
    assert logits.shape == (2, 4, 4, 32, 32)  # blocks, rows, heads, T, T
    assert logits.abs().max() <= math.sqrt(8) * (1 + 1e-5), "QK-norm bounds a logit by the root of head_dim"
    model, tokens = asked.model, claims.rows_of_exam(RUN, asked)
    block = model.blocks[0]
    with torch.no_grad():
        x = block.norm1(model.embed(tokens))
        parts = [part(x).view(4, 32, 4, 8).transpose(1, 2) for part in (block.attn.q, block.attn.k)]
        q, k = (rotate(v / v.square().mean(-1, keepdim=True).add(1e-5).sqrt(), model.cos, model.sin) for v in parts)
    torch.testing.assert_close(logits[0], q @ k.mT / math.sqrt(8), atol=1e-5, rtol=1e-5)


def test_a_cache_of_one_head_has_a_fourth_of_the_bytes(claims, stage):
    found = claims.gqa_cache(0, RUN)
    assert found == {"value": 4.0, "four": 2 * 2 * 4 * 32 * 8 * 4, "one": 2 * 2 * 1 * 32 * 8 * 4}


def test_a_converted_model_has_one_head_made_of_four(claims, stage):
    """Four equal heads have themselves as their mean and as their first, and nothing changes: logits agree but for the
    order of sums (1e-5)."""
    many = learner(n_kv_head=4)
    with torch.no_grad():
        for block in many.model.blocks:
            for part in (block.attn.k, block.attn.v):
                part.weight.copy_(part.weight[:8].repeat(4, 1))
        wanted = many.model(torch.arange(30)[None])[0]
        for how in ("mean", "first", "random"):
            logits = claims.converted(stage.here, many, how, 0)(torch.arange(30)[None])[0]
            assert torch.allclose(logits, wanted, atol=1e-5) == (how != "random"), how
    heads = torch.arange(24.0).view(4, 2, 3)
    assert claims.POOLS["mean"](heads).tolist() == [[9, 10, 11], [12, 13, 14]]
    assert claims.POOLS["first"](heads).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_norm_forgets_the_scale_of_its_input(claims, stage):
    """RMSNorm moves only by norm_eps; a norm whose eps is huge does nothing, so it moves as its input does."""
    stage.models["default"] = learner(norm_eps=1e-12)
    assert claims.rms_scaling(0, RUN)["value"] < 1e-5
    stage.models["default"] = learner(norm_eps=1e9)
    assert claims.rms_scaling(0, RUN)["value"] == pytest.approx(1, rel=1e-3)


def test_a_gate_without_activation_by_hand(claims):
    """(a x) (b x), then down: in float64, exact to rounding."""
    mlp = claims.Bilinear(GPTConfig(40, n_head=4, n_embd=32, n_hidden=48)).double()
    x = torch.randn(2, 5, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = ((x @ mlp.gate.weight.T) * (x @ mlp.up.weight.T)) @ mlp.down.weight.T
        torch.testing.assert_close(mlp(x), expected, atol=1e-12, rtol=1e-12)


def test_a_training_that_breaks_off_counts_as_a_guess(claims, stage, monkeypatch):
    """Its loss is that of a uniform guess, and its logits are not compared."""
    from nanogpt.vendor.shared.errors import Mistake

    def broken(changes, steps, seed):
        assert changes["lr"] == 8 * 6e-3 and changes["optimizer"] == "adamw"
        raise Mistake("training stopped at step 9: the loss is nan")

    stage.here.train = broken
    assert claims.hurried(RUN, 0, False) == (math.log(40), None)
    monkeypatch.setattr(claims, "hurried", lambda run, seed, qk_norm: (1.0, 5.0 if qk_norm else None))
    with pytest.raises(ValueError, match="broke off, so there are no logits to compare; lower HIGH"):
        claims.qk_logits(0, RUN)


def test_shares_of_attention_by_hand(claims, stage, monkeypatch):
    """Equal logits: a position that sees n others gives each 1 / (n + 1). One far larger logit takes all."""
    logits = torch.zeros(1, 1, 1, 40, 40)
    monkeypatch.setattr(claims, "attention", lambda run, learner: logits.clone())
    monkeypatch.setattr(claims, "trained", lambda run, name, seed: None)
    wanted = sum(1 / (n + 1) for n in range(32, 40)) / 8
    assert claims.largest_share(RUN, 0, "default") == pytest.approx(wanted, rel=1e-6)  # float32
    logits[..., 3] = 99.0
    assert claims.largest_share(RUN, 0, "default") == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("goal, steps", [(2.0, 100), (2.5, math.sqrt(5000)), (1.75, math.sqrt(15000)), (1.0, 225)])
def test_where_a_curve_reaches_a_loss(claims, goal, steps):
    """Half the way in loss is half the way in the logarithm of steps; below the last point the line goes on."""
    curve = [(150, 1.5), (50, 3.0), (100, 2.0)]
    assert claims.crossing(curve, goal) == pytest.approx(steps)


def test_muon_is_raced_against_the_best_rate_of_adamw(claims, stage):
    rates = {0.003: 2.4, 0.012: 2.0}
    stage.bpb.update({("optimizer=adamw", None): 2.2, ("default", None): 1.5})
    stage.bpb.update({("optimizer=adamw", None, rate): bpb for rate, bpb in rates.items()})
    stage.bpb.update({("default", 50): 3.0, ("default", 75): 2.0, ("default", 100): 1.75})
    assert claims.muon_half(0, RUN) == {"value": pytest.approx(0.5), "goal": 2.0, "muon": 1.5}


def test_entropy_of_singular_values(claims):
    """All equal: 1. One alone: 0. Two of four: ln 2 / ln 4. Rounding in float64."""
    assert claims.entropy(3 * torch.eye(4)) == pytest.approx(1)
    assert claims.entropy(torch.ones(4, 4)) == pytest.approx(0, abs=1e-9)
    assert claims.entropy(torch.diag(torch.tensor([2.0, 2.0, 0.0, 0.0]))) == pytest.approx(0.5)
    assert claims.near_one(torch.diag(torch.tensor([0.1, 0.6, 1.4, 1.6]))) == 0.5
