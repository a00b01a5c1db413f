"""Memorised or not: the longest run of bytes that a text shares with the training text.

A sample is looked for in all of the training text, whatever its size, in bounded memory. The training text comes in
chunks, and of each chunk one question is asked: does it share a run one byte longer than the best so far? A rolling
hash answers it for every place of the chunk at once. A yes is checked byte by byte and grown both ways, and the
question asked again, now with a longer run; a no ends the chunk. So a chunk costs one pass, and each record one more.

    hash of x[i : i + L] = (P[i + L] - P[i]) / B^i  mod 2^64,   P[i] = sum of x[j] * B^j over j < i

B is odd, so it has an inverse modulo 2^64, and everything is one vector operation (Karp and Rabin 1987 for the idea).
Left out: near copies, with a word changed; a suffix array, which finds all copies but takes 5 to 9 bytes for each byte.
"""

from typing import NamedTuple

import numpy as np

CHUNK = 2**20  # bytes of training text looked at together: about 50 MB of work space
BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, and large: 2^64 over the golden ratio
TOP = np.uint64(44)


class Copy(NamedTuple):
    """The longest run that a text shares with the training text."""

    length: int  # bytes
    text: str  # what was copied; a character cut in half shows as U+FFFD
    share: float  # of the text's own bytes


class Hashes:
    """Rolling hashes of all runs of any one length in byte strings."""

    def __init__(self):
        self.powers = self.inverses = np.ones(1, np.uint64)

    def reach(self, size):
        """Powers of the base up to `size`, and of its inverse; uint64 wraps modulo 2^64, as it must."""
        if size >= len(self.powers):
            inverse = np.uint64(pow(int(BASE), -1, 2**64))
            self.powers, self.inverses = (
                np.concatenate([[np.uint64(1)], np.cumprod(np.full(2 * size, base))]) for base in (BASE, inverse)
            )

    def prefix(self, data):
        """P of the hash's equation: (N + 1) for N bytes."""
        self.reach(len(data))
        terms = (np.frombuffer(data, np.uint8).astype(np.uint64) + np.uint64(1)) * self.powers[: len(data)]
        return np.concatenate([[np.uint64(0)], np.cumsum(terms)])

    def runs(self, prefix, length):
        """(N - length + 1) hashes: one for each place where a run of `length` bytes begins."""
        count = len(prefix) - length
        return (prefix[length:] - prefix[:count]) * self.inverses[:count]


def longest_copy(text, chunks):
    """The Copy of a text in training text given as byte strings, one after another, of any size.

    Raises ValueError for an empty text.
    """
    data = text.encode("utf-8")
    if not data:
        raise ValueError("the text is empty, so nothing in it can be a copy; leave it out")
    best, place, carried, hashes = 0, 0, b"", Hashes()
    own = hashes.prefix(data)
    for chunk in pieces(chunks):
        chunk = carried + chunk
        prefix = hashes.prefix(chunk)
        while best < min(len(data), len(chunk)) and (hit := shared(data, own, chunk, prefix, best + 1, hashes)):
            place, best = grown(data, chunk, *hit, best + 1)
        carried = chunk[len(chunk) - min(len(chunk), len(data) - 1) :]  # a run may go on into the next chunk
    found = data[place : place + best].decode("utf-8", errors="replace")
    return Copy(best, found, best / len(data))


def pieces(chunks):
    """The same bytes in pieces of at most CHUNK."""
    for chunk in chunks:
        for start in range(0, len(chunk), CHUNK):
            yield chunk[start : start + CHUNK]


def shared(data, own, chunk, prefix, length, hashes):
    """(place in data, place in chunk) of one run of `length` bytes that both have, or None."""
    mine, theirs = hashes.runs(own, length), hashes.runs(prefix, length)
    order = np.argsort(mine)
    marked = np.zeros(2**20, dtype=bool)  # by the first 20 bits of a hash: most places are told apart by a look here
    marked[mine >> TOP] = True
    near = np.flatnonzero(marked[theirs >> TOP])
    at = np.minimum(np.searchsorted(mine, theirs[near], sorter=order), len(mine) - 1)
    for k in np.flatnonzero(mine[order[at]] == theirs[near]):
        i, j = int(order[at[k]]), int(near[k])
        if data[i : i + length] == chunk[j : j + length]:  # equal hashes of unequal runs are rare, not impossible
            return i, j
    return None


def grown(data, chunk, i, j, length):
    """(place in data, length) of a common run at data[i], chunk[j], made as long as it goes to both sides."""
    while i and j and data[i - 1] == chunk[j - 1]:
        i, j, length = i - 1, j - 1, length + 1
    while i + length < len(data) and j + length < len(chunk) and data[i + length] == chunk[j + length]:
        length += 1
    return i, length


def read_chunks(paths, size=CHUNK):
    """The bytes of files, one after the other, `size` at a time."""
    for path in paths:
        with open(path, "rb") as file:
            while chunk := file.read(size):
                yield chunk


def memorised(samples, human, training):
    """How samples copy, beside held-out human text: a dict.

    "copy_bytes" and "copy_share" are means of the samples' longest copies, "copy_longest" is the longest of them;
    "human_copy_bytes" and "human_copy_longest" the same of the human texts; "memorised" is the share of samples that
    are.

    `training` is a function that gives the training text anew, as chunks of bytes. People repeat each other too: set
    phrases, names, verses of old texts. So a sample counts as memorised only where its longest copy is longer than
    that of every human text.
    """
    ours = [longest_copy(text, training()) for text in samples]
    most = [longest_copy(text, training()).length for text in human]
    mean = lambda values: sum(values) / len(values)
    return {
        "copy_bytes": mean([copy.length for copy in ours]),
        "copy_share": mean([copy.share for copy in ours]),
        "copy_longest": max(copy.length for copy in ours),
        "human_copy_bytes": mean(most),
        "human_copy_longest": max(most),
        "memorised": mean([copy.length > max(most) for copy in ours]),
    }
