"""Text as tasks for a byte-level model: a token is a byte, so every domain shares one vocabulary of 256.

Left out: a tokenizer. A vocabulary trained on the first domain would favour it, and bits per byte need no correction.
"""

import math
from pathlib import Path

import torch

from .rows import windows
from .task import Task
from .vendor.shared.errors import Mistake
from .vendor.shared.text import documents, read_text

EVAL_BATCH = 64  # rows judged at once: small enough for the caches of a CPU, and the sum does not depend on it


def read_bytes(path):
    """The documents of a file as one 1-D LongTensor of bytes, each document closed by byte 0, which no text holds."""
    data = b"".join(part.encode() + b"\n\0" for part in documents(read_text(path)))
    return torch.frombuffer(bytearray(data), dtype=torch.uint8).long()


def spread(rows, n):
    """At most n of the rows, evenly spaced, so that a part still speaks for the whole file."""
    if len(rows) <= n:
        return rows
    return rows[torch.arange(n) * len(rows) // n]


def load_domain(folder, name, *, length, train_rows, valid_rows):
    """The task `name` from `folder`/train.txt and val.txt; rows are windows of `length` bytes plus the next one."""
    parts = {}
    for part, n in (("train", train_rows), ("val", valid_rows)):
        tokens = read_bytes(Path(folder) / f"{part}.txt")
        if len(tokens) <= length:
            raise Mistake(
                f"{folder}/{part}.txt holds {len(tokens)} bytes of text, too few for one window of {length} + 1; "
                "give a longer text"
            )
        parts[part] = spread(windows(tokens, length), n)
    return Task(name, parts["train"], parts["val"])


def bits_per_byte(learner, task):
    """Mean bits per byte on the validation rows. Each row starts without context, so the value is slightly high."""
    nats = n = 0
    for rows in task.valid.split(EVAL_BATCH):
        nats += learner.loss(rows).item() * learner.count(rows)
        n += learner.count(rows)
    return nats / n / math.log(2)


def unigram_bits(task):
    """Bits per byte of the best model that looks at no context: byte frequencies of train (plus one), judged on valid.

    A trained model that scores above this on an old domain has kept less of it than a table of 256 counts would.
    """
    counts = torch.bincount(task.train.ids[:, 1:].flatten(), minlength=256).double() + 1
    bits = -(counts / counts.sum()).log2()  # (256,)
    return bits[task.valid.ids[:, 1:]].mean().item()
