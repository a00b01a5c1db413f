"""Which rows a step reads: a pure function of the step, with rows and context that grow."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nanogpt.feed import Feed, shorter
from nanogpt.train import TrainConfig
from nanogpt.vendor.continual.loop import Shuffle
from nanogpt.vendor.continual.rows import Rows, all_judged


def numbered(n, length=8):
    """n rows of length + 1 ids; a row's first id tells its number."""
    return all_judged(torch.arange(n)[:, None] * 100 + torch.arange(length + 1)[None])


def feed(rows=None, **settings):
    return Feed(numbered(50) if rows is None else rows, TrainConfig(**{"steps": 20, "batch_size": 6, **settings}))


def numbers(rows):
    return (rows.ids[:, 0] // 100).tolist()


@pytest.mark.day(96)
def test_without_growth_it_is_the_shuffle():
    """Plain training must not change by a recipe that is off; the oracle is week 13's order of rows."""
    plain, order = feed(accumulate=2), Shuffle(50, 12, seed=0)
    for step in (0, 1, 7, 19):
        assert numbers(plain.at(step)) == order.at(step).tolist()


@pytest.mark.day(96)
def test_a_batch_that_grows_skips_no_row_and_repeats_none():
    """1, 1, 2, 2, ... rows a step: within the first epoch every row comes once, in the order of the shuffle."""
    growing = feed(first_batch=1, grow=0.5)
    sizes = [len(growing.at(step)) for step in range(20)]
    assert sizes == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5] + 10 * [6]
    read = [n for step in range(20) for n in numbers(growing.at(step))]
    assert sorted(read[:50]) == list(range(50)) and len(read) == sum(sizes)
    assert read == Shuffle(50, len(read), seed=0).at(0).tolist()


@pytest.mark.day(96)
def test_rows_before_a_step_are_counted():
    """The oracle is the sum that `begin` must not need."""
    growing = feed(first_batch=2, grow=0.5, accumulate=2)
    for step in range(20):
        assert growing.begin(step) == sum(growing.size(i) for i in range(step))
    assert growing.begin(20) - growing.begin(19) == 12


@pytest.mark.day(100)
@given(st.integers(1, 40), st.integers(1, 8), st.integers(0, 8), st.floats(0, 1), st.integers(0, 3))
def test_each_step_stands_alone(steps, batch, first, grow, seed):
    """A fresh Feed gives for any step what one that has walked there gives: a resumed run needs the number alone."""
    settings = {"steps": steps, "batch_size": batch, "first_batch": min(first, batch), "grow": grow, "seed": seed}
    settings["first_context"] = 2
    walked = feed(**settings)
    batches = [walked.at(step) for step in range(steps)]
    for step in {0, steps // 2, steps - 1}:
        alone = feed(**settings).at(step)
        assert torch.equal(alone.ids, batches[step].ids) and torch.equal(alone.judged, batches[step].judged)
    assert len(batches[-1].ids[0]) <= 9


@pytest.mark.day(100)
def test_context_doubles_until_it_is_whole():
    """2, 4, 8 tokens over the first 12 of 20 steps: stages of the same length, the last one whole."""
    short = feed(first_context=2, grow=0.6)
    assert [short.context(step, 8) for step in range(20)] == 6 * [2] + 6 * [4] + 8 * [8]
    assert [short.context(step, 2) for step in (0, 19)] == [2, 2]
    assert {feed().context(step, 8) for step in range(20)} == {8}
    assert feed(first_context=3, grow=1.0).context(19, 8) == 3  # 3, then the whole: 6 of 8 would be another length


@pytest.mark.day(100)
def test_tokens_of_a_step_stay_the_same():
    """A shorter context cuts rows into more rows, it does not throw text away."""
    short = feed(first_context=2, grow=1.0)
    assert short.at(0).ids.shape == (24, 3) and short.at(12).ids.shape == (12, 5)
    assert feed().at(0).ids.shape == (6, 9)


@pytest.mark.day(100)
def test_shorter_rows_predict_each_token_once():
    """Neighbours share one token, so that every target stays a target; padding stays unjudged."""
    ids = torch.arange(18).view(2, 9)
    judged = torch.ones(2, 9, dtype=torch.bool)
    judged[:, 0], judged[1, 5:] = False, False
    cut = shorter(Rows(ids=ids, judged=judged), 4)
    assert cut.ids.tolist() == [[0, 1, 2, 3, 4], [4, 5, 6, 7, 8], [9, 10, 11, 12, 13], [13, 14, 15, 16, 17]]
    assert cut.judged[:, 1:].tolist() == [[True] * 4, [True] * 4, [True] * 4, [False] * 4]
    assert shorter(numbered(1, 8), 3).ids.tolist() == [[0, 1, 2, 3], [3, 4, 5, 6]]  # 7 and 8 fill no row
