"""Token shards: files of ids that say themselves whose ids they are, and a manifest that is written last.

A shard is a header of 128 bytes and then the ids, little-endian, 2 or 4 bytes each:

    0   8 bytes   CHASETOK
    8   uint32    version, 1
    12  uint32    bytes of an id, 2 or 4
    16  uint64    number of ids
    24  32 bytes  sha256 of the tokenizer (Tokenizer.to_dict()["sha256"])
    56  32 bytes  sha256 of the ids
    88  40 bytes  zeros

The idea is from the .bin files of llm.c (a magic number, a version, a count); the two hashes are new.
A folder holds tokenizer.json, shards of the splits train and val, and manifest.json. Without the manifest it is
unfinished. Every document is closed by the end-of-text id, so the ends of documents need no file of their own.
"""

import hashlib
import json
import os
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np

from ..vendor.bpe.fast import Tokenizer
from ..vendor.shared.errors import Mistake
from ..vendor.shared.files import atomic_write
from ..vendor.shared.results import to_json
from ..vendor.shared.text import END

MAGIC, VERSION = b"CHASETOK", 1
HEADER = struct.Struct("<8sIIQ32s32s40x")
FORMAT, MANIFEST = "token-shards", "manifest.json"
SPLITS = ("train", "val")
AGAIN = "make the shards again"


def id_type(vocab_size):
    """uint16 where it can count so far, else uint32; little-endian on any machine."""
    return np.dtype("<u2" if vocab_size <= 2**16 else "<u4")


class Writer:
    """Writes the shards of one split, `tokens` ids in each at most; a shard appears under its name once it is whole."""

    def __init__(self, folder, split, tokenizer_hash, dtype, tokens):
        self.folder, self.split, self.tokenizer_hash = Path(folder), split, tokenizer_hash
        self.dtype, self.most = dtype, tokens
        self.shards = []  # rows of the manifest
        self._file = None

    def write(self, ids):
        """Append ids (n,), over as many shards as it takes."""
        ids = np.ascontiguousarray(ids, self.dtype)
        while ids.size:
            if self._file is None:
                self._open()
            part, ids = ids[: self.most - self._count], ids[self.most - self._count :]
            data = part.tobytes()
            self._file.write(data)
            self._hash.update(data)
            self._count += part.size
            if self._count == self.most:
                self.close()

    def close(self):
        """Finish the shard at hand; the rows of all shards."""
        if self._file is not None:
            digest = self._hash.digest()
            self._file.seek(0)
            self._file.write(self._header(digest))
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            name = f"{self.split}-{len(self.shards):05d}.bin"
            os.replace(self._part, self.folder / name)
            self.shards.append({"file": name, "tokens": self._count, "sha256": digest.hex()})
            self._file = None
        return self.shards

    def drop(self):
        """Give up the shard at hand; does nothing after close."""
        if self._file is not None:
            with suppress(OSError):  # on a full disk closing fails too
                self._file.close()
            self._part.unlink(missing_ok=True)
            self._file = None

    def _open(self):
        self._part = self.folder / f".{self.split}.part"
        self._file = open(self._part, "wb")
        self._file.write(bytes(HEADER.size))
        self._hash, self._count = hashlib.sha256(), 0

    def _header(self, digest):
        return HEADER.pack(
            MAGIC, VERSION, self.dtype.itemsize, self._count, bytes.fromhex(self.tokenizer_hash), digest
        )  # fmt: skip


