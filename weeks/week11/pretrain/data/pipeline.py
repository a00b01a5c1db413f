"""Text in, shards out: read, clean, drop duplicates, tokenise, write. Memory stays the same whatever the input's size.

The input is read twice. First each document leaves only its hashes, in files of one column each; from them follows
which documents go. Then the others are tokenised. Reading and cleaning twice costs less than a copy of it all on disk.
The result does not depend on the number of processes: documents keep their order, and the side of the split that a
document belongs to follows from its own hash. Left out: shuffling (the sampler does it), filters of quality.
"""

import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..vendor.bpe.fast import Encoded, Tokenizer
from ..vendor.shared.errors import Mistake
from ..vendor.shared.files import locked
from ..vendor.shared.progress import bar
from ..vendor.shared.results import Stopwatch, cpu_count
from ..vendor.shared.text import END
from . import dedup, shards
from .clean import clean
from .readers import find, read
from .workers import batched, ordered

BATCH = 2**19  # characters that travel to a process at a time
SHARD = 2**26  # ids of a shard: 128 MB where an id has two bytes
COLUMNS = ".columns"  # folder for the hashes, deleted when they have been used


class Done(NamedTuple):
    """What a run did; the same numbers are in the manifest, but for its speed."""

    documents: dict  # read, empty, exact, near, train, val
    tokens: dict  # split -> ids
    megabytes: float  # of text read, in UTF-8, before cleaning
    seconds: float
    cpu_seconds: float  # of this process and of its workers
    workers: int

    @property
    def mb_per_s_per_core(self):
        """Megabytes of text for each second that some processor worked: reading, both passes and writing included."""
        return self.megabytes / self.cpu_seconds

    def __str__(self):
        kinds, tokens = self.documents, sum(self.tokens.values())
        gone, speed = kinds["exact"] + kinds["near"], self.megabytes / self.seconds
        return (
            f"{kinds['read']:,} documents, {self.megabytes:.1f} MB; dropped: {kinds['empty']:,} empty and {gone:,} "
            f"duplicates; {tokens:,} tokens\n{speed:.1f} MB/s with {self.workers} workers on {cpu_count()} cores, "
            f"{self.mb_per_s_per_core:.1f} MB/s a core"
        )


def prepare(places, out, tokenizer, *, column=None, val=0.01, workers=None, shard=SHARD, progress=True):
    """Turn the files and folders in `places` into shards in the folder `out`, and say what was done: `Done`.

    column    of JSONL and parquet files (default: "text")
    val       share of the documents that is held out, chosen by their hashes; 0 to 1
    workers   processes (default: one for each core that this process may use)
    shard     ids of one file
    A Mistake for input that cannot be used, and for a folder with finished shards: nothing is overwritten.
    """
    out, files, workers = Path(out), find(places), cpu_count() if workers is None else workers
    if workers < 1:
        raise Mistake(f"{workers} workers leave nobody to work; give 1 or more")
    if shard < 1:
        raise Mistake(f"shards of {shard} ids can hold nothing; give 1 or more")
    if not 0 <= val < 1:
        raise Mistake(f"a share of {val} cannot be held out for validation; give 0 or more and less than 1")
    if END not in tokenizer.special_tokens:
        raise Mistake(f"the tokenizer has no {END}, so the ends of documents would be lost; train one that has it")
    watch, cpu = Stopwatch(), _cpu_seconds()
    with locked(out):
        if (out / shards.MANIFEST).exists():
            raise Mistake(f"{out} holds finished shards; use them, delete the folder, or give another one")
        columns = out / COLUMNS
        columns.mkdir(exist_ok=True)  # of a run that was ended by force: written anew
        try:
            side, size = _first_pass(files, column, columns, val, workers, progress)
        finally:
            shutil.rmtree(columns)
        tokenizer.save(out / "tokenizer.json")
        written = _second_pass(files, column, out, tokenizer, side, workers, shard, progress)
        counts = dict(zip(SIDES, np.bincount(side, minlength=len(SIDES)).tolist()))
        about = {
            "tokenizer": tokenizer.to_dict()["sha256"],
            "vocab_size": tokenizer.vocab_size,
            "documents": {"read": len(side), **counts},
            "splits": written,
            "sources": [path.name for path in files],
        }
        shards.write_manifest(out, about)
    tokens = {split: row["tokens"] for split, row in written.items()}
    return Done(about["documents"], tokens, size / 1e6, watch.seconds, _cpu_seconds() - cpu, workers)


# --- which documents go -----------------------------------------------------------------------------------------------

SIDES = ("train", "val", "empty", "exact", "near")  # where a document ends up
TRAIN, VAL, EMPTY, EXACT, NEAR = range(5)


