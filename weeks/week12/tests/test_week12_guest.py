"""Merging, names and patterns: the adapter leaves the model as it found it, and refuses what it cannot do."""

import copy

import pytest
import torch
from lora import (
    LoRAConfig,
    LoRALinear,
    adapters,
    attach,
    base_state,
    detach,
    merge,
    parameters,
    unmerge,
    using,
)  # fmt: skip
from lora.config import matches
from torch import nn
from week12_models import bytes_of, same_bytes, shake, tiny, tokens

# --- merging ----------------------------------------------------------------------------------------------------------


@pytest.mark.day(82)
@pytest.mark.parametrize("tied", [True, False])
def test_merge_leaves_the_embedding_alone(tied):
    """The output layer may share its tensor with the embedding; merging into that would change the input side, too."""
    model = tiny()
    if not tied:
        model.head.weight = nn.Parameter(model.wte.weight.detach().flip(0))
    before = bytes_of(model)
    attach(model, "a", LoRAConfig(targets=("head",)))
    shake(model, "a", 0.1)
    slow = model(tokens())[0]
    merge(model, "a")
    merged = bytes_of(model)
    assert (model(tokens())[0] - slow).abs().max() < 1e-5
    assert {key for key in merged if not torch.equal(merged[key], before[key])} == {"head.weight"}
    plain = tiny()
    plain.head.weight = nn.Parameter(torch.zeros_like(plain.head.weight))  # a merged head is no embedding
    plain.load_state_dict(merged)
    assert torch.equal(plain(tokens())[0], model(tokens())[0])
    unmerge(model)
    assert (model.head.weight is model.wte.weight) is tied
    assert same_bytes(bytes_of(model), before) and torch.equal(model(tokens())[0], slow)


@pytest.mark.day(82)
def test_a_merged_model_saves_as_a_plain_model():
    """Its state_dict has a plain model's keys and gives its logits there; no reader can add the adapter twice."""
    model = tiny()
    attach(model, "a", LoRAConfig())
    shake(model, "a", 0.05)
    merge(model, "a")
    plain = tiny()
    plain.load_state_dict(model.state_dict())
    assert torch.equal(plain(tokens())[0], model(tokens())[0])
    before, others = bytes_of(model), {key: value + 1 for key, value in model.state_dict().items()}
    for one in (model, copy.deepcopy(model)):
        with pytest.raises(ValueError, match="nothing can be loaded; run unmerge"):
            one.load_state_dict(others)
        assert same_bytes(bytes_of(one), before)
        unmerge(one)
        one.load_state_dict(one.state_dict())


@pytest.mark.day(82)
def test_merged_model_can_be_cast():
    """.to() moves the weight in the drawer as well, so unmerge does not bring back another dtype."""
    model = tiny()
    attach(model, "a", LoRAConfig(targets="all-linear"))
    merge(model, "a")
    model.double()
    unmerge(model)
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert torch.equal(base_state(model)["blocks.0.attn.qkv.weight"], tiny().double().blocks[0].attn.qkv.weight)


@pytest.mark.day(82)
def test_merge_refuses_nan_and_changes_nothing():
    """A diverged adapter must not be folded in; layers merged before the bad one was found would be half a merge."""
    model = tiny()
    attach(model, "a", LoRAConfig())
    with torch.no_grad():
        parameters(model, "a")["blocks.1.mlp.down.lora_B"][0, 0] = float("nan")
    before = bytes_of(model)
    with pytest.raises(ValueError, match="NaN or infinity in blocks.1.mlp.down"):
        merge(model, "a")
    assert same_bytes(bytes_of(model), before)


@pytest.mark.day(82)
def test_what_is_refused_while_merged():
    """Each of these would compute something other than it says."""
    model = tiny()
    attach(model, "a", LoRAConfig()), attach(model, "b", LoRAConfig())
    merge(model, "a")
    for act in (
        lambda: merge(model, "b"), lambda: merge(model, "a"), lambda: attach(model, "c", LoRAConfig()),
        lambda: detach(model, "b"), lambda: using(model, "b").__enter__(), lambda: using(model, "__base__").__enter__(),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"'a' is merged.*unmerge"):
            act()
    with using(model, "a"):
        model(tokens())
    unmerge(model)
    with pytest.raises(ValueError, match="nothing to unmerge"):
        unmerge(model)


