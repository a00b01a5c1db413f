"""Days 64 and 65. One exam for every row of OPTIMIZERS, each row against an oracle of its own, and a row added here."""

import copy
import json

import pytest
import torch
import torch.distributed as dist
from scaling.optimizers import OPTIMIZERS, Rule, Stepper, make
from torch import nn
from week10_small import distance, newton_schulz, small, text, walk, weights

LR, DECAY = 0.02, 0.3
DAYS = {"sgd": 64, "adamw": 64, "lion": 65, "muon": 65, "signs": 65}
ROWS = [pytest.param(name, marks=pytest.mark.day(DAYS[name])) for name in [*OPTIMIZERS, "signs"]]
SIGNS = Rule(lambda grad, state: grad.sign(), lambda p: {})


@pytest.fixture(params=ROWS)
def name(request, monkeypatch):
    """Every row of the table, and a toy that needs a rule and a row, and no edit elsewhere."""
    if request.param == "signs":
        monkeypatch.setitem(OPTIMIZERS, "signs", SIGNS)
    return request.param


# --- the oracles: torch's own where it has one, else the paper's equations in float64 --------------------------------


class Equations:
    """A step written out: f(g, memory) -> the step of one parameter, then decay and step as every rule has them."""

    def __init__(self, named, f):
        self.named, self.f, self.memory = named, f, {name: {} for name in named}

    @torch.no_grad()
    def step(self):
        for name, p in self.named.items():
            step = self.f(name, p.grad.clone(), self.memory[name])
            p.copy_(p - LR * (DECAY if p.dim() == 2 else 0.0) * p - LR * step)


class SGDW:
    """torch's SGD with the decay apart from the gradient."""

    def __init__(self, named, nesterov=False):
        self.named = named
        self.sgd = torch.optim.SGD(named.values(), lr=LR, momentum=0.9, nesterov=nesterov)

    def step(self):
        with torch.no_grad():
            for p in self.named.values():
                p.mul_(1 - LR * DECAY if p.dim() == 2 else 1.0)
        self.sgd.step()


def torch_adamw(named):
    decay = [{"params": [p for p in named.values() if (p.dim() == 2) is two], "weight_decay": DECAY * two}
             for two in (True, False)]  # fmt: skip
    return torch.optim.AdamW([group for group in decay if group["params"]], lr=LR, betas=(0.9, 0.99))


def lion_equations(named):
    def f(name, g, memory):
        m = memory.get("m", torch.zeros_like(g))
        memory["m"] = 0.99 * m + 0.01 * g
        return (0.9 * m + 0.1 * g).sign()

    return Equations(named, f)


def split(name):
    return 3 if "qkv" in name else 1


def muon_equations(named):
    """The matrices of the blocks by the equations, the rest by those of AdamW."""

    def f(name, g, memory):
        if name.startswith("blocks") and g.dim() == 2:
            memory["m"] = 0.95 * memory.get("m", 0) + g  # a sum where torch has a mean: the direction is the same
            parts = (g + 0.95 * memory["m"]).chunk(split(name))
            return torch.cat([0.2 * max(part.shape) ** 0.5 * newton_schulz(part) for part in parts])
        memory["t"] = memory.get("t", 0) + 1
        memory["m"] = 0.9 * memory.get("m", 0) + 0.1 * g
        memory["v"] = 0.99 * memory.get("v", 0) + 0.01 * g**2
        return memory["m"] / (1 - 0.9 ** memory["t"]) / ((memory["v"] / (1 - 0.99 ** memory["t"])).sqrt() + 1e-8)

    return Equations(named, f)


def signs_equations(named):
    return Equations(named, lambda name, g, memory: g.sign())


ORACLES = {
    "sgd": SGDW, "adamw": torch_adamw, "lion": lion_equations, "muon": muon_equations, "signs": signs_equations,
}  # fmt: skip


def train(model, optimizer, steps=100, seed=0):
    """Steps on a text that repeats itself: real gradients, which follow from the weights."""
    for step in range(steps):
        _, loss = model(*text(seed=seed + step))
        model.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


# --- the exam ---------------------------------------------------------------------------------------------------------


