"""Sampling: properties that hold for any logits, transformers' filters as oracle, and one test of the distribution."""

import math

import pytest
import torch
from gpt.sampling import (
    draw,
    greedy,
    min_p_filter,
    penalise_repetition,
    sample,
    temperature_scale,
    top_k_filter,
    top_p_filter,
)
from hypothesis import given, settings
from hypothesis import strategies as st

# whole logits in a small range give many ties, which is where filters go wrong
rows = st.lists(st.integers(-6, 6).map(float), min_size=1, max_size=12).map(lambda row: torch.tensor([row]))
many = settings(max_examples=200, deadline=None, derandomize=True, database=None)


def kept(logits):
    return set(torch.isfinite(logits[0]).nonzero().flatten().tolist())


@pytest.mark.day(53)
@many
@given(rows, st.floats(0.01, 1.0))
def test_top_p_keeps_the_smallest_set_with_the_mass(logits, p):
    """The definition: mass >= p, without its least likely member < p, nothing dropped is likelier than anything kept.

    Masses are sums in float64 of float32 logits; the code sums in float32, so 1e-5 of slack on either side.
    """
    filtered = top_p_filter(logits, p)
    keep, probs = kept(filtered), logits.double().softmax(dim=-1)[0]
    masses = [probs[i].item() for i in keep]
    assert keep, "at least one token"
    assert sum(masses) >= p - 1e-5
    assert p == 1.0 or sum(masses) - min(masses) < p + 1e-5
    assert all(logits[0, i] >= logits[0, j] for i in keep for j in set(range(logits.shape[1])) - keep)
    assert all(filtered[0, i] == logits[0, i] for i in keep), "what is kept stays as it was"


@pytest.mark.day(53)
@many
@given(rows, st.integers(1, 20))
def test_top_k_keeps_the_k_likeliest_and_their_ties(logits, k):
    """k beyond the vocabulary keeps all; a tie with the k-th is kept, so that no id is favoured."""
    expected = sorted(logits[0].tolist(), reverse=True)[:k][-1]
    assert kept(top_k_filter(logits, k)) == {i for i, x in enumerate(logits[0].tolist()) if x >= expected}


@pytest.mark.day(53)
@many
@given(rows, st.floats(0.0, 1.0))
def test_min_p_keeps_what_is_likely_enough(logits, p):
    """Always the likeliest; the rest by their ratio to it, exp(x - max). 1e-5 of slack for float32 at the edge."""
    keep, row = kept(min_p_filter(logits, p)), logits[0]
    ratio = [math.exp(x - row.max().item()) for x in row.tolist()]
    assert row.argmax().item() in keep
    assert all(ratio[i] >= p - 1e-5 for i in keep)
    assert all(ratio[i] < p + 1e-5 for i in set(range(len(row))) - keep)


@pytest.mark.day(53)
@many
@given(rows, st.floats(0.05, 5.0), st.integers(1, 20), st.floats(0.01, 1.0), st.integers(0, 2**31))
def test_a_sample_lies_in_the_kept_set_and_repeats(logits, temperature, k, p, seed):
    """What is drawn must have passed every filter, and the same generator state must give the same token."""
    draw = lambda: sample(
        logits, temperature=temperature, top_k=k, top_p=p, generator=torch.Generator().manual_seed(seed)
    )
    ids = draw()
    assert ids.shape == (1,) and ids.dtype == torch.int64
    assert torch.equal(ids, draw())
    assert ids.item() in kept(top_p_filter(top_k_filter(logits / temperature, k), p))


@pytest.mark.day(53)
@many
@given(rows)
def test_zero_temperature_top_1_and_tiny_top_p_are_greedy(logits):
    """Three roads to the likeliest token; where it is unique they must meet."""
    best = greedy(logits)
    assert torch.equal(sample(logits, temperature=0), best)
    assert torch.equal(sample(logits, temperature=0, top_p=0.5, top_k=3), best)
    assert torch.equal(sample(logits, top_p=1e-6), best)
    if (logits == logits.max()).sum() == 1:
        assert torch.equal(sample(logits, top_k=1), best)


@pytest.mark.day(53)
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("k", [1, 7, 50, 1000])
def test_filters_equal_transformers(k, p):
    """The outside oracle, on logits without ties (it sorts upwards, so ties differ). Exact: only -inf is written."""
    from transformers import TopKLogitsWarper, TopPLogitsWarper

    logits = 3 * torch.randn(64, 200, generator=torch.Generator().manual_seed(k))
    assert torch.equal(top_k_filter(logits, k), TopKLogitsWarper(k)(None, logits))
    assert torch.equal(top_p_filter(logits, p), TopPLogitsWarper(p)(None, logits))


@pytest.mark.day(52)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_softmax(temperature):
    """40,000 draws: each count lies within 5 sigma of N p, sigma = sqrt(N p (1 - p)).

    For 5 tokens and 3 temperatures, a correct sampler fails with probability 15 * 6e-7 = 1e-5 - and the seed is fixed.
    """
    N, logits = 40_000, torch.tensor([2.0, 1.0, 0.0, -1.0, -3.0])
    ids = sample(logits.repeat(N, 1), temperature=temperature, generator=torch.Generator().manual_seed(1))
    probs = (logits.double() / temperature).softmax(dim=0)
    counts = torch.bincount(ids, minlength=5)
    sigma = (N * probs * (1 - probs)).sqrt()
    assert ((counts - N * probs).abs() < 5 * sigma).all()