# --- being a good guest -----------------------------------------------------------------------------------------------


@pytest.mark.day(79)
def test_detach_leaves_the_model_as_it_was():
    """Classes, keys, bytes, gradient switches: with the last adapter gone nothing tells that there was one."""
    model = tiny()
    model.wpe.weight.requires_grad_(False)
    before, switches = bytes_of(model), {k: p.requires_grad for k, p in model.named_parameters()}
    attach(model, "a", LoRAConfig()), attach(model, "b", LoRAConfig(targets=("mlp.up",)))
    assert not any(p.requires_grad for key, p in model.named_parameters() if "adapters" not in key)
    detach(model, "a"), detach(model, "b")
    assert not any(isinstance(m, LoRALinear) for m in model.modules())
    assert same_bytes(dict(model.state_dict()), before)
    assert {k: p.requires_grad for k, p in model.named_parameters()} == switches


@pytest.mark.day(79)
def test_the_models_own_keys_do_not_change():
    """A checkpoint of the base loads into a model with adapters, which are all that it lacks, and the way back."""
    model, plain = tiny(), tiny()
    attach(model, "a", LoRAConfig())
    shake(model, "a")
    slow = model(tokens())[0]
    told = model.load_state_dict(plain.state_dict(), strict=False)
    assert not told.unexpected_keys and {*told.missing_keys} == {*model.state_dict()} - {*plain.state_dict()}
    assert told.missing_keys and torch.equal(model(tokens())[0], slow)
    plain.load_state_dict(base_state(model))
    assert adapters(model) == {"a": LoRAConfig()}


@pytest.mark.day(79)
@pytest.mark.parametrize("detached", [("a", "b"), ("b", "a")])
def test_an_adapter_on_a_part_learns_on_beside_one_on_all(detached):
    """What freezes the model leaves other adapters alone, and with the last of them all of it is thawed."""
    model = tiny()
    attach(model.blocks[0], "a", LoRAConfig(targets=("mlp.up",)))
    attach(model, "b", LoRAConfig())
    learns = {key for key, p in model.named_parameters() if p.requires_grad}
    assert learns == {key for key, _ in model.named_parameters() if ".adapters." in key}
    assert {".a." in key for key in learns} == {True, False}
    for name in detached:
        detach(model, name)
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.day(80)
def test_what_is_attached_inside_a_choice_ends_with_it():
    """Afterwards every layer runs what ran before, and a layer without adapters is a plain one."""
    model = tiny()
    attach(model, "a", LoRAConfig(targets=("attn.qkv",)))
    shake(model, "a")
    before = model(tokens())[0]
    with using(model, "a"):
        attach(model, "c", LoRAConfig(targets=("mlp.up",)))
        shake(model, "c")
        assert not torch.equal(model(tokens())[0], before)
    assert torch.equal(model(tokens())[0], before)
    with using(model, "a"):
        detach(model, "c"), detach(model, "a")
    assert not hasattr(model.blocks[0].mlp.up, "active") and not hasattr(model.blocks[0].attn.qkv, "active")


@pytest.mark.day(80)
@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        (None, "takes a name, .* got None"),
        ({"a": "half"}, "share of 'a' must be a number, got 'half'"),
        ({"a": float("nan")}, "share of 'a' must be a number, got nan"),
    ],
)
def test_what_is_no_choice(choice, sentence):
    """Told at once, not by a forward pass inside."""
    model = tiny()
    attach(model, "a", LoRAConfig())
    with pytest.raises(ValueError, match=sentence), using(model, choice):
        pass
    assert model.blocks[0].mlp.up.active == {"a": 1.0}


@pytest.mark.day(79)
@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (lambda m: attach(m, "b", LoRAConfig(), paths=[]), "there is no layer to adapt; some that can be are"),
        (lambda m: attach(m, "b", LoRAConfig(), paths=["nope"]), "'nope' is no layer that can be adapted; some"),
        (lambda m: attach(m, 5, LoRAConfig()), "5 cannot name an adapter"),
    ],
)
def test_what_is_no_name_or_path(act, sentence):
    """A sentence, and the model stays what it was."""
    model = tiny()
    attach(model, "a", LoRAConfig())
    with pytest.raises(ValueError, match=sentence):
        act(model)
    assert list(adapters(model)) == ["a"] and model.blocks[0].mlp.up.active == {"a": 1.0}


