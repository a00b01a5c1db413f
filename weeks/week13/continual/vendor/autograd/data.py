# vendored from weeks/week01-02/autograd/data.py, sha256 a87ac876a0c3ca053c78d8f97199099a37241b2993f1f2a25f9d24eb6339c054; edit there, then run: make vendor
"""From arrays to batches, and from MNIST's four files to arrays."""

import math
from pathlib import Path

import numpy as np

from ..shared.errors import Mistake
from ..shared.files import need

PIXELS = 28
VALIDATION = 5_000  # the last images of the training files: every choice is made on them, never on the test files


class Loader:
    """Batches of several arrays that belong together, row by row.

    rng: a generator draws a new order for each walk through the data; None keeps the order. change(rng, first) may
    alter the first array of a batch, as `augment.distort` does. The last batch holds what is left.
    """

    def __init__(self, *arrays, batch_size, rng=None, change=None):
        if batch_size < 1:
            raise ValueError(f"a batch size of {batch_size} gives no batches; use 1 or more")
        if len({len(array) for array in arrays}) != 1:
            raise ValueError(f"arrays of {[len(a) for a in arrays]} rows cannot be walked through together")
        self.arrays, self.batch_size, self.rng, self.change = arrays, batch_size, rng, change

    def __len__(self):
        return math.ceil(len(self.arrays[0]) / self.batch_size)

    def __iter__(self):
        """Yields one tuple a batch: the same rows of every array. A new order is one rng.permutation(n)."""
        n = len(self.arrays[0])
        order = np.arange(n) if self.rng is None else self.rng.permutation(n)
        for start in range(0, n, self.batch_size):
            rows = order[start : start + self.batch_size]
            first, *rest = (array[rows] for array in self.arrays)
            yield (self.change(self.rng, first) if self.change else first, *rest)


def mnist(folder):
    """The parts of MNIST: {"train": (images, labels), "val": ..., "test": ...} of 55,000, 5,000 and 10,000.

    images (N, 1, 28, 28) float32 between 0 and 1, labels (N,) int64. Raises Mistake for a missing or damaged file.
    """
    parts = {}
    for name, prefix in (("train", "train"), ("test", "t10k")):
        images, labels = (Path(folder) / f"{prefix}-{end}" for end in ("images-idx3-ubyte", "labels-idx1-ubyte"))
        parts[name] = read_images(images), read_labels(labels)
        if len(parts[name][0]) != len(parts[name][1]):
            raise Mistake(f"{images} has {len(parts[name][0])} images, {labels} {len(parts[name][1])} labels; {AGAIN}")
    images, labels = parts["train"]
    cut = len(labels) - min(VALIDATION, len(labels) // 6)  # a small set keeps five sixths to learn from
    return {
        "train": (images[:cut], labels[:cut]),
        "val": (images[cut:], labels[cut:]),
        "test": parts["test"],
    }


def read_images(path):
    """An idx file of 28 x 28 images -> (N, 1, 28, 28) float32 between 0 and 1."""
    pixels = read_idx(path, axes=3)
    if pixels.shape[1:] != (PIXELS, PIXELS):
        raise Mistake(f"{path} holds images of {pixels.shape[1:]} pixels, not {(PIXELS, PIXELS)}; {AGAIN}")
    return pixels[:, None].astype(np.float32) / np.float32(255)


def read_labels(path):
    """An idx file of digits -> (N,) int64."""
    labels = read_idx(path, axes=1)
    wrong = np.flatnonzero(labels > 9)
    if wrong.size:
        raise Mistake(f"{path}: label {wrong[0]} is {labels[wrong[0]]}, which is no digit from 0 to 9; {AGAIN}")
    return labels.astype(np.int64)


AGAIN = "delete the folder and run: make data/mnist"


def read_idx(path, axes):
    """An idx file of bytes -> uint8 array with `axes` axes.

    The format: two zero bytes, 8 for "unsigned bytes", the number of axes; each axis' length as 4 bytes, the highest
    first; then the values, the last axis fastest. Raises Mistake for a file that is missing (`need` does), for one that
    begins otherwise ("PATH is no idx file of bytes with 3 axes (it begins with '1f 8b 08 00'); ..."), and for one that
    holds no values, or too few or too many ("PATH promises 2352 bytes, (3, 28, 28), and holds 2351; ..."). Both
    sentences end with AGAIN.
    """
    raw = need(path, "make data/mnist").read_bytes()
    if raw[:4] != bytes([0, 0, 8, axes]) or len(raw) < 4 + 4 * axes:
        raise Mistake(f"{path} is no idx file of bytes with {axes} axes (it begins with {raw[:4].hex(' ')!r}); {AGAIN}")
    shape = np.frombuffer(raw, ">u4", axes, offset=4).tolist()
    values = np.frombuffer(raw, np.uint8, offset=4 + 4 * axes)
    if values.size != math.prod(shape) or not values.size:
        raise Mistake(f"{path} promises {math.prod(shape)} bytes, {tuple(shape)}, and holds {values.size}; {AGAIN}")
    return values.reshape(shape)
