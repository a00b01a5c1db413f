"""Day 71: duplicates out. Hashes against a plain form, MinHash against Jaccard, recall against the curve."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pretrain.data import dedup, planted

pytestmark = pytest.mark.day(71)
WORDS = [f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in "lmnrst"]


def made_up(count, words=120, seed=0):
    """Texts of random words: any two of them have next to no five words in a row in common."""
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=words)) for _ in range(count)]


@given(st.text(alphabet="aB9 .,\né一", max_size=80))
def test_shingles_at_once_equal_shingles_word_by_word(text):
    assert np.array_equal(dedup.shingles(text), dedup.shingles_plain(text))


def test_shingles_see_words_alone():
    """Case, punctuation and blanks do not matter; words and their order do. Seven words are three shingles."""
    a = dedup.shingles("The fox, the dog; AND the cat.")
    assert len(a) == 3 and np.array_equal(a, dedup.shingles("  the fox the dog\nand --- the cat"))
    assert not np.isin(a, dedup.shingles("cat the and dog the fox the")).any()
    assert len(dedup.shingles("")) == len(dedup.shingles("two words")) == 1


def test_the_similarity_of_two_texts_by_hand():
    """Six words are two shingles. Another last word leaves one of them: one shared, three in all."""
    assert dedup.jaccard("a b c d e f", "a b c d e f") == 1.0
    assert dedup.jaccard("a b c d e f", "a b c d e g") == pytest.approx(1 / 3)  # a float's rounding
    assert dedup.jaccard("a b c d e f", "f e d c b a") == 0.0
    assert dedup.jaccard("a b c d e", "a b c d e f g") == pytest.approx(1 / 3)  # the shorter text is inside the longer


def test_equal_minima_estimate_the_similarity():
    """With 4,000 functions the share of equal minima is within 0.04, five standard deviations, of the true Jaccard."""
    text = made_up(1)[0]
    rng = np.random.default_rng(0)
    for share in (0.0, 0.02, 0.1):
        other = planted.edit(text, share, rng)
        a, b = (dedup.minhash(dedup.shingles(t), count=4000) for t in (text, other))
        assert abs((a == b).mean() - dedup.jaccard(text, other)) < 0.04
    assert (a == b).mean() < 0.9  # the last one was far from equal


def test_long_texts_are_hashed_in_parts():
    """Minima over all shingles equal the least of the minima over their halves."""
    hashes = dedup.shingles(" ".join(made_up(50)))
    halves = [dedup.minhash(part) for part in (hashes[:3000], hashes[3000:])]
    assert len(hashes) > 5000 and np.array_equal(dedup.minhash(hashes), np.minimum(*halves))


def test_planted_duplicates_are_found_as_often_as_the_bands_promise():
    """All exact copies; near ones with a similarity of 0.8 or more within 3 standard errors of 1 - (1 - s^8)^14."""
    found = planted.measure(made_up(400))
    error = (found.expected * (1 - found.expected) / found.pairs) ** 0.5
    assert found.pairs > 100 and found.exact_recall == 1.0
    assert abs(found.recall - found.expected) < 3 * error and found.recall > 0.95
    assert found.false_positives == 0.0


def test_the_curve_of_the_bands():
    """By hand: 1 - (1 - 0.5^8)^14 is 0.053; FineWeb's paper gives 77 % for 0.75 and 92.4 % for 0.8."""
    assert dedup.chance(0.5) == pytest.approx(0.0533, abs=1e-4)
    assert dedup.chance(0.75) == pytest.approx(0.77, abs=0.01)  # the paper rounds to whole per cents
    assert dedup.chance(0.8) == pytest.approx(0.924, abs=0.001)
    assert dedup.chance(1.0) == 1.0


@given(st.lists(st.sampled_from([0, 1, 7, 2**62, 2**63, 2**64 - 1]), max_size=30), st.integers(1, 8))
def test_repeats_are_found_whatever_is_sorted_at_a_time(values, at_once):
    seen, wanted = set(), []
    for value in values:
        wanted.append(value in seen)
        seen.add(value)
    assert dedup.repeated(np.array(values, np.uint64), at_once).tolist() == wanted


def test_the_first_of_a_group_stays_and_says_why_the_others_go():
    a, b = made_up(2)
    near = a.replace(a.split()[60], "zzz", 1)
    texts = [a, b, a, near, b]
    exact, near = dedup.duplicates(dedup.keys(texts))
    assert exact.tolist() == [False, False, True, False, True]
    assert near.tolist() == [False, False, False, True, False]


def test_capitals_make_a_near_copy_and_no_exact_one():
    """Bands see words alone; the exact hash sees every byte."""
    (a,) = made_up(1)
    exact, near = dedup.duplicates(dedup.keys([a, a.upper()]))
    assert exact.tolist() == [False, False] and near.tolist() == [False, True]


def test_hashes_are_the_same_in_every_process():
    """Python's own hash of a string changes from process to process; those of two workers must agree."""
    assert dedup.exact("a text") == 5830437876521264211
    assert int(dedup.keys(["one two three four five six"]).sum()) == 17883895177488047430
