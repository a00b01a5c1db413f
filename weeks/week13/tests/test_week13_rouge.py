"""ROUGE-L: values by hand, and the common subsequence against one found by trying all of them."""

from itertools import combinations

import pytest
from continual.rouge import longest_common, rouge_l
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.day(87)


@pytest.mark.parametrize(
    ("answer", "gold", "want"),
    [
        ("police killed the gunman", "police kill the gunman", 3 / 4),  # the example of Lin 2004, section 3.1
        ("the gunman kill police", "police kill the gunman", 2 / 4),
        ("a b c d", "a c", 2 * 2 / 6),
        ("positive", "positive", 1.0),
        ("Positive", "positive", 0.0),  # case counts
        ("yes.", "yes", 2 / 3),  # a full stop is a token
        ("", "yes", 0.0),
        ("", "", 0.0),
        ("el niño", "el niño duerme", 4 / 5),  # letters of other languages are letters
        ("a_b", "a b", 2 * 2 / 5),
    ],
)
def test_values_by_hand(answer, gold, want):
    assert rouge_l(answer, gold) == pytest.approx(want)


@given(st.text("abc", max_size=7), st.text("abc", max_size=7))
@settings(max_examples=200, deadline=None)
def test_the_longest_is_the_longest(a, b):
    """Every subsequence of both, by brute force."""
    subs = lambda s: {c for n in range(len(s) + 1) for c in combinations(s, n)}  # noqa: E731
    assert longest_common(a, b) == max(map(len, subs(a) & subs(b)))
