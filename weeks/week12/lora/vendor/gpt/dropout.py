# vendored from weeks/week07-08/gpt/dropout.py, sha256 15555633e78b9b1eeed25992c4dd2bb8524ee3d0346d1416ef951f084d0bfe6e; edit there, then run: make vendor
"""Dropout from random bytes (Srivastava et al. 2014): a drawn number of 64 bits decides on eight places, not on one.

The share is rounded to a 256th, and what stays grows by what that share takes. On other devices than a processor, where
drawing is cheap, torch's own. Left out: a second derivative.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

BYTES = 256  # values of a random byte


def byte_share(share):
    """How many values of a random byte drop a number, and by what the others grow."""
    taken = min(round(BYTES * share), BYTES - 1)
    return taken, BYTES / (BYTES - taken)


def dropped(shape, taken):
    """Bool of a shape, True for `taken` of BYTES places; from torch's global generator."""
    count = math.prod(shape)
    words = torch.empty(-(-count // 8), dtype=torch.int64).random_(-(2**63), None)
    return words.view(torch.uint8)[:count].view(shape) < taken


class Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, share):
        taken, ctx.more = byte_share(share)
        gone = dropped(x.shape, taken)
        ctx.save_for_backward(gone)
        return x.masked_fill(gone, 0).mul_(ctx.more)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        return dy.masked_fill(ctx.saved_tensors[0], 0).mul_(ctx.more), None


class Dropout(nn.Dropout):
    """nn.Dropout; in training on a processor its places come from bytes."""

    def forward(self, x):
        if x.device.type != "cpu":
            return F.dropout(x, self.p, self.training)
        return Drop.apply(x, self.p) if self.training and self.p else x
