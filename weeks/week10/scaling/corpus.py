"""The project's own corpus as token ids: every text that a package registry ships here, one tokenizer for all.

A document keeps its side of the split from the data set that it comes from. The parts stand one after the other, so a
batch drawn at random places sees all of them. Left out: weights for single sources, removal of duplicates (week 11).
"""

import hashlib
import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from .vendor.bpe.fast import Tokenizer
from .vendor.shared.errors import Mistake
from .vendor.shared.files import need
from .vendor.shared.progress import bar
from .vendor.shared.text import END, documents, read_text

SETS = ("fables", "bible", "web-bible", "shakespeare", "wiki-leads", "recipes")
VOCAB = 257  # every byte, and the end of a document: pieces of words need more text before a model passes the bigram


class Corpus(NamedTuple):
    """train and val as one row of ids each (int64); bytes of val's text, for bits per byte."""

    tokenizer: Tokenizer
    train: torch.Tensor
    val: torch.Tensor
    val_bytes: int


def texts(folder, part, sets=SETS, most=None):
    """[document, ...] of all sets, in order; of each set its first `most` characters."""
    parts = [read_text(need(folder / name, f"make data/{name}") / part)[:most] for name in sets]
    return [text for part in parts for text in documents(part)]


def fingerprint(folder, vocab_size, sets=SETS, most=None):
    """16 hex digits that change with the text, its cut and the vocabulary, so that no cache is taken for another's."""
    digest = hashlib.sha256(f"{vocab_size} {most}".encode())
    for name in sets:
        for part in ("train.txt", "val.txt"):
            digest.update(need(folder / name / part, f"make data/{name}").read_bytes())
    return digest.hexdigest()[:16]


def encoded(tokenizer, parts, label):
    """One row of ids, each document closed by the end-of-text token."""
    end, ids = tokenizer.special_tokens[END], []
    for text in bar(parts, label, total=len(parts), unit="doc"):
        ids += [*tokenizer.encode_ordinary(text), end]
    return np.array(ids, dtype=np.uint16)


def load(folder, cache, vocab_size=VOCAB, sets=SETS, most=None):
    """The Corpus below `folder` (data/); what is made once lies in `cache`. A Mistake names a set that is missing."""
    folder, cache = Path(folder), Path(cache) / f"corpus-{fingerprint(Path(folder), vocab_size, sets, most)}"
    if not (cache / "done.json").exists():
        train, val = (texts(folder, part, sets, most) for part in ("train.txt", "val.txt"))
        cache.mkdir(parents=True, exist_ok=True)
        tokenizer = Tokenizer.train(train, vocab_size)
        tokenizer.save(cache / "tokenizer.json")
        for name, parts in (("train", train), ("val", val)):
            part = cache / f"{name}.{os.getpid()}.npy"  # one whole file or none, whoever else writes
            np.save(part, encoded(tokenizer, parts, f"tokens of {name}"))
            os.replace(part, cache / f"{name}.npy")
        size = sum(len(text.encode()) for text in val)
        (cache / "done.json").write_text(json.dumps({"val_bytes": size, "sets": sets, "vocab_size": vocab_size}))
    try:
        ids = [torch.from_numpy(np.load(cache / f"{name}.npy").astype(np.int64)) for name in ("train", "val")]
        about = json.loads((cache / "done.json").read_text())
        return Corpus(Tokenizer.load(cache / "tokenizer.json"), *ids, about["val_bytes"])
    except (OSError, EOFError, ValueError, KeyError) as error:
        raise Mistake(f"{cache} holds a broken copy of the corpus ({error}); delete it and start again") from None
