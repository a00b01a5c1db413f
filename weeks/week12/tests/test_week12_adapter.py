"""Week 12, the adapter itself: what it computes, what it leaves alone, and what it refuses."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lora import (
    VARIANTS,
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
from lora.vendor.gpt import GPT, GPTConfig
from torch import nn
from torch.nn import functional as F


def tiny(**changes):
    torch.manual_seed(0)
    return GPT(
        GPTConfig(**{"vocab_size": 17, "block_size": 8, "n_layer": 2, "n_head": 2, "n_embd": 16, **changes})
    ).eval()


def tokens(rows=3, seed=1):
    return torch.randint(17, (rows, 8), generator=torch.Generator().manual_seed(seed))


def shake(model, name, size=0.3, seed=2):
    """Give an adapter random A and B, as if it had been trained: with B = 0 most tests would pass by doing nothing."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in parameters(model, name).values():
            p.copy_(torch.randn(p.shape, generator=g, dtype=torch.float64) * size)
    return model


def bytes_of(model):
    return {key: value.clone() for key, value in base_state(model).items()}


def same_bytes(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k].view(torch.uint8), b[k].view(torch.uint8)) for k in a)


# --- what it computes -------------------------------------------------------------------------------------------------


@pytest.mark.day(78)
def test_attach_changes_no_output_bit():
    """B = 0 at the start, so training starts from the base model exactly, not nearly."""
    model = tiny()
    before = model(tokens())[0]
    attach(model, "a", LoRAConfig())
    assert torch.equal(model(tokens())[0], before)


@pytest.mark.day(78)
@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=40, deadline=None)
@given(
    batch=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    n_in=st.integers(1, 9), n_out=st.integers(1, 9), rank=st.integers(1, 12), alpha=st.floats(0.5, 64),
    bias=st.booleans(), rslora=st.booleans(),
)  # fmt: skip
def test_variant_exam_forward_equals_weight(variant, batch, n_in, n_out, rank, alpha, bias, rslora):
    """Each variant: the delta and the plain layer with weight() agree, for any shape, also with rank above the sizes.

    Float64, so only the order of sums differs: 1e-9 of numbers up to about 1e3.
    """
    model = nn.Sequential(nn.Linear(n_in, n_out, bias=bias)).double()
    attach(model, "a", LoRAConfig(rank=rank, alpha=alpha, rslora=rslora, variant=variant))
    shake(model, "a")
    x = torch.randn(*batch, n_in, dtype=torch.float64)
    weight = model[0].adapters["a"].weight(model[0])
    torch.testing.assert_close(model(x), F.linear(x, weight, model[0].bias), rtol=1e-9, atol=1e-9)


@pytest.mark.day(78)
@pytest.mark.parametrize("rslora, scale", [(False, 16 / 4), (True, 16 / 2)])
def test_formula_by_hand(rslora, scale):
    """One layer against the paper's equation written out; rsLoRA divides by sqrt(r). Float64, tolerance 1e-12."""
    model = nn.Sequential(nn.Linear(5, 3)).double()
    attach(model, "a", LoRAConfig(rank=4, alpha=16, rslora=rslora))
    shake(model, "a")
    p, x = parameters(model, "a"), torch.randn(2, 5, dtype=torch.float64)
    by_hand = x @ model[0].weight.T + model[0].bias + scale * (x @ p["0.lora_A"].T @ p["0.lora_B"].T)
    torch.testing.assert_close(model(x), by_hand, rtol=0, atol=1e-12)


@pytest.mark.day(78)
@pytest.mark.parametrize("variant", VARIANTS)
def test_gradient_against_finite_differences(variant):
    """Backward into x, A and B in float64 with a random upstream gradient (a sum would hide a wrong transpose)."""
    model = nn.Sequential(nn.Linear(4, 3)).double()
    attach(model, "a", LoRAConfig(rank=2, variant=variant))
    shake(model, "a")
    own = parameters(model, "a")
    upstream = torch.randn(5, 3, dtype=torch.float64)

    def f(x, *values):
        named = {f"0.adapters.a.{key.split('.')[-1]}": value for key, value in zip(own, values)}
        return (torch.func.functional_call(model, named, (x,)) * upstream).sum()

    x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(f, (x, *own.values()), atol=1e-7)


