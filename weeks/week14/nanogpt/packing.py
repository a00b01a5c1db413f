"""Rows without padding, and what rows begin with alike only once: the same loss from fewer tokens.

    rows      a b c d e         packed    a b c d e | f | x y z        row 0 = tokens 0-4
              a b f                                                    row 1 = tokens 0-1, 5
              x y z                                                    row 2 = tokens 6-8

A token sees only what comes before it, so after the same beginning it has the same states in every row. Everything but
attention works on single tokens and runs on the packed ones; attention runs on the rows, spread out for it. Prompts of
one task share the system message and the question: in batches of short texts that is half of all tokens.

Packing without padding: Krell et al. 2021, "Efficient Sequence Packing without Cross-contamination". Dropout of a
shared token is drawn once.
"""

from typing import NamedTuple

import torch


class Run(NamedTuple):
    """`length` tokens of a row, from its place `to`, are the packed ones from `start`."""

    row: int
    to: int
    start: int
    length: int


class Packing:
    """ids (B, T), of which row b holds lengths[b] >= 1 tokens -> the packed `ids` (N,) and `positions` (N,).

    `place` (B, T) says where each token of the rows is among the packed ones; behind a row's end it is 0.
    """

    def __init__(self, ids, lengths):
        lengths = torch.as_tensor(lengths, device=ids.device)
        inside = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]  # (B, T)
        # alike[b, c] is how many tokens rows b and c begin with in common; row b takes them from the best earlier row.
        same = (ids[:, None] == ids[None]) & inside[:, None] & inside[None]  # (B, B, T)
        alike = same.long().cumprod(dim=2).sum(dim=2).tril(-1)  # (B, B)
        shared, mates = alike.max(dim=1)  # (B,)
        self.place = torch.zeros_like(ids)
        self.runs, self.own, total = [], [], 0  # runs: all of every row; own: those that no earlier row has
        families = []  # the runs of each row
        for b, (n, common, mate) in enumerate(zip(lengths.tolist(), shared.tolist(), mates.tolist())):
            family = [r._replace(row=b, length=min(r.length, common - r.to)) for r in families[mate] if r.to < common] if b else []
            if n > common:
                family.append(Run(b, common, total, n - common))
                self.own.append(family[-1])
                total += n - common
            for r in family:
                self.place[b, r.to : r.to + r.length] = torch.arange(r.start, r.start + r.length, device=ids.device)
            families.append(family)
            self.runs += family
        self.shape, self.total = tuple(ids.shape), total
        self.ids = torch.cat([ids[r.row, r.to : r.to + r.length] for r in self.own])
        self.positions = torch.cat([torch.arange(r.to, r.to + r.length, device=ids.device) for r in self.own])

    def spread(self, x):
        """(1, H, N, D), a packed token each -> (B, H, T, D), the rows of them, 0 behind a row's end."""
        return _Spread.apply(x, self)

    def collect(self, y):
        """(B, H, T, D) -> (1, H, N, D): of each packed token what the first row that has it computed."""
        return _Collect.apply(y, self)


class _Spread(torch.autograd.Function):
    """Slices copied, and added on the way back: a row is a few slices, so no index of single tokens is needed."""

    @staticmethod
    def forward(ctx, x, packing):
        ctx.packing = packing
        B, T = packing.shape
        out = x.new_zeros(B, T, x.shape[1], x.shape[3]).transpose(1, 2)  # as a layer's output lies in memory
        for row, to, start, n in packing.runs:
            out[row, :, to : to + n] = x[0, :, start : start + n]
        return out

    @staticmethod
    def backward(ctx, upstream):
        packing = ctx.packing
        dx = upstream.new_zeros(1, packing.total, upstream.shape[1], upstream.shape[3]).transpose(1, 2)
        for row, to, start, n in packing.runs:
            dx[0, :, start : start + n] += upstream[row, :, to : to + n]
        return dx, None


class _Collect(torch.autograd.Function):
    @staticmethod
    def forward(ctx, y, packing):
        ctx.packing = packing
        out = y.new_empty(1, packing.total, y.shape[1], y.shape[3]).transpose(1, 2)
        for row, to, start, n in packing.own:
            out[0, :, start : start + n] = y[row, :, to : to + n]
        return out

    @staticmethod
    def backward(ctx, upstream):
        packing = ctx.packing
        B, T = packing.shape
        dy = upstream.new_zeros(B, T, upstream.shape[1], upstream.shape[3]).transpose(1, 2)
        for row, to, start, n in packing.own:
            dy[row, :, to : to + n] = upstream[0, :, start : start + n]
        return dy, None
