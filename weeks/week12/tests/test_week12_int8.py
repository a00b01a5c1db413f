"""The base in 8 bits: what it computes, what it holds, and that adapters learn on it."""

import pytest
import torch
from lora import (
    VARIANTS,
    Int8Linear,
    LoRAConfig,
    attach,
    detach,
    load,
    memory,
    merge,
    parameters,
    quantize,
    save,
    using,
)
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F
from week12_models import Net, bytes_of, same_bytes, shake, tiny, tokens

X = torch.linspace(-1, 1, 18).view(3, 6)


def wide():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 96), nn.Tanh(), nn.Linear(96, 64, bias=False)).eval()


@pytest.mark.day(82)
def test_each_weight_is_off_by_half_a_step_at_most():
    """|w - scale q| <= scale / 2 with scale = the row's largest / 127; a row of zeros stays zeros.

    1.0001: the division and the product round once each in float32.
    """
    layer = nn.Linear(40, 30)
    with torch.no_grad():
        layer.weight[3] = 0
        layer.weight[4] *= 100  # one large row does not spoil the others: a scale each
    packed = Int8Linear(layer)
    step = layer.weight.abs().amax(1, keepdim=True) / 127
    assert ((packed.weight - layer.weight).abs() <= step / 2 * 1.0001).all()
    assert (packed.scale > 0).all()  # of a row of zeros, too: 0 / 0 is NaN, and no whole number
    assert (packed.weight[3] == 0).all() and packed.q.dtype == torch.int8
    assert packed.q.abs().amax(1).tolist() == [127 if i != 3 else 0 for i in range(30)]


@pytest.mark.day(82)
@pytest.mark.parametrize("bias", [True, False])
def test_forward_and_backward_equal_the_plain_layer_of_that_weight(bias):
    """Outputs and x's gradient are those of F.linear with the dequantised weight.

    The scale comes after the sum, not before: float64, 1e-12, and float32, 1e-5 of sums of 40 numbers near 1.
    """
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        packed = Int8Linear(nn.Linear(40, 30, bias=bias, dtype=dtype))
        x = torch.randn(2, 5, 40, dtype=dtype, requires_grad=True)
        upstream = torch.randn(2, 5, 30, dtype=dtype)
        ours = packed(x)
        plain = F.linear(x, packed.weight, packed.bias)
        torch.testing.assert_close(ours, plain, rtol=0, atol=tolerance)
        (left,) = torch.autograd.grad(ours, x, upstream)
        (right,) = torch.autograd.grad(plain, x, upstream)
        torch.testing.assert_close(left, right, rtol=0, atol=tolerance)


@pytest.mark.day(82)
def test_gradient_against_finite_differences():
    """The hand-written way back, in float64."""
    packed = Int8Linear(nn.Linear(4, 3, dtype=torch.float64)).requires_grad_(False)
    assert torch.autograd.gradcheck(packed, torch.randn(2, 4, dtype=torch.float64, requires_grad=True), atol=1e-7)


@pytest.mark.day(82)
def test_memory_is_a_quarter():
    """Counted, not estimated: 1 byte a weight in place of 4, and a float a row beside it."""
    model = wide()
    before = memory(model)
    assert before == 4 * (2 * 64 * 96 + 96)
    assert quantize(model) == ["0", "2"]
    assert memory(model) == 2 * 64 * 96 + 4 * (96 + 64) + 4 * 96
    assert memory(model) < 0.29 * before


@pytest.mark.day(82)
def test_training_keeps_no_floats_of_the_base():
    """What autograd holds for the way back: whole numbers, and activations; no float tensor as large as a weight."""
    model = wide()
    quantize(model)
    attach(model, "a", LoRAConfig(rank=2))
    held = []
    with saved_tensors_hooks(lambda t: held.append(t) or t, lambda t: t):
        model(torch.randn(3, 64)).sum()
    sizes = {t.numel() for t in held if t.is_floating_point()}
    assert max(sizes) < 64 * 96
    assert sum(t.dtype == torch.int8 for t in held) == 1  # the first layer's input needs no gradient


