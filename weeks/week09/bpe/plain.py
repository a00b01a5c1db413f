"""Byte-pair encoding as its definition: count every pair, merge the best one, repeat.

Nothing here is remembered from one merge to the next, so every merge costs a walk over the whole text. That is the
point: it is short enough to be believed, and `fast.py` must return the very same merges.
Left out: special tokens, files, speed.

The idea is Gage (1994), "A New Algorithm for Data Compression"; for subwords Sennrich et al. (2016), arXiv:1508.07909;
over bytes, with a regular expression that splits the text first, Radford et al. (2019), the GPT-2 report.
"""

from collections import Counter

import regex


def split(text, pattern=None):
    """Text -> list of pieces, each a list of byte values; merges never cross from one piece into the next.

    >>> split("hi you", r" ?\\w+")
    [[104, 105], [32, 121, 111, 117]]
    """
    pieces = regex.findall(pattern, text) if pattern else [text]
    return [list(piece.encode("utf-8")) for piece in pieces]


def count_pairs(pieces):
    """How often each pair of neighbours occurs; overlapping pairs all count, so `aaa` holds (a, a) twice.

    >>> count_pairs([[1, 2, 3, 1, 2]])
    Counter({(1, 2): 2, (2, 3): 1, (3, 1): 1})
    """
    return Counter(pair for ids in pieces for pair in zip(ids, ids[1:]))


def best_pair(counts):
    """The pair that occurs most often; among equals the one with the smaller first id, then the smaller second.

    The rule for ties is arbitrary, but there must be one: two programs that break ties differently
    learn different vocabularies from the same text.
    """
    return min(counts, key=lambda pair: (-counts[pair], pair))


def merge(ids, pair, new):
    """Replace each occurrence of `pair` by the one id `new`, from left to right.

    >>> merge([1, 1, 1, 2], (1, 1), 9)
    [9, 1, 2]
    """
    merged, i = [], 0
    while i < len(ids):
        if i + 1 < len(ids) and (ids[i], ids[i + 1]) == pair:
            merged.append(new)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


def train(text, vocab_size, pattern=None):
    """Learn `vocab_size - 256` merges, fewer if the text runs out of pairs: {(left id, right id): new id}, in order."""
    pieces, merges = split(text, pattern), {}
    for new in range(256, vocab_size):
        counts = count_pairs(pieces)
        if not counts:  # every piece has become a single token
            break
        pair = best_pair(counts)
        pieces = [merge(ids, pair, new) for ids in pieces]
        merges[pair] = new
    return merges


def encode(text, merges, pattern=None):
    """Text -> ids: in each piece apply the merges in the order in which they were learned."""
    encoded = []
    for ids in split(text, pattern):
        while True:
            known = [pair for pair in zip(ids, ids[1:]) if pair in merges]
            if not known:
                break
            earliest = min(known, key=merges.get)  # its parts exist only thanks to merges learned before it
            ids = merge(ids, earliest, merges[earliest])
        encoded.extend(ids)
    return encoded


def vocabulary(merges):
    """id -> bytes. A token is the concatenation of its two parents, down to the 256 single bytes."""
    tokens = {byte: bytes([byte]) for byte in range(256)}
    for (left, right), new in merges.items():  # in order, so that both parents are there already
        tokens[new] = tokens[left] + tokens[right]
    return tokens


def decode(ids, merges):
    """ids -> text. Not every sequence of ids is valid UTF-8: what is not becomes U+FFFD, the replacement character."""
    tokens = vocabulary(merges)
    return b"".join(tokens[i] for i in ids).decode("utf-8", errors="replace")