@pytest.mark.day(82)
@pytest.mark.parametrize("merged", [False, True])
def test_deepcopy_and_state_dict_carry_the_adapter(merged):
    """A copy is whole and apart: same logits, own tensors, and it can be unmerged by itself."""
    model = tiny()
    attach(model, "a", LoRAConfig())
    shake(model, "a", 0.05)
    slow = model(tokens())[0]
    if merged:
        merge(model, "a")
    twin = copy.deepcopy(model)
    assert torch.equal(twin(tokens())[0], model(tokens())[0])
    if merged:
        unmerge(twin)
        unmerge(model)
    assert torch.equal(twin(tokens())[0], slow)
    assert twin.head.weight is twin.wte.weight
    shake(twin, "a", seed=9)
    assert torch.equal(model(tokens())[0], slow)
    other = tiny()
    attach(other, "a", LoRAConfig())
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(tokens())[0], slow)


# --- names and patterns -----------------------------------------------------------------------------------------------


@pytest.mark.day(79)
@pytest.mark.parametrize(
    "targets, expected",
    [
        ("all-linear", [f"{i}.{end}" for i in (0, 1) for end in ("attn.qkv", "attn.proj", "mlp.up", "mlp.down")]),
        (("attn.qkv", "down"), ["0.attn.qkv", "0.mlp.down", "1.attn.qkv", "1.mlp.down"]),
        (("blocks.1.*",), ["1.attn.qkv", "1.attn.proj", "1.mlp.up", "1.mlp.down"]),
        (("mlp.[ud]*",), ["0.mlp.up", "0.mlp.down", "1.mlp.up", "1.mlp.down"]),
        ("qkv", ["0.attn.qkv", "1.attn.qkv"]),
    ],
)  # fmt: skip
def test_targets(targets, expected):
    """Ends of paths, globs, and "all-linear", which leaves the output layer alone as PEFT does."""
    assert attach(tiny(), "a", LoRAConfig(targets=targets)) == [f"blocks.{path}" for path in expected]


@pytest.mark.day(79)
@pytest.mark.parametrize(
    "targets, sentence",
    [
        (("qvk",), "matches no linear layer or embedding of the model; did you mean qkv"),
        (("kv",), "'kv' matches no linear layer"),  # an end of a *path*, not of a word: "kv" is not "qkv"
        (("q_proj",), r"did you mean|it has blocks\.\*\.attn\.qkv"),
        (("attn.qkv", "mlp.upp"), "did you mean mlp.up"),
        (("norm",), "names a LayerNorm; only plain nn.Linear and nn.Embedding"),
    ],
)
def test_a_target_that_matches_nothing_raises(targets, sentence):
    """Silence here means training nothing, or only half of what was asked for."""
    model = tiny()
    with pytest.raises(ValueError, match=sentence):
        attach(model, "a", LoRAConfig(targets=targets))
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.day(79)
def test_a_pattern_is_a_whole_end_or_a_glob_of_one():
    """Ends count from a dot: "p" is no layer's name, although "up" ends with it."""
    path = "blocks.0.attn.qkv"
    assert all(matches(path, pattern) for pattern in (path, "qkv", "attn.qkv", "attn.q*", "blocks.*", "*.0.attn.*"))
    assert not any(matches(path, pattern) for pattern in ("v", "tn.qkv", "attn", "blocks", "QKV", "attn.qkv.weight"))


@pytest.mark.day(79)
def test_rank_and_alpha_patterns():
    """Layers may differ in rank and alpha; a pattern without a layer raises like a target without one."""
    model = tiny()
    attach(model, "a", LoRAConfig(rank=4, alpha=8, rank_pattern={"mlp.up": 2}, alpha_pattern={"blocks.0.mlp.*": 6}))
    variants = {path: m.adapters["a"] for path, m in model.named_modules() if isinstance(m, LoRALinear)}
    assert {p: (v.rank, v.alpha, v.scale) for p, v in variants.items() if p.startswith("blocks.0.")} == {
        "blocks.0.attn.qkv": (4, 8, 2.0), "blocks.0.attn.proj": (4, 8, 2.0),
        "blocks.0.mlp.up": (2, 6, 3.0), "blocks.0.mlp.down": (4, 6, 1.5),
    }  # fmt: skip
    with pytest.raises(ValueError, match="'wq' of rank_pattern"):
        attach(model, "b", LoRAConfig(rank_pattern={"wq": 2}))


