"""Batches as a pure function of the step: nothing to save, nothing to replay, any number of processes.

The ids of a split are one row, closed document by document, and cut into windows of block_size targets. The input of
each target is the id before it; before the first of all stands the end-of-text id, as before any other document. So in
one epoch every id is a target exactly once. Documents shorter than a window are packed: a window goes on with the next.
An epoch is a permutation of the windows. Batches take windows from the endless row of epochs, so where an epoch's
windows do not fill a batch, the next epoch's fill it. A split is a row of its own: no window holds both train and val.
Left out: best-fit packing, which cuts fewer documents but throws a third of the ids away (nanochat, dev/LOG.md).
"""

from functools import lru_cache

import numpy as np

from ..vendor.shared.errors import Mistake

IGNORE = -100  # a target that is not judged, as in week 7's GPT


class Sampler:
    """`batch(step)` -> (inputs, targets), each (batch_size / world_size, block_size) int64, for one process of several.

    `tokens` is a `shards.Tokens` (or has its len, slices and `end`); batch_size counts the rows of all processes.
    """

    def __init__(self, tokens, *, block_size, batch_size, seed=0, rank=0, world_size=1):
        if block_size < 1 or batch_size < 1:
            raise Mistake(f"batch_size {batch_size} and block_size {block_size} must both be 1 or more")
        if batch_size % world_size:
            low, high = batch_size // world_size * world_size, (batch_size // world_size + 1) * world_size
            raise Mistake(
                f"a batch of {batch_size} rows cannot be shared equally by {world_size} processes; "
                f"give a batch of {f'{low} or ' if low else ''}{high}, or start another number of processes"
            )
        if not 0 <= rank < world_size:
            raise Mistake(f"there is no process {rank} among {world_size}; they count from 0")
        self.tokens, self.block_size, self.batch_size, self.seed = tokens, block_size, batch_size, seed
        self.rank, self.world_size = rank, world_size
        self.windows = -(-len(tokens) // block_size)  # in an epoch
        if self.windows < batch_size:
            raise Mistake(
                f"{len(tokens):,} tokens are {self.windows:,} windows of {block_size}, fewer than the {batch_size} "
                "rows of one batch; give more text, a smaller batch, or a smaller block size"
            )

    @property
    def steps_per_epoch(self):
        """Steps for which the windows of one epoch last; not whole where they do not fill the last batch."""
        return self.windows / self.batch_size

    def places(self, step):
        """Which windows the whole batch of a step holds, (batch_size,), whichever process asks."""
        numbers = range(step * self.batch_size, (step + 1) * self.batch_size)
        return np.array([order(self.seed, n // self.windows, self.windows)[n % self.windows] for n in numbers])

    def batch(self, step):
        """Inputs and targets of this process's rows of the batch of `step`, which counts from 0."""
        share = self.batch_size // self.world_size
        mine = self.places(step)[self.rank * share : (self.rank + 1) * share]
        inputs, targets = zip(*(window(self.tokens, i, self.block_size) for i in mine.tolist()))
        return np.stack(inputs), np.stack(targets)


def window(tokens, i, block_size):
    """Inputs and targets, (block_size,) int64 each, of the window `i` in the order of the text; the last is padded."""
    start = i * block_size
    stop = min(start + block_size, len(tokens))
    before = tokens[start - 1 : start] if start else np.array([tokens.end])
    targets = tokens[start:stop]
    inputs = np.concatenate((before, targets[:-1]))
    missing = block_size - len(targets)
    return np.pad(inputs, (0, missing), constant_values=tokens.end), np.pad(
        targets, (0, missing), constant_values=IGNORE
    )


@lru_cache(maxsize=2)  # a batch can hold windows of two epochs
def order(seed, epoch, windows):
    """The permutation of an epoch's windows. It needs 8 bytes a window while the epoch lasts.

    Sorted random numbers, and not numpy's own `permutation`: numpy keeps the streams of its bit generators for ever,
    but not what it makes of them (NEP 19), and a run must resume under a newer numpy too.
    """
    numbers = np.random.Philox(np.random.SeedSequence((seed, epoch))).random_raw(windows)
    return np.argsort(numbers, kind="stable")


def documents(inputs, end):
    """Which document each input belongs to, counted from 0 in its row: inputs (B, T) -> (B, T).

    The end-of-text id opens a document here: with it as input the first word of the next document is to be predicted.

    >>> documents(np.array([[5, 6, 0, 7, 0, 8]]), end=0)
    array([[0, 0, 1, 1, 2, 2]])
    """
    return np.cumsum(inputs == end, axis=1)


def mask(inputs, end):
    """Who may attend to whom where documents must not see each other: (B, 1, T, T) bool, True for allowed.

    Query (third) to key (fourth) of the same document and not later. Without it a packed window is attended as a whole.
    """
    which = documents(inputs, end)
    same = which[:, :, None] == which[:, None, :]
    return (same & np.tri(inputs.shape[1], dtype=bool))[:, None]