@pytest.mark.day(53)
def test_rows_are_filtered_and_drawn_independently():
    """Each row has its own threshold: the filter of a stack is the stack of the filters."""
    logits = torch.randn(5, 9, generator=torch.Generator().manual_seed(0)) * torch.arange(1.0, 6.0)[:, None]
    for f in (lambda x: top_p_filter(x, 0.7), lambda x: top_k_filter(x, 3), lambda x: min_p_filter(x, 0.2)):
        assert torch.equal(f(logits), torch.cat([f(row[None]) for row in logits]))


@pytest.mark.day(53)
@pytest.mark.parametrize(
    "options, sentence",
    [
        (dict(temperature=-1.0), r"temperature is -1.0; give a number above 0"),
        (dict(temperature=float("nan")), r"temperature is nan"),
        (dict(top_k=0), r"top_k is 0; give a whole number of 1 or more, or None"),
        (dict(top_k=2.5), r"top_k is 2.5"),
        (dict(top_p=0.0), r"top_p is 0.0; give a mass above 0 and at most 1"),
        (dict(top_p=1.5, temperature=0), r"top_p is 1.5"),
        (dict(min_p=-0.1), r"min_p is -0.1"),
    ],
)
def test_wrong_values_are_refused(options, sentence):
    """Also at temperature 0, where the value would not be used: the next run would fail with it."""
    with pytest.raises(ValueError, match=sentence):
        sample(torch.zeros(1, 4), **options)


@pytest.mark.day(52)
@pytest.mark.parametrize("wrong", [0.0, -1.0, float("inf"), float("nan")])
def test_temperature_outside_its_range_is_refused(wrong):
    """0 means greedy in sample() alone; here it would divide by nothing."""
    with pytest.raises(ValueError, match="temperature is .*; give a number above 0"):
        temperature_scale(torch.zeros(1, 4), wrong)


@pytest.mark.day(52)
def test_greedy_and_the_same_state_of_the_generator():
    """Temperature 0 is the likeliest of each row; two generators in one state draw alike, and in another do not."""
    logits = torch.randn(200, 30, generator=torch.Generator().manual_seed(0))
    assert torch.equal(sample(logits, temperature=0), logits.argmax(dim=-1))
    first, again, other = (sample(logits, generator=torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.day(52)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_broken_logits_are_refused(bad):
    """A diverged model must not print confident nonsense, nor a torch error about probability tensors."""
    with pytest.raises(ValueError, match="nothing to draw from"):
        sample(torch.tensor([[0.0, bad, 1.0]]))
    with pytest.raises(ValueError, match="nothing to draw from"):
        sample(torch.full((1, 3), -torch.inf))
    with pytest.raises(ValueError, match=r"shape \(4,\); give \(batch, vocabulary\)"):
        sample(torch.zeros(4))
    with pytest.raises(ValueError, match="in sample"):
        temperature_scale(torch.zeros(1, 4), 0.0)


@pytest.mark.day(52)
def test_a_uniform_number_picks_the_token_whose_mass_it_falls_in():
    """Masses 0.25, 0, 0.5, 0.25 cut the line at 0.25 and 0.75; the token without mass is never drawn, 0 and the largest
    float32 below 1 stay inside."""
    probs = torch.tensor([[0.25, 0.0, 0.5, 0.25]])
    numbers = [0.0, 0.2, 0.25, 0.7, 0.75, 1 - 2**-24]
    assert draw(probs.repeat(6, 1), torch.tensor(numbers)).tolist() == [0, 0, 2, 2, 3, 3]
    halves = draw(0.5 * probs.repeat(6, 1), torch.tensor(numbers))
    assert halves.tolist() == [0, 0, 2, 2, 3, 3], "a mass of 0.5 in all is cut at the same places"
    logits = probs.log().repeat(6, 1)
    assert sample(logits, uniform=torch.tensor(numbers)).tolist() == [0, 0, 2, 2, 3, 3]
    alone = [sample(logits[:1], uniform=torch.tensor([u])).item() for u in numbers]
    assert alone == [0, 0, 2, 2, 3, 3], "what a row draws does not depend on its neighbours"


@pytest.mark.day(53)
@pytest.mark.parametrize("penalty", [0.5, 1.0, 1.3])
def test_the_repetition_penalty_equals_transformers(penalty):
    """Exact: the same divisions and products. Ids that repeat count once; -1 fills up a shorter row."""
    processors = pytest.importorskip("transformers.generation.logits_process")
    logits = torch.randn(2, 9, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[3, 3, 5, 0], [8, 1, 3, 3]])
    expected = processors.RepetitionPenaltyLogitsProcessor(penalty)(ids, logits.clone())
    before = logits.clone()
    assert torch.equal(penalise_repetition(logits, ids, penalty), expected) and torch.equal(logits, before)
    padded = torch.tensor([[3, 5, 0, -1], [8, 1, 3, -1]])
    assert torch.equal(penalise_repetition(logits, padded, penalty), expected)


@pytest.mark.day(53)
@pytest.mark.parametrize("penalty", [0.0, -1.0, float("inf"), float("nan")])
def test_a_wrong_repetition_penalty_is_refused(penalty):
    with pytest.raises(ValueError, match="repetition_penalty is .*1 changes nothing"):
        penalise_repetition(torch.zeros(1, 2), torch.tensor([[0]]), penalty)
