"""Muon: week 10's rule on stacks of matrices, AdamW for the rest, and a state that survives a stop."""

import pytest
import torch
from nanogpt import optimizers
from nanogpt.model import GPT, GPTConfig
from nanogpt.optimizers import ROUNDS, SHARE, Muon, is_inner
from nanogpt.train import TrainConfig, make_optimizer, restore_training_state, train, training_state
from nanogpt.vendor.continual.learner import Learner
from nanogpt.vendor.continual.rows import all_judged
from nanogpt.vendor.shared.errors import Mistake
from week14_tiny import earlier

pytestmark = pytest.mark.day(96)

SHAPE = {"block_size": 12, "n_layer": 2, "n_head": 4, "n_kv_head": 2, "n_embd": 16, "n_hidden": 24, "tie": False}


def model_of(**changes):
    torch.manual_seed(0)
    return GPT(GPTConfig(40, **{**SHAPE, "value_embed": True, **changes}))


def named(model):
    return dict(model.named_parameters())


def with_gradients(model, seed=0):
    """Random gradients: the same for two models of one shape."""
    generator = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p.grad = torch.randn(p.shape, generator=generator)
    return model


def test_which_parameters_are_matrices_inside():
    """Tables that are looked up by token, the head and all vectors take AdamW."""
    inside = {name.split(".", 2)[2] for name, p in named(model_of(bias=True)).items() if is_inner(name, p)}
    matrices = "attn.q attn.k attn.v attn.proj mlp.gate mlp.up mlp.down"
    assert inside == {f"{name}.weight" for name in matrices.split()}
    outside = {name for name, p in named(model_of()).items() if p.dim() == 2 and not is_inner(name, p)}
    assert outside == {"embed.weight", "head.weight", "blocks.0.attn.value.weight", "blocks.1.attn.value.weight"}


def test_three_steps_equal_week_10():
    """The oracle is week 10's Stepper, which walks group by group: matrices under Muon with our rounds and half of the
    rate, the rest under torch's AdamW. In float64, so that only the order of sums differs (1e-10)."""
    ours, theirs = model_of().double(), model_of().double()
    optimizer = Muon(named(ours), lr=0.02, weight_decay=0.1, betas=(0.9, 0.95))
    week10 = earlier("week10", "scaling", "optimizers")
    inner = [p for name, p in theirs.named_parameters() if is_inner(name, p)]
    outer = {name: p for name, p in theirs.named_parameters() if not is_inner(name, p)}
    group = {"params": inner, "rule": "muon", "rounds": ROUNDS}
    stepper = week10.Stepper([group], lr=SHARE * 0.02, weight_decay=0.1)
    adamw = optimizers.OPTIMIZERS["adamw"](outer, lr=0.02, weight_decay=0.1, betas=(0.9, 0.95))
    for seed in range(3):
        with_gradients(ours.float(), seed), with_gradients(theirs.float(), seed)
        for model in (ours, theirs):
            model.double()
            for p in model.parameters():
                p.grad = p.grad.double()
        optimizer.step()
        stepper.step()
        adamw.step()
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=0, msg=lambda text, name=name: f"{name}: {text}")


def test_a_step_moves_every_direction_alike():
    """What Muon is for: the singular values of a step lie close together, though the gradient's differ by a hundred."""
    model = model_of()
    before = model.blocks[0].mlp.up.weight.detach().clone()
    with_gradients(model)
    u, _, v = torch.linalg.svd(model.blocks[0].mlp.up.weight.grad, full_matrices=False)
    model.blocks[0].mlp.up.weight.grad = u @ torch.diag(torch.logspace(0, -1, 16)) @ v
    Muon(named(model), lr=1.0, weight_decay=0.0).step()
    step = before - model.blocks[0].mlp.up.weight.detach()
    size = SHARE * 0.2 * 24**0.5  # of a whole step, Liu et al. 2025, section 2
    values = torch.linalg.svdvals(step) / size
    assert 0.4 < values.min() and values.max() < 1.3  # three rounds: five bring them to 0.7 ... 1.2


def test_the_state_of_a_matrix_is_a_part_of_its_stack():
    """One tensor holds the momenta of a shape: what is saved is what the next step uses, and it is no second copy."""
    model = with_gradients(model_of())
    optimizer = Muon(named(model), lr=0.02, weight_decay=0.1)
    optimizer.step()
    momenta = [optimizer.state[block.mlp.up.weight]["m"] for block in model.blocks]
    before = [m.clone() for m in momenta]
    with_gradients(model, 1)
    optimizer.step()
    assert all(not torch.equal(m, old) for m, old in zip(momenta, before, strict=True))
    assert len({m.untyped_storage().data_ptr() for m in momenta}) == 1


@pytest.mark.parametrize("name", ["muon", "adamw", "sgd"])
def test_a_restored_optimizer_goes_on_bit_for_bit(name):
    """Through the flat dict of a checkpoint, after two of five steps, and once more after the fourth."""
    rows = all_judged(torch.randint(0, 40, (30, 13), generator=torch.Generator().manual_seed(0)))
    config = TrainConfig(steps=5, batch_size=4, optimizer=name, warmup=0, first_batch=2, grow=0.6)
    whole = model_of(dropout=0.1)
    train(Learner(whole), rows, config)

    model = model_of(dropout=0.1)
    kept = {}

    def keep(step):
        kept["weights"] = {key: t.clone() for key, t in model.state_dict().items()}
        kept["training"] = {key: t.clone() for key, t in training_state(kept["optimizer"], name).items()}
        kept["step"] = step

    def stop(step, info):
        if step in (2, 4):
            keep(step)
            raise StopIteration

    for begin in (0, 2, 4):
        if begin:
            model = model_of(dropout=0.1)
            model.load_state_dict(kept["weights"])
        optimizer = make_optimizer(named(model), config)
        if begin:
            restore_training_state(optimizer, kept["training"], name)
        kept["optimizer"] = optimizer
        if begin == 4:
            train(Learner(model), rows, config, optimizer=optimizer, start=begin)
        else:
            with pytest.raises(StopIteration):
                train(Learner(model), rows, config, optimizer=optimizer, start=begin, on_step=stop)
    assert kept["step"] == 4
    with pytest.raises(Mistake, match=f"the stopped run had --optimizer {name}, not lion; restore its folder"):
        restore_training_state(optimizer, kept["training"], "lion")
    for a, b in zip(model.parameters(), whole.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_frozen_matrix_is_left_alone_and_an_empty_rest_too():
    """Adapters freeze all but a few matrices; then a group may be missing, and a frozen one keeps every bit."""
    model = model_of()
    for name, p in model.named_parameters():
        p.requires_grad = name.endswith("mlp.up.weight")
    frozen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    with_gradients(model)
    optimizer = Muon(named(model), lr=0.02, weight_decay=0.1)
    assert [group["muon"] for group in optimizer.param_groups] == [True]
    up = model.blocks[0].mlp.up.weight.detach().clone()
    optimizer.step()
    assert not torch.equal(model.blocks[0].mlp.up.weight, up)
    assert all(torch.equal(named(model)[name], t) for name, t in frozen.items())
    for p in model.parameters():
        p.requires_grad = False
    with pytest.raises(ValueError, match="parameters are frozen, so there is nothing to train"):
        Muon(named(model), lr=0.02, weight_decay=0.1)


def test_an_unknown_name_is_a_sentence():
    """The name is typed at a command line, so all that would do are listed."""
    with pytest.raises(Mistake, match="--optimizer is 'lion'; choose one of adamw, sgd, muon"):
        TrainConfig(optimizer="lion")