def open_shard(path, tokenizer_hash, sha256=None, verify=True):
    """The ids of one shard as a read-only memory map (n,).

    A Mistake begins with the path and says what is wrong: it "is missing", or "no token shard" (too short, or another
    magic word), of "version 7", its "header" is damaged (a width that is not 2 or 4, or no ids), it holds ids of
    another "tokenizer" (its first 12 digits), has "325 bytes" and not 328, is of "another run" (see sha256), or
    "damaged".

    `sha256` is what the manifest says that the shard's ids have. `verify` reads them all once and looks whether they
    do; without it only the length and the header are judged.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            head = file.read(HEADER.size)
    except FileNotFoundError:
        raise Mistake(f"{path} is missing; copy it again, or {AGAIN}") from None
    if len(head) < HEADER.size or not head.startswith(MAGIC):
        raise Mistake(f"{path} is no token shard: it does not begin with {MAGIC.decode()}; {AGAIN}")
    _, version, width, count, owner, digest = HEADER.unpack(head)
    if version != VERSION:
        raise Mistake(f"{path} is of version {version}, and this program reads version {VERSION}; {AGAIN}")
    if width not in (2, 4) or not count:
        raise Mistake(f"{path} says that it has {count} ids of {width} bytes: its header is damaged; {AGAIN}")
    if owner.hex() != tokenizer_hash:
        raise Mistake(
            f"{path} holds ids of the tokenizer {owner.hex()[:12]}, not of {tokenizer_hash[:12]}; "
            f"use the tokenizer.json beside it, or {AGAIN}"
        )
    wanted = HEADER.size + width * count
    if size != wanted:
        raise Mistake(f"{path} has {size:,} bytes and should have {wanted:,}: it was cut short or added to; {AGAIN}")
    if sha256 not in (None, digest.hex()):
        raise Mistake(f"{path} is not the shard that {MANIFEST} speaks of: it is of another run; {AGAIN}")
    ids = np.memmap(path, np.dtype(f"<u{width}"), "r", HEADER.size, (count,))
    if verify and _sha256(ids) != digest:
        raise Mistake(f"{path} does not match its own sha256: it was damaged or edited; {AGAIN}")
    return ids


def _sha256(ids, at_once=2**22):
    digest = hashlib.sha256()
    for start in range(0, len(ids), at_once):
        digest.update(ids[start : start + at_once])
    return digest.digest()


def write_manifest(folder, about):
    """The last file of a folder of shards: from now on it is complete."""
    atomic_write(Path(folder) / MANIFEST, to_json({"format": FORMAT, "version": VERSION, **about}) + "\n")


def read_manifest(folder):
    """What is in a folder of shards; a Mistake where it is unfinished or not one."""
    path = Path(folder) / MANIFEST
    if not path.exists():
        raise Mistake(f"{folder} has no {MANIFEST}, so it is no finished folder of shards; {AGAIN}")
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        if about["format"] != FORMAT:
            raise ValueError(f"its format is {about['format']!r}")
        version = about["version"]
        if version == VERSION and not all(isinstance(split["shards"], list) for split in about["splits"].values()):
            raise ValueError("it names no shards")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Mistake(f"{path} is no manifest of shards ({error}); {AGAIN}") from None
    if version != VERSION:
        raise Mistake(f"{path} is of version {version!r}, and this program reads version {VERSION}; {AGAIN}")
    return about


class Tokens:
    """The ids of one split, as if its shards were one row: `len(tokens)`, and `tokens[a:b]` copies a part of it."""

    def __init__(self, shards, end):
        self.shards, self.end = shards, end  # end: the id that closes a document
        self.borders = np.cumsum([0, *map(len, shards)])

    def __len__(self):
        return int(self.borders[-1])

    def __getitem__(self, where):
        start, stop, _ = where.indices(len(self))
        first = int(np.searchsorted(self.borders, start, side="right")) - 1
        parts = []
        for shard, border in zip(self.shards[first:], self.borders[first:]):
            if border >= stop:
                break
            parts.append(shard[max(start - border, 0) : stop - border])
        return np.concatenate(parts).astype(np.int64) if parts else np.zeros(0, np.int64)


def open_split(folder, split, tokenizer=None, verify=True):
    """The `Tokens` of one split. `tokenizer` (default: the one in the folder) must be the one that made the ids."""
    folder, about = Path(folder), read_manifest(folder)
    if split not in about["splits"]:
        raise Mistake(f"{folder} has no split {split!r}; there are {', '.join(about['splits'])}")
    if tokenizer is None:
        tokenizer = load_tokenizer(folder)
    owner = tokenizer.to_dict()["sha256"]
    rows = about["splits"][split]["shards"]
    shards = [open_shard(folder / row["file"], owner, row["sha256"], verify) for row in rows]
    return Tokens(shards, tokenizer.special_tokens[END])


def load_tokenizer(folder):
    """The tokenizer that made a folder's ids."""
    try:
        return Tokenizer.load(Path(folder) / "tokenizer.json")
    except (ValueError, FileNotFoundError) as error:
        raise Mistake(str(error)) from None
