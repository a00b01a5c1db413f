# vendored from weeks/week09/bpe/many.py, sha256 47b22ee6931288be4e80bc56db37350813a32ce4f5af6692e31e37fcc2f11311; edit there, then run: make vendor
"""The merges of thousands of pieces at once, in NumPy arrays: the first look at a long text in half the time.

All pieces lie side by side in one row of parts. Each round merges, in every piece, the two neighbours whose
concatenation has the lowest rank; so there are as many rounds as the piece with the most merges needs, not one for
each piece. A part is known by a hash of its bytes. The hash is a polynomial in the bytes, so that of two parts together
follows from theirs: h(ab) = h(a) BASE^len(b) + h(b), modulo 2^64.
Left out: pieces longer than SHORT, where a heap is better (fast.py).
"""

from itertools import islice

import numpy as np

SHORT = 32  # bytes of the longest piece here, and of the longest for which scanning is faster than a heap (fast.py)
BASE = 0x9E3779B97F4A7C15  # any odd number without a pattern; this one is 2^64 / golden ratio
BITS = 18  # of a bucket's number
NONE = 2**62  # the rank of what is no token: above all others


def _powers(most):
    """BASE^0 to BASE^most, modulo 2^64: what does not fit is dropped, as it should be."""
    return np.cumprod(np.array([1, *[BASE] * most], dtype=np.uint64))


POWERS = _powers(SHORT)


class Merger:
    """`merge(pieces)` -> ids of each, equal to merging one by one, for a vocabulary of bytes -> rank."""

    def __init__(self, ranks):
        self.vocabulary, self.tokens = ranks, dict(zip(ranks.values(), ranks))
        content, lengths = _bytes(ranks), np.fromiter(map(len, ranks), np.int64, len(ranks))
        values, ends = np.fromiter(ranks.values(), np.int64, len(ranks)), lengths.cumsum()
        powers = np.repeat(ends, lengths) - np.arange(1, len(content) + 1)  # of each byte: how many follow it
        hashes = np.add.reduceat(_hashes(content) * _powers(lengths.max(initial=0))[powers], ends - lengths)
        # Most looks are at one byte or two: they have tables of their own.
        self.one, self.two, one, two = np.full(2**8, NONE), np.full(2**16, NONE), lengths == 1, lengths == 2
        self.one[content[ends[one] - 1]] = values[one]
        self.two[content[ends[two] - 2] * 256 + content[ends[two] - 1]] = values[two]
        # The others lie in buckets. A look begins where its bucket does, and goes on for as many as the fullest has; so
        # the last hash stands there again, for looks that begin near the end.
        buckets = _bucket(hashes)
        sizes = np.bincount(buckets, minlength=2**BITS)
        self.first, self.most = (sizes.cumsum() - sizes).astype(np.int32), sizes.max()
        order = np.pad(buckets.argsort(), (0, self.most), mode="edge")
        self.hashes, self.ranks = hashes[order], values[order]

    def fill(self, cache, pieces, limit):
        """Add to the dict piece -> ids what is new in the list `pieces`; it stays below `limit` entries.

        What cannot be done here is left out: whoever meets it later merges it one by one.
        """
        if len(cache) > limit // 2:
            cache.clear()
        new = {}  # bytes -> piece
        for piece in islice(set(pieces).difference(cache), limit // 2):
            token = piece.encode("utf-8")
            if (rank := self.vocabulary.get(token)) is not None:
                cache[piece] = [rank]
            elif len(token) <= SHORT:
                new[token] = piece
        cache.update(zip(new.values(), self.merge(list(new)) or ()))

    def rank(self, hashes):
        """The rank of each hash; NONE where no token has it."""
        at, found = self.first[_bucket(hashes)], np.full(len(hashes), NONE)
        for _ in range(self.most):
            same = self.hashes[at] == hashes
            found[same] = self.ranks[at[same]]
            at += 1
        return found

    def merge(self, pieces):
        """Lists of ids of `pieces`, each of 1 to SHORT bytes. None where one by one is the way.

        That is so for a byte that the vocabulary lacks, and when two hashes are equal by chance or by design: then the
        ids do not spell the pieces.
        """
        if not pieces:
            return []
        sizes, content = np.fromiter(map(len, pieces), np.int64, len(pieces)), _bytes(pieces)
        owner = np.repeat(np.arange(len(pieces)), sizes)  # of each part: its piece
        hashes, lengths, ids = _hashes(content), np.ones(len(owner), np.int64), self.one[content]
        pairs = np.append(self.two[content[:-1] * 256 + content[1:]], NONE)  # the rank of each part with the next one
        pairs[sizes.cumsum() - 1] = NONE  # which is of another piece
        finished = []  # (ids, owner) of pieces that have nothing left to merge
        while len(owner):
            starts = np.flatnonzero(np.diff(owner, prepend=-1))
            counts = np.diff(starts, append=len(owner))
            lowest = np.repeat(np.minimum.reduceat(pairs, starts), counts)  # of each part's piece
            going = lowest < NONE
            finished.append((ids[~going], owner[~going]))
            hashes, lengths, owner, ids, pairs = (row[going] for row in (hashes, lengths, owner, ids, pairs))
            at = np.flatnonzero(pairs == lowest[going])
            at = at[np.diff(owner[at], prepend=-1) > 0]  # the leftmost of each piece
            hashes[at] = hashes[at] * POWERS[lengths[at + 1]] + hashes[at + 1]
            lengths[at] += lengths[at + 1]
            ids[at] = pairs[at]
            stays = np.ones(len(owner), bool)
            stays[at + 1] = False
            hashes, lengths, owner, ids, pairs = (row[stays] for row in (hashes, lengths, owner, ids, pairs))
            at -= np.arange(len(at))  # where the new parts are, now that others have gone
            at = np.concatenate((at, at[at > 0] - 1))  # a merge changes its own pair, and the one before
            pairs[at] = NONE
            at = at[at + 1 < len(owner)]
            at = at[owner[at] == owner[at + 1]]
            pairs[at] = self.rank(hashes[at] * POWERS[lengths[at + 1]] + hashes[at + 1])
        ids, owner = (np.concatenate(rows) for rows in zip(*finished))
        ids = ids[owner.argsort(kind="stable")].tolist()
        if NONE in ids or b"".join(map(self.tokens.__getitem__, ids)) != b"".join(pieces):
            return None
        ends = np.bincount(owner, minlength=len(pieces)).cumsum().tolist()
        return [ids[start:end] for start, end in zip([0, *ends], ends)]


def _bucket(hashes):
    """A bucket for each hash. Tokens that differ in the last byte only have hashes side by side: spread them."""
    return (hashes * np.uint64(BASE)) >> np.uint64(64 - BITS)


def _bytes(pieces):
    """The bytes of all pieces in one row of integers."""
    return np.frombuffer(b"".join(pieces), np.uint8).astype(np.int64)


def _hashes(content):
    """The hash of each byte alone: not 0 for the byte 0, or its length would not count."""
    return content.astype(np.uint64) + np.uint64(1)
