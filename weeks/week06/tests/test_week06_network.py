"""Day 39: a network trained with the hand-written backward only, beside the same network with autograd."""

import pytest
import torch
from backprop import race
from backprop.network import NAMES, Hand, Sizes, gradients_plain, logits_of, weights

pytestmark = pytest.mark.day(39)
SIZES = Sizes(vocab_size=5, context=3, n_embd=4, n_hidden=16, batch_size=8)


@pytest.fixture(scope="module")
def data():
    """Windows with a rule in them: the next id is that of two places before, plus one."""
    tokens = torch.randint(5, (200, 3), generator=torch.Generator().manual_seed(1))
    return tokens, (tokens[:, 1] + 1) % 5


def test_hand_and_plain_give_the_same_gradients(data):
    """House rule: the fast form, in place and fused, is tied to the pairs one after the other. float64: 1e-14."""
    ((tokens, targets),) = race.batches(data, SIZES, 1)
    first = weights(SIZES, 0, torch.float64)
    loss, plain = gradients_plain(SIZES, first, tokens, targets)
    hand = Hand(SIZES, first)
    assert abs(hand.step(tokens, targets) - loss) < 1e-14
    for name in NAMES:
        assert (hand.gradients[name] - plain[name]).abs().max() < 1e-14, name
        assert (hand.parameters[name] - (first[name] - SIZES.lr * plain[name])).abs().max() < 1e-14, name


def test_the_whole_loss_agrees_with_autograd(data):
    """From the loss to the table, all layers in a row. 1e-6 and 1e-12: the week's bounds, for gradients below 1."""
    (batch,) = race.batches(data, SIZES, 1)
    assert race.whole_loss_apart(SIZES, batch, torch.float32) < 1e-6
    assert race.whole_loss_apart(SIZES, batch, torch.float64) < 1e-12


def test_hand_and_autograd_stay_together(data):
    """The promise of the week on a small network: equal at every one of 1,000 steps, in both precisions.

    1e-5 is the week's bound for float32; float64 rounding of order 1e-16 a step may grow, 1e-12 leaves it room.
    """
    turns = race.batches(data, SIZES, 1000)
    for dtype, bound in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        losses, apart, moved, _ = zip(*race.side_by_side(SIZES, turns, dtype))
        assert max(apart) < bound and max(moved) < bound
        assert sum(losses[-20:]) < 0.7 * sum(losses[:20])  # and something was learned


def test_both_rivals_are_the_same_network(data):
    """The clock compares like with like only if all three runners take the same steps. float32: 1e-5, as above."""
    turns, first = race.batches(data, SIZES, 20), weights(SIZES)
    runners = [kind(SIZES, first) for kind in race.RUNNERS.values()]
    for tokens, targets in turns:
        losses = [runner.step(tokens, targets).item() for runner in runners]
        assert max(losses) - min(losses) < 1e-5
    for name in NAMES:
        ends = torch.stack([runner.parameters[name].detach() for runner in runners])
        assert (ends - ends[0]).abs().max() < 1e-5


def test_no_tensor_by_hand_asks_for_a_gradient(data):
    """No graph may be hidden in it: neither weights nor buffers nor the loss know of automatic differentiation."""
    hand = Hand(SIZES, weights(SIZES))
    loss = hand.step(*race.batches(data, SIZES, 1)[0])
    tensors = [x for x in vars(hand).values() if torch.is_tensor(x)]
    tensors += [loss, *hand.parameters.values(), *hand.gradients.values()]
    assert len(tensors) > 15 and not any(x.requires_grad or x.grad_fn for x in tensors)


def test_a_step_changes_neither_the_batch_nor_the_first_weights(data):
    """In-place arithmetic must stay inside: a batch is used again, and three runners start from the same weights."""
    first = weights(SIZES)
    before = {name: value.clone() for name, value in first.items()}
    tokens, targets = race.batches(data, SIZES, 1)[0]
    kept = tokens.clone(), targets.clone()
    Hand(SIZES, first).step(tokens, targets)
    assert torch.equal(tokens, kept[0]) and torch.equal(targets, kept[1])
    assert all(torch.equal(first[name], before[name]) for name in NAMES)


def test_the_loss_is_that_of_the_logits(data):
    """`logits_of` feeds the figure of dlogits; it must be the network that trains. float64: 1e-14."""
    tokens, targets = race.batches(data, SIZES, 1)[0]
    first = weights(SIZES, 0, torch.float64)
    expected = torch.nn.functional.cross_entropy(logits_of(SIZES, first, tokens), targets)
    assert abs(Hand(SIZES, first).step(tokens, targets) - expected) < 1e-14


def test_a_batch_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"tokens are \(2, 3\); this network has room for \(8, 3\)"):
        Hand(SIZES, weights(SIZES)).step(torch.zeros(2, 3, dtype=torch.long), torch.zeros(2, dtype=torch.long))


def test_the_verdict_is_against_the_faster_rival():
    """A race against the slower of two would flatter us. Medians, so that one slow slice does not decide."""
    seconds = {"hand": [1.0, 1.0, 50.0], "fused": [2.0, 2.0, 2.0], "expression": [4.0, 4.0, 0.1]}
    found = race.verdict(seconds, slice_steps=100)
    assert found["rival"] == "fused" and found["manual_vs_autograd_time_ratio"] == 0.5
    assert found["manual_vs_expression_time_ratio"] == 0.25 and found["race_turns"] == 3
    assert found["hand_step_us"] == 10_000 and found["race_steps"] == 300


def test_a_race_times_every_turn_of_every_runner(data):
    """Three runners, the same steps each; the turn that warms up is not counted."""
    seconds = race.race(SIZES, race.batches(data, SIZES, 10), turns=2, slice_steps=5)
    assert {name: len(times) for name, times in seconds.items()} == dict.fromkeys(race.RUNNERS, 2)


def test_the_network_has_the_lectures_size():
    """12,297 parameters in the lecture, with 200 biases in front of batch norm that learn nothing."""
    assert sum(value.numel() for value in weights(Sizes()).values()) == 12_297 - 200


def test_update_ratios_are_step_over_weight(data):
    """The diagnostic of week 5, from gradients made by hand. Worked out from the weights before and after. float64."""
    hand = Hand(SIZES, weights(SIZES, 0, torch.float64))
    before = {name: value.clone() for name, value in hand.parameters.items()}
    hand.step(*race.batches(data, SIZES, 1)[0])
    for name, ratio in race.update_ratios(hand).items():
        step = hand.parameters[name] - before[name]
        assert 10**ratio == pytest.approx((step.std() / hand.parameters[name].std()).item(), rel=1e-9)
