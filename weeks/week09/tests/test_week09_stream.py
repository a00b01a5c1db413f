"""Day 62: text that is shown while its tokens come."""

import pytest
from bpe import Tokenizer
from bpe.stream import decode_stream
from hypothesis import example, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.day(62)


@pytest.fixture(scope="module")
def single():
    """Each byte is a token, so every character beyond ASCII is cut up."""
    return Tokenizer({bytes([byte]): byte for byte in range(256)})


def cut(content, sizes):
    """(a tokenizer, ids) that cut bytes into tokens of these sizes, the last one again and again."""
    tokens, at = [], 0
    while at < len(content):
        size = sizes[min(len(tokens), len(sizes) - 1)]
        tokens.append(content[at : at + size])
        at += size
    ranks = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    return Tokenizer(ranks), [ranks[token] for token in tokens]


CONTENT = st.one_of(st.binary(max_size=40), st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace")),
                    st.text("aé日🙂", max_size=9).map(lambda text: text.encode()[1:-1]))  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(CONTENT, st.lists(st.integers(1, 5), min_size=1, max_size=8))
@example(b"\xf0\x9f\x99", [1])  # a character that never becomes whole
@example(b"\xf0\x9fA\xc3", [2, 1])  # one that is broken off by another
@example(b"\xed\xa0\x80", [1])  # a surrogate written as UTF-8, which is none
def test_the_pieces_joined_are_the_whole_decoded(content, sizes):
    """However bytes are cut into tokens, and whether they are UTF-8 or not: what was shown is what decode gives."""
    tokenizer, ids = cut(content, sizes)
    pieces = list(decode_stream(tokenizer, ids))
    assert "".join(pieces) == tokenizer.decode(ids)
    assert all(pieces), "an empty piece was shown"


@settings(max_examples=200, deadline=None)
@given(st.text("aé日🙂 ", max_size=12))
def test_a_character_is_shown_with_its_last_byte(single, text):
    """Neither earlier, as U+FFFD, nor later: a reader waits for no more than the bytes of one character."""
    taken = []

    def ids():
        for i in single.encode_ordinary(text):
            taken.append(i)
            yield i

    shown = ""
    for piece in decode_stream(single, ids()):
        shown += piece
        assert shown.encode() == bytes(taken)
    assert shown == text


def test_an_id_that_the_vocabulary_lacks_gets_a_sentence(single):
    """What is known is shown before: the error comes at its place."""
    pieces = decode_stream(single, [104, 105, 300])
    assert [next(pieces), next(pieces)] == ["h", "i"]
    with pytest.raises(ValueError, match="the id 300 is not in this vocabulary"):
        next(pieces)