@pytest.mark.day(78)
def test_dropout_is_on_the_adapter_only_and_off_in_eval():
    """Dropout must leave the base path alone: in training the output moves only by the adapter's part."""
    model = nn.Sequential(nn.Linear(64, 8))
    x = torch.randn(4, 64)
    base = model(x)
    attach(model, "a", LoRAConfig(dropout=0.5))
    model.train()
    assert torch.equal(model(x), base)  # B = 0: whatever is dropped, nothing is added
    shake(model, "a")
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))
    attach(model, "b", LoRAConfig(dropout=0.5))  # onto a model in evaluation: the new part follows
    shake(model, "b")
    assert torch.equal(model(x), model(x))


@pytest.mark.day(78)
def test_bf16_autocast_and_bf16_weights():
    """Both ways to run in half precision work, and A and B stay float32, since bf16 swallows small steps."""
    model = tiny()
    attach(model, "a", LoRAConfig())
    shake(model, "a", 0.05)
    full = model(tokens())[0]
    with torch.autocast("cpu", torch.bfloat16):
        half = model(tokens())[0]
    assert half.dtype == torch.bfloat16
    assert (half.float() - full).abs().max() < 0.05  # bf16 has 8 bits: 0.4 % a rounding of logits near 1
    low = nn.Sequential(nn.Linear(8, 8)).bfloat16()
    attach(low, "a", LoRAConfig())
    assert {p.dtype for p in parameters(low, "a").values()} == {torch.float32}
    assert low(torch.randn(2, 8).bfloat16()).dtype == torch.bfloat16
    merge(low, "a")
    assert low[0].weight.dtype == torch.bfloat16


@pytest.mark.day(79)
@pytest.mark.parametrize("targets, expected", [(("q_proj", "v_proj"), 460_800), ("all-linear", 2_442_240)])
def test_parameter_counts_of_smollm2_135m(targets, expected):
    """Counts of r = 8 on the shape of SmolLM2-135M (30 layers, d 576, kv 192, ff 1536), on no memory (meta device)."""

    def block():
        shape = {"q_proj": (576, 576), "k_proj": (576, 192), "v_proj": (576, 192), "o_proj": (576, 576),
                 "gate_proj": (576, 1536), "up_proj": (576, 1536), "down_proj": (1536, 576)}  # fmt: skip
        return nn.ModuleDict({name: nn.Linear(*size, bias=False) for name, size in shape.items()})

    with torch.device("meta"):
        model = nn.ModuleDict(
            {"layers": nn.ModuleList(block() for _ in range(30)), "lm_head": nn.Linear(576, 49152, bias=False)}
        )
    attach(model, "a", LoRAConfig(rank=8, targets=targets))
    assert sum(p.numel() for p in parameters(model, "a").values()) == expected


# --- training ---------------------------------------------------------------------------------------------------------


@pytest.mark.day(80)
def test_training_moves_the_adapter_and_not_one_byte_of_the_base():
    """The promise of the method: after steps over *all* parameters that require a gradient, the base is what it was."""
    model = tiny(dropout=0.1).train()
    before = bytes_of(model)
    attach(model, "a", LoRAConfig(dropout=0.1))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.1)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = model(tokens(), tokens(seed=3))[1]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1
    assert same_bytes(bytes_of(model), before)
    adapted = parameters(model, "a")
    with_gradient = {id(p) for p in model.parameters() if p.grad is not None}
    assert with_gradient == {id(p) for p in adapted.values()}
    assert all(p.grad.abs().sum() > 0 for p in adapted.values())


