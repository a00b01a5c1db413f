# vendored from weeks/week12/lora/int8.py, sha256 70b65ef0d1c65444bbfe2abed0396491b53d7d04e9a58bc96df47920dfbec3f4; edit there, then run: make vendor
"""A frozen linear layer in 8 bits: the base that an adapter can learn on in a quarter of the memory.

    weight[o, i] ~ scale[o] * q[o, i]        q int8 in -127 ... 127, scale[o] = max_i |weight[o, i]| / 127

QLoRA (Dettmers et al. 2023) showed that low-rank adapters learn well on a base of 4-bit numbers; this is its idea with
whole numbers of 8 bits, one scale for each output. The error of a weight is at most half a step, scale / 2.

Left out: 4 bits, blocks of a row, int8 arithmetic. The product runs in x's dtype: what is saved is memory, not time.
"""

import torch
from torch import nn
from torch.nn import functional as F

LEVELS = 127


class Product(torch.autograd.Function):
    """x (..., in) times q^T, then scale: (..., out). Keeps q for the way back, 1 byte a weight, not q as floats."""

    @staticmethod
    def forward(ctx, x, q, scale):
        ctx.save_for_backward(q, scale)
        return F.linear(x, q.to(x.dtype)) * scale.to(x.dtype)

    @staticmethod
    def backward(ctx, upstream):
        q, scale = ctx.saved_tensors
        return (upstream * scale.to(upstream.dtype)) @ q.to(upstream.dtype), None, None


class Int8Linear(nn.Module):
    """What `quantize` makes of an nn.Linear. Its weight is a buffer: no optimizer can get it."""

    def __init__(self, linear):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = linear.weight.detach()
        largest = weight.float().abs().amax(dim=1)  # (out,)
        scale = (largest / LEVELS).clamp(min=torch.finfo(torch.float32).tiny)  # of a row of zeros any scale will do
        self.register_buffer("q", (weight.float() / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale.to(torch.promote_types(weight.dtype, torch.float32)))
        self.bias = linear.bias
        self.train(linear.training)

    @property
    def weight(self):
        """(out, in) as floats: made anew for whoever asks, such as DoRA's norm."""
        return self.q.to(self.scale.dtype) * self.scale[:, None]

    def forward(self, x):
        """(..., in) -> (..., out)."""
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        y = Product.apply(x, self.q, self.scale)
        return y if self.bias is None else y + self.bias.to(y.dtype)

    def extra_repr(self):
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


def memory(model):
    """Bytes of all parameters and buffers, each shared one counted once."""
    held = {id(t): t for t in (*model.parameters(), *model.buffers())}
    return sum(t.numel() * t.element_size() for t in held.values())