def test_it_equals_its_oracle_over_100_steps(name):
    """Real gradients, of a training in float64, for both. Rounding is 1e-16 a step; Muon's rounds enlarge it.

    The oracle gets the same gradients: the biases of the keys have a gradient of exactly 0 but for rounding, and the
    sign of rounding, which Lion and the toy would follow, is noise.
    """
    ours, theirs = small(layers=1), small(layers=1)
    start, oracle = weights(ours), ORACLES[name](dict(theirs.named_parameters()))
    optimizer = make(name, ours, lr=LR, weight_decay=DECAY)
    for step in range(100):
        train(ours, optimizer, 1, seed=step)
        for p, q in zip(ours.parameters(), theirs.parameters()):
            q.grad = p.grad.clone()
        oracle.step()
    assert distance(weights(ours), weights(theirs)) < 1e-6
    assert distance(weights(ours), start) > 0.05  # they went somewhere


def test_float32_stays_near_float64(name):
    """Made-up gradients of size 1. In 100 steps float32 rounds each weight at 6e-8 of it, and Muon its matmuls."""
    single, double = small(layers=1, dtype=torch.float32), small(layers=1)
    double.load_state_dict(single.double().state_dict())
    single.float()
    for model in (single, double):
        walk(model, make(name, model, lr=1e-3, weight_decay=DECAY), 100)
    far = distance({key: p.double() for key, p in weights(single).items()}, weights(double))
    assert far < (2e-5 if name == "muon" else 6e-6)


def test_the_update_is_pure(name):
    """The same arguments give the same step, and the gradient keeps its bytes."""
    rule = OPTIMIZERS[name]
    p = torch.randn(3, 4, 5, dtype=torch.float64)
    state = rule.start(p)
    for _ in range(3):
        grad = torch.randn_like(p)
        kept, twin = grad.clone(), copy.deepcopy(state)
        step = rule.update(grad, state, **rule.settings).clone()
        assert torch.equal(grad, kept) and step.shape == p.shape
        assert torch.equal(rule.update(grad, twin, **rule.settings), step)
        assert all(torch.equal(state[key], twin[key]) for key in state)


def test_a_saved_state_goes_on_bit_equal(name):
    """Three steps, saved, four by a fresh optimizer: the bits of seven in one go. What is no tensor is JSON."""
    whole, part = small(), small()
    first, saved = (make(name, model, lr=LR, weight_decay=DECAY) for model in (whole, part))
    walk(whole, first, 3), walk(whole, first, 4, seed=1)
    walk(part, saved, 3)
    state = copy.deepcopy(saved.state_dict())
    state["param_groups"] = json.loads(json.dumps(state["param_groups"]))
    assert all(isinstance(value, torch.Tensor) for memory in state["state"].values() for value in memory.values())
    again = make(name, part, lr=0.1, weight_decay=0.0)
    again.load_state_dict(state)
    walk(part, again, 4, seed=1)
    assert distance(weights(whole), weights(part)) == 0


def test_decay_reaches_matrices_only(name):
    """With gradients of 0 a matrix shrinks by the factor written out, and a vector keeps its bytes."""
    model = small()
    before, optimizer = weights(model), make(name, model, lr=LR, weight_decay=DECAY)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for key, p in model.named_parameters():
        assert torch.equal(p, before[key] * (1 - LR * DECAY) if p.dim() == 2 else before[key])


def test_what_has_no_gradient_stays(name):
    """A frozen parameter, also with a gradient from before; one that no loss reached; and all at a rate of 0."""
    model = small()
    frozen, unreached = model.blocks[0].mlp.up.weight, model.blocks[1].mlp.up.weight
    frozen.requires_grad_(False)
    before = weights(model)
    optimizer = make(name, model, lr=LR, weight_decay=DECAY)
    walk(model, optimizer, 1)
    assert torch.equal(frozen, before["blocks.0.mlp.up.weight"])
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    unreached.grad, kept = None, unreached.clone()
    optimizer.step()
    assert torch.equal(unreached, kept)
    before = weights(model)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    optimizer.step()
    assert distance(weights(model), before) == 0


def test_the_loss_falls(name):
    """Training works with the defaults, and a closure, torch's other way to call a step, gives its loss back."""
    model = small(dtype=torch.float32)
    first = model(*text())[1].item()
    optimizer = make(name, model, lr={"sgd": 0.3, "lion": 3e-3, "signs": 3e-3}.get(name, 1e-2))
    assert train(model, optimizer, 60) < 0.5 * first

    def closure():
        optimizer.zero_grad()
        loss = model(*text())[1]
        loss.backward()
        return loss

    assert optimizer.step(closure).item() < 0.5 * first


