"""The vocabulary inside a GGUF file, as a `Tokenizer`: how SmolLM2 arrives here.

Only the head of the file is read, not its weights. Layout: "GGUF", version, number of tensors, number of entries, then
the entries, each a key, the number of its type, a value (the GGUF specification of the ggml project, version 3).
Left out: versions before 2, big-endian files, vocabularies other than byte-level BPE, other patterns than SmolLM's.
"""

import struct
from pathlib import Path

from .fast import Tokenizer, from_visible

NUMBERS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIifBQqd"))  # type -> its letter in `struct`
STRING, ARRAY, ORDINARY = 8, 9, 1  # two types of values; the kind of a token that is learned text
LONGEST = 2**24  # items of an array, bytes of a string: more is a damaged length


def smollm2(path) -> Tokenizer:
    """SmolLM2's vocabulary from a GGUF file; ValueError for one that is damaged or holds another kind."""
    path = Path(path)
    with open(path, "rb") as file:
        try:
            entries = dict(_entries(file))
            if entries["tokenizer.ggml.pre"] != "smollm":
                raise ValueError(f"its pattern is {entries['tokenizer.ggml.pre']!r}, not 'smollm'")
            kinds = list(enumerate(zip(entries["tokenizer.ggml.tokens"], entries["tokenizer.ggml.token_type"])))
        except (ValueError, KeyError, TypeError, struct.error) as error:
            raise ValueError(f"{path} holds no vocabulary of SmolLM2 ({error}); run: make data/smollm2-135m") from None
    ranks = {from_visible(text): i for i, (text, kind) in kinds if kind == ORDINARY}
    return Tokenizer(ranks, pattern="smollm", special_tokens={text: i for i, (text, kind) in kinds if kind != ORDINARY})


def _entries(file):
    """(key, value) of each entry of the head."""
    if file.read(4) != b"GGUF":
        raise ValueError("it does not begin with GGUF")
    _, _, count = _number(file, "I"), _number(file, "Q"), _number(file, "Q")
    for _ in range(count):
        key = _string(file)
        yield key, _value(file, _number(file, "I"))


def _value(file, kind):
    if kind == STRING:
        return _string(file)
    if kind == ARRAY:
        inner, count = _number(file, "I"), _number(file, "Q")
        if count > LONGEST:
            raise ValueError(f"an array of {count} items")
        return [_value(file, inner) for _ in range(count)]
    return _number(file, NUMBERS[kind])


def _number(file, letter):
    return struct.unpack(f"<{letter}", file.read(struct.calcsize(f"<{letter}")))[0]


def _string(file):
    size = _number(file, "Q")
    if size > LONGEST:
        raise ValueError(f"a text of {size} bytes")
    return file.read(size).decode("utf-8")
