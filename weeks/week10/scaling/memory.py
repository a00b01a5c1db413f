"""Activation checkpointing: forget what is inside a block, and compute it again in the backward. And how much it saves.

A forward keeps the inputs of every operation for the backward; that, not the weights, fills the memory of a long batch.
With checkpointing a block keeps its input alone, and its forward runs twice: about a third more arithmetic.

Source: Chen et al. 2016, arXiv:1604.06174, section 4.
"""

import weakref
from contextlib import contextmanager
from functools import partial

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint


@contextmanager
def checkpointing(blocks, on=True):
    """While it holds, each module of `blocks` forgets its inside until the backward.

    Numbers and names stay as they are.
    """
    blocks = list(blocks) if on else []
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)  # dropout is drawn alike both times
    try:
        yield
    finally:
        for block in blocks:
            del block.forward  # the class's own shows again


class Peak(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make while it holds: `now`, and `peak`, the most at one time.

    What was there before (weights, inputs) is not counted. It counts on every device, as the operations run.
    """

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self.known = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        old = {self._key(t) for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        out = func(*args, **(kwargs or {}))
        for t in tree_leaves(out):
            if isinstance(t, torch.Tensor) and (key := self._key(t)) not in old and key not in self.known:
                storage = t.untyped_storage()
                self.known[key] = storage.nbytes()
                self.now += self.known[key]
                weakref.finalize(storage, self._free, key)
        self.peak = max(self.peak, self.now)
        return out

    @staticmethod
    def _key(tensor):
        return tensor.untyped_storage()._cdata

    def _free(self, key):
        self.now -= self.known.pop(key)
