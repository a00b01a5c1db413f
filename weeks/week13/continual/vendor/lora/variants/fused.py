# vendored from weeks/week12/lora/variants/fused.py, sha256 e06724f2ed7b60583d95804b7f5f24a7959beb391b7bde87d83b0aa007788290; edit there, then run: make vendor
"""An adapter of its own for each of q, k and v where one layer computes all three.

Plain LoRA on a fused layer has one A for the three: they read the same r directions. Here each of config.parts has its
own A and B, as if the layer were three (Hu et al. 2021, section 4.2, adapt q and v and leave k alone).

The file is a plain LoRA: the As on top of each other, the Bs on the diagonal, zeros elsewhere.
"""

import torch
from torch.nn import functional as F

from .lora import LoRA

PLACES = "qkv"  # the order of the thirds in the layer's output


class Fused(LoRA):
    SAVED_AS = "lora"

    @classmethod
    def shapes(cls, n_in, n_out, rank, config):
        if n_out % len(PLACES):
            raise ValueError(f"a layer of {n_out} outputs is no fused q, k and v of one size; target one that is")
        n = len(config.parts)
        return {"lora_A": (n * rank, n_in), "lora_B": (n, n_out // len(PLACES), rank)}

    def forward(self, x, base, y):
        (low,) = self.low(x, base, self.lora_A)
        low = low.unflatten(-1, (-1, self.rank))  # (..., n, r)
        own = {part: F.linear(low[..., i, :], self.lora_B[i]) for i, part in enumerate(self.config.parts)}
        none = torch.zeros_like(next(iter(own.values())))
        return torch.cat([own.get(part, none) for part in PLACES], dim=-1) * self.scale  # (..., out)

    def pair(self):
        n, third, rank = self.lora_B.shape
        B = self.lora_B.new_zeros(len(PLACES), third, n, rank)
        for i, part in enumerate(self.config.parts):
            B[PLACES.index(part), :, i] = self.lora_B[i]
        return self.lora_A, B.flatten(2).flatten(0, 1)  # (n r, in), (out, n r)

    @classmethod
    def times(cls, config):
        return len(config.parts)
