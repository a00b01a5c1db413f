"""The peer of the bench is the same model: with our weights in it, the same losses and the same step."""

import importlib.util
from pathlib import Path

import pytest
import torch
from gpt.loop import Recipe, train
from gpt.model import GPT, GPTConfig
from gpt.plain_step import PlainGPT, plain_batch, plain_optimizer, plain_step

pytestmark = pytest.mark.day(55)
V, T, L, H, C = 13, 8, 2, 2, 16


def twins():
    """Our model without biases, and the peer with its weights."""
    torch.manual_seed(0)
    ours, plain = GPT(GPTConfig(V, T, L, H, C, bias=False)), PlainGPT(V, T, L, H, C)
    names = [("norm1", "ln_1"), ("norm2", "ln_2"), ("attn.qkv", "c_attn"), ("attn.proj", "c_proj"),
             ("mlp.up", "c_fc"), ("mlp.down", "c_out")]  # fmt: skip
    pairs = [("wte.weight", "wte.weight"), ("wpe.weight", "wpe.weight"), ("norm.weight", "ln_f.weight")]
    pairs += [(f"blocks.{i}.{a}.weight", f"blocks.{i}.{b}.weight") for i in range(L) for a, b in names]
    mine, theirs = dict(ours.named_parameters()), dict(plain.named_parameters())
    assert {a for a, _ in pairs} == set(mine) and {b for _, b in pairs} == set(theirs)
    with torch.no_grad():
        for a, b in pairs:
            theirs[b].copy_(mine[a])
    return ours, plain


def test_the_peer_computes_what_our_model_does():
    """Our GELU is the tanh form, the peer's exact: they differ by 5e-4 at most, near 0 by far less: 1e-5."""
    ours, plain = twins()
    tokens, targets = torch.randint(V, (2, 3, T))
    for a, b in zip(ours(tokens, targets), plain(tokens, targets)):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


def test_the_peer_is_as_large_and_learns():
    """Equal sizes at nanoGPT's shapes, else the tokens a second do not compare; and its step trains."""
    for n_layer, n_head, width, block in ((4, 4, 128, 64), (6, 6, 384, 256)):
        with torch.device("meta"):
            plain, ours = PlainGPT(65, block, n_layer, n_head, width), GPTConfig(65, block, n_layer, n_head, width)
        size = sum(p.numel() for p in plain.parameters())
        blocks = n_layer * (12 * width**2 + 2 * width)
        assert size == blocks + (ours.vocab_size + block + 1) * width
    torch.manual_seed(0)
    plain, data = PlainGPT(V, T, L, H, C), torch.arange(V).repeat(20)
    optimizer = plain_optimizer(plain, lr=1e-2)
    losses = [plain_step(plain, optimizer, data, 4, T) for _ in range(30)]
    assert losses[-1] < losses[0] - 1.0


def test_one_step_of_both_changes_the_weights_alike():
    """On one window, at one rate. Adam's first step is the sign of each gradient times the rate, so where a gradient
    is near 0 the two GELUs can differ: of the entries, 95 % must agree to 1e-4, a hundredth of the step.
    """
    ours, plain = twins()
    data = torch.arange(T + 1)  # only one window fits, so both draw it
    before = ours.blocks[0].mlp.down.weight.detach().clone()
    list(train(ours, data, Recipe(steps=1, batch_size=2, lr=1e-2, min_lr=1e-2, warmup=0), seed=0))
    plain_step(plain, plain_optimizer(plain, lr=1e-2), data, 2, T)
    mine, theirs = ours.blocks[0].mlp.down.weight, plain.blocks[0].c_out.weight
    assert (mine - before).abs().max() > 5e-3
    assert ((mine - theirs).abs() < 1e-4).float().mean() > 0.95


def test_batches_are_windows_and_their_next_tokens():
    inputs, targets = plain_batch(torch.arange(50), 6, 8)
    assert inputs.shape == targets.shape == (6, 8)
    assert torch.equal(inputs + 1, targets) and torch.equal(inputs[:, 1:], targets[:, :-1])


def test_the_bench_writes_both_speeds_and_their_ratio(monkeypatch):
    """No speed is judged here: the four numbers must be there, and positive."""
    week = Path(__file__).resolve().parents[1]
    monkeypatch.syspath_prepend(week)  # for the scripts that it imports; a learner's folder has none
    spec = importlib.util.spec_from_file_location("week0708_bench", week / "bench.py")
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    metrics = {}
    bench.throughput("tiny", bench.Shape(1, 2, 16, 8, 2, 0.1, steps=1), metrics)
    assert set(metrics) == {
        f"throughput_{key}tiny" for key in ("", "plain_", "ratio_", "precision_", "plain_precision_")
    }
    assert metrics["throughput_tiny"] > 0 and metrics["throughput_ratio_tiny"] > 0


def test_the_profile_puts_each_operation_in_one_kind(monkeypatch):
    """Shares of a step add up to 1, and a step of the smallest model has products and GELU in it."""
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[1])
    profile = importlib.import_module("bench_profile")
    kinds = {"mm": "products", "baddbmm": "products", "_softmax_backward_data": "attention", "add_": "sums and copies",
             "addmm": "products", "_log_softmax": "loss", "gelu_backward": "gelu", "embedding": "other"}  # fmt: skip
    assert {name: profile.kind_of(f"aten::{name}") for name in kinds} == kinds
    plain, data = PlainGPT(V, T, L, H, C), torch.arange(V).repeat(20)
    optimizer = plain_optimizer(plain)
    step = lambda: plain_step(plain, optimizer, data, 4, T)
    metrics = profile.profiles("tiny", step, step, steps=2)
    for whose in ("ours", "plain"):
        shares = {key: value for key, value in metrics.items() if key.startswith(whose)}
        assert len(shares) == len(profile.KINDS) + 1
        assert sum(shares.values()) == pytest.approx(1)  # they are parts of one whole, up to rounding
        assert shares[f"{whose}_products_share_tiny"] > 0 and shares[f"{whose}_gelu_share_tiny"] > 0
    assert metrics["bound_tiny"] == 1 / metrics["plain_products_share_tiny"]
