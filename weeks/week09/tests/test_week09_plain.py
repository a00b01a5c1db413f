"""Days 57 to 59: byte-pair encoding as its definition."""

import pytest
from bpe import plain
from hypothesis import given, settings
from hypothesis import strategies as st

WORDS = r" ?\w+| ?[^\s\w]+|\s+"


@pytest.mark.day(57)
def test_text_becomes_utf8_bytes_in_pieces():
    """Everything rests on bytes: any text is covered by 256 symbols, and pieces never lose a byte."""
    assert plain.split("é 🙂") == [[0xC3, 0xA9, 0x20, 0xF0, 0x9F, 0x99, 0x82]]
    assert plain.split("hi you", WORDS) == [[104, 105], [32, 121, 111, 117]]


@pytest.mark.day(57)
def test_pairs_are_counted_within_pieces_and_overlapping():
    """Counting across pieces, or skipping overlaps, would learn other merges than everybody else does."""
    assert plain.count_pairs([[1, 1, 1], [2, 1, 1]]) == {(1, 1): 3, (2, 1): 1}


@pytest.mark.day(58)
def test_ties_go_to_the_smaller_ids():
    """Without a rule for ties two correct programs disagree; this is the rule that fast.py shares."""
    assert plain.best_pair({(5, 1): 3, (2, 9): 3, (2, 7): 3, (1, 1): 2}) == (2, 7)


@pytest.mark.day(58)
def test_merge_goes_from_left_to_right():
    """Three in a row can merge in two ways; the left one is the rule of every implementation."""
    assert plain.merge([1, 1, 1, 2, 1, 1], (1, 1), 9) == [9, 1, 2, 9]
    assert plain.merge([2, 1, 2, 3], (1, 2), 9) == [2, 9, 3]


@pytest.mark.day(58)
def test_the_worked_example_of_the_encyclopedia():
    """`aaabdaaabac` is the example in every text about byte-pair encoding: three merges leave five symbols."""
    merges = plain.train("aaabdaaabac", 256 + 3)
    assert list(merges) == [(97, 97), (97, 98), (256, 257)]


@pytest.mark.day(58)
def test_training_stops_when_no_pair_is_left():
    """A short text must give a small vocabulary, not an error about an empty sequence."""
    assert plain.train("", 300) == {}
    assert list(plain.train("ab", 300)) == [(97, 98)]


@pytest.mark.day(59)
def test_the_worked_example_comes_back():
    """Five symbols are left of `aaabdaaabac`, and the two steps undo each other."""
    merges = {(97, 97): 256, (97, 98): 257, (256, 257): 258}
    assert plain.encode("aaabdaaabac", merges) == [258, 100, 258, 97, 99]
    assert plain.decode([258, 100, 258, 97, 99], merges) == "aaabdaaabac"


@pytest.mark.day(59)
def test_of_two_merges_that_overlap_the_one_learned_first_is_made():
    """The t of `ath` can go to either side: a model has seen only the cut that training would have made."""
    a, t, h = b"ath"
    assert plain.encode("ath", {(t, h): 256, (a, t): 257}) == [a, 256]
    assert plain.encode("ath", {(a, t): 256, (t, h): 257}) == [256, h]


@pytest.mark.day(59)
def test_encoding_the_training_text_repeats_the_training():
    """Applying merges in their order must lead to the very pieces that training ended with."""
    text = "the cat sat on the mat, the rat sat on the cat " * 3
    merges = plain.train(text, 290, WORDS)
    pieces = plain.split(text, WORDS)
    for pair, new in merges.items():
        pieces = [plain.merge(ids, pair, new) for ids in pieces]
    assert plain.encode(text, merges, WORDS) == [i for piece in pieces for i in piece]


@pytest.fixture(scope="module")
def merges():
    return plain.train("the theory of the thing — naïve, 日本 🙂🙂", 280)


@pytest.mark.day(59)
@settings(max_examples=50, deadline=None)
@given(text=st.text())
def test_decode_undoes_encode(merges, text):
    """Any text comes back, even where the vocabulary has never seen its characters: that is what bytes buy."""
    assert plain.decode(plain.encode(text, merges), merges) == text


@pytest.mark.day(59)
def test_half_a_character_decodes_to_the_replacement_sign():
    """A model may emit any ids; decoding must not raise for bytes that are no UTF-8."""
    assert plain.decode([0xF0, 0x9F], {}) == "\ufffd"
