# vendored from weeks/week07-08/gpt/attend.py, sha256 0254f08cbe2c282e38d9ac1ae3940f4bb99a1f2339c88e6a0bcc2362c75a4f7d; edit there, then run: make vendor
"""Causal attention for training on a processor: forward and backward by hand, as one node of the graph.

torch's fused call never writes the T x T weights to memory, which decides on a GPU. Here they are kept and read once
more, in plain products: in bfloat16 that is 2.3 to 3.2 times as fast as the fused call (bench.py attention), which has
no fast product there; and with dropout torch has no fused call on a processor. Queries go in blocks, for one block has
no use for the keys behind its end.
The formulas: attention.py, and for `delta` Dao et al. 2022, appendix B. Left out: a second derivative.
"""

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from .dropout import byte_share, dropped

BLOCK = 128  # queries of a block
LONGEST = 512  # keys; beyond it the weights take much memory


def attend(q, k, v, *, attn_mask=None, dropout_p=0.0, is_causal=False):
    """torch's scaled_dot_product_attention, its arguments and its answer: q (B, H, T, D), k and v (B, G, S, D) -> q's.

    G divides H: a key serves H / G heads that follow one another. Causal means that query t sees the keys up to
    S - T + t. Torch's call answers where it is as good: in float32 without dropout, where no gradient is wanted, not on
    a processor.
    """
    T, S = q.shape[2], k.shape[2]
    learns = torch.is_grad_enabled() and any(part.requires_grad for part in (q, k, v))
    if torch.is_autocast_enabled("cpu"):
        q, k, v = (part.to(torch.get_autocast_dtype("cpu")) for part in (q, k, v))
    slow = dropout_p > 0 or q.dtype == torch.bfloat16  # torch's call is
    if is_causal and learns and slow and q.device.type == "cpu" and S <= LONGEST:
        return Attend.apply(q, k, v, dropout_p)
    if q.shape[1] > k.shape[1]:
        k, v = (part.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for part in (k, v))  # (B, H, S, D)
    if is_causal and T < S:
        attn_mask, is_causal = torch.ones(T, S, dtype=torch.bool, device=q.device).tril(S - T), False
    return F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask, dropout_p=dropout_p, is_causal=is_causal)


def blocks(T, S):
    """(queries as a slice, how many keys they see, where the first of them stands) of each block."""
    for start in range(0, T, BLOCK):
        end = min(start + BLOCK, T)
        yield slice(start, end), S - T + end, S - T + start


class Attend(torch.autograd.Function):
    """What a head of k and v serves stands side by side: (B, H, T, D) as (B, G, H / G, T, D), so nothing is copied to
    each head, and the gradients of k and v are sums already."""

    @staticmethod
    def forward(ctx, q, k, v, dropout):
        with torch.autocast("cpu", enabled=False):
            (B, H, T, D), (G, S) = q.shape, k.shape[1:3]
            rows, share, (taken, more) = B * G, H // G, byte_share(dropout)
            q, k, v = q.reshape(rows, share, T, D), k.reshape(rows, S, D), v.reshape(rows, S, D)
            y, kept = torch.empty_like(q), []
            for part, seen, first in blocks(T, S):
                query = q[:, :, part].reshape(rows, -1, D)  # (B G, n H / G, D)
                n = query.shape[1] // share
                future = q.new_full((n, seen), -torch.inf).triu(first + 1).repeat(share, 1)
                weights = torch.baddbmm(future, query, k[:, :seen].transpose(1, 2), alpha=D**-0.5).softmax(-1)
                used = weights
                if taken:
                    gone = dropped(weights.shape, taken)
                    used = weights.masked_fill(gone, 0).mul_(more)
                    weights = torch.where(gone, -weights, weights)  # the sign says which were dropped
                y[:, :, part] = torch.bmm(used, v[:, :seen]).view(rows, share, n, D)
                kept.append(weights)
        ctx.save_for_backward(q, k, v, y, *kept)
        ctx.shape, ctx.taken, ctx.more = (B, H, T, D), taken, more
        return y.view(B, H, T, D)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        q, k, v, y, *kept = ctx.saved_tensors
        (rows, share, T, D), S = q.shape, k.shape[1]
        dy = dy.reshape(rows, share, T, D)
        delta = (dy * y).sum(-1, keepdim=True).neg_()  # less the sum over s of dA and A
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for (part, seen, _), weights in zip(blocks(T, S), kept):
            query, slope, less = (each[:, :, part].reshape(rows, -1, each.shape[-1]) for each in (q, dy, delta))
            values = v[:, :seen].transpose(1, 2)
            if ctx.taken:
                used = F.relu(weights).mul_(ctx.more)
                dscores = torch.bmm(slope, values).mul_(used).addcmul_(weights.abs(), less)
            else:
                used, dscores = weights, torch.baddbmm(less, slope, values).mul_(weights)
            dv[:, :seen] += torch.bmm(used.transpose(1, 2), slope)
            dq[:, :, part] = torch.bmm(dscores, k[:, :seen]).view(rows, share, -1, D)
            dk[:, :seen] += torch.bmm(dscores.transpose(1, 2), query)
        dq, dk = dq.mul_(D**-0.5), dk.mul_(D**-0.5)
        B, H = ctx.shape[:2]
        return dq.view(B, H, T, D), dk.view(B, -1, S, D), dv.view(B, -1, S, D), None
