"""Days 16 to 18: counting pairs and triples, against a dictionary; and the bigram that gradient descent finds."""

import math
from collections import Counter

import pytest
import torch
from makemore.counts import Counts
from makemore.fit import Recipe, fit
from makemore.measure import gradient_gap
from makemore.mlp import Bigram
from makemore.names import Names, load
from week0304_made_up import made_up


def loss_of(model, data):
    """Mean loss of a counting model, which needs no judge: all data at once, and no dropout to switch off."""
    return model(*data)[1].item()


def by_dictionary(known, context, k, counted, judged):
    """Mean loss with nothing but Python: counts in a dictionary, one logarithm a letter."""
    pairs, rows = Counter(), Counter()
    for tokens, target in zip(*(part.tolist() for part in counted)):
        pairs[*tokens, target] += 1
        rows[tuple(tokens)] += 1
    logs = [
        math.log((pairs[*tokens, target] + k) / (rows[tuple(tokens)] + k * known.vocab_size))
        for tokens, target in zip(*(part.tolist() for part in judged))
    ]
    return -sum(logs) / len(logs)


@pytest.mark.day(16)
def test_a_row_by_hand():
    """The letters are the digits of a number, the oldest first, in base V: 4, 0, 7 in base 27 is 4 * 729 + 0 + 7."""
    assert Counts(27, 3).row_of(torch.tensor([[4, 0, 7], [0, 0, 26]])).tolist() == [2923, 26]
    assert Counts(27, 1).row_of(torch.tensor([[5], [0]])).tolist() == [5, 0]


@pytest.mark.day(16)
@pytest.mark.parametrize("context", [1, 2, 3])
def test_the_table_against_a_loop(context):
    """Every letter is counted once, in the row of those before it and in its own column."""
    known = made_up()
    model = Counts(known.vocab_size, context)
    tokens, targets = model.data(known, known.train)
    assert model.count((tokens, targets)) is model
    expected = torch.zeros_like(model.table)
    for window, target in zip(tokens.tolist(), targets.tolist()):
        row = 0
        for letter in window:
            row = row * known.vocab_size + letter
        expected[row, target] += 1
    assert torch.equal(model.table, expected)


@pytest.mark.day(17)
@pytest.mark.parametrize("context", [1, 2, 3])
@pytest.mark.parametrize("k", [0.01, 1.0, 5.0])
def test_counts_against_a_dictionary(context, k):
    """Row and column of the table must be the right ones; float32 logarithms of about 3: 1e-6."""
    known = made_up()
    model = Counts(known.vocab_size, context, smoothing=k)
    train, val = model.data(known, known.train), model.data(known, known.val)
    model.count(train)
    assert model.table.sum() == len(train[1]) and model.n_params() == known.vocab_size ** (context + 1)
    assert loss_of(model, val) == pytest.approx(by_dictionary(known, context, k, train, val), abs=1e-6)


@pytest.mark.day(17)
def test_a_table_is_a_distribution_for_every_row():
    """Shares sum to 1 in each row, those never seen too; without smoothing a pair never seen is impossible."""
    known = Names(["ab", "ac", "ab", "a"], [], [], "abcd")
    model = Counts(5, 1, smoothing=0.0)
    model.count(model.data(known, known.train))
    shares = model(torch.arange(5)[:, None])[0].exp()
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(5), rtol=0, atol=1e-6)  # float32 shares of 1
    torch.testing.assert_close(shares[1], torch.tensor([0.25, 0, 0.5, 0.25, 0]), rtol=0, atol=1e-6)
    assert shares[4].tolist() == pytest.approx([0.2] * 5)  # "d" was never seen
    assert model(torch.tensor([[2]]), torch.tensor([3]))[1] == math.inf  # "c" never followed "b"


@pytest.mark.day(16)
def test_counting_twice_doubles_the_table():
    """Counts add up, so a file may be read in pieces; the shares stay the same."""
    known = made_up()
    model = Counts(known.vocab_size, 1)
    data = model.data(known, known.train)
    once = model.count(data).table.clone()
    assert torch.equal(model.count(data).table, 2 * once)


