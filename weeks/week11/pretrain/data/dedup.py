"""Exact and near duplicates among any number of documents, with 120 bytes of disk for each and a bounded memory.

MinHash (Broder 1997): a document is the set of its shingles, five words in a row. A random hash has its minimum over a
set at any member with equal chance, so two documents have equal minima with the probability |A & B| / |A or B|, their
Jaccard similarity. LSH bands (Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, section 3.4): 112 minima in 14
bands of 8. Two documents are duplicates if a whole band agrees, which happens with probability 1 - (1 - s^8)^14: 0.05
at a similarity of 0.5, 0.56 at 0.7, 0.92 at 0.8 and 1.00 at 0.9. These are the numbers of FineWeb (Penedo et al. 2024).

For each document 15 hashes of 64 bits are kept, in columns: one of the whole text and 14 of the bands. A document
with an earlier equal in any column goes, and that earlier one may be gone too: of a chain of similar documents the
first stays, as in a cluster. Left out: comparing the candidates themselves.
"""

import hashlib
from functools import cache

import numpy as np

WORDS = 5  # in a shingle
BANDS, ROWS = 14, 8
COLUMNS = 1 + BANDS  # hashes of a document: the exact one first
AT_ONCE = 2**21  # hashes sorted at a time: with their order 34 MB
_R = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64


def exact(text):
    """A document's own 64 bits: the same for equal texts, different for others but for 1 pair in 2^64."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def shingles(text):
    """The hashes of all runs of five words, lower case and without punctuation: (n,) uint64, n >= 1.

    Fast by one trick: with P[i] = sum over j < i of byte[j] * R^j modulo 2^64, the bytes from s to e have the hash
    (P[e] - P[s]) * R^-s, wherever they stand. So all shingles take three array operations. A text of fewer than five
    words is one shingle. `shingles_plain` says the same word by word.
    """
    words = _words(text)
    letters = np.frombuffer(b" ".join(words), np.uint8)
    ends = np.append(np.flatnonzero(letters == ord(" ")), letters.size)
    starts = np.append(0, ends[:-1] + 1)
    run = min(WORDS, ends.size)
    starts, ends = starts[: starts.size - run + 1], ends[run - 1 :]
    powers, inverses = _powers(_length(letters.size))
    sums = np.zeros(letters.size + 1, np.uint64)
    np.cumsum(letters * powers[: letters.size], out=sums[1:])
    return _mix((sums[ends] - sums[starts]) * inverses[starts])


def shingles_plain(text):
    """The same hashes from words and Python's integers, to test `shingles` against."""
    words = _words(text)
    runs = [words[i : i + WORDS] for i in range(max(1, len(words) - WORDS + 1))]
    hashes = [sum(byte * pow(_R, j, 2**64) for j, byte in enumerate(b" ".join(run))) % 2**64 for run in runs]
    return _mix(np.array(hashes, np.uint64))


def minhash(hashes, count=BANDS * ROWS):
    """The minima of `count` random hash functions over a set of shingle hashes: (count,) uint32.

    Each is x -> a * x + b modulo 2^32 with its own odd a; x is the upper half of a shingle's hash. 32 bits are enough:
    two documents of 1,000 shingles and none in common have equal minima once in four million times.
    """
    a, b = _functions(count)
    x = (hashes >> np.uint64(32)).astype(np.uint32)
    least = np.full(count, 2**32 - 1, np.uint32)
    for start in range(0, x.size, 2048):  # (112, 2048) numbers of 4 bytes fit the processor's cache
        part = a[:, None] * x[start : start + 2048]
        part += b[:, None]
        np.minimum(least, part.min(axis=1), out=least)
    return least


def keys(texts):
    """The hashes of n documents, (COLUMNS, n) uint64: each one's exact hash, then one a band."""
    minima = np.stack([minhash(shingles(text)) for text in texts]).astype(np.uint64)
    bands = minima.reshape(len(texts), BANDS, ROWS) @ _weights()  # (n, BANDS)
    # A band's hash is of its eight minima; bands never meet, for each has a column of its own.
    return np.stack((np.array([exact(text) for text in texts], np.uint64), *_mix(bands).T))


def repeated(column, at_once=AT_ONCE):
    """Which hashes of a long row had an equal one before them: (n,) bool.

    `column` may be a memory map. Hashes are spread evenly, so the row is worked through by ranges of their value, each
    with about `at_once` of them: whatever n is, only so many are sorted at a time.
    """
    n = len(column)
    found = np.zeros(n, bool)
    ranges = -(-n // at_once)
    width = -(-(2**64) // max(ranges, 1))
    for low in range(0, 2**64, width):
        places, values = [], []
        for start in range(0, n, at_once):
            part = np.asarray(column[start : start + at_once])
            inside = np.flatnonzero((part >= low) & (part <= min(low + width, 2**64) - 1))
            places.append(inside + start)
            values.append(part[inside])
        places, values = np.concatenate(places or [[]]).astype(np.int64), np.concatenate(values or [[]])
        order = np.argsort(values, kind="stable")  # stable: among equals the first document stays first
        again = np.flatnonzero(values[order][1:] == values[order][:-1]) + 1
        found[places[order][again]] = True
    return found


def duplicates(columns):
    """(exact, near) for the COLUMNS rows of hashes, (n,) bool each: which documents go, and why; none for both."""
    columns = map(repeated, columns)
    same = next(columns)
    near = np.zeros(len(same), bool)
    for column in columns:
        near |= column
    return same, near & ~same


def chance(similarity):
    """The probability that two documents of this Jaccard similarity agree in a band: the curve of 14 bands of 8."""
    return 1 - (1 - similarity**ROWS) ** BANDS


def jaccard(a, b):
    """The true similarity of two texts: shared shingles over all shingles."""
    a, b = set(shingles(a).tolist()), set(shingles(b).tolist())
    return len(a & b) / len(a | b)


# --- numbers that never change, made when they are first asked for ----------------------------------------------------

# What a byte counts as: letters in lower case, digits and all bytes of other alphabets as they are, the rest a blank.
_TABLE = bytes(i if i >= 128 else ord(chr(i).lower()) if chr(i).isalnum() else ord(" ") for i in range(256))


def _words(text):
    """The words of a text as bytes, lower case, without punctuation."""
    return text.encode().translate(_TABLE).split()


def _mix(x):
    """Spread every bit over all 64 (the last steps of SplitMix64, Steele, Lea, Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _length(n):
    """The next power of two, so that few tables of powers are ever made."""
    return 1 << max(12, (n - 1).bit_length())


@cache
def _powers(n):
    """R^i and R^-i modulo 2^64 for i < n."""
    both = []
    for base in (_R, pow(_R, -1, 2**64)):
        powers = np.full(n, base, np.uint64)
        powers[0] = 1
        both.append(np.cumprod(powers))
    return both


@cache
def _functions(count):
    """a (odd) and b of the hash functions, from a stream that numpy promises never to change."""
    draws = (np.random.Philox(key=11).random_raw(2 * count) >> np.uint64(32)).astype(np.uint32)
    return draws[:count] | np.uint32(1), draws[count:]


@cache
def _weights():
    return np.random.Philox(key=12).random_raw(ROWS) | np.uint64(1)