@pytest.mark.day(80)
def test_two_adapters_train_apart():
    """Under using("a"), b gets no gradient at all: not a zero one, by which weight decay would move it."""
    model = tiny()
    attach(model, "a", LoRAConfig(targets=("attn.qkv",)))
    attach(model, "b", LoRAConfig(rank=2, targets=("attn.qkv", "mlp.up")))
    shake(model, "a"), shake(model, "b", seed=5)
    with using(model, "a"):
        model(tokens(), tokens())[1].backward()
    assert all(p.grad is not None for p in parameters(model, "a").values())
    assert all(p.grad is None for p in parameters(model, "b").values())


# --- choosing ---------------------------------------------------------------------------------------------------------


@pytest.mark.day(81)
def test_one_adapter_per_row_equals_running_the_rows_apart():
    """A mixed batch gives each row what it gets alone (float32, 1e-5: another height may sum in another order)."""
    model = tiny()
    attach(model, "a", LoRAConfig())
    attach(model, "b", LoRAConfig(rank=3, targets=("mlp.up", "blocks.0.*")))
    shake(model, "a"), shake(model, "b", seed=5)
    names = ["b", "__base__", "a", "b", "a"]
    batch = tokens(5)
    with using(model, names):
        mixed = model(batch)[0]
    for row, name in enumerate(names):
        with using(model, name):
            torch.testing.assert_close(mixed[row], model(batch[row : row + 1])[0][0], rtol=0, atol=1e-5)
    with using(model, "a"), using(model, "__base__"):
        base = model(batch)[0]
    detach(model, "a"), detach(model, "b")
    assert torch.equal(model(batch)[0], base)  # "__base__" is the plain model to the bit


@pytest.mark.day(81)
def test_mixed_rows_send_each_gradient_home():
    """Gradients of a mixed batch are the sums of those of the rows apart (float32, 1e-5)."""
    model = tiny()
    for name in ("a", "b"):
        attach(model, name, LoRAConfig())
        shake(model, name)
    batch = tokens(3)
    upstream = torch.randn(3, 8, 17)

    def gradients(run):
        model.zero_grad()
        run()
        return {
            n: {k: p.grad.clone() for k, p in parameters(model, n).items() if p.grad is not None} for n in ("a", "b")
        }

    def mixed():
        with using(model, ["a", "b", "a"]):
            (model(batch)[0] * upstream).sum().backward()

    def apart():
        for name, rows in (("a", [0, 2]), ("b", [1])):
            with using(model, name):
                (model(batch[rows])[0] * upstream[rows]).sum().backward()

    left, right = gradients(mixed), gradients(apart)
    for name in ("a", "b"):
        for key in right[name]:
            torch.testing.assert_close(left[name][key], right[name][key], rtol=1e-4, atol=1e-5)


@pytest.mark.day(81)
def test_shares_are_summed():
    """{name: share} runs the weighted sum, and half an adapter is half way for a single layer (float64, 1e-12)."""
    model = nn.Sequential(nn.Linear(4, 4)).double()
    x = torch.randn(3, 4, dtype=torch.float64)
    base = model(x)
    deltas = {}
    for name in ("a", "b"):
        attach(model, name, LoRAConfig())
        shake(model, name, seed=ord(name))
        deltas[name] = model(x) - base
    with using(model, {"a": 0.5, "b": 2}):
        torch.testing.assert_close(model(x), base + 0.5 * deltas["a"] + 2 * deltas["b"], rtol=0, atol=1e-12)


@pytest.mark.day(81)
def test_using_restores_after_an_error():
    """A failing request must not leave its adapter switched on for the next."""
    model = tiny()
    attach(model, "a", LoRAConfig()), attach(model, "b", LoRAConfig())
    shake(model, "a"), shake(model, "b", seed=5)
    before = model(tokens())[0]
    with pytest.raises(RuntimeError, match="stop"), using(model, "a"):
        raise RuntimeError("stop")
    assert torch.equal(model(tokens())[0], before)


