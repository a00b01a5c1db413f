"""Memories: how many rows they keep, which ones, and that a stopped memory goes on as if it had not been stopped."""

import json
from unittest import mock

import pytest
import torch
from continual.kmeans import kmeans
from continual.memory import MEMORIES, Balanced, KMeans, Reservoir
from continual.rows import Rows
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

pytestmark = pytest.mark.day(87)

RANDOM = ("reservoir", "balanced")  # they draw uniformly; k-means chooses


def numbered(start, n):
    """Rows (n, 2) that can be told apart."""
    return Rows(ids=torch.stack([torch.arange(start, start + n)] * 2, dim=1))


def embed(rows):
    """Where a row lies, for a memory that looks: on a circle."""
    angle = rows.ids[:, :1].double() / 50
    return torch.cat([angle.cos(), angle.sin()], dim=1)


def through_files(state):
    """A state as it comes back from safetensors and JSON: the two things that a checkpoint is made of."""
    tensors = {k: v for k, v in state.items() if isinstance(v, torch.Tensor)}
    rest = {k: v for k, v in state.items() if k not in tensors}
    return {**load_tensors(save_tensors(tensors)), **json.loads(json.dumps(rest))}


@pytest.mark.parametrize("kind", RANDOM)
@pytest.mark.parametrize("pieces", [(1000,), (10, 300, 690)], ids=["at once", "in pieces"])
def test_every_row_seen_is_kept_equally_often(kind, pieces):
    """Algorithm R and the random keys promise a uniform sample. Off-by-one errors favour the first or the last rows.

    Over `trials` runs, a tenth of the rows (100) holds on average a tenth of the budget (10). Drawing 100 of 1000
    without replacement, its count has variance 100 * .1 * .9 * 900/999 = 8.1, so the mean of 200 runs has sigma .201.
    """
    trials, counts = 200, torch.zeros(10)
    for seed in range(trials):
        memory = MEMORIES[kind](100, seed)
        start = 0
        for n in pieces:
            memory.add("a", numbered(start, n))
            start += n
        counts += torch.bincount(memory.rows.ids[:, 0] // 100, minlength=10)
    assert counts.sum() == 100 * trials
    sigma = (8.1 / trials) ** 0.5
    assert ((counts / trials - 10).abs() < 4.5 * sigma).all(), counts  # 10 cells: 1 false alarm in 15,000 seeds


@pytest.mark.parametrize("kind", RANDOM)
@pytest.mark.parametrize("piece", [1, 3], ids=["one by one", "at once"])
def test_three_rows_for_one_place(kind, piece):
    """Small numbers show an off-by-one that a thousand rows hide: each of 3 rows must win the only place in a third.

    3,000 seeds: 1,000 each, sigma sqrt(3000 * 1/3 * 2/3) = 25.8.
    """
    wins = torch.zeros(3)
    for seed in range(3000):
        memory = MEMORIES[kind](1, seed)
        for start in range(0, 3, piece):
            memory.add("a", numbered(start, piece))
        wins[memory.rows.ids[0, 0]] += 1
    assert ((wins - 1000).abs() < 4.5 * 25.8).all(), wins


def test_reservoir_follows_the_stream_balanced_follows_the_tasks():
    """The defining difference: after 900 rows of one task and 100 of another, 90:10 against 50:50."""
    kept = {}
    for kind in RANDOM:
        memory = MEMORIES[kind](100, seed=1)
        memory.add("long", numbered(0, 900))
        memory.add("short", numbered(900, 100))
        kept[kind] = memory.counts()
    assert kept["balanced"] == {"long": 50, "short": 50}
    assert abs(kept["reservoir"]["short"] - 10) < 4.5 * 8.1**0.5  # hypergeometric, as above: sigma 2.85


@given(st.integers(0, 30), st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 40)), max_size=8))
@settings(max_examples=60, deadline=None)
def test_budget_and_origin_hold_for_any_stream(budget, stream):
    """Whatever comes, in whatever pieces: never more than the budget, no row twice, each still with its own task."""
    for cls in MEMORIES.values():
        memory, start, owner = cls(budget, 0), 0, {}
        for name, n in stream:
            memory.add(name, numbered(start, n), embed)
            owner |= {i: name for i in range(start, start + n)}
            start += n
        seen = {name: sum(o == name for o in owner.values()) for name in dict.fromkeys(owner.values())}
        kept = [] if memory.rows is None else memory.rows.ids[:, 0].tolist()
        assert len(kept) == len(set(kept)) == len(memory) <= budget
        assert [owner[i] for i in kept] == memory.tasks
        if cls is Reservoir:
            assert len(memory) == min(budget, start)
        else:
            share, rest = divmod(budget, max(1, len(seen)))
            want = {name: min(n, share + (i < rest)) for i, (name, n) in enumerate(seen.items())}
            assert memory.counts() == {name: n for name, n in want.items() if n}


