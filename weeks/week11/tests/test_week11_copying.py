"""Day 77: the longest run that a text shares with the training text, against the plainest search there is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pretrain.evaluation import copying
from pretrain.evaluation.copying import Hashes, grown, longest_copy, memorised, read_chunks

pytestmark = pytest.mark.day(77)


def plainly(text, training):
    """The length of the longest common run of bytes, by the table of all pairs of places (dynamic programming)."""
    a, b, best = text.encode(), training, 0
    row = [0] * (len(b) + 1)
    for x in a:
        row = [0, *(row[j] + 1 if x == y else 0 for j, y in enumerate(b))]
        best = max(best, *row)
    return best


@given(st.text("ab", min_size=1, max_size=30), st.lists(st.text("ab", max_size=25), max_size=5), st.integers(1, 9))
@settings(max_examples=80, deadline=None)
def test_it_is_the_longest_common_run(text, parts, size):
    """Two letters only, so that common runs are many and long; the training text in pieces of any size."""
    chunks = [part.encode() for part in parts]
    before, copying.CHUNK = copying.CHUNK, size
    try:
        found = longest_copy(text, chunks)
    finally:
        copying.CHUNK = before
    whole = b"".join(chunks)
    assert found.length == plainly(text, whole)
    assert found.text in text and found.text.encode() in whole and len(found.text) == found.length
    assert found.share == pytest.approx(found.length / len(text))


def test_a_copy_that_spans_chunks_is_found(monkeypatch):
    """A sentence cut in two by a border, in 10,000 bytes of noise."""
    monkeypatch.setattr(copying, "CHUNK", 1000)
    rng = np.random.default_rng(0)
    noise, sentence = (
        rng.integers(128, 256, 10_000, dtype=np.uint8).tobytes(),
        "It was the best of times, it was the worst.",
    )
    training = noise[:2980] + sentence.encode() + noise[2980:]
    found = longest_copy(f"He said: {sentence} Then he left.", [training])
    assert found.text == sentence and found.length == len(sentence)


@pytest.mark.parametrize(
    ("data", "chunk", "i", "j", "expected"),
    [
        (b"xabcdy", b"zabcdw", 2, 2, (1, 4)),  # to both sides, up to bytes that differ
        (b"ab", b"bab", 0, 1, (0, 2)),  # the text begins here, though its last byte would go on
        (b"bab", b"ab", 1, 0, (1, 2)),  # and here the chunk
        (b"abc", b"ab", 0, 0, (0, 2)),  # one of them ends
        (b"ab", b"abc", 1, 1, (0, 2)),
    ],
)
def test_a_run_grows_to_both_sides(data, chunk, i, j, expected):
    assert grown(data, chunk, i, j, 1) == expected


def test_the_first_copy_is_not_the_longest():
    """Every chunk is asked until it says no: "ab" comes first, and "abcd" later in the same chunk."""
    assert longest_copy("ab cd abcd", [b"ab.abcd"]).text == "abcd"


def test_equal_hashes_are_not_taken_for_equal_bytes(monkeypatch):
    """With a hash that is always the same, the bytes themselves decide."""
    monkeypatch.setattr(Hashes, "runs", lambda self, prefix, length: np.zeros(len(prefix) - length, dtype=np.uint64))
    assert longest_copy("abcd", [b"abxx"]).text in ("", "a", "b", "ab")
    assert longest_copy("q", [b"zzz"]).length == 0


def test_hashes_tell_runs_apart():
    """Of 2,000 random bytes, equal runs have equal hashes wherever they stand, and different ones differ."""
    data = np.random.default_rng(0).integers(0, 256, 2000, dtype=np.uint8).tobytes()
    hashes = Hashes()
    twice = hashes.runs(hashes.prefix(data + data), 7)
    assert (twice[:1993] == twice[2000:3993]).all() and len(set(twice[:1993].tolist())) == 1993


def test_half_a_character_shows_as_such():
    """The bytes of ä and ö begin alike: the copy is one byte, which is no character."""
    found = longest_copy("ä", ["ö".encode()])
    assert found.length == 1 and found.text == "\ufffd" and found.share == 0.5


def test_memory_depends_on_the_chunk_alone(monkeypatch):
    """4 MB in pieces of 64 KB: no array holds more than a chunk and two texts (and the powers, one more)."""
    monkeypatch.setattr(copying, "CHUNK", 2**16)
    largest = 0
    prefix = Hashes.prefix

    def watched(self, data):
        nonlocal largest
        largest = max(largest, len(data))
        return prefix(self, data)

    monkeypatch.setattr(Hashes, "prefix", watched)
    text = "nothing like it in there " * 4
    longest_copy(text, (bytes([k]) * 2**18 for k in range(16)))
    assert largest <= 2**16 + len(text)


def test_files_are_read_in_chunks(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"abcdef")
    (tmp_path / "b.txt").write_bytes(b"gh")
    assert list(read_chunks([tmp_path / "a.txt", tmp_path / "b.txt"], size=4)) == [b"abcd", b"ef", b"gh"]
    assert longest_copy("xefgx", read_chunks([tmp_path / "a.txt", tmp_path / "b.txt"])).length == 3


def test_memorised_means_more_than_people_repeat():
    """A set phrase that held-out text has too is no sign; a whole sentence that only training has is one."""
    training = [b"Once upon a time there was a fox who lost his tail in a trap."]
    human = ["Once upon a time there was a king.", "A dog barked."]
    found = memorised(
        ["Once upon a time there was a cat.", "Now a fox who lost his tail in a trap came."], human, lambda: training
    )
    assert found["memorised"] == 0.5
    assert found["human_copy_longest"] == len("Once upon a time there was a ") and found["copy_longest"] == len(
        " a fox who lost his tail in a trap"
    )
    assert found["copy_bytes"] == (29 + 34) / 2 and 0 < found["copy_share"] < 1


def test_an_empty_text_has_no_copy():
    with pytest.raises(ValueError, match="the text is empty, so nothing in it can be a copy; leave it out"):
        longest_copy("", [b"text"])
    assert longest_copy("text", []).length == 0