@pytest.mark.day(82)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_kind_learns_on_it_and_the_base_does_not(variant):
    """Starts at the base's outputs to the bit, learns, and leaves every byte when it goes."""
    model = Net()
    quantize(model)
    before, start = bytes_of(model), model(X)
    attach(model, "a", LoRAConfig(rank=2, variant=variant))
    assert torch.equal(model(X), start)
    own = [p for p in parameters(model, "a").values() if p.requires_grad]
    assert {id(p) for p in own} == {id(p) for p in model.parameters() if p.requires_grad}
    optimizer = torch.optim.SGD(own, lr=0.05)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = (model(X) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.98 * losses[0]
    assert same_bytes(bytes_of(model), before)
    detach(model, "a")
    assert type(model.up) is Int8Linear and torch.equal(model(X), start)


@pytest.mark.day(83)
def test_an_adapter_goes_from_one_base_to_the_other(tmp_path):
    """Taught on 8 bits, saved, and merged on the floats: the file knows nothing of the bits.

    Outputs differ by the rounding of the base alone: the change that the adapter makes is the same (one layer, 1e-5).
    """
    packed, plain = nn.Sequential(nn.Linear(64, 32)), nn.Sequential(nn.Linear(64, 32))
    plain.load_state_dict(packed.state_dict())
    quantize(packed)
    attach(packed, "a", LoRAConfig(rank=2))
    shake(packed, "a", 0.1)
    save(packed, "a", tmp_path)
    load(plain, tmp_path, "b")
    x, changes = torch.randn(5, 64), []
    for model, name in ((packed, "a"), (plain, "b")):
        with using(model, name):
            adapted = model(x)
        with using(model, "__base__"):
            changes.append(adapted - model(x))
    torch.testing.assert_close(*changes, rtol=0, atol=1e-5)
    merge(plain, "b")
    with pytest.raises(
        ValueError, match="0 has a weight of 8 bits, too coarse to take 'a'; save the adapter, and load"
    ):
        merge(packed, "a")


@pytest.mark.day(82)
def test_autocast_and_a_gpt():
    """In bf16 the product is in bf16; a GPT in 8 bits stays near itself (logits near 1, about 1 % of a step each)."""
    model = tiny()
    before = model(tokens())[0]
    paths = quantize(model)
    assert "head" not in paths and len(paths) == 8
    assert 0 < (model(tokens())[0] - before).abs().max() < 0.02
    with torch.autocast("cpu", torch.bfloat16):
        assert model.blocks[0].attn.qkv(torch.randn(2, 16)).dtype == torch.bfloat16


@pytest.mark.day(82)
def test_what_cannot_be_quantized():
    """An adapted layer, a tied one, an embedding: nothing is changed, the sentence says which."""
    model = tiny()
    with pytest.raises(ValueError, match="head shares its weight with another layer; leave it out"):
        quantize(model, "head")
    with pytest.raises(ValueError, match="wte is a Embedding; only a plain nn.Linear"):
        quantize(model, "wte")
    attach(model, "a", LoRAConfig())
    with pytest.raises(ValueError, match="is a LoRALinear; only a plain nn.Linear can be quantized"):
        quantize(model)


@pytest.mark.day(82)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_broken_weights_are_not_packed(value):
    """As whole numbers they would look like weights; nothing before them in the model is packed either."""
    model = tiny()
    with torch.no_grad():
        model.blocks[1].mlp.up.weight[0, 0] = value
    with pytest.raises(ValueError, match=r"blocks\.1\.mlp\.up holds NaN or infinity"):
        quantize(model)
    assert not any(isinstance(m, Int8Linear) for m in model.modules())


@pytest.mark.day(82)
def test_a_row_too_small_for_a_scale_becomes_zeros():
    """Its scale would be 0 in float32, and a number divided by that any of the 256."""
    layer = nn.Linear(4, 2)
    with torch.no_grad():
        layer.weight[1] = 1e-44
    packed = Int8Linear(layer)
    assert (packed.q[1] == 0).all() and packed.q[0].abs().max() == 127
