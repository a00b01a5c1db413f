"""Days 29 and 35: the network, its first loss, and what batch norm costs who forgets `eval`."""

import math

import pytest
import torch
from deepmlp.layers import BatchNorm1d, LayerNorm, Residual
from deepmlp.model import Config, DeepMLP, as_trained
from torch.nn import functional as F


def batch(rows=64, context=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(27, (rows, context), generator=generator), torch.randint(27, (rows,), generator=generator)


@pytest.mark.day(29)
@pytest.mark.parametrize("norm, size", [("none", 11_897), ("batch", 12_097)])
def test_the_lectures_networks_have_as_many_numbers(norm, size):
    """Their sizes are published, so ours must be the same network: 10 numbers a letter, 200 hidden units."""
    assert DeepMLP(Config(norm=norm)).size() == size


@pytest.mark.day(29)
def test_the_network_is_its_formula_written_out():
    """Three lines of torch, in float64: logits exact to rounding, and the loss is torch's cross-entropy."""
    model = DeepMLP(Config(n_hidden=20, depth=2), seed=3).double()
    tokens, targets = batch()
    logits, loss = model(tokens, targets)
    x = F.embedding(tokens, model.embed[0].weight).flatten(1)
    for block in model.body:
        x = torch.tanh(x @ block[0].weight + block[0].bias)
    torch.testing.assert_close(logits, x @ model.head.weight + model.head.bias, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(loss, F.cross_entropy(logits, targets), rtol=1e-12, atol=1e-12)
    assert model(tokens)[1] is None
    again = DeepMLP(Config(n_hidden=20, depth=2), seed=3).double()
    assert torch.equal(again(tokens)[0], logits)
    assert not torch.equal(DeepMLP(Config(n_hidden=20, depth=2), seed=4).double()(tokens)[0], logits)


@pytest.mark.parametrize(
    "norm",
    [
        pytest.param("none", marks=pytest.mark.day(29)),
        pytest.param("batch", marks=pytest.mark.day(31)),
        pytest.param("layer", marks=pytest.mark.day(32)),
    ],
)
@pytest.mark.parametrize("depth", [1, 6])
def test_the_first_loss_is_that_of_knowing_nothing(norm, depth):
    """ln 27, for the last layer starts small: logits of sd s cost s^2 / 2 more, and here s is below 0.2."""
    model = DeepMLP(Config(norm=norm, depth=depth))
    logits, loss = model(*batch(2000))
    assert logits.std() < 0.2
    assert loss.item() == pytest.approx(math.log(27), abs=0.05)


@pytest.mark.day(29)
def test_naive_weights_are_sure_and_wrong():
    """The lectures' starting point: all weights of sd 1, so logits of sd near 14, and a first loss far above ln 27."""
    model = DeepMLP(Config(weight_std=1.0, head_std=1.0))
    for weight in (model.body[0][0].weight, model.head.weight):
        assert weight.std().item() == pytest.approx(1, rel=0.05)  # 5,400 numbers: 5 standard errors
    assert model(*batch(2000))[1].item() > 10


@pytest.mark.day(29)
def test_norms_and_residuals_stand_where_the_config_says():
    """A norm in each hidden layer and no bias before it; the first layer changes the width, so it adds nothing."""
    model = DeepMLP(Config(depth=3, norm="layer", residual=True))
    assert [isinstance(block, Residual) for block in model.body] == [False, True, True]
    blocks = [model.body[0], model.body[1].body, model.body[2].body]
    assert all(isinstance(block[1], LayerNorm) and block[0].bias is None for block in blocks)
    assert isinstance(DeepMLP(Config(norm="batch")).body[0][1], BatchNorm1d)
    assert DeepMLP(Config()).body[0][0].bias is not None


@pytest.mark.day(29)
@pytest.mark.parametrize(
    "wrong, sentence",
    [
        ({"norm": "group"}, "norm 'group' is unknown; choose one of none, batch, layer"),
        ({"activation": "sine"}, "activation 'sine' is unknown; choose one of tanh, relu, gelu"),
        ({"depth": 0}, "depth 0 builds no network; give 1 or more"),
    ],
)
def test_a_config_that_builds_nothing(wrong, sentence):
    """Said when the config is written, not when a layer fails."""
    with pytest.raises(ValueError, match=sentence):
        Config(**wrong)


@pytest.mark.day(29)
def test_windows_of_another_length_are_refused():
    """A model trained on three letters cannot read four; torch's own message would be about a matrix product."""
    with pytest.raises(ValueError, match=r"reads windows of 3 letters, and was given .*\(64, 4\); give \(batch, 3\)"):
        DeepMLP(Config())(batch(context=4)[0])


# --- the trap ---------------------------------------------------------------------------------------------------------


def trained(norm="batch"):
    """A network that has seen a few batches, so that running statistics differ from any batch's."""
    model = DeepMLP(Config(n_hidden=30, depth=2, norm=norm)).double()
    for seed in range(30):
        model(*batch(seed=seed))
    return model.eval()


@pytest.mark.day(35)
def test_as_trained_is_the_mode_of_training():
    """Against the model itself left in training mode, a batch of 16 at a time; equal to rounding."""
    model, (tokens, targets) = trained(), batch(64, seed=99)
    found = as_trained(model, tokens, targets, 16)
    model.train()
    wanted = [model(t, y)[1].item() for t, y in zip(tokens.split(16), targets.split(16))]
    assert found == pytest.approx(sum(wanted) / 4, rel=1e-12)


@pytest.mark.day(35)
def test_of_one_row_only_the_bias_is_left():
    """x - mean is 0 for a batch of one, so every row gets the same logits: those of the norm's bias alone."""
    model, (tokens, targets) = trained(), batch(8, seed=99)
    with torch.no_grad():
        for norm in (model.body[0][1], model.body[1][1]):
            norm.bias.normal_(generator=torch.Generator().manual_seed(1))
    logits = torch.tanh(model.body[1][1].bias) @ model.head.weight + model.head.bias
    wanted = F.cross_entropy(logits.expand(8, 27), targets).item()
    assert as_trained(model, tokens, targets, 1) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.day(35)
@pytest.mark.parametrize("rows", [1, 16])
def test_looking_at_the_trap_changes_nothing(rows):
    """Mode, gains, momentum and running statistics are those from before, or judging would be training."""
    model, (tokens, targets) = trained(), batch()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    as_trained(model, tokens, targets, rows)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module.training for module in model.modules())
    assert all(block[1].momentum == 0.1 for block in model.body)


@pytest.mark.day(35)
def test_without_batch_norm_there_is_no_trap():
    """Layer norm gives the same loss for any number of rows."""
    model, (tokens, targets) = trained("layer"), batch()
    losses = [as_trained(model, tokens, targets, rows) for rows in (1, 16, 64)]
    assert losses == pytest.approx([model(tokens, targets)[1].item()] * 3, rel=1e-12)