def _first_pass(files, column, folder, val, workers, progress):
    """(side of every document (n,) uint8, bytes of text). The hashes lie on disk meanwhile, 120 bytes a document."""
    size, empty = 0, []
    paths = [folder / f"{i}" for i in range(dedup.COLUMNS)]
    with ExitStack() as stack, bar(label="duplicates", unit="B", unit_scale=True, disable=not progress) as line:
        out = [stack.enter_context(open(path, "wb")) for path in paths]
        for bytes_read, nothing, keys in ordered(look, batched(read(files, column), BATCH), workers, start_looking):
            size += bytes_read
            empty.append(nothing)
            for file, row in zip(out, keys):
                file.write(row.tobytes())
            line.update(bytes_read)
    if not empty:
        raise Mistake(f"there is no document in {', '.join(map(str, files))}; give files with text in them")
    empty = np.concatenate(empty)
    own = np.fromfile(paths[0], np.uint64)
    # A map at a time: what was read of a file counts as memory until its map is gone.
    exact, near = dedup.duplicates(np.memmap(path, np.uint64, "r") for path in paths)
    # A document's own hash decides, so it stays on its side when other documents join or the order changes.
    side = np.where(own < np.uint64(int(val * 2**64)), VAL, TRAIN).astype(np.uint8)
    side[near], side[exact], side[empty] = NEAR, EXACT, EMPTY
    if not np.isin(side, (TRAIN, VAL)).any():
        raise Mistake(f"all {len(side)} documents are empty; give files with text in them")
    return side, size


def look(texts):
    """In a worker: (bytes of text, which documents are empty (n,), their hashes (15, n))."""
    size = sum(map(_size, texts))
    texts = [clean(text) for text in texts]
    return size, np.array([not text for text in texts]), dedup.keys(texts)


def start_looking():
    """In a worker: the first pass needs nothing made ready."""


# --- what stays is tokenised ------------------------------------------------------------------------------------------


def _second_pass(files, column, out, tokenizer, side, workers, shard, progress):
    """The manifest's rows of both splits, after their shards were written."""
    dtype, state = shards.id_type(tokenizer.vocab_size), tokenizer.to_dict()
    writers = {split: shards.Writer(out, split, state["sha256"], dtype, shard) for split in shards.SPLITS}
    bytes_of, kept, place = dict.fromkeys(shards.SPLITS, 0), side[side <= VAL], 0
    batches = batched(_kept(files, column, side), BATCH)
    try:
        with bar(total=len(kept), label="tokens", unit="doc", disable=not progress) as line:
            for ids, lengths, sizes in ordered(encode, batches, workers, start_encoder, state):
                here = kept[place : place + len(lengths)]
                place += len(lengths)
                for number, split in ((TRAIN, "train"), (VAL, "val")):
                    mine = here == number
                    writers[split].write(ids[np.repeat(mine, lengths)])
                    bytes_of[split] += int(sizes[mine].sum())
                line.update(len(lengths))
        for writer in writers.values():
            writer.close()
    finally:
        for writer in writers.values():
            writer.drop()
    return {
        split: {"tokens": sum(row["tokens"] for row in w.shards), "bytes": bytes_of[split], "shards": w.shards}
        for split, w in writers.items()
    }


def _kept(files, column, side):
    """The documents that stay; a Mistake where the files have changed since the first pass."""
    stays, place = (side <= VAL).tobytes(), 0  # a byte a document
    for text in read(files, column):
        if place < len(stays) and stays[place]:
            yield text
        place += 1
    if place != len(stays):
        raise Mistake(
            f"the files held {len(stays):,} documents at first and {place:,} a little later; "
            "something writes to them: wait until it is done, and start again"
        )


_encoder = None  # of this process


def start_encoder(state):
    """In a worker: make the tokenizer once, from Tokenizer.to_dict()."""
    global _encoder
    _encoder = Packed(Tokenizer.from_dict(state))


class Packed:
    """A text -> its ids as the bytes of a shard: joining bytes is a fifth of the work of joining lists of ids.

    `end` are the bytes of the end-of-text id, and `dtype` is the type of an id.
    """

    def __init__(self, tokenizer):
        self.tokenizer, self.dtype = tokenizer, shards.id_type(tokenizer.vocab_size)
        self.end = self._bytes([tokenizer.special_tokens[END]])
        self.pieces = Encoded(lambda piece: self._bytes(tokenizer.encode_piece(piece)))

    def _bytes(self, ids):
        return np.array(ids, self.dtype).tobytes()

    def __call__(self, text):
        return b"".join(map(self.pieces.__getitem__, self.tokenizer.split(text)))


def encode(texts):
    """In a worker: (ids of all texts in a row, how many are each text's, bytes of each cleaned text).

    Each document is closed by the end-of-text id. A special token that is written out in a text is text.
    """
    texts = [clean(text) for text in texts]
    packed, one = [_encoder(text) + _encoder.end for text in texts], _encoder.dtype.itemsize
    ids, lengths = np.frombuffer(b"".join(packed), _encoder.dtype), [len(part) // one for part in packed]
    return ids, np.array(lengths), np.array([_size(text) for text in texts])


def _size(text):
    """Bytes of a text in UTF-8; what UTF-8 cannot write counts as one."""
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def _cpu_seconds():
    """Seconds that this process and those it has waited for have computed."""
    return sum(os.times()[:4])
