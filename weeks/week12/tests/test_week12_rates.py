"""LoRA+ and LoRA-FA: which numbers learn, how fast, and what the way back must remember."""

import pytest
import torch
from lora import VARIANTS, LoRAConfig, attach, groups, parameters
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from week12_models import Net, shake

X = torch.linspace(-1, 1, 18).view(3, 6)


@pytest.mark.day(81)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_groups_partition_what_learns(variant):
    """Every parameter that learns is in one group, none in two, no frozen one in any; B has ratio times A's rate."""
    model = Net()
    attach(model, "a", LoRAConfig(rank=2, variant=variant, bias="lora_only"))
    rate = {id(p): group["lr"] for group in groups(model, "a", lr=1e-3, ratio=8) for p in group["params"]}
    own = parameters(model, "a")
    assert len(rate) == sum(len(group["params"]) for group in groups(model, "a", lr=1e-3))
    assert rate.keys() == {id(p) for p in own.values() if p.requires_grad}
    for key, p in own.items():
        if p.requires_grad:
            assert rate[id(p)] == (1e-3 if key.endswith("lora_A") else 8e-3), key


@pytest.mark.day(81)
def test_peft_makes_the_same_groups():
    """peft's create_loraplus_optimizer gives each A and B the same rate."""
    peft = pytest.importorskip("peft")
    from peft.optimizers import create_loraplus_optimizer

    theirs = peft.get_peft_model(Net(), peft.LoraConfig(r=2, target_modules=["up", "down"]))
    optimizer = create_loraplus_optimizer(theirs, torch.optim.AdamW, lr=1e-3, loraplus_lr_ratio=16)
    names = {id(p): name for name, p in theirs.named_parameters()}
    expected = {
        names[id(p)].removeprefix("base_model.model.").replace(".default.weight", ""): group["lr"]
        for group in optimizer.param_groups
        for p in group["params"]
    }
    model = Net()
    attach(model, "a", LoRAConfig(rank=2))
    names = {id(p): name for name, p in parameters(model, "a").items()}
    assert {names[id(p)]: g["lr"] for g in groups(model, "a", lr=1e-3) for p in g["params"]} == expected


@pytest.mark.day(81)
def test_vectors_are_fast_and_matrices_slow():
    """Of modules that are trained whole, too: the weight of a norm is a vector, that of a linear layer is not."""
    model = nn.ModuleDict({"up": nn.Linear(4, 3), "norm": nn.LayerNorm(3), "head": nn.Linear(3, 2)})
    attach(model, "a", LoRAConfig(targets=("up",), modules_to_save=("norm", "head")))
    rate = {id(p): group["lr"] for group in groups(model, "a", lr=1.0, ratio=16) for p in group["params"]}
    slow = {key for key, p in parameters(model, "a").items() if rate[id(p)] == 1.0}
    assert slow == {"up.lora_A", "head.copy.weight"} and {*rate.values()} == {1.0, 16.0}


@pytest.mark.day(81)
def test_the_first_step_by_hand():
    """One step of plain descent moves B by ratio * lr * gradient, and A by nothing: B is 0. Float64, 1e-15."""
    model = nn.Sequential(nn.Linear(5, 3)).double()
    attach(model, "a", LoRAConfig(rank=2))
    a, b = parameters(model, "a").values()
    optimizer = torch.optim.SGD(groups(model, "a", lr=0.01, ratio=4))
    (model(torch.randn(2, 5, dtype=torch.float64)) ** 2).sum().backward()
    before = a.detach().clone()
    optimizer.step()
    torch.testing.assert_close(b.detach(), -0.04 * b.grad, rtol=0, atol=1e-15)
    assert torch.equal(a, before)


@pytest.mark.day(81)
def test_a_ratio_below_one_is_refused():
    """It would slow down what should be fast, which nobody asks for who knows what the number is."""
    model = Net()
    attach(model, "a", LoRAConfig())
    for wrong in (0.5, float("nan")):
        with pytest.raises(ValueError, match=f"ratio must be at least 1, got {wrong}"):
            groups(model, "a", lr=1e-3, ratio=wrong)


@pytest.mark.day(81)
def test_lora_fa_remembers_less():
    """A frozen A needs no x on the way back. Counted in what autograd holds: 64 numbers a token less, to the byte."""
    n_in, tokens, held = 64, 10, {}
    for variant in ("lora", "lora_fa"):
        model = nn.Sequential(nn.Linear(n_in, 32))
        attach(model, "a", LoRAConfig(rank=2, variant=variant))
        shake(model, "a")
        seen = {}
        with saved_tensors_hooks(lambda t, seen=seen: seen.update({t.data_ptr(): t}) or t, lambda t: t):
            model(torch.randn(tokens, n_in)).sum()
        own = {p.data_ptr() for p in model.parameters()}
        held[variant] = sum(t.numel() for pointer, t in seen.items() if pointer not in own)
    assert held["lora"] - held["lora_fa"] == n_in * tokens
