"""The claims of week 9: each compares what its sentence says, and nothing besides. Small text."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def week(load_script):
    """The script on made-up entries of few words: a held-out word is often new, a frequent one never."""
    script = load_script("week09", "claims")
    draw = random.Random(0)
    made = {"train": ["the stone and the river " + word(draw) for _ in range(400)],
            "val": ["the river and " + word(draw) for _ in range(60)]}  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(script, "text_of", made.__getitem__)
        patch.setattr(script, "TEXTS", 3)
        yield script


def word(draw):
    return "".join(draw.choice("aeiou") + draw.choice("bdlmnrst") for _ in range(3))


def run(week):
    return week.claims.Run(quick=False)


def every_way(week, ids, steps):
    """The most that any sequence of merges takes away, by trying all of them."""
    pairs = set(zip(ids, ids[1:]))
    if steps == 0 or not pairs:
        return 0
    after = [week.plain.merge(ids, pair, 1_000 + steps) for pair in pairs]
    return max(len(ids) - len(rest) + every_way(week, rest, steps - 1) for rest in after)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=2, max_size=8), st.integers(1, 3))
def test_the_best_merges_are_the_best_of_all(week, ids, steps):
    """The bound may save work only: nothing that is better may be cut off. Overlaps (aaa) are in here."""
    best = every_way(week, ids, steps)
    assert week.optimal(ids, steps) == best
    assert week.optimal(ids, steps, best) == best and week.optimal(ids, steps, best + 1) == best + 1


def test_greedy_merges_are_those_of_plain_and_not_always_the_best(week):
    """In cbbbcb greedy takes bb first, which overlaps with itself; then every other pair is there once."""
    text = "cbbbcb"
    tokens = week.plain.encode(text, week.plain.train(text, 256 + 2))
    assert week.greedy(list(text.encode()), 2) == len(text) - len(tokens) == 2
    assert week.optimal(list(text.encode()), 2) == 3  # cb twice, then one more
    found = week.shortened(run(week), 0)
    assert len(found) == 3 and all(0 < one <= best for one, best in found)
    assert week.shortened(run(week), 0) is found


def test_length_lies_between_words_and_characters(week):
    found = week.sennrich_length(0, run(week))
    assert 0 < found["value"] < 1 and found["tokens_a_word"] > 1
    words = len(week.vocabulary(run(week), 0)[1])
    assert found["ids"] == 256 + int(week.SHARE * words)


def test_a_word_that_was_never_seen_needs_more_tokens(week):
    """The frequent words of the made-up text are four, each one token."""
    found = week.sennrich_rare(0, run(week))
    assert found["frequent"] == 1 and found["unseen"] > 1
    assert found["value"] == found["unseen"] - found["frequent"]


def test_the_power_of_the_time_is_the_slope_between_two_numbers_of_merges(week, monkeypatch):
    """With times that are made up: recounting grows with the merges, the other not at all."""
    monkeypatch.setattr(week, "read_text", lambda path: "the cat sat on the mat " * 10)
    monkeypatch.setattr(week, "need", lambda path, made_by: path)
    monkeypatch.setattr(week, "LONG", 200)
    seconds = lambda learn, merges: (learn(merges), merges if "plain" in learn.__code__.co_names else 1.0)[1]
    monkeypatch.setattr(week, "least_seconds", seconds)
    monkeypatch.setattr(week, "FEW", 2)
    monkeypatch.setattr(week, "MANY", 8)
    found = week.zouhar_time(0, run(week))
    assert found == {"value": pytest.approx(1), "recount": pytest.approx(1), "incremental": 0}