def test_wrong_settings_are_told(name):
    """An unknown setting would change nothing and say nothing; a rate below 0 climbs."""
    with pytest.raises(ValueError, match=rf"{name} has no setting 'momentums'; choose from .*lr, .*weight_decay"):
        make(name, small(), lr=LR, momentums=0.9)
    for lr in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="the learning rate is .*; give a number from 0 up"):
            make(name, small(), lr=lr)
    if name != "muon":
        with pytest.raises(ValueError, match="rest = {'lr': 1} is for none of them; leave it out"):
            make(name, small(), lr=LR, rest={"lr": 1})


# --- single rules -----------------------------------------------------------------------------------------------------


@pytest.mark.day(64)
def test_sgd_without_momentum_and_with_nesterov():
    """momentum=0 is plain descent by hand; nesterov is torch's. Float64, 1e-12 is far above rounding."""
    plain = small()
    before = weights(plain)
    walk(plain, make("sgd", plain, lr=LR, momentum=0.0), 1)
    by_hand = {key: before[key] - LR * p.grad for key, p in plain.named_parameters()}
    assert distance(weights(plain), by_hand) < 1e-15
    ours, theirs = small(), small()
    walk(ours, make("sgd", ours, lr=LR, weight_decay=DECAY, nesterov=True), 20)
    walk(theirs, SGDW(dict(theirs.named_parameters()), nesterov=True), 20)
    assert distance(weights(ours), weights(theirs)) < 1e-12


@pytest.mark.day(64)
def test_adamw_steps_by_one_whatever_the_size_of_the_gradient():
    """Its first step is lr in every weight: m / sqrt(v) of one gradient is its sign."""
    for size in (1e-6, 1.0, 1e6):
        p = nn.Parameter(torch.zeros(3, 3, dtype=torch.float64))
        p.grad = size * torch.ones_like(p)
        make("adamw", {"w": p}, lr=LR, eps=0.0).step()
        torch.testing.assert_close(p.detach(), torch.full_like(p, -LR), rtol=0, atol=1e-12)


@pytest.mark.day(64)
def test_an_unknown_name_is_told():
    """With the names that there are."""
    with pytest.raises(ValueError, match="no optimizer 'adamv'; choose from sgd, adamw, lion, muon"):
        make("adamv", small(), lr=LR)


@pytest.mark.day(65)
def test_a_recipe_of_ones_own():
    """Patterns choose the rule and the settings; the state of another recipe is refused."""
    recipe = [("w?e.*", {"rule": "sgd", "lr": 0.5}), ("*mlp*", {"betas": (0.5, 0.5)}), ("*", {"weight_decay": 0.0})]
    model = small()
    optimizer = make("lion", model, lr=LR, weight_decay=DECAY, recipe=recipe)
    assert [(group["rule"], group["lr"], group["weight_decay"]) for group in optimizer.param_groups] == [
        ("sgd", 0.5, DECAY), ("lion", LR, DECAY), ("lion", LR, 0.0)
    ]  # fmt: skip
    assert recipe[0][1] == {"rule": "sgd", "lr": 0.5}  # as it was
    walk(model, optimizer, 2)
    with pytest.raises(ValueError, match=r"the state is of \['sgd', 'lion', 'lion'\], but the groups here"):
        make("lion", model, lr=LR).load_state_dict(optimizer.state_dict())
    with pytest.raises(ValueError, match="no optimizer 'lions'"):
        Stepper([{"params": list(model.parameters()), "rule": "lions"}], lr=LR)


@pytest.mark.day(70)
@pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="this torch has no gloo")
def test_sharded_parameters_take_the_same_steps(name):
    """Parameters as FSDP keeps them (DTensor), in a world of one; a matrix rule gathers them, and keeps its rows."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    plain, sharded = small(), small()
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        for module in sharded.modules():
            for key, p in list(module.named_parameters(recurse=False)):
                setattr(module, key, nn.Parameter(distribute_tensor(p.detach(), mesh, [Shard(0)])))
        sharded.head.weight = sharded.wte.weight
        walked = [(model, make(name, model, lr=LR, weight_decay=DECAY)) for model in (plain, sharded)]
        for step in range(3):
            g = torch.Generator().manual_seed(step)
            for p, q in zip(plain.parameters(), sharded.parameters(), strict=True):
                p.grad = torch.randn(p.shape, generator=g, dtype=p.dtype)
                q.grad = distribute_tensor(p.grad, mesh, [Shard(0)])
            for _, optimizer in walked:
                optimizer.step()
        whole = {key: p.full_tensor().detach() for key, p in sharded.named_parameters()}
    finally:
        dist.destroy_process_group()
    assert distance(weights(plain), whole) < 1e-12
