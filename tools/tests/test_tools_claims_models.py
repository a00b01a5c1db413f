"""The experiments on optimizers and language models: each compares what its sentence says, and nothing besides."""

import math

import numpy as np
import pytest
import torch


@pytest.fixture
def first(load_script):
    return load_script("week01-02", "claims")


@pytest.fixture
def third(load_script):
    return load_script("week03-04", "claims")


@pytest.fixture
def sixth(load_script):
    return load_script("week06", "claims")


@pytest.mark.parametrize("beta2, steps, ratio", [(0.9999, 1, 10), (0.999, 1, math.sqrt(10)), (0.99, 3_000, 1)])
def test_without_correction_the_first_steps_are_long_and_late_ones_equal(first, beta2, steps, ratio):
    """The means start 10 and 1 / (1 - beta2) times too small: the first step is 0.1 / sqrt(1 - beta2) times Adam's."""
    last = {}
    for build in (first.Adam, first.Uncorrected):
        weight = first.nn.parameter(np.zeros(3, np.float64))
        optimizer = build([weight], 0.1, betas=(0.9, beta2))
        for _ in range(steps):
            weight.grad = np.full(3, 2.0)
            before = weight.data
            optimizer.step()
        last[build] = float((before - weight.data)[0])
    assert last[first.Uncorrected] / last[first.Adam] == pytest.approx(ratio, rel=1e-5)  # eps is 1e-8 beside 0.02


def test_the_best_decay_lies_at_the_lowest_point_of_the_parabola(first):
    """The grid is coarse. A best decay that could only lie on it would move in jumps."""
    decays = first.WIDE["l2"]
    for place in (-3.3, -2.1):
        table = {("l2", 1.0, decay): ((math.log10(decay) - place) ** 2, 0, 0) for decay in decays}
        assert first.best_decay(table, "l2", 1.0, decays) == pytest.approx(place)
    edge = {("l2", 1.0, decay): (math.log10(decay), 0, 0) for decay in decays}
    assert first.best_decay(edge, "l2", 1.0, decays) == pytest.approx(math.log10(decays[0]))


def test_ngrams_lean_on_the_shorter_context(third, monkeypatch):
    """By hand: "ab" twice and "ac" once. After a: p(b) = (2 + k p0(b)) / (3 + k), and an unseen context leaves p0."""
    train = torch.tensor([[0, 1], [0, 1], [0, 1]]), torch.tensor([2, 2, 3])
    asked = torch.tensor([[0, 1], [0, 3]]), torch.tensor([2, 2])
    model = third.Backoff(4, train)
    monkeypatch.setattr(third.Backoff, "STRENGTHS", (2.0,))
    assert model.counts(asked[0], 1).tolist() == [[0, 0, 2, 1], [0, 0, 0, 0]]
    p0 = (2 + 2 / 4) / (3 + 2)  # no context: counts 0 0 2 1, leaning on 1 / V
    p1 = (2 + 2 * p0) / (3 + 2)
    wanted = [-math.log(p0), -(math.log(p1) + math.log(p0)) / 2]
    assert [val for val, _ in model.losses(asked, asked, 1)] == pytest.approx(wanted)


def test_direct_connections_begin_at_nothing(third):
    """The comparison is fair only if both networks begin as the same function."""
    torch.manual_seed(0)
    joined = third.DirectMLP(27, 4, 16, 10)
    plain = third.MLP(27, 4, 16, 10)
    plain.load_state_dict({key: value for key, value in joined.state_dict().items() if key != "direct.weight"})
    tokens = torch.randint(27, (5, 4))
    assert torch.equal(joined.logits(tokens), plain.logits(tokens))


def test_the_cell_of_1997_is_the_lstm_with_its_forget_gate_open(third):
    """A forget gate of sigmoid(40) is 1 to the last bit of a float32."""
    torch.manual_seed(0)
    old, new = third.Carousel(8, 16), third.LSTMCell(8, 16)
    new.load_state_dict(old.state_dict())
    with torch.no_grad():
        new.weight_x[:, 16:32], new.weight_h[:, 16:32], new.bias[16:32] = 0, 0, 40
    x = torch.randn(3, 20, 8)
    assert torch.allclose(old(x), new(x), atol=1e-6)  # sums in another order


def test_an_error_rides_the_carousel_unchanged(third):
    """Without the state's weights nothing but the sum c = c + i g is left: no power of ten is lost on the way."""
    torch.manual_seed(0)
    lost = {}
    for cell in (third.Carousel, third.LSTMCell):
        model = third.Last(8, cell, n_embd=8, n_hidden=32)
        with torch.no_grad():
            model.cell.weight_h.zero_()
            model.embedding.weight.mul_(1e-3)  # so that no tanh bends
        lost[cell] = third.decades_lost(model, 50)
    assert abs(lost[third.Carousel]) < 0.3
    assert lost[third.LSTMCell] == pytest.approx(-50 * math.log10(1 / (1 + math.exp(-1))), abs=0.3)  # its bias is 1


@pytest.mark.parametrize("same", [False, True])
def test_only_the_first_letter_counts(third, same):
    tokens, targets = third.remember(200, 5, 0, same)
    assert tokens.shape == (200, 6) and torch.equal(tokens[:, 0], targets) and set(targets.tolist()) == {0, 1, 2, 3}
    assert set(tokens[:, 1:].flatten().tolist()) == ({0, 1, 2, 3} if same else {4, 5, 6, 7})


@pytest.mark.parametrize("dilations, reach", [((1, 2, 4), 8), ((1, 1, 1), 4), ((1,) * 7, 8)])
def test_a_stack_sees_its_reach_and_no_further(sixth, dilations, reach):
    """Three dilated layers see as many letters as seven plain ones."""
    torch.manual_seed(0)
    model = sixth.Stack(27, dilations, 8)
    tokens = torch.randint(1, 27, (1, 12))
    base = model(tokens)[0][0, -1]
    for back in range(12):
        changed = tokens.clone()
        changed[0, 11 - back] = 1 + changed[0, 11 - back] % 26
        assert torch.equal(model(changed)[0][0, -1], base) == (back >= reach), back
    assert torch.equal(model(tokens)[0][0, :5], model(tokens[:, :5])[0][0])  # and nothing of the future


def test_equal_numbers(third, sixth):
    """Where a page says "equal numbers", the counts differ by less than three in a hundred."""
    cells = [third.Recurrent(27, cell, 32, width).n_params() for cell, width in third.WIDTHS.values()]
    stacks = [sum(p.numel() for p in sixth.Stack(27, sixth.DILATED, width, gated).parameters())
              for width, gated in ((32, True), (39, False))]  # fmt: skip
    for counts in (cells, stacks):
        assert max(counts) / min(counts) < 1.03
