"""One exam for every row of VARIANTS, and for a row that this file adds: one class, and no edit elsewhere."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lora import VARIANTS, LoRA, LoRAConfig, adapters, attach, load, merge, parameters, save, unmerge, using
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F
from week12_models import Net, bytes_of, same_bytes, shake, tiny, tokens


class Gaussian(LoRA):
    """A toy of this file: plain LoRA, but for how A is drawn."""

    SAVED_AS = "lora"

    def start(self, base):
        nn.init.normal_(self.lora_A, std=1 / self.rank)


@pytest.fixture(params=[*VARIANTS, "toy"])
def variant(request, monkeypatch):
    if request.param == "toy":
        monkeypatch.setitem(VARIANTS, "toy", Gaussian)
    return request.param


X = torch.linspace(-1, 1, 18).view(3, 6)


def fit(variant, **settings):
    """A config for the GPT: a fused layer is one of three outputs in one."""
    where = {"targets": ("attn.qkv",)} if variant == "fused" else {}
    return LoRAConfig(**where, **settings, variant=variant)


def read_as(variant):
    """The row that a reader of this row's file gets."""
    return VARIANTS[variant].SAVED_AS or variant


def grown(variant, name="a", **settings):
    """A Net with an adapter whose parameters are as if trained."""
    model = Net()
    attach(model, name, LoRAConfig(**{"rank": 4, "alpha": 6, **settings, "variant": variant}))
    return shake(model, name)


# --- what it computes -------------------------------------------------------------------------------------------------


@pytest.mark.day(81)
def test_attach_changes_no_output_bit(variant):
    """Training starts from the base model exactly, not nearly. LoRA has B = 0."""
    model = tiny()
    before = model(tokens())[0]
    attach(model, "a", fit(variant))
    assert torch.equal(model(tokens())[0], before)


def one_layer(kind, n_in, n_out, bias=True):
    """A model of one layer in float64, an input for it, and the input as numbers: an id is a one-hot row."""
    if kind == "embedding":
        model, x = nn.Sequential(nn.Embedding(n_in, n_out)), torch.randint(n_in, (3, 2))
        return model.double(), x, F.one_hot(x, n_in).double()
    x = torch.randn(3, 2, n_in, dtype=torch.float64)
    return nn.Sequential(nn.Linear(n_in, n_out, bias=bias)).double(), x, x


