"""Day 18: the training loop and the judge that all models share; day 23: batches without needless padding.

On day 18 there is no network yet: a small model of the tests' own stands in. The networks follow on their days.
"""

import copy
import math

import pytest
import torch
from makemore import models
from makemore.fit import Recipe, evaluate, fit, learning_rate, optimizer_for, without_padding
from makemore.names import IGNORE
from week0304_made_up import DAYS, Plain, made_up


def cases(*names, day=18):
    """A case for each model, on the day that completes it; "windows" and "rows" are the tests' own model."""
    marked = [pytest.param(name, marks=pytest.mark.day(max(day, DAYS.get(name, day)))) for name in names]
    return pytest.mark.parametrize("name", marked)


def fresh(name, known):
    return models.build(name, known.vocab_size) if name in models.MODELS else Plain(known.vocab_size, takes=name)


def train(model, data, recipe, seed=0):
    return [loss for _, loss in fit(model, data, recipe, seed)]


@pytest.mark.day(18)
def test_the_rate_rises_and_falls():
    """Up in a line while the moments of AdamW are young, then half a cosine to almost 0."""
    recipe = Recipe(steps=100, lr=2.0, warmup=10)
    rates = [learning_rate(step, recipe) for step in range(100)]
    assert rates[0] == pytest.approx(0.2) and rates[50] == pytest.approx(1.0)
    assert rates[:10] == sorted(rates[:10]) and rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.001 and learning_rate(0, Recipe(steps=10, lr=2.0, warmup=0)) == 2.0


@cases("windows", "mlp")
def test_steps_equal_adamw_written_out(name):
    """Schedule, batches, decay and AdamW together, against the paper's formulas (Loshchilov and Hutter 2019).

    Same gradients, float64 weights: 1e-10 after four steps.
    """
    known, recipe = made_up(), Recipe(steps=4, batch_size=16, lr=1e-2, weight_decay=0.3, warmup=2)
    model = fresh(name, known).double()
    by_hand, (tokens, targets) = copy.deepcopy(model), model.data(known, known.train)
    assert [step for step, _ in fit(model, (tokens, targets), recipe, seed=5)] == [0, 1, 2, 3]
    state = {p: (torch.zeros_like(p), torch.zeros_like(p)) for p in by_hand.parameters()}
    generator = torch.Generator().manual_seed(5)
    for step in range(recipe.steps):
        chosen = torch.randint(len(tokens), (16,), generator=generator)
        gradients = torch.autograd.grad(by_hand(tokens[chosen], targets[chosen])[1], list(state))
        lr = learning_rate(step, recipe)
        with torch.no_grad():
            for (p, (m, v)), g in zip(state.items(), gradients):
                m.mul_(0.9).add_(0.1 * g)
                v.mul_(0.99).add_(0.01 * g**2)
                p.mul_(1 - lr * (0.3 if p.dim() == 2 else 0.0))
                p.sub_(lr * (m / (1 - 0.9 ** (step + 1))) / ((v / (1 - 0.99 ** (step + 1))).sqrt() + 1e-8))
    for ours, expected in zip(model.parameters(), by_hand.parameters()):
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-10)


@cases("windows", "lstm")
def test_matrices_decay_and_biases_do_not(name):
    """Each parameter in exactly one group: one left out would never move."""
    model = fresh(name, made_up())
    decaying, others = optimizer_for(model, Recipe(1, weight_decay=0.2)).param_groups
    grouped = [*decaying["params"], *others["params"]]
    assert sorted(map(id, grouped)) == sorted(map(id, model.parameters()))
    assert all(p.dim() == 2 for p in decaying["params"]) and all(p.dim() == 1 for p in others["params"])
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.2, 0.0)


