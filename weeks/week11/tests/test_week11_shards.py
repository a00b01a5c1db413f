"""Day 72: shards that say whose ids they are. Every way to damage one gets a sentence, none gets a wrong batch."""

import hashlib
import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pretrain.data import shards
from pretrain.data.shards import HEADER, Tokens, Writer, open_shard, open_split
from pretrain.vendor.shared.errors import Mistake
from week11_corpus import tokenizer

pytestmark = pytest.mark.day(72)
OWNER = tokenizer().to_dict()["sha256"]


def write(folder, ids, most=100, split="train", dtype="<u2"):
    writer = Writer(folder, split, OWNER, np.dtype(dtype), most)
    for part in np.array_split(ids, 3):
        writer.write(part)
    return writer.close()


@pytest.fixture
def folder(tmp_path):
    """250 ids in three shards, finished."""
    tokenizer().save(tmp_path / "tokenizer.json")
    rows = write(tmp_path, np.arange(250))
    splits = {"train": {"tokens": 250, "bytes": 1000, "shards": rows}, "val": {"tokens": 0, "bytes": 0, "shards": []}}
    shards.write_manifest(tmp_path, {"tokenizer": OWNER, "splits": splits})
    return tmp_path


def test_ids_come_back_over_the_borders_of_shards(folder):
    tokens = open_split(folder, "train")
    assert [len(shard) for shard in tokens.shards] == [100, 100, 50] and len(tokens) == 250
    assert np.array_equal(tokens[:], np.arange(250)) and tokens[95:205].dtype == np.int64
    assert tokens.end == tokenizer().special_tokens["<|endoftext|>"]
    assert len(open_split(folder, "val")) == 0 and open_split(folder, "val")[:5].size == 0


@given(st.lists(st.integers(1, 7), min_size=1, max_size=5), st.integers(0, 40), st.integers(0, 40))
def test_a_slice_is_a_slice_of_the_whole_row(lengths, start, stop):
    row = np.arange(sum(lengths))
    tokens = Tokens(np.split(row, np.cumsum(lengths)[:-1]), end=0)
    assert np.array_equal(tokens[start:stop], row[start:stop])


@settings(max_examples=20)
@given(sizes=st.lists(st.integers(0, 25), max_size=6), most=st.integers(1, 12))
def test_shards_hold_the_ids_however_they_arrive(tmp_path_factory, sizes, most):
    folder, row = tmp_path_factory.mktemp("shards"), np.arange(sum(sizes))
    writer = Writer(folder, "train", OWNER, np.dtype("<u4"), most)
    for part in np.split(row, np.cumsum(sizes)[:-1]) if sizes else []:
        writer.write(part)
    rows = writer.close()
    parts = [open_shard(folder / r["file"], OWNER, r["sha256"]) for r in rows]
    assert np.array_equal(np.concatenate([[], *parts]), row)
    assert all(len(part) == most for part in parts[:-1])
    assert sorted(path.name for path in folder.iterdir()) == [r["file"] for r in rows]


def test_the_bytes_of_a_shard_are_as_its_page_says(tmp_path):
    """Read without our code: magic, version, width, count, two hashes, then little-endian ids."""
    (row,) = write(tmp_path, np.array([1, 2, 300]))
    raw = (tmp_path / row["file"]).read_bytes()
    assert raw[:8] == b"CHASETOK" and struct.unpack("<IIQ", raw[8:24]) == (1, 2, 3)
    assert raw[24:56].hex() == OWNER and raw[56:88].hex() == row["sha256"] and not any(raw[88:128])
    assert raw[128:] == bytes([1, 0, 2, 0, 44, 1])
    assert hashlib.sha256(raw[128:]).hexdigest() == row["sha256"]


def test_two_bytes_are_enough_for_65536_ids():
    assert [shards.id_type(n).itemsize for n in (300, 2**16, 2**16 + 1)] == [2, 2, 4]


def damaged(path, change):
    raw = bytearray(path.read_bytes())
    path.write_bytes(bytes(change(raw) or raw))
    return path


def put(offset, value):
    def change(raw):
        raw[offset : offset + len(value)] = value

    return change


DAMAGE = {
    "cut short": (lambda raw: raw[:-3], r".*325 bytes.*328"),
    "added to": (lambda raw: raw + b"\0\0", r".*330 bytes.*328"),
    "cut in its header": (lambda raw: raw[:50], r".*no token shard"),
    "another file": (put(0, b"PK"), r".*no token shard"),
    "another version": (put(8, b"\7"), r".*version 7"),
    "another tokenizer": (put(24, b"\0" * 32), r".*tokenizer 0{12}"),
    "no width": (put(12, b"\3"), r".*header"),
    "a flipped bit": (put(200, b"\xff"), r".*damaged"),
    "another run's": (put(56, b"\0" * 32), r".*another run"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_shard_is_named(kind, folder):
    change, sentence = DAMAGE[kind]
    damaged(folder / "train-00001.bin", change)
    with pytest.raises(Mistake, match=rf"train-00001.bin {sentence}.*"):
        open_split(folder, "train")


def test_a_missing_shard_is_named(folder):
    (folder / "train-00001.bin").unlink()
    with pytest.raises(Mistake, match="train-00001.bin is missing"):
        open_split(folder, "train")


def test_without_verify_a_flipped_bit_passes_and_a_short_file_does_not(folder):
    damaged(folder / "train-00001.bin", put(200, b"\xff"))
    assert len(open_split(folder, "train", verify=False)) == 250
    damaged(folder / "train-00001.bin", lambda raw: raw[:-2])
    with pytest.raises(Mistake, match="cut short"):
        open_split(folder, "train", verify=False)


def test_two_shards_that_changed_places_are_noticed(folder):
    """Same length, same tokenizer, each whole in itself: only the manifest knows the order."""
    a, b = folder / "train-00000.bin", folder / "train-00001.bin"
    first, second = a.read_bytes(), b.read_bytes()
    a.write_bytes(second), b.write_bytes(first)
    with pytest.raises(Mistake, match="train-00000.bin is not the shard that manifest.json speaks of"):
        open_split(folder, "train")


def test_a_foreign_tokenizer_is_refused(folder):
    with pytest.raises(Mistake, match="holds ids of the tokenizer .* use the tokenizer.json beside it"):
        open_split(folder, "train", tokenizer(290))


def test_a_folder_without_its_manifest_is_unfinished(folder):
    path = folder / "manifest.json"
    about = json.loads(path.read_text())
    for content, sentence in {
        "{": "is no manifest of shards",
        json.dumps(about | {"format": "x"}): "is no manifest of shards .*its format is 'x'",
        json.dumps({k: v for k, v in about.items() if k != "splits"}): "is no manifest of shards .*'splits'",
        json.dumps(about | {"splits": {"train": {}}}): "is no manifest of shards .*'shards'",
        json.dumps(about | {"version": 2}): "is of version 2, and this program reads version 1",
    }.items():
        path.write_text(content)
        with pytest.raises(Mistake, match=sentence):
            open_split(folder, "train")
    path.unlink()
    with pytest.raises(Mistake, match="has no manifest.json, so it is no finished folder of shards"):
        open_split(folder, "train")
    shards.write_manifest(folder, {"splits": about["splits"]})
    with pytest.raises(Mistake, match="has no split 'test'; there are train, val"):
        open_split(folder, "test")
    assert HEADER.size == 128
