"""The short way through an adapted layer against the long one, and what it keeps."""

from contextlib import nullcontext

import pytest
import torch
from lora import LoRAConfig, attach, parameters, using
from lora.product import Product, adapted_linear
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from week12_models import shake, tiny, tokens


def model_of(has_bias=True, dtype=torch.float32, **settings):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 9, bias=has_bias, dtype=dtype))
    attach(model, "a", LoRAConfig(rank=2, alpha=3, **settings))
    return shake(model, "a")


def long_way(monkeypatch):
    """From here on every adapter takes the way that layers.py writes."""
    monkeypatch.setattr("lora.variants.lora.adapted_linear", lambda *args: None)


@pytest.mark.day(79)
@pytest.mark.parametrize("variant", ["lora", "lora_fa"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(12,), (5, 12), (2, 3, 12), (0, 12), (0, 3, 12)])
def test_both_ways_agree(shape, bias, variant, monkeypatch):
    """Output and every gradient with a random upstream one; float64, the order of sums differs: 1e-12."""
    model = model_of(bias, torch.float64, variant=variant)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(*shape[:-1], 9, dtype=torch.float64)
    wanted = [x, *(p for p in parameters(model, "a").values() if p.requires_grad)]

    def run():
        y = model(x)
        return y, *torch.autograd.grad(y, wanted, upstream)

    short = run()
    assert "Product" in type(model(x).grad_fn.next_functions[0][0]).__name__  # under the view
    long_way(monkeypatch)
    for a, b in zip(short, run(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.day(79)
def test_a_whole_model_learns_the_same(monkeypatch):
    """Ten steps of descent of a GPT, once each way: the losses agree (float32, 1e-5)."""

    def losses():
        model = tiny()
        attach(model, "a", LoRAConfig(rank=2))
        shake(model, "a", 0.05)
        optimizer = torch.optim.SGD(parameters(model, "a").values(), lr=0.1)
        out = []
        for _ in range(10):
            optimizer.zero_grad()
            loss = model(tokens(), tokens(seed=3))[1]
            loss.backward()
            optimizer.step()
            out.append(loss.item())
        return torch.tensor(out)

    short = losses()
    long_way(monkeypatch)
    torch.testing.assert_close(short, losses(), rtol=0, atol=1e-5)
    assert short[-1] < short[0] - 1e-3


@pytest.mark.day(79)
def test_autocast_takes_the_short_way(monkeypatch):
    """In bf16 both ways round to 8 bits, in another order: within 2 % of outputs near 1; gradients are float32."""
    model = model_of()
    x = torch.randn(4, 12)
    ways = []
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16):
            y = model(x)
        assert y.dtype == torch.bfloat16
        own = list(parameters(model, "a").values())
        ways.append([y.float(), *torch.autograd.grad(y.float().square().sum(), own)])
        assert all(g.dtype == torch.float32 for g in ways[-1])
        long_way(monkeypatch)
    for a, b in zip(*ways):
        assert (a - b).abs().max() < 0.02 * b.abs().max()


@pytest.mark.day(79)
def test_it_keeps_the_input_once_and_nothing_of_the_output():
    """Held for the way back, beside the parameters: x and the r numbers a token. Counted."""
    model, x = model_of(), torch.randn(50, 12)
    held = {}
    with saved_tensors_hooks(lambda t: held.update({t.data_ptr(): t}) or t, lambda t: t):
        model(x)
    own = {p.data_ptr() for p in model.parameters()}
    assert sorted(tuple(t.shape) for at, t in held.items() if at not in own) == [(50, 2), (50, 12)]


def no_product_is_run(case, monkeypatch):
    """A layer takes the long way; returns it and its output."""
    settings = {"dropout": {"dropout": 0.5}, "bias": {"bias": "lora_only"}, "dora": {"variant": "dora"}}
    model = model_of(dtype=torch.bfloat16 if case == "mixed dtypes" else torch.float32, **settings.get(case, {}))
    if case == "thawed":
        model[0].weight.requires_grad_(True)
    calls = []
    monkeypatch.setattr(Product, "apply", lambda *args: calls.append(args))
    names = {"sum": {"a": 0.5}, "rows": ["a", "__base__"]}.get(case)
    with using(model.train(), names) if names else nullcontext():
        y = model(torch.randn(2, 12, dtype=model[0].weight.dtype))
    assert not calls and y.shape == (2, 9)
    return model, y


@pytest.mark.day(79)
@pytest.mark.parametrize("case", ["dropout", "bias", "thawed", "mixed dtypes"])
def test_what_takes_the_long_way(case, monkeypatch):
    """Whatever asks for more than two products is not computed by them: no Product is run."""
    model, y = no_product_is_run(case, monkeypatch)
    if case == "thawed":
        (gradient,) = torch.autograd.grad(y.sum(), model[0].weight)
        assert gradient.shape == (9, 12)


@pytest.mark.day(81)
@pytest.mark.parametrize("case", ["dora", "sum", "rows"])
def test_sums_rows_and_other_kinds_take_the_long_way(case, monkeypatch):
    """They, too, ask for more than two products."""
    no_product_is_run(case, monkeypatch)


@pytest.mark.day(78)
def test_the_way_back_against_finite_differences():
    """Float64, all inputs that can learn, with and without a bias."""
    g = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=g)
    layer = nn.Linear(4, 3, dtype=torch.float64).requires_grad_(False)
    inputs = [t.requires_grad_(True) for t in (draw(2, 4), draw(2, 4), draw(3, 2))]
    assert torch.autograd.gradcheck(lambda x, A, B: adapted_linear(x, layer, A, B, 1.5), inputs, atol=1e-7)
