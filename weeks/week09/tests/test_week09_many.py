"""Day 62: thousands of pieces merged at once give the ids that they have one by one."""

from itertools import product

import bpe.fast as fast
import bpe.many as many
import numpy as np
import pytest
from bpe import Tokenizer
from bpe.many import NONE, SHORT, Merger
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.day(62)
WORDS = "the cat sat on the mat, the rat sat on the cat; banana bananas aaaa aaaaaaa naïve café 日本日本 \x00\x00\x00 "


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(WORDS * 3, 300, special_tokens=())


def one_by_one(tokenizer, pieces):
    return [[tokenizer.ranks[part] for part in fast._merge(piece, tokenizer.ranks)] for piece in pieces]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(st.binary(min_size=1, max_size=SHORT), st.text("atbn \x00é日", min_size=1, max_size=8)
                          .map(str.encode)), max_size=12))  # fmt: skip
def test_merging_at_once_equals_one_by_one(tokenizer, pieces):
    """Overlaps (aaa), zero bytes, halves of characters, pieces of one byte: the same ids in the same order."""
    assert Merger(tokenizer.ranks).merge(pieces) == one_by_one(tokenizer, pieces)


def test_tokens_of_all_lengths_are_found(tokenizer):
    """A token is one id, whatever its length; one of more than SHORT bytes cannot be in a piece and is left out."""
    ranks = tokenizer.ranks | {b"x" * SHORT: 1000, b"x" * (SHORT + 1): 1001}
    ranks |= {b"x" * n: 500 + n for n in range(2, SHORT)}
    tokens = [token for token in ranks if len(token) <= SHORT]
    assert Merger(ranks).merge(tokens) == [[ranks[token]] for token in tokens]


def test_ids_with_gaps_and_in_another_order_are_kept():
    """GPT-2's bytes have shuffled ids, and vocabularies may have gaps: an id is no position in a list."""
    ranks = {b"b": 7, b"a": 90, b"ab": 1000, b"ba": 500, b"bab": 3000}
    assert Merger(ranks).merge([b"abab", b"bab", b"a"]) == [[90, 3000], [3000], [90]]  # ba first, then ba + b


def test_a_byte_that_the_vocabulary_lacks_is_left_to_the_one_by_one_way():
    """There it becomes a sentence; an id here would be a wrong one."""
    ranks = {b"a": 0, b"b": 1, b"ab": 2}
    assert Merger(ranks).merge([b"ab", b"ac"]) is None
    text = "".join(map("".join, product("ab", repeat=9))) * (fast.LONG_TEXT // 2**9) + "acaaaaaaa"
    with pytest.raises(ValueError, match="the byte b'c' is not in this vocabulary"):
        Tokenizer(ranks, pattern="[abc]{9}").encode_ordinary(text)
    with pytest.raises(ValueError, match="the byte b'[ab]' is not in this vocabulary"):
        Tokenizer({}, pattern="[abc]{9}").encode_ordinary(text)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text("atbn ", min_size=1, max_size=8).map(str.encode), min_size=1, max_size=12))
def test_equal_hashes_never_give_ids_of_another_text(tokenizer, pieces):
    """With all powers 1 the hash is a sum of bytes, so "tab" looks like "bat": then no ids, or ids of this text."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(many, "BASE", 1)
        patch.setattr(many, "POWERS", many.POWERS * 0 + 1)
        found = Merger(tokenizer.ranks).merge(pieces)
    assert found is None or b"".join(tokenizer.decode_bytes(ids) for ids in found) == b"".join(pieces)


def test_a_long_new_text_is_merged_at_once_and_alike(tokenizer, monkeypatch):
    """Work, not seconds: where a text is long and new, no short piece is merged by itself any more."""
    text = " ".join(f"banana{i}catsat{i} naïve{i % 7}" for i in range(3_000)) + " " + "x" * 100
    expected = [i for piece in tokenizer.split(text) for i in tokenizer.encode_piece(piece)]
    alone, merge = [], fast._merge
    monkeypatch.setattr(fast, "_merge", lambda piece, *rest, **more: alone.append(piece) or merge(piece, *rest, **more))
    tokenizer._cache.clear()
    assert tokenizer.encode_ordinary(text) == expected
    assert alone == [b" " + b"x" * 100]  # longer than SHORT
    assert tokenizer.encode_ordinary(text) == expected


def test_a_long_text_of_known_pieces_asks_for_nothing(tokenizer, monkeypatch):
    """The look at the first pieces must tell a known text from a new one, or every text would pay twice."""
    text = WORDS * 1_000
    expected = tokenizer.encode_ordinary(text)
    monkeypatch.setattr(Merger, "fill", None)
    assert tokenizer.encode_ordinary(text) == expected


def test_the_cache_stays_bounded(tokenizer, monkeypatch):
    """Thousands at once must not break the bound that one at a time keeps; nor drop what did not fit."""
    monkeypatch.setattr(fast, "CACHE_PIECES", 512)
    text = " ".join(f"cat{i}" for i in range(9_000))
    assert len(tokenizer.split(text)) >= fast.LONG_TEXT
    expected = [i for piece in tokenizer.split(text) for i in tokenizer.encode_piece(piece)]
    for _ in range(2):
        assert tokenizer.encode_ordinary(text) == expected
        assert 0 < len(tokenizer._cache) <= 512


def test_every_hash_is_found_and_no_other(tokenizer):
    """A look must not end before the last token of its bucket, nor read past the end of the table."""
    merger = Merger(tokenizer.ranks)
    known = merger.hashes[: len(tokenizer.ranks)]
    assert sorted(merger.rank(known).tolist()) == sorted(tokenizer.ranks.values())
    others = np.concatenate((known + np.uint64(2**40), np.array([0, 2**64 - 1], np.uint64)))
    assert set(merger.rank(others[~np.isin(others, known)]).tolist()) == {NONE}
