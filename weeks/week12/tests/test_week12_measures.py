"""Day 84: what is read off the runs. By hand, and against definitions written out."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lora import LoRAConfig, attach, parameters
from lora.measures import amplification, directions, forgot_at, frontier, overlap, rank_for, training_bytes
from torch import nn
from week12_models import Net, tiny, tokens

pytestmark = pytest.mark.day(84)

POINTS = [(0.1, 0.1), (0.2, 0.05), (0.4, 0.3), (0.3, 0.4), (0.4, 0.5), (0.6, 0.9)]
pairs = st.tuples(st.integers(-3, 5), st.integers(-3, 5))


def test_the_frontier_by_hand():
    """(0.1, 0.1) loses to (0.2, 0.05) on both counts, (0.3, 0.4) and (0.4, 0.5) to (0.4, 0.3)."""
    assert frontier(POINTS) == [(0.2, 0.05), (0.4, 0.3), (0.6, 0.9)]
    assert frontier([(0.5, 0.2), (0.5, 0.2)]) == [(0.5, 0.2)]
    assert frontier([]) == []


@given(st.lists(pairs, max_size=12))
def test_the_frontier_is_what_nothing_beats(points):
    """Against the definition, pair by pair; the order of the points does not matter."""
    beaten = lambda p: any(q != p and q[0] >= p[0] and q[1] <= p[1] for q in points)
    assert frontier(points) == sorted({p for p in points if not beaten(p)}) == frontier(points[::-1])


def test_forgetting_at_equal_learning():
    """On a corner it is the point's, between two on the straight line, before the first on the way from the base."""
    assert forgot_at(POINTS, 0.4) == pytest.approx(0.3, abs=1e-12)
    assert forgot_at(POINTS, 0.5) == pytest.approx(0.6, abs=1e-12)
    assert forgot_at(POINTS, 0.1) == pytest.approx(0.025, abs=1e-12)
    assert forgot_at(POINTS, 0.61) is None
    assert forgot_at([(-0.2, -0.1), (0.4, 0.2)], 0.2) == pytest.approx(0.1, abs=1e-12)  # what unlearned counts for none


def test_directions_by_hand():
    """Squares 64, 25, 9, 1, 1 of singular values 8, 5, 3, 1, 1: 64 %, 89 %, 98 %, 99 %, 100 %."""
    g = torch.Generator().manual_seed(0)
    U, V = (torch.linalg.qr(torch.randn(n, 5, generator=g, dtype=torch.float64))[0] for n in (9, 6))
    change = U @ torch.diag(torch.tensor([8.0, 5, 3, 1, 1], dtype=torch.float64)) @ V.T
    assert [directions(change, share) for share in (0.6, 0.65, 0.88, 0.9, 0.985, 1.0)] == [1, 2, 2, 3, 4, 5]
    assert directions(torch.zeros(4, 3)) == 0
    # Exactly half is held by the first of two equal ones.
    assert directions(torch.eye(2), 0.5) == 1


def test_overlap_is_one_of_equal_and_zero_of_foreign_directions():
    """Rows of a unit matrix are directions; float64, 1e-12. A random pair has about max(i, j) / in of it."""
    rows = torch.diag(torch.tensor([4.0, 3, 2, 1, 0.5, 0.1]))
    assert overlap(rows, rows, 2, 2) == pytest.approx(1, abs=1e-12)
    assert overlap(rows, rows, 1, 4) == pytest.approx(1, abs=1e-12)
    assert overlap(rows, rows.flip(0).flip(1), 3, 3) == pytest.approx(0, abs=1e-12)
    swapped = torch.diag(torch.tensor([3.0, 4, 2, 1, 0.5, 0.1]))
    assert overlap(rows, swapped, 1, 1) == pytest.approx(0, abs=1e-12)
    assert overlap(rows, swapped, 2, 2) == pytest.approx(1, abs=1e-12)
    g = torch.Generator().manual_seed(0)
    draw = lambda: torch.randn(8, 200, generator=g)
    found = sum(overlap(draw(), draw(), 8, 4) for _ in range(40)) / 40
    assert found == pytest.approx(8 / 200, rel=0.2)  # 40 draws of 32 squares each: about 4 % of error


def test_amplification_by_hand():
    """A weight of 2 in the change's direction and 7 elsewhere, a change of 3: 3 / 2. Float64, 1e-12."""
    weight, change = torch.diag(torch.tensor([7.0, 2, 7])), torch.diag(torch.tensor([0.0, 3, 0]))
    assert amplification(change, weight, 1) == pytest.approx(1.5, abs=1e-12)
    two = torch.diag(torch.tensor([4.0, 3, 0]))
    assert amplification(two, weight, 2) == pytest.approx(5 / 53**0.5, abs=1e-12)


@pytest.mark.parametrize("targets, rank", [(("up",), 8), (("inner.down",), 5), (("up", "inner.down"), 4)])
def test_equal_parameters(targets, rank):
    """The rank whose adapter is nearest to the budget; never none at all."""
    budget = rank * {("up",): 15 + 18, ("inner.down",): 15}.get(targets, 48) + 6  # "up" is the end of "inner.up", too
    model = Net()
    assert rank_for(model, targets, budget) == rank
    attach(model, "a", LoRAConfig(rank=rank, targets=targets))
    assert abs(sum(p.numel() for p in parameters(model, "a").values()) - budget) == 6
    assert rank_for(Net(), targets, 3) == 1


def test_equal_parameters_of_a_table():
    """An embedding's adapter has a row a token and a row a feature."""
    model = nn.ModuleDict({"wte": nn.Embedding(20, 6)})
    assert rank_for(model, ("wte",), 3 * 26) == 3


@pytest.mark.parametrize("rank", [None, 2])
def test_bytes_of_a_step(rank):
    """Counted by hand: 4 bytes a number, two of AdamW's for each that learns and a step count for each tensor."""
    model = tiny()
    own = list(model.parameters())
    if rank:
        attach(model, "a", LoRAConfig(rank=rank))
        own = list(parameters(model, "a").values())
    count = sum(p.numel() for p in own)
    found = training_bytes(model, torch.optim.AdamW(own, lr=1e-3), tokens(), tokens(seed=2))
    assert found["weights"] == 4 * sum(p.numel() for p in model.parameters())
    assert found["gradients"] == 4 * count
    assert found["optimizer"] == 8 * count + 4 * len(own)


def test_activations_are_counted_once_and_without_the_weights():
    """Of two linear layers and a tanh between them: each input, and the tanh's output, which is the second's input."""

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = torch.nn.Linear(6, 10, bias=False), torch.nn.Linear(10, 4, bias=False)

        def forward(self, x, y):
            out = self.two(torch.tanh(self.one(x)))
            return out, (out * y).sum()

    model = Model()
    x, y = torch.randn(3, 6), torch.randn(3, 4)
    found = training_bytes(model, torch.optim.SGD(model.parameters(), lr=0.1), x, y)
    # x, tanh's output, and what the product with y keeps: y.
    assert found["activations"] == 4 * (3 * 6 + 3 * 10 + 3 * 4)
    assert found["optimizer"] == 0
