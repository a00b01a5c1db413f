"""A GPT whose attention stops at the border of a document: what a packed window costs, and what the mask gives back.

The weights are those of the plain GPT, by name and by number, and a text without borders gets the same logits. So a
model that was trained with the mask is saved, opened and asked as any other. Positions count on
from the start of the window.
"""

import torch.nn.functional as F

from .vendor.gpt.model import GPT, Attention


class DocumentAttention(Attention):
    """Attention among those positions that `allowed` names, (B, 1, T, T) bool."""

    allowed = None

    def forward(self, x, layer=0, cache=None):
        if cache is not None:
            return super().forward(x, layer, cache)
        B, T, C = x.shape
        q, k, v = (part.view(B, T, self.n_head, -1).transpose(1, 2) for part in self.qkv(x).split(C, dim=2))
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=self.allowed, dropout_p=dropout)  # (B, H, T, D)
        return self.proj(y.transpose(1, 2).reshape(B, T, C))


class DocumentGPT(GPT):
    """GPT(config) that reads each document of a window as if it stood alone; `end` opens one."""

    def __init__(self, config, end):
        super().__init__(config)
        self.end = end
        for block in self.blocks:
            block.attn.__class__ = DocumentAttention

    def forward(self, tokens, targets=None, cache=None):
        allowed = mask(tokens, self.end)
        for block in self.blocks:
            block.attn.allowed = allowed
        return super().forward(tokens, targets, cache)


def mask(tokens, end):
    """`sampler.mask` for tensors: (B, T) ids -> (B, 1, T, T) bool."""
    which = (tokens == end).cumsum(1)
    return (which[:, :, None] == which[:, None, :]).tril()[:, None]