def test_balanced_gives_each_task_the_room_that_the_docstring_says():
    """A budget of 10 over three tasks is 4, 3, 3; the rows kept of the first were kept before: nothing comes back."""
    memory = Balanced(10, seed=0)
    before = None
    for name, start in (("a", 0), ("b", 100), ("c", 200)):
        memory.add(name, numbered(start, 50), embed)
        own = {i for i in memory.rows.ids[:, 0].tolist() if i < 50}
        assert before is None or own <= before
        before = own
    assert memory.counts() == {"a": 4, "b": 3, "c": 3}


@pytest.mark.parametrize("kind", MEMORIES)
def test_budget_zero_draws_nothing(kind):
    """A memory of no rows is legal, keeps nothing, and leaves its generator alone: the exam's zero point."""
    memory = MEMORIES[kind](0, seed=3)
    before = memory.generator.get_state()
    memory.add("a", numbered(0, 10), embed)
    assert len(memory) == 0 and memory.sample(4) is None
    assert torch.equal(memory.generator.get_state(), before)
    MEMORIES[kind](0, seed=4).load(through_files(memory.state()))


@pytest.mark.parametrize("kind", MEMORIES)
def test_random_numbers_are_its_own(kind):
    """A memory that drew from torch's global generator would change dropout, and with it every comparison."""
    torch.manual_seed(0)
    before = torch.get_rng_state()
    memory = MEMORIES[kind](5, seed=0)
    memory.add("a", numbered(0, 100), embed)
    first = memory.sample(8)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    again = MEMORIES[kind](5, seed=0)
    again.add("a", numbered(0, 100), embed)
    assert torch.equal(first.ids, again.sample(8).ids)


@pytest.mark.parametrize("kind", MEMORIES)
def test_a_loaded_memory_goes_on_bit_for_bit(kind):
    """State through safetensors and JSON: same rows, same later draws, same later choices; and a snapshot stays one."""
    memory = MEMORIES[kind](20, seed=5)
    memory.add("a", numbered(0, 100), embed)
    memory.sample(3)
    state = memory.state()
    snapshot = state["rows.ids"].clone()
    twin = MEMORIES[kind](20, seed=6)
    twin.load(through_files(state))
    for m in (memory, twin):
        m.add("b", numbered(100, 70), embed)
    assert torch.equal(memory.sample(50).ids, twin.sample(50).ids)
    assert memory.tasks == twin.tasks and torch.equal(memory.rows.ids, twin.rows.ids)
    assert torch.equal(state["rows.ids"], snapshot) and state["tasks"] == ["a"] * 20, "the snapshot changed later"


@pytest.mark.parametrize("kind", MEMORIES)
def test_the_memory_owns_its_rows(kind):
    """Rows changed by the caller afterwards, or slices that hold a whole data set alive, must not reach the memory."""
    rows = numbered(0, 8)
    memory = MEMORIES[kind](100, seed=0)
    memory.add("a", rows, embed)
    rows.ids.fill_(-1)
    assert memory.rows.ids.min() == 0
    assert memory.rows.ids.untyped_storage().nbytes() == memory.rows.ids.nbytes