@pytest.mark.day(81)
@pytest.mark.parametrize("kind", ["linear", "embedding"])
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    n_in=st.integers(1, 9), third=st.integers(1, 4), rank=st.integers(1, 14), alpha=st.floats(0.5, 64),
    bias=st.booleans(), rslora=st.booleans(),
)  # fmt: skip
def test_variant_exam_forward_equals_weight(variant, kind, n_in, third, rank, alpha, bias, rslora):
    """The delta and the plain layer with weight() agree, for any shape, also with rank above the sizes.

    Float64, so only the order of sums differs: 1e-9 of numbers up to about 1e3.
    """
    torch.manual_seed(0)
    model, x, rows = one_layer(kind, n_in, 3 * third, bias)
    config = LoRAConfig(rank=rank, alpha=alpha, rslora=rslora, variant=variant, targets=("0",))
    attach(model, "a", config)
    shake(model, "a")
    layer = model[0]
    own = layer.adapters["a"]
    with using(model, "__base__"):
        base = model(x)
    expected = F.linear(rows, own.weight(layer), getattr(layer, "bias", None))
    torch.testing.assert_close(base + own(x, layer, base), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(model(x), expected, rtol=1e-9, atol=1e-9)
    shapes = VARIANTS[variant].shapes(n_in, 3 * third, rank, config)
    assert {k: tuple(p.shape) for k, p in own.named_parameters()} == shapes


@pytest.mark.day(81)
@pytest.mark.parametrize("kind", ["linear", "embedding"])
def test_gradient_against_finite_differences(variant, kind, monkeypatch):
    """Backward into x and each parameter in float64 with a random upstream gradient (a sum hides a wrong transpose).

    What the kind's paper takes as given (DoRA's norm) stays fixed while the parameters are moved, and fixing it must
    not change the gradient: 1e-12, the same sums.
    """
    torch.manual_seed(0)
    model, x, _ = one_layer(kind, 4, 3)
    attach(model, "a", LoRAConfig(rank=2, variant=variant, targets=("0",)))
    shake(model, "a")
    layer = model[0]
    own = {key: p for key, p in parameters(model, "a").items() if p.requires_grad}
    assert len(own) == len(parameters(model, "a")) - len(VARIANTS[variant].FROZEN)
    upstream = torch.randn(3, 2, 3, dtype=torch.float64)

    def f(x, *values):
        named = {f"0.adapters.a.{key.split('.')[-1]}": value for key, value in zip(own, values)}
        return (torch.func.functional_call(model, named, (x,)) * upstream).sum()

    inputs = (x.requires_grad_(kind == "linear"), *own.values())
    wanted = [p for p in inputs if p.requires_grad]
    free = torch.autograd.grad(f(*inputs), wanted)
    for name in VARIANTS[variant].CONSTANT:
        value = getattr(layer.adapters["a"], name)(layer)
        monkeypatch.setattr(VARIANTS[variant], name, lambda self, base, value=value: value)
    for a, b in zip(free, torch.autograd.grad(f(*inputs), wanted), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(f, inputs, atol=1e-7)


@pytest.mark.day(81)
def test_every_parameter_learns_and_the_base_does_not(variant):
    """Two steps move all that the variant does not freeze, and nothing else: not one byte of the base."""
    model = Net()
    before = bytes_of(model)
    attach(model, "a", LoRAConfig(variant=variant))
    own = parameters(model, "a")
    start = {key: p.detach().clone() for key, p in own.items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):  # the first step of LoRA moves B alone
        optimizer.zero_grad()
        (model(X) ** 2).sum().backward()
        optimizer.step()
    assert same_bytes(bytes_of(model), before)
    still = {key.rpartition(".")[2] for key, p in own.items() if torch.equal(start[key], p)}
    assert still == set(VARIANTS[variant].FROZEN)


@pytest.mark.day(82)
def test_parameters_are_float32_at_least(variant):
    """Half-precision weights do not make half-precision adapters, and the output keeps the layer's kind."""
    model = nn.Sequential(nn.Linear(8, 9)).bfloat16()
    attach(model, "a", LoRAConfig(variant=variant))
    assert {p.dtype for p in parameters(model, "a").values()} == {torch.float32}
    assert model(torch.randn(2, 8).bfloat16()).dtype == torch.bfloat16
    merge(model, "a")
    assert model[0].weight.dtype == torch.bfloat16


@pytest.mark.day(82)
@pytest.mark.parametrize("rslora", [False, True])
def test_merge_agrees_and_unmerge_is_byte_identical(variant, rslora):
    """Merged outputs within 1e-5 in float32 (about 100 roundings of 6e-8 each), and the way back exact, not nearly."""
    model = tiny()
    before = bytes_of(model)
    attach(model, "a", fit(variant, rslora=rslora))
    shake(model, "a", 0.05)
    slow = model(tokens())[0]
    merge(model, "a")
    assert (model(tokens())[0] - slow).abs().max() < 1e-5
    assert not same_bytes(bytes_of(model), before)
    unmerge(model)
    assert same_bytes(bytes_of(model), before)
    assert torch.equal(model(tokens())[0], slow)


# --- what it is saved as ----------------------------------------------------------------------------------------------


@pytest.mark.day(83)
@pytest.mark.parametrize("rslora", [False, True])
def test_file_round_trip(variant, rslora, tmp_path):
    """The same outputs come back, and the same kind, settings and parameters; saving again writes the same files.

    To the bit where the file holds the kind itself; a plain LoRA in its place sums in another order (float32, 1e-5).
    """
    model = grown(variant, dropout=0.25, rslora=rslora, rank_pattern={"inner.up": 2}, alpha_pattern={"down": 3})
    save(model, "a", tmp_path / "one")
    again = Net()
    load(again, tmp_path / "one", "b")
    torch.testing.assert_close(again(X), model(X), rtol=0, atol=0 if read_as(variant) == variant else 1e-5)
    old, new = adapters(model)["a"], adapters(again)["b"]
    assert (new.variant, new.dropout, new.rslora) == (read_as(variant), 0.25, rslora)
    kind = VARIANTS[variant]
    if read_as(variant) == variant:
        pairs = zip(parameters(model, "a").items(), parameters(again, "b").items(), strict=True)
        assert all(key == other and torch.equal(p, q) for (key, p), (other, q) in pairs)
    sizes = [kind.size_in_file(old, *old.for_layer(path)) for path in new.targets]
    assert [new.for_layer(path) for path in new.targets] == sizes
    save(again, "b", tmp_path / "two")
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@pytest.mark.day(83)
def test_a_tensor_of_another_shape_is_told(variant, tmp_path):
    """Each parameter of the kind is checked before anything is attached."""
    save(grown(variant, rank=3), "a", tmp_path)
    config = tmp_path / "adapter_config.json"
    raw = json.loads(config.read_text())
    config.write_text(json.dumps(raw | {"r": 2}))
    model = Net()
    with pytest.raises(ValueError, match=rf"up.lora_A.weight is \({raw['r']}, 6\) where \(2, 6\) is needed"):
        load(model, tmp_path, "a")
    assert not adapters(model)


@pytest.mark.day(83)
@pytest.mark.parametrize("rslora", [False, True])
def test_peft_reads_it(variant, rslora, tmp_path):
    """The same outputs in peft (float32; sums in another order: 1e-5), and no key that it does not know."""
    peft = pytest.importorskip("peft")
    model = grown(variant, rslora=rslora)
    save(model, "a", tmp_path)
    theirs = peft.PeftModel.from_pretrained(Net(), tmp_path).eval()
    assert (theirs(X) - model(X)).abs().max() < 1e-5
    assert (Net()(X) - model(X)).abs().max() > 1e-2  # the adapter does something
    assert set(peft.get_peft_model_state_dict(theirs)) == set(load_file(tmp_path / "adapter_model.safetensors"))


@pytest.mark.day(83)
def test_it_reads_pefts(variant, tmp_path):
    """A folder that peft wrote, with the fields that to_peft gives, has peft's outputs here (1e-5)."""
    peft = pytest.importorskip("peft")
    fields = VARIANTS[variant].to_peft(LoRAConfig(rank=3, alpha=7, variant=variant))
    kind = peft.PEFT_TYPE_TO_CONFIG_MAPPING[fields.pop("peft_type")]
    theirs = peft.get_peft_model(Net(), kind(**fields, target_modules=["up", "down"]))
    g = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in theirs.parameters():
            if p.requires_grad:
                p.add_(torch.randn(p.shape, generator=g) * 0.2)
    theirs.save_pretrained(tmp_path)
    model = Net()
    load(model, tmp_path, "x")
    assert adapters(model)["x"].variant == read_as(variant)
    assert (model(X) - theirs.eval()(X)).abs().max() < 1e-5
    assert (model(X) - Net()(X)).abs().max() > 1e-2


@pytest.mark.day(83)
def test_one_row_alone_understands_its_fields(variant):
    """from_peft takes out all that to_peft says and gives it back; no other row takes them all, so none is mistaken."""
    config = LoRAConfig(rank=3, alpha=7, dropout=0.5, rslora=True, variant=variant)
    complete = []
    for name, kind in VARIANTS.items():
        fields = VARIANTS[variant].to_peft(config)
        found = kind.from_peft(fields)
        if found is not None and not fields:
            complete.append(name)
            rank, alpha = VARIANTS[variant].size_in_file(config, config.rank, config.alpha)
            assert LoRAConfig(**found, variant=name) == replace(config, rank=rank, alpha=alpha, variant=name)
    assert complete == [read_as(variant)]


@pytest.mark.day(83)
def test_config_survives_json(variant):
    """Every setting comes back, so that a store keeps all of an adapter."""
    config = LoRAConfig(
        3, 7.5, 0.25, ("mlp.up", "blocks.0.*"), True, {"mlp.up": 2}, {"blocks.0.*": 3.5}, variant
    )  # fmt: skip
    assert LoRAConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert set(config.to_dict()) == set(LoRAConfig.__dataclass_fields__)
    assert LoRAConfig.from_dict({"variant": variant}) == LoRAConfig(variant=variant)


@pytest.mark.day(81)
def test_a_copy_of_the_model_is_its_own(variant):
    """deepcopy takes the adapter along; changing the one leaves the other."""
    model = grown(variant)
    before, twin = model(X), copy.deepcopy(model)
    assert torch.equal(twin(X), before)
    shake(twin, "a", seed=9)
    assert torch.equal(model(X), before) and not torch.equal(twin(X), before)