@pytest.mark.day(81)
@pytest.mark.parametrize("names", ["c", ["a", "c"], {"c": 1.0}])
def test_unknown_name_raises(names):
    """PEFT once ignored unknown names of a mixed batch and served the base model (its issue 2090)."""
    model = tiny()
    attach(model, "a", LoRAConfig())
    with pytest.raises(ValueError, match="no adapter 'c'; it has 'a'"), using(model, names):
        pass


@pytest.mark.day(81)
def test_wrong_number_of_rows_raises():
    """Two names for three rows: which row would go without?"""
    model = tiny()
    attach(model, "a", LoRAConfig())
    with pytest.raises(ValueError, match=r"2 names, one a row, but a layer got a batch of shape \(3, 8, 16\)"):
        with using(model, ["a", "__base__"]):
            model(tokens(3))


# --- merging ----------------------------------------------------------------------------------------------------------


@pytest.mark.day(82)
@pytest.mark.parametrize("rslora", [False, True])
def test_merge_agrees_and_unmerge_is_byte_identical(rslora):
    """Merged logits within 1e-5 in float32 (about 100 roundings of 6e-8 each), and the way back exact, not nearly."""
    model = tiny()
    before = bytes_of(model)
    attach(model, "a", LoRAConfig(rslora=rslora))
    shake(model, "a", 0.05)
    slow = model(tokens())[0]
    merge(model, "a")
    assert (model(tokens())[0] - slow).abs().max() < 1e-5
    assert not same_bytes(bytes_of(model), before)
    unmerge(model)
    assert same_bytes(bytes_of(model), before)
    assert torch.equal(model(tokens())[0], slow)


@pytest.mark.day(82)
def test_merge_leaves_a_tied_embedding_alone():
    """The output layer shares its tensor with the embedding; merging into it would change the input side, too."""
    model = tiny()
    attach(model, "a", LoRAConfig(targets=("head",)))
    shake(model, "a", 0.1)
    slow, embedding = model(tokens())[0], model.wte.weight.clone()
    merge(model, "a")
    assert (model(tokens())[0] - slow).abs().max() < 1e-5
    assert torch.equal(model.wte.weight, embedding)
    unmerge(model)
    assert model.head.weight is model.wte.weight


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
    with pytest.raises(ValueError, match="unmerge"):
        model.load_state_dict(model.state_dict())


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
    """A checkpoint of the base loads into a model with adapters and the other way round, by strict keys."""
    model, keys = tiny(), set(tiny().state_dict())
    attach(model, "a", LoRAConfig())
    assert keys < set(model.state_dict())
    assert set(base_state(model)) == keys
    assert adapters(model) == {"a": LoRAConfig()}


@pytest.mark.day(80)
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
        (("qvk",), "matches no linear layer of the model; did you mean qkv"),
        (("kv",), "'kv' matches no linear layer"),  # an end of a *path*, not of a word: "kv" is not "qkv"
        (("q_proj",), r"did you mean|its linear layers are blocks\.\*\.attn\.qkv"),
        (("attn.qkv", "mlp.upp"), "did you mean mlp.up"),
        (("wte",), "names a Embedding"),
    ],
)
def test_a_target_that_matches_nothing_raises(targets, sentence):
    """Silence here means training nothing, or only half of what was asked for."""
    model = tiny()
    with pytest.raises(ValueError, match=sentence):
        attach(model, "a", LoRAConfig(targets=targets))
    assert all(p.requires_grad for p in model.parameters())


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
        ({"alpha": 0}, "alpha must be"),
        ({"alpha": float("inf")}, "alpha must be"),
        ({"dropout": 1.0}, "dropout must be"),
        ({"targets": ()}, "at least one layer"),
        ({"targets": ("all-linear", "qkv")}, "stands alone"),
        ({"variant": "dorra"}, "choose from lora"),
    ],
)
def test_config_refuses_nonsense(wrong, sentence):
    """A wrong value is told at once, in a sentence, not as a shape error inside a forward pass."""
    with pytest.raises(ValueError, match=sentence):
        LoRAConfig(**wrong)


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
