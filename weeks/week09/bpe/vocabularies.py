"""Published vocabularies as a `Tokenizer`: GPT-2's two files, and the `.tiktoken` files of later models.

A vocabulary is three things that belong together: the ranks of its tokens, the pattern that splits text before them,
and the special tokens. The files hold only the first; the other two are written down here.
"""

import base64
import binascii
import json
from pathlib import Path

from .fast import Tokenizer, from_visible

GPT2_SPECIALS = {"<|endoftext|>": 50256}
CL100K_SPECIALS = {  # ids 100261 to 100275 are used by nothing: a vocabulary may have gaps
    "<|endoftext|>": 100257,
    "<|fim_prefix|>": 100258,
    "<|fim_middle|>": 100259,
    "<|fim_suffix|>": 100260,
    "<|endofprompt|>": 100276,
}


def gpt2(folder) -> Tokenizer:
    """GPT-2's vocabulary from `encoder.json` (token -> id) and `vocab.bpe` (the merges, in order).

    Both write bytes as printable characters (`from_visible`). The table is why GPT-2's first 256 ids look shuffled:
    they follow the table's characters, so id 0 is "!", the first printable one, and the blank is id 220.
    Raises ValueError for files of two vocabularies, and for an encoder.json that is "not JSON" or "no table of tokens
    and ids"; each sentence names the file and ends with what to run.
    """
    folder = Path(folder)
    try:
        ids = json.loads(_text(folder / "encoder.json"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{folder / 'encoder.json'} is not JSON ({error}); run: make data/gpt2") from None
    if not isinstance(ids, dict):
        raise ValueError(f"{folder / 'encoder.json'} is no table of tokens and ids; run: make data/gpt2")
    lines = _text(folder / "vocab.bpe").splitlines()
    merges = [tuple(line.split(" ")) for line in lines[1:] if line]  # the first line is "#version: 0.2"
    ranks = {from_visible(token): i for token, i in ids.items() if token not in GPT2_SPECIALS}
    # encode() takes the order of merges from the ids, so the order in which the file lists them must be the same
    expected = [ranks.get(from_visible("".join(pair))) for pair in merges]
    if expected != list(range(256, len(ranks))):
        raise ValueError(f"{folder} holds an encoder.json and a vocab.bpe of two vocabularies; run: make data/gpt2")
    return Tokenizer(ranks, pattern="gpt2", special_tokens=GPT2_SPECIALS)


def cl100k(path) -> Tokenizer:
    """The vocabulary of GPT-3.5 and GPT-4 from `cl100k_base.tiktoken`."""
    return Tokenizer(read_tiktoken(path), pattern="cl100k", special_tokens=CL100K_SPECIALS)


def read_tiktoken(path) -> dict[bytes, int]:
    """Token bytes -> rank, from lines of `<base64 of the bytes> <rank>`. ValueError for an empty file: "... is empty;
    download the file again"; and for a broken line: "..., line 2: ... is not a token in base64 and its rank; ..."
    """
    ranks = {}
    for number, line in enumerate(_text(path).splitlines(), start=1):
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except (ValueError, binascii.Error):
            raise ValueError(
                f"{path}, line {number}: {line[:40]!r} is not a token in base64 and its rank; download the file again"
            ) from None
    if not ranks:
        raise ValueError(f"{path} is empty; download the file again")  # else every text would lack its first byte
    return ranks


def _text(path):
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist; run: make data/gpt2 data/cl100k") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error}); run: make data/gpt2 data/cl100k") from None
