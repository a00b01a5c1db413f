"""Day 67: the corpus of a sweep. Documents keep apart, a cache of another corpus is not taken, broken ones are told."""

import pytest
import torch
from scaling.corpus import encoded, fingerprint, load, texts
from scaling.vendor.bpe.fast import Tokenizer
from scaling.vendor.shared.errors import Mistake
from scaling.vendor.shared.text import END, SEPARATOR

pytestmark = pytest.mark.day(67)

SETS = ("one", "two")


@pytest.fixture
def folder(tmp_path):
    """data/ with two sets of two documents each, in train and in val."""
    for name in SETS:
        (tmp_path / name).mkdir()
        for part in ("train", "val"):
            content = SEPARATOR.join(f"{name} {part} {i}: the cat sat on the mat" for i in (1, 2))
            (tmp_path / name / f"{part}.txt").write_text(content)
    return tmp_path


def test_each_document_is_closed_by_its_own_token():
    """A model must see where one text ends. The token's text, written in a document, is text like any other."""
    tokenizer = Tokenizer.train(["ab ab ab"], 259)
    end = tokenizer.special_tokens[END]
    parts = ["ab ab", "", f"a{END}b"]
    ids = encoded(tokenizer, parts, "tokens").tolist()
    assert ids == [i for text in parts for i in [*tokenizer.encode_ordinary(text), end]]
    assert ids.count(end) == 3 and ids[-1] == end


def test_the_fingerprint_follows_all_that_makes_the_corpus(folder):
    """Another size of vocabulary, another cut, other sets, or one letter of any file: another cache."""
    first = fingerprint(folder, 300, SETS)
    others = [
        fingerprint(folder, 301, SETS),
        fingerprint(folder, 300, SETS, most=9),
        fingerprint(folder, 300, ("one",)),
    ]
    assert fingerprint(folder, 300, SETS) == first and len({first, *others}) == 4
    for name in SETS:
        for part in ("train.txt", "val.txt"):
            path = folder / name / part
            kept = path.read_text()
            path.write_text(kept.replace("cat", "bat"))
            assert fingerprint(folder, 300, SETS) != first
            path.write_text(kept)
    assert fingerprint(folder, 300, SETS) == first


def test_a_corpus_is_made_once(folder, tmp_path, monkeypatch):
    """Both parts decode to their documents, in order; the second call reads what the first one wrote."""
    made = load(folder, tmp_path / "cache", 270, SETS)
    for ids, part in ((made.train, "train.txt"), (made.val, "val.txt")):
        assert ids.dtype == torch.int64
        assert made.tokenizer.decode(ids.tolist()) == "".join(text + END for text in texts(folder, part, SETS))
    assert made.val_bytes == sum(len(text) for text in texts(folder, "val.txt", SETS))
    monkeypatch.setattr("scaling.corpus.encoded", None)  # nothing is encoded again
    again = load(folder, tmp_path / "cache", 270, SETS)
    assert (
        torch.equal(again.train, made.train) and torch.equal(again.val, made.val) and again.val_bytes == made.val_bytes
    )
    assert len(texts(folder, "train.txt", SETS, most=20)) == 2  # each set cut inside of its first document


def test_what_is_missing_or_broken_is_told(folder, tmp_path):
    """A set that was not made, with its target; a cache that was cut short, with its place."""
    with pytest.raises(Mistake, match="three does not exist; run: make data/three"):
        texts(folder, "train.txt", ("three",))
    load(folder, tmp_path / "cache", 270, SETS)
    (path,) = (tmp_path / "cache").glob("corpus-*/val.npy")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(Mistake, match="holds a broken copy of the corpus .*; delete it and start again"):
        load(folder, tmp_path / "cache", 270, SETS)
