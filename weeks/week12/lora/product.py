"""The two products of an adapted layer in one: x W^T + b + scale * (x A^T) B^T, and the way back, without the detours.

Written as layers.py writes it, autograd makes the adapter's output, its scaled copy, and the sum: three arrays of
(tokens, out) written and read beside the one that is wanted, and on the way back as many again, and the gradient of x
as two arrays that are added. Here every small product is added into the array that the large one has made.

With G the upstream gradient (tokens, out), all by the product rule:

    dB = scale G^T (x A^T)        dA = scale (G B)^T x        dx = G W + scale (G B) A

W is frozen, so there is no dW, and x is kept only where A learns.

A product with one side of r = 8 is not worth a multiplication library's best code, and how it is written decides what
it costs. At 512 tokens and 576 -> 1536, one core (AVX2), G B takes 1.0 ms as it stands and 0.2 ms as G (B^T)^T with a
copy of B^T; G^T low takes 1.5 ms, and 0.3 ms as the transpose of low^T G. The product with W takes 9.5 ms.
"""

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class Product(torch.autograd.Function):
    """x (N, in), W (out, in), b (out,) or None, A (r, in), B (out, r), all of one dtype -> (N, out)."""

    @staticmethod
    def forward(ctx, x, weight, bias, A, B, scale):
        low = x @ A.T  # (N, r)
        learns = ctx.needs_input_grad
        ctx.scale = scale
        ctx.save_for_backward(x if learns[3] else None, weight if learns[0] else None, A, B, low if learns[4] else None)
        return F.linear(x, weight, bias).addmm_(low, B.T, alpha=scale)

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        x, weight, A, B, low = ctx.saved_tensors
        x_learns, _, _, A_learns, B_learns, _ = ctx.needs_input_grad
        dx = dA = dB = None
        if B_learns:
            dB = (low.T @ upstream).mul_(ctx.scale).T
        if x_learns or A_learns:
            dlow = F.linear(upstream, B.T.contiguous()).mul_(ctx.scale)  # (N, r)
        if A_learns:
            dA = dlow.T @ x
        if x_learns:
            dx = (upstream @ weight).addmm_(dlow, A)
        return dx, None, None, dA, dB, None


def adapted_linear(x, layer, A, B, scale):
    """(..., in) -> (..., out) of a frozen nn.Linear with the change scale * B A; None where it takes the long way.

    Under autocast all is cast to its dtype, as autocast does; without, the layer and the adapter must have x's.
    """
    kind = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
    parts = (layer.weight, layer.bias, A, B)
    if any(p is not None and p.requires_grad for p in parts[:2]):
        return None  # someone thawed the base: autograd knows what to do
    if kind == x.dtype and any(p is not None and p.dtype != kind for p in parts):
        return None
    weight, bias, A, B = (None if p is None else p.to(kind) for p in parts)
    with torch.autocast(x.device.type, enabled=False):
        y = Product.apply(x.to(kind).reshape(-1, x.shape[-1]), weight, bias, A, B, scale)
    return y.view(*x.shape[:-1], y.shape[-1])