@pytest.mark.day(79)
@pytest.mark.parametrize(
    "wrong, sentence",
    [
        ({"rank": 0}, "rank must be"),
        ({"rank": 2.0}, "rank must be"),
        ({"rank": True}, "rank must be"),
        ({"rank": 10**6}, "rank is 1,000,000, more than any layer is wide; 8 is a good start"),
        ({"alpha": 0}, "alpha must be"),
        ({"alpha": float("inf")}, "alpha must be"),
        ({"dropout": 1.0}, "dropout must be"),
        ({"targets": ()}, "at least one layer"),
        ({"targets": ("all-linear", "qkv")}, "stands alone"),
        ({"variant": "dorra"}, "choose from lora"),
        ({"variant": ["lora"]}, "choose from lora"),
        ({"dropout": "much"}, "dropout must be at least 0 and below 1, got 'much'"),
        ({"dropout": float("nan")}, "dropout must be"),
        ({"alpha": "16"}, "alpha must be"),
        ({"rslora": "no"}, "rslora must be true or false, got 'no'"),
        ({"targets": 3}, "at least one layer, got 3"),
        ({"targets": ("qkv", 3)}, "at least one layer"),
        ({"rank_pattern": [2]}, "rank_pattern must be"),
        ({"rank_pattern": {"mlp.up": 0}}, "rank must be"),
        ({"alpha_pattern": {2: 2}}, "alpha_pattern must be"),
        ({"bias": "some"}, "bias must be one of none, all, lora_only, got 'some'"),
        ({"modules_to_save": "head"}, "modules_to_save must be a list of names, got 'head'"),
        ({"parts": "vq", "variant": "fused"}, "some of the letters qkv in that order, got 'vq'"),
        ({"parts": "qv"}, "parts 'qv' is for variant \"fused\", got 'lora'; leave parts out"),
    ],
)
def test_config_refuses_nonsense(wrong, sentence):
    """A wrong value is told at once, in a sentence, not as a shape error in a forward pass; from a file likewise."""
    for make in (lambda: LoRAConfig(**wrong), lambda: LoRAConfig.from_dict(wrong)):
        with pytest.raises(ValueError, match=sentence):
            make()


@pytest.mark.day(83)
def test_a_setting_that_is_not_known_is_named():
    """A store of a later version may hold more; dropping it quietly would run another adapter than the one taught."""
    with pytest.raises(ValueError, match="no setting 'use_dora', 'lora_bias'; leave it out or use rank, alpha"):
        LoRAConfig.from_dict({"rank": 4, "use_dora": True, "lora_bias": True})
    with pytest.raises(ValueError, match="names and values, got .'rank'.; give what to_dict gave"):
        LoRAConfig.from_dict(["rank"])


@pytest.mark.day(79)
@pytest.mark.parametrize("name", ["", "a.b", "__base__", "train", "a b"])
def test_names_that_cannot_be(name):
    """A dot would split the key of state_dict, "train" is a method of the dict, "__base__" means none."""
    with pytest.raises(ValueError, match="cannot name an adapter"):
        attach(tiny(), name, LoRAConfig())


@pytest.mark.day(79)
def test_the_same_name_twice_raises():
    """Overwriting would throw a trained adapter away."""
    model = tiny()
    attach(model, "a", LoRAConfig())
    with pytest.raises(ValueError, match="already has an adapter 'a'"):
        attach(model, "a", LoRAConfig())
    with pytest.raises(ValueError, match="no adapter 'b'"):
        detach(model, "b")


@pytest.mark.day(79)
def test_a_subclass_of_linear_is_left_alone():
    """nn.MultiheadAttention reads out_proj.weight and never calls out_proj: an adapter there would do nothing."""
    model = nn.ModuleDict({"attention": nn.MultiheadAttention(8, 2), "up": nn.Linear(8, 8)})
    assert attach(model, "a", LoRAConfig()) == ["up"]
    with pytest.raises(ValueError, match="names a NonDynamicallyQuantizableLinear"):
        attach(model, "b", LoRAConfig(targets=("out_proj",)))
