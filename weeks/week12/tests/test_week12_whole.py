"""Beyond linear layers: embeddings, thirds of a fused layer, biases and whole modules, and a base that outlives all."""

import copy

import pytest
import torch
from lora import VARIANTS, LoRAConfig, adapters, attach, detach, merge, parameters, unmerge, using
from torch import nn
from torch.nn import functional as F
from week12_models import bytes_of, same_bytes, shake, tiny, tokens

EVERYWHERE = {"bias": "all", "modules_to_save": ("norm",)}


def places(variant):
    """Targets of the GPT that the kind can sit on."""
    return ("attn.qkv",) if variant == "fused" else ("wte", "attn.qkv", "mlp.up")


def teach(model, name, steps=3):
    own = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(own, lr=1e-2, weight_decay=0.1)
    with using(model, name):
        for _ in range(steps):
            optimizer.zero_grad()
            model(tokens(), tokens(seed=3))[1].backward()
            optimizer.step()


# --- a whole life -----------------------------------------------------------------------------------------------------


@pytest.mark.day(82)
@pytest.mark.parametrize("extra", [{}, EVERYWHERE], ids=["plain", "everywhere"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_base_outlives_every_kind(variant, extra):
    """Attached, taught, chosen, mixed, merged, unmerged, copied, detached: the model is what it was, to the byte.

    Its classes and what requires a gradient, too.
    """
    model = tiny()
    before, kinds = bytes_of(model), [type(m) for m in model.modules()]
    learns = [key for key, p in model.named_parameters() if p.requires_grad]
    plain = model(tokens())[0]
    attach(model, "a", LoRAConfig(rank=2, targets=places(variant), variant=variant, dropout=0.1, **extra))
    assert torch.equal(model(tokens())[0], plain)
    attach(model, "b", LoRAConfig(rank=3, targets=("attn.qkv",)))
    shake(model, "b", 0.05)
    teach(model.train(), "a")
    model.eval()
    with using(model, ["a", "b", "__base__"]):
        mixed = model(tokens())[0]
    for row, name in enumerate(["a", "b", "__base__"]):
        with using(model, name):  # float32, another height of the batch: 1e-5
            torch.testing.assert_close(mixed[row], model(tokens()[row : row + 1])[0][0], rtol=0, atol=1e-5)
    with using(model, "a"):
        taught = model(tokens())[0]
        assert not torch.equal(taught, plain)
        merge(model, "a")
        assert (model(tokens())[0] - taught).abs().max() < 1e-5
        assert not same_bytes(bytes_of(model), before)
        unmerge(model)
        assert torch.equal(model(tokens())[0], taught)
        twin = copy.deepcopy(model)
    assert same_bytes(bytes_of(model), before)
    for subject in (model, twin):
        detach(subject, "b"), detach(subject, "a")
        assert torch.equal(subject(tokens())[0], plain) and same_bytes(bytes_of(subject), before)
        assert [type(m) for m in subject.modules()] == kinds
        assert [key for key, p in subject.named_parameters() if p.requires_grad] == learns


# --- embeddings -------------------------------------------------------------------------------------------------------


@pytest.mark.day(79)
def test_an_embedding_by_hand():
    """Row i of the table becomes table[i] + scale * B A[:, i]; float64, 1e-12."""
    model = nn.Sequential(nn.Embedding(7, 5)).double()
    attach(model, "a", LoRAConfig(rank=2, alpha=6, targets=("0",)))
    shake(model, "a")
    part, ids = model[0].adapters["a"], torch.tensor([[3, 0], [6, 3]])
    by_hand = torch.stack([model[0].weight[i] + 3 * part.lora_B @ part.lora_A[:, i] for i in ids.flatten()])
    torch.testing.assert_close(model(ids).flatten(0, 1), by_hand, rtol=0, atol=1e-12)


@pytest.mark.day(79)
def test_dropout_of_an_embedding_drops_a_tokens_whole_change():
    """A one-hot row has one number to drop: each token's change is 0 or 1 / (1 - p) of what it was, never between."""
    model = nn.Sequential(nn.Embedding(7, 5)).double().train()
    ids = torch.arange(7).repeat(40, 1)
    table = model(ids)
    attach(model, "a", LoRAConfig(rank=2, dropout=0.5, targets=("0",)))
    shake(model, "a")
    change = model.eval()(ids) - table
    ratio = ((model.train()(ids) - table) / change).detach()
    assert (ratio - ratio.round()).abs().max() < 1e-9 and set(ratio.round().unique().tolist()) == {0.0, 2.0}
    assert torch.equal(ratio.round().amin(-1), ratio.round().amax(-1))


@pytest.mark.day(79)
def test_all_linear_leaves_embeddings_alone_and_max_norm_is_refused():
    """A table takes part where it is named; one that rewrites itself as it is read can be no base."""
    assert not any("wte" in path or "wpe" in path for path in attach(tiny(), "a", LoRAConfig()))
    assert attach(tiny(), "a", LoRAConfig(targets=("wte", "wpe"))) == ["wte", "wpe"]
    with pytest.raises(ValueError, match="'0' names an Embedding with max_norm, which changes its own weight"):
        attach(nn.Sequential(nn.Embedding(7, 5, max_norm=1.0)), "a", LoRAConfig(targets=("0",)))


# --- a fused layer ----------------------------------------------------------------------------------------------------


@pytest.mark.day(81)
@pytest.mark.parametrize("parts", ["q", "v", "qv", "kv", "qkv"])
def test_each_third_has_its_own_adapter(parts):
    """What is not among the parts is the base's to the bit; what is equals a LoRA on that third alone (1e-12)."""
    layer = nn.Linear(8, 15).double()
    model = nn.Sequential(layer)
    x = torch.randn(4, 8, dtype=torch.float64)
    base = model(x)
    attach(model, "a", LoRAConfig(rank=2, variant="fused", parts=parts))
    shake(model, "a")
    change = (model(x) - base).view(4, 3, 5)
    part = layer.adapters["a"]
    for place, letter in enumerate("qkv"):
        if letter not in parts:
            assert torch.equal(model(x).view(4, 3, 5)[:, place], base.view(4, 3, 5)[:, place])
            continue
        i = parts.index(letter)
        alone = part.scale * x @ part.lora_A[2 * i : 2 * i + 2].T @ part.lora_B[i].T
        torch.testing.assert_close(change[:, place], alone, rtol=0, atol=1e-12)
    torch.testing.assert_close(F.linear(x, part.weight(layer), layer.bias), model(x), rtol=0, atol=1e-12)
    assert sum(p.numel() for p in parameters(model, "a").values()) == len(parts) * 2 * (8 + 5)


@pytest.mark.day(81)
def test_a_layer_that_is_no_three_is_refused():
    """Thirds of 16 outputs: nothing is attached."""
    model = nn.Sequential(nn.Linear(8, 16))
    with pytest.raises(ValueError, match="a layer of 16 outputs is no fused q, k and v of one size; target one"):
        attach(model, "a", LoRAConfig(variant="fused"))
    assert not adapters(model) and model[0].weight.requires_grad


# --- biases and modules -----------------------------------------------------------------------------------------------


def biased():
    torch.manual_seed(0)
    return nn.ModuleDict({"up": nn.Linear(6, 9), "norm": nn.LayerNorm(9), "head": nn.Linear(9, 4)})


@pytest.mark.day(80)
@pytest.mark.parametrize(
    "settings, more",
    [
        ({}, set()),
        ({"bias": "lora_only"}, {"up.bias"}),
        ({"bias": "all"}, {"up.bias", "norm.bias", "head.bias"}),
        ({"modules_to_save": ("head",)}, {"head.copy.weight", "head.copy.bias"}),
        ({"bias": "all", "modules_to_save": ("norm",)},
         {"up.bias", "norm.copy.weight", "norm.copy.bias", "head.bias"}),
    ],
)  # fmt: skip
def test_what_is_trained_whole(settings, more):
    """Exactly what was asked for learns; each copy starts as the base's."""
    model = biased()
    own = dict(model.named_parameters())
    attach(model, "a", LoRAConfig(targets=("up",), **settings))
    found = parameters(model, "a")
    assert set(found) == {"up.lora_A", "up.lora_B"} | more
    assert all(p.requires_grad for p in found.values())
    for key in more:
        assert torch.equal(found[key], own[key.replace(".copy.", ".")])
        assert found[key] is not own[key.replace(".copy.", ".")]


@pytest.mark.day(80)
def test_a_share_of_a_copy_is_half_way():
    """{name: share} weights a copied module's change like any other; float32, 1e-6."""
    model = biased()
    x = torch.randn(3, 6)
    run = lambda: model["head"](model["norm"](model["up"](x)))
    base = run()
    attach(model, "a", LoRAConfig(targets=("up",), modules_to_save=("head",)))
    with torch.no_grad():
        parameters(model, "a")["head.copy.weight"].add_(1)
    whole = run()
    with using(model, {"a": 0.5}):
        torch.testing.assert_close(run(), (base + whole) / 2, rtol=0, atol=1e-6)


@pytest.mark.day(79)
def test_a_second_adapter_does_not_sit_on_the_firsts_copy():
    """Copies are nn.Linear layers, too; they belong to their adapter, and a later one starts from the base."""
    model = biased()
    attach(model, "a", LoRAConfig(targets=("up",), modules_to_save=("head",)))
    with torch.no_grad():
        parameters(model, "a")["head.copy.weight"].add_(1)
    assert attach(model, "b", LoRAConfig()) == ["up"]
    attach(model, "c", LoRAConfig(targets=("up",), modules_to_save=("head",)))
    assert torch.equal(parameters(model, "c")["head.copy.weight"], model["head"].weight)


@pytest.mark.day(79)
@pytest.mark.parametrize(
    "whole, sentence",
    [
        ("haed", "modules_to_save 'haed' matches no module that holds parameters .*; some are up, norm, head"),
        ("up", "modules_to_save 'up' is up, which is a target too; leave one of them out"),
        ("batch", r"modules_to_save 'batch' keeps numbers beside its parameters \(running_mean, .*; leave it out"),
    ],
)
def test_a_module_that_cannot_be_copied(whole, sentence):
    """A misspelt name would quietly leave the module frozen, and running means would be lost between two folders."""
    model = biased()
    if whole == "batch":
        model["batch"] = nn.BatchNorm1d(3)
    with pytest.raises(ValueError, match=sentence):
        attach(model, "a", LoRAConfig(targets=("up",), modules_to_save=(whole,)))
    assert not adapters(model) and model["up"].weight.requires_grad
