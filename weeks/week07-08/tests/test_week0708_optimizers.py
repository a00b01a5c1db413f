"""One exam for every row of OPTIMIZERS, and a row added by the test that the training loop uses like the others."""

import copy
import math

import pytest
import torch
from gpt.loop import Recipe, train
from gpt.model import GPT, GPTConfig
from gpt.optimizers import OPTIMIZERS, groups, make
from torch import nn

pytestmark = pytest.mark.day(55)

LR, DECAY, BETAS = 0.05, 0.3, (0.8, 0.9)


def signs(named, *, lr, weight_decay, betas=(0.9, 0.99)):
    """A toy: every weight moves by lr against the sign of its gradient (Bernstein et al. 2018, without momentum)."""

    class Signs(torch.optim.Optimizer):
        @torch.no_grad()
        def step(self):
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(group["lr"] * p.grad.sign())

    return Signs(groups(named, weight_decay), {"lr": lr})


# One step of each by hand: (x, gradient, memory, step from 1, decay) -> x; `memory` is a dict that lives on.
def adamw_by_hand(x, g, memory, t, decay):
    b1, b2 = BETAS
    memory["m"] = b1 * memory.get("m", 0) + (1 - b1) * g
    memory["v"] = b2 * memory.get("v", 0) + (1 - b2) * g**2
    step = (memory["m"] / (1 - b1**t)) / ((memory["v"] / (1 - b2**t)).sqrt() + 1e-8)
    return x - LR * decay * x - LR * step


def sgd_by_hand(x, g, memory, t, decay):
    memory["v"] = BETAS[0] * memory.get("v", 0) + g + decay * x
    return x - LR * memory["v"]


def signs_by_hand(x, g, memory, t, decay):
    return x - LR * decay * x - LR * g.sign()


BY_HAND = {"adamw": adamw_by_hand, "sgd": sgd_by_hand, "signs": signs_by_hand}


@pytest.fixture(params=[*OPTIMIZERS, "signs"])
def name(request, monkeypatch):
    """Every row of the table, and the toy: it needs a function and a row, and no edit elsewhere."""
    if request.param == "signs":
        monkeypatch.setitem(OPTIMIZERS, "signs", signs)
    return request.param


def layer():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3)).double()


def optimizer_of(name, model):
    return make(name, dict(model.named_parameters()), lr=LR, weight_decay=DECAY, betas=BETAS)


def walk(model, optimizer, steps, seed=0):
    """Steps along made-up gradients, the same for the same seed; yields the gradients of each step."""
    g = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        for p in model.parameters():
            p.grad = torch.randn(p.shape, generator=g, dtype=p.dtype)
        optimizer.step()
        yield [p.grad for p in model.parameters()]


def test_steps_by_hand(name):
    """Five steps against the formula written out; only matrices decay. Float64, so 1e-12 is far above rounding."""
    model = layer()
    wanted, memories = [p.detach().clone() for p in model.parameters()], [{} for _ in model.parameters()]
    for t, gradients in enumerate(walk(model, optimizer_of(name, model), 5), 1):
        for i, g in enumerate(gradients):
            wanted[i] = BY_HAND[name](wanted[i], g, memories[i], t, DECAY if g.dim() == 2 else 0.0)
        for p, expected in zip(model.parameters(), wanted):
            torch.testing.assert_close(p.detach(), expected, rtol=0, atol=1e-12)


def test_decay_reaches_matrices_only(name):
    """With gradients of 0 a matrix shrinks, and a vector keeps its bytes."""
    model = layer()
    before, optimizer = copy.deepcopy(model), optimizer_of(name, model)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for old, new in zip(before.parameters(), model.parameters()):
        expected = old * (1 - LR * DECAY) if old.dim() == 2 else old
        torch.testing.assert_close(new, expected, rtol=0, atol=1e-15 if old.dim() == 2 else 0)


def test_a_saved_state_goes_on_bit_equal(name):
    """Three steps, saved, four more by a fresh optimizer: the same bits as seven in one go."""
    whole, part = layer(), layer()
    list(walk(whole, (first := optimizer_of(name, whole)), 3)), list(walk(whole, first, 4, seed=1))
    list(walk(part, (saved := optimizer_of(name, part)), 3))
    again = optimizer_of(name, part)
    again.load_state_dict(copy.deepcopy(saved.state_dict()))
    list(walk(part, again, 4, seed=1))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), part.parameters()))


def test_a_frozen_parameter_is_not_touched(name):
    """Also where a gradient from before it was frozen is still there."""
    model = layer()
    model[0].weight.requires_grad_(False)
    kept = model[0].weight.clone()
    list(walk(model, optimizer_of(name, model), 3))
    assert torch.equal(model[0].weight, kept) and not torch.equal(model[0].bias, layer()[0].bias)


def test_nothing_to_train_is_told(name):
    """An empty dict would train nothing, and everything frozen likewise."""
    with pytest.raises(ValueError, match="there are no parameters, so there is nothing to train; give some"):
        make(name, {}, lr=LR, weight_decay=DECAY)
    with pytest.raises(ValueError, match="all 4 parameters are frozen, so there is nothing to train"):
        optimizer_of(name, layer().requires_grad_(False))


def test_the_loop_trains_with_it(name):
    """A recipe names it, and the loop takes its steps: the loss of a text that repeats itself falls."""
    torch.manual_seed(3)
    model = GPT(GPTConfig(20, 8, 1, 2, 8))
    lr = {"sgd": 0.3}.get(name, 1e-2)
    recipe = Recipe(steps=60, batch_size=4, lr=lr, warmup=5, optimizer=name)
    losses = [loss for _, loss in train(model, torch.arange(2000) % 20, recipe, seed=3)]
    assert losses[-1] < 0.8 * losses[0]


def test_an_unknown_name_is_told():
    """With the names that there are, before the first step."""
    with pytest.raises(ValueError, match="no optimizer 'adamv'; choose from adamw, sgd"):
        make("adamv", dict(layer().named_parameters()), lr=LR, weight_decay=DECAY)
    with pytest.raises(ValueError, match="no optimizer 'adamv'"):
        next(train(GPT(GPTConfig(20, 8, 1, 2, 8)), torch.arange(99) % 20, Recipe(1, 1, optimizer="adamv"), seed=0))


def test_groups_partition_the_model():
    """Each parameter in exactly one group, the tied one once; a group without members is left out."""
    named = dict(GPT(GPTConfig(20, 8, 1, 2, 8)).named_parameters())
    decayed, free = groups(named, 0.1)
    grouped = [*decayed["params"], *free["params"]]
    assert sorted(map(id, grouped)) == sorted(map(id, named.values()))
    assert all(p.dim() == 2 for p in decayed["params"]) and all(p.dim() == 1 for p in free["params"])
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)
    assert [group["weight_decay"] for group in groups({"A": named["wte.weight"]}, 0.1)] == [0.1]
    assert [group["weight_decay"] for group in groups({"b": named["norm.bias"]}, 0.1)] == [0.0]
    with pytest.raises(AssertionError, match="under two names"):
        groups({"wte": named["wte.weight"], "head": named["wte.weight"]}, 0.1)


def test_the_default_is_fused():
    """One pass over memory instead of many small ones; a wrong device would raise in the first step."""
    optimizer = optimizer_of("adamw", layer())
    assert optimizer.defaults["fused"] is True and math.isclose(optimizer.defaults["lr"], LR)
