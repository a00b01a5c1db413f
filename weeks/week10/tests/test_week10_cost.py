"""Day 69: what a training costs, each formula against tensors that are really there."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scaling.cost import MACHINES, STATES, flops, hidden, memory, parameters, seconds
from scaling.memory import Peak
from scaling.optimizers import OPTIMIZERS, make
from scaling.vendor.gpt.model import GPT, GPTConfig
from week10_small import small, text

pytestmark = pytest.mark.day(69)

GPT2 = GPTConfig(50257, 1024, 12, 12, 768)


@settings(max_examples=10, deadline=None)
@given(
    vocab=st.integers(2, 60), block=st.integers(1, 40), layers=st.integers(1, 4), heads=st.integers(1, 3),
    head=st.integers(1, 8), bias=st.booleans(),
)  # fmt: skip
def test_numbers_and_operations_are_the_models_own(vocab, block, layers, heads, head, bias):
    """Exactly, for every shape: the model counts its tensors, the formula does not build it."""
    config = GPTConfig(vocab, block, layers, heads, heads * head, bias=bias)
    with torch.device("meta"):
        model = GPT(config)
    assert parameters(config) == model.n_params()
    assert flops(config, 7) == 7 * model.flops_per_token()
    matrices = [p.numel() for name, p in model.named_parameters() if name.startswith("blocks.") and p.dim() == 2]
    assert hidden(config) == sum(matrices)


def test_gpt2_has_124_million():
    """GPT-2's smallest model, with the tied table counted once; 6 N D would leave attention out."""
    assert parameters(GPT2) == 124_439_808
    assert flops(GPT2, 1) == 6 * (parameters(GPT2) - 1024 * 768 - (13 * 12 + 2) * 768) + 12 * 12 * 768 * 1024


def test_every_optimizer_has_its_memory():
    assert STATES.keys() == OPTIMIZERS.keys()


@pytest.mark.parametrize("optimizer", STATES)
def test_weights_gradients_and_states_by_their_tensors(optimizer):
    """To the byte, but for AdamW's counter of steps: one number a tensor."""
    model = small(layers=2, width=16, dtype=torch.float32)
    model(*text())[1].backward()
    stepper = make(optimizer, model, lr=1e-3)
    stepper.step()
    said, tensors = memory(model.config, 4, optimizer), list(model.parameters())
    assert said["weights"] == sum(p.nbytes for p in tensors)
    assert said["gradients"] == sum(p.grad.nbytes for p in tensors)
    kept = [t for state in stepper.state.values() for t in state.values() if t.dim()]
    assert said["optimizer"] == sum(t.nbytes for t in kept)


def bytes_kept(model, inputs, targets):
    """Bytes of all tensors that a forward leaves: what the backward needs, and the logits."""
    with Peak() as seen:
        logits, loss = model(inputs, targets)
        return seen.now, (logits, loss)


@pytest.mark.parametrize(("layers", "width", "bias"), [(1, 16, True), (3, 32, True), (2, 48, False)])
def test_activations_by_the_tensors_that_a_forward_leaves(layers, width, bias):
    """To 64 bytes, once the integers are counted that the formula leaves out: targets and positions, 8 bytes each."""
    model = small(layers=layers, width=width, bias=bias, dtype=torch.float32)
    said = memory(model.config, 4)
    now, _ = bytes_kept(model, *text(rows=4))
    forward = said["activations"] + said["logits"] * 2 / 3  # the third part is the logits' gradient
    assert abs(forward + 8 * (4 * 16 + 16) - now) <= 64


def test_the_most_at_one_time_is_below_the_sum():
    """A whole forward and backward: its peak is at most gradients, activations and logits, and over half of that."""
    model = small(layers=4, width=32, dtype=torch.float32)
    inputs, targets = text(rows=16)
    with Peak() as seen:
        model(inputs, targets)[1].backward()
    said = memory(model.config, 16)
    most = said["gradients"] + said["activations"] + said["logits"]
    assert 0.5 * most < seen.peak <= most


def test_seconds_are_operations_over_what_is_reached():
    """989.4 tera-operations, at half of an H100's peak: two seconds. Eight cards: an eighth."""
    card, eight = MACHINES["h100"], MACHINES["8xh100"]
    assert seconds(989.4e12, card.peak, 0.5) == pytest.approx(2.0, rel=1e-12)
    assert seconds(989.4e12, eight.cards * eight.peak, 0.5) == pytest.approx(0.25, rel=1e-12)
    assert eight.peak == card.peak


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: memory(GPT2, 1, "sophia"), "nothing is known of the memory of 'sophia'; choose from sgd, adamw"),
        (lambda: memory(GPT2, -1), "a batch of -1 windows holds nothing; give 1 or more"),
        (lambda: seconds(1e9, 0), "a rate of 0 operations a second never ends; give a number above 0"),
        (lambda: seconds(1e9, math.nan), "a rate of nan operations"),
        (lambda: seconds(1e9, 1e9, 1.5), r"utilisation is 1.5, .* give a number in \(0, 1\]"),
        (lambda: seconds(1e9, 1e9, 0), "utilisation is 0, "),
    ],
)
def test_costs_that_nobody_can_tell(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
