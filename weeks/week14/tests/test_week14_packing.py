"""Rows packed: the same states and the same gradient from fewer tokens, whatever the rows have in common."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nanogpt.answers import AnswerLearner
from nanogpt.model import GPT, GPTConfig
from nanogpt.packing import Packing
from nanogpt.vendor.continual.learner import Learner
from nanogpt.vendor.continual.rows import Rows

pytestmark = pytest.mark.day(98)

SHAPE = {"block_size": 16, "n_layer": 2, "n_head": 4, "n_embd": 16}
MODELS = {
    "llama": GPTConfig(3, n_kv_head=2, **SHAPE),
    "llama, no sharing of heads": GPTConfig(3, **SHAPE),
    "gpt2": GPTConfig.gpt2(3, **SHAPE),
}
TEXTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), min_size=1, max_size=5)


def padded(rows):
    """Lists of ids as (B, T), with 0 behind a row's end, and their lengths."""
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
    return ids, [len(row) for row in rows]


def model_of(name):
    torch.manual_seed(0)
    model = GPT(MODELS[name])
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(3)  # so that a wrong neighbour shows
    return model


@given(TEXTS)
@example([[1], [1]])
@example([[0, 0, 1], [0, 0], [0, 0, 1, 2], [2]])
def test_every_token_is_there_once(rows):
    """`place` finds each token of each row; the tokens are as many as the rows have different beginnings."""
    ids, lengths = padded(rows)
    packing = Packing(ids, lengths)
    for place, row in zip(packing.place, rows):
        assert packing.ids[place[: len(row)]].tolist() == row
        assert packing.positions[place[: len(row)]].tolist() == list(range(len(row)))
        assert not place[len(row) :].any()
    assert len(packing.ids) == len({tuple(row[: i + 1]) for row in rows for i in range(len(row))})


@settings(max_examples=25)
@pytest.mark.parametrize("name", MODELS)
@given(rows=TEXTS)
def test_states_are_those_of_each_row_alone(name, rows):
    """Neither another row nor padding reaches a token: the oracle is the model on one row at a time."""
    model = model_of(name)
    packing = Packing(*padded(rows))
    with torch.no_grad():
        states = model.hidden(packing.ids[None], positions=packing.positions[None], packing=packing)[0]
        for place, row in zip(packing.place, rows):
            alone = model.hidden(torch.tensor([row]))[0]
            # float32 sums in another order, of states of size about 1
            torch.testing.assert_close(states[place[: len(row)]], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_gradient_of_shared_beginnings(name):
    """A shared token gets what all its rows send back: loss and gradient of the padded rows, all logits computed."""
    rows = [[0, 1, 2, 2, 1], [0, 1, 2, 0], [0, 1, 1, 1, 1, 2, 0], [0, 1, 2, 2, 1], [2, 1, 0]]
    ids, lengths = padded(rows)
    judged = torch.zeros_like(ids, dtype=torch.bool)
    for i, n in enumerate(lengths):
        judged[i, max(1, n - 1 - i) : n] = True
    judged[3, 1:] = False  # a row with nothing to judge costs nothing
    model, rows = model_of(name).double(), Rows(ids=ids, judged=judged)
    want, got = Learner(model).gradient(rows), AnswerLearner(model).gradient(rows)
    # float64, but RMSNorm and the loss compute in float32 as Llama does: its rounding, 1e-7, through two layers
    torch.testing.assert_close(AnswerLearner(model).loss(rows), Learner(model).loss(rows), rtol=1e-5, atol=0)
    for key, gradient in want.items():
        torch.testing.assert_close(got[key], gradient, rtol=1e-3, atol=1e-5)


def test_what_rows_share_is_computed_once():
    """Four prompts of 9 tokens, 6 of them the same, are 6 + 4 x 3 tokens."""
    start = [1, 2, 0, 2, 1, 0]
    packing = Packing(*padded([[*start, i % 3, i // 3, 1] for i in range(4)]))
    assert len(packing.ids) <= 6 + 4 * 3
    assert [own for _, own in packing.rows] == [9, 3, 3, 2]  # 0 begins the tail of the fourth row and the first