def test_kmeans_keeps_the_middle_of_every_cluster():
    """Two clusters of 30 rows and one of 60, each a short arc: of 8 places they get 2, 2 and 4, and each its middle."""
    starts, sizes = (0, 1000, 2000), (30, 30, 60)
    rows = Rows(ids=torch.cat([numbered(start, n).ids for start, n in zip(starts, sizes)]))
    place = lambda rows: torch.tensor([[i // 1000 * 2 + i % 1000 / 600] for i in rows.ids[:, 0].tolist()])  # noqa: E731
    arc = lambda rows: torch.cat([place(rows).cos(), place(rows).sin()], dim=1)  # noqa: E731
    memory = KMeans(8, seed=0)
    with mock.patch("continual.memory.CLUSTERS", 3):
        memory.add("a", rows, arc)
    kept = memory.rows.ids[:, 0]
    for start, n, share in zip(starts, sizes, (2, 2, 4)):
        own = kept[kept // 1000 == start // 1000] - start
        assert len(own) == share and (own - n / 2).abs().max() <= share, own


def test_kmeans_finds_heaps_that_lie_apart():
    """Any way to k-means must find three heaps that lie far apart: the best inertia is that of the heaps."""
    g = torch.Generator().manual_seed(0)
    points = torch.cat([torch.randn(20, 2, generator=g) + torch.tensor(c) for c in ([0.0, 90], [90, 0], [-90, 0])])
    best = min(inertia(points, *kmeans(points, 3, torch.Generator().manual_seed(seed))) for seed in range(5))
    heaps = points.view(3, 20, 2)
    want = ((heaps - heaps.mean(dim=1, keepdim=True)) ** 2).sum()
    assert best == pytest.approx(want.item(), rel=1e-5)  # float32 sums of 60 squares


def inertia(points, labels, centres):
    return ((points - centres[labels]) ** 2).sum().item()


def test_sample_reaches_every_row_equally():
    """Drawing is uniform: 4 rows, 40,000 draws, each 10,000 with sigma sqrt(40000 * 1/4 * 3/4) = 87."""
    memory = Balanced(4, seed=0)
    memory.add("a", numbered(0, 4), embed)
    counts = torch.bincount(memory.sample(40_000).ids[:, 0], minlength=4)
    assert (counts - 10_000).abs().max() < 4.5 * 87


def test_refusals_are_sentences():
    """Wrong budgets, rows of another length and a state of another budget each say what to do."""
    with pytest.raises(ValueError, match="memory of -1 rows cannot be; use 0"):
        Reservoir(-1)
    with pytest.raises(ValueError, match="a k-means memory .*; give embed"):
        KMeans(4).add("a", numbered(0, 4))
    memory = Balanced(4)
    memory.add("a", numbered(0, 4), embed)
    with pytest.raises(ValueError, match=r"\(3,\)} cannot lie beside rows of shape .*\(2,\)}.*one length"):
        memory.add("b", Rows(ids=torch.zeros(5, 3, dtype=torch.long)))
    with pytest.raises(ValueError, match="memory of 4 rows, but this one has 9; build it with budget=4"):
        Balanced(9).load(memory.state())


@pytest.mark.parametrize(
    ("kind", "broken"),
    [
        ("reservoir", {"tasks": ["a"] * 3}),
        ("reservoir", {"seen": 3}),
        ("balanced", {"tasks": ["a"] * 3, "keys": torch.zeros(3)}),
        ("balanced", {"names": ["b"]}),
        ("kmeans", {"keys": torch.zeros(3)}),
    ],
)
def test_a_state_that_does_not_hold_together_is_refused(kind, broken):
    """Rows without a task, or of a task that is not counted, would be lost without a word when the next one comes."""
    memory = MEMORIES[kind](4)
    memory.add("a", numbered(0, 9), embed)
    with pytest.raises(ValueError, match="load it as it was written"):
        MEMORIES[kind](4).load(memory.state() | broken)