@cases("bigram_gradient", "mlp")
def test_training_repeats_and_learns(name):
    """The same seed gives the same losses bit for bit, judged in between or not; another seed other batches."""
    known, recipe = made_up(), Recipe(60, 32, lr=1e-2 if name == "mlp" else 0.3, warmup=5)

    def losses(seed, judge=False):
        model, found = fresh(name, known), []
        data = model.data(known, known.train)
        for _, loss in fit(model, data, recipe, seed):
            found.append(loss)
            if judge:
                evaluate(model, data)
        return found

    first = losses(0)
    assert first == losses(0, judge=True) and first != losses(1) and first[-1] < 0.5 * first[0]


@cases("windows", "rows", "mlp", "lstm")
def test_evaluate_weighs_by_letters(name):
    """In pieces of any size the same loss as in one: a piece weighs by its letters, not by its rows. float64: 1e-12."""
    known = made_up()
    model = fresh(name, known).double().train()
    data = model.data(known, known.val)
    expected = model.eval()(*data)[1].item()
    model.train()
    for rows in (1, 7, 4096):
        assert evaluate(model, data, rows) == pytest.approx(expected, abs=1e-12)
    assert model.training


@pytest.mark.day(18)
def test_judging_is_without_dropout_and_training_with():
    """A judged model says the same twice; the loop puts it back into training mode."""

    class Noisy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Plain(27)
            self.modes = []

        def forward(self, tokens, targets=None):
            self.modes.append(self.training)
            return self.inner(tokens, targets)

    known, model = made_up(), Noisy().eval()
    data = model.inner.data(known, known.train)
    train(model, data, Recipe(2, 8))
    evaluate(model, data)
    assert model.modes == [True, True, False] and model.training


@cases("windows", "mlp")
def test_a_loss_that_is_no_number_stops_before_the_weights(name):
    """A NaN names its step and leaves the weights as the last good step made them."""
    known = made_up()
    model = fresh(name, known)
    with torch.no_grad():
        (model.output if name == "mlp" else model).bias[0] = math.inf
    weight = model.hidden.weight if name == "mlp" else model.weight
    kept = weight.clone()
    with pytest.raises(FloatingPointError, match=r"the loss is (nan|inf) at step 0; use a learning rate below 0.5"):
        train(model, model.data(known, known.train), Recipe(3, 8, lr=0.5))
    assert torch.equal(weight, kept)


@pytest.mark.day(18)
def test_a_batch_of_nothing_is_refused():
    """Its loss would be nan, and the sentence about it would advise another learning rate."""
    with pytest.raises(ValueError, match="a batch of 0 rows has no loss; give batch_size = 1 or more"):
        Recipe(3, batch_size=0)


@pytest.mark.day(23)
def test_columns_of_padding_are_cut_off():
    """A batch is as wide as its longest name, not as the longest of the file; windows have nothing to cut."""
    tokens = torch.tensor([[0, 1, 2, 0, 0], [0, 3, 0, 0, 0]])
    targets = torch.tensor([[1, 2, 0, IGNORE, IGNORE], [3, 0, IGNORE, IGNORE, IGNORE]])
    short, wanted = without_padding(tokens, targets)
    assert short.tolist() == [[0, 1, 2], [0, 3, 0]] and wanted.tolist() == [[1, 2, 0], [3, 0, IGNORE]]
    windows = torch.tensor([[0, 1], [1, 2]]), torch.tensor([2, 0])
    assert all(a is b for a, b in zip(without_padding(*windows), windows, strict=True))


@cases("rnn", "gru", "lstm", "cnn", day=23)
def test_cutting_padding_changes_no_loss_and_no_gradient(name):
    """Nothing flows from padding to a name, so what is cut off was never heard. float64: 1e-12."""
    known = made_up()
    model = models.build(name, known.vocab_size).double().eval()
    tokens, targets = model.data(known, [*known.val, *known.train])
    batch = tokens[:8], targets[:8]
    padded = [torch.cat([part, torch.full((8, 5), fill)], dim=1) for part, fill in zip(batch, (0, IGNORE))]
    gradients = []
    for pair in (padded, without_padding(*padded)):
        loss = model(*pair)[1]
        gradients.append([loss, *torch.autograd.grad(loss, list(model.parameters()))])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