@pytest.mark.day(16)
@pytest.mark.parametrize(
    "wrong, sentence",
    [
        (dict(context=0), "the 0 letters before, out of 27, cannot be held; give a context of 1 or more"),
        (dict(context=6), "the 6 letters before, out of 27, cannot be held"),
        (dict(context=1, smoothing=-1.0), "a smoothing of -1.0 is no number of sightings; give 0 or more"),
        (dict(context=1, smoothing=math.nan), "a smoothing of nan"),
    ],
)
def test_a_table_that_cannot_be_is_a_sentence(wrong, sentence):
    """A negative share has no logarithm, and 27**7 numbers would end the program without a word."""
    with pytest.raises(ValueError, match=sentence):
        Counts(27, **wrong)


@pytest.mark.day(17)
def test_the_best_k_is_chosen_and_kept():
    """The k with the lowest loss on names that were not counted; for those that were, the smallest k always wins."""
    known = made_up()
    model = Counts(known.vocab_size, 2)
    train, val = model.data(known, known.train[:12]), model.data(known, known.val)  # so few that most pairs are unseen
    model.count(train)
    losses = {k: by_dictionary(known, 2, k, train, val) for k in (1e-4, 0.03, 0.3, 3.0)}
    best = model.choose_smoothing(val, tuple(losses))
    assert best == min(losses, key=losses.get) and best not in (1e-4, 3.0)
    assert loss_of(model, val) == pytest.approx(losses[best], abs=1e-6)  # float32
    assert model.choose_smoothing(train, tuple(losses)) == 1e-4


@pytest.mark.day(18)
def test_a_gradient_finds_what_counting_finds():
    """The shares counted are the minimum of the loss, so gradient descent ends there, from above: within 1e-3 nats.

    Not exactly there: a pair never seen has the logit -inf at the minimum.
    """
    known = made_up()
    model = Bigram(known.vocab_size)
    for _ in fit(model, model.data(known, known.train), Recipe(300, 2048, 0.3, 0.0, warmup=10)):
        pass
    assert -1e-6 < gradient_gap(model, known) < 1e-3  # below 0 only by rounding
    shares, counted = model.weight.softmax(dim=1), Counts(known.vocab_size, 1, smoothing=0.0)
    counted.count(counted.data(known, known.train))
    seen = counted.table.sum(dim=1) > 0
    expected = counted.table / counted.table.sum(dim=1, keepdim=True)
    torch.testing.assert_close(shares[seen], expected[seen], rtol=0, atol=0.05)  # batches are a sample


@pytest.mark.day(17)
def test_the_lectures_bigram(repo_root):
    """Add-one on makemore's file, to the four digits that the lectures' split gives (half a unit of the last: 5e-5)."""
    path = repo_root / "data" / "names-makemore" / "names.txt"
    if not path.exists():
        pytest.skip("no data/names-makemore; to measure on the lectures' file: make data/names-makemore")
    known = load(path)
    model = Counts(known.vocab_size, 1, smoothing=1.0)
    model.count(model.data(known, known.train))
    for part, loss in (("train", 2.4548), ("val", 2.4533), ("test", 2.4584)):
        assert loss_of(model, model.data(known, getattr(known, part))) == pytest.approx(loss, abs=5e-5)


@pytest.mark.day(18)
def test_a_gradient_finds_the_real_bigram(repo_root):
    """On the first 1,000 real names, too: within 1e-3 nats of the counts."""
    path = repo_root / "data" / "names" / "names.txt"
    if not path.exists():
        pytest.skip("no data/names; to run this test: make data/names")
    known = load(path)
    known = Names(known.train[:1000], known.val, known.test)
    model = Bigram(known.vocab_size)
    for _ in fit(model, model.data(known, known.train), Recipe(400, 8192, 0.3, 0.0, warmup=10)):
        pass
    assert -1e-6 < gradient_gap(model, known) < 1e-3
