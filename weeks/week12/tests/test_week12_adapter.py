"""Week 12, the adapter itself: what it computes, what it leaves alone, and what it refuses.

What every kind of adapter must do is in test_week12_variants.py.
"""

import pytest
import torch
from lora import (
    LoRAConfig,
    attach,
    detach,
    merge,
    parameters,
    using,
)  # fmt: skip
from torch import nn
from week12_models import bytes_of, same_bytes, shake, tiny, tokens

# --- what it computes -------------------------------------------------------------------------------------------------


@pytest.mark.day(79)
@pytest.mark.parametrize("rslora, scale", [(False, 16 / 4), (True, 16 / 2)])
def test_formula_by_hand(rslora, scale):
    """One layer against the paper's equation written out; rsLoRA divides by sqrt(r). Float64, tolerance 1e-12."""
    model = nn.Sequential(nn.Linear(5, 3)).double()
    attach(model, "a", LoRAConfig(rank=4, alpha=16, rslora=rslora))
    shake(model, "a")
    p, x = parameters(model, "a"), torch.randn(2, 5, dtype=torch.float64)
    by_hand = x @ model[0].weight.T + model[0].bias + scale * (x @ p["0.lora_A"].T @ p["0.lora_B"].T)
    torch.testing.assert_close(model(x), by_hand, rtol=0, atol=1e-12)


@pytest.mark.day(79)
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


@pytest.mark.day(82)
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
    learns = {name: {p.grad is not None for p in parameters(model, name).values()} for name in "ab"}
    assert learns == {"a": {True}, "b": {False}}


# --- choosing ---------------------------------------------------------------------------------------------------------


@pytest.mark.day(80)
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


@pytest.mark.day(80)
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


@pytest.mark.day(80)
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


@pytest.mark.day(80)
def test_using_restores_after_an_error():
    """A failing request must not leave its adapter switched on for the next."""
    model = tiny()
    attach(model, "a", LoRAConfig()), attach(model, "b", LoRAConfig())
    shake(model, "a"), shake(model, "b", seed=5)
    before = model(tokens())[0]
    with pytest.raises(RuntimeError, match="stop"), using(model, "a"):
        raise RuntimeError("stop")
    assert torch.equal(model(tokens())[0], before)


@pytest.mark.day(80)
@pytest.mark.parametrize("names", ["c", ["a", "c"], {"c": 1.0}])
def test_unknown_name_raises(names):
    """PEFT once ignored unknown names of a mixed batch and served the base model (its issue 2090)."""
    model = tiny()
    attach(model, "a", LoRAConfig())
    with pytest.raises(ValueError, match="no adapter 'c'; it has 'a'"), using(model, names):
        pass


@pytest.mark.day(80)
def test_wrong_number_of_rows_raises():
    """Two names for three rows: which row would go without?"""
    model = tiny()
    attach(model, "a", LoRAConfig())
    with pytest.raises(ValueError, match=r"2 names, one a row, but a layer got a batch of shape \(3, 8, 16\)"):
        with using(model, ["a", "__base__"]):
            model(tokens(3))
