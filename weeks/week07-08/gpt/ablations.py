"""A GPT with one of its own ingredients taken out: functions that change a built model, and the table of them.

    model = ABLATIONS["no MLP"](GPT(config))

Each changes the fresh model in place, before any training, and returns it. The forward stays that of model.py: modules
are exchanged, or their weights set. Left out: other ingredients in place of these (week 14).
"""

import math
from dataclasses import replace

import torch
from torch import nn

from .model import GPT


class Zero(nn.Module):
    """Adds nothing to the residual stream."""

    def forward(self, x, *_):
        return torch.zeros_like(x)


class Alone(nn.Module):
    """A block without its two residual connections: each part passes on what it computed, and nothing else."""

    def __init__(self, block):
        super().__init__()
        for name, module in block.named_children():
            setattr(self, name, module)

    def forward(self, x, layer=0, cache=None):
        x = self.drop(self.attn(self.norm1(x), layer, cache))  # (B, T, C)
        return self.drop(self.mlp(self.norm2(x)))  # (B, T, C)


def nothing(model):
    """The whole model, for comparison."""
    return model


def no_residual(model):
    for at, block in enumerate(model.blocks):
        model.blocks[at] = Alone(block)
    return model


def no_norm(model):
    for block in model.blocks:
        block.norm1 = block.norm2 = nn.Identity()
    model.norm = nn.Identity()
    return model


def no_position(model):
    """All positions alike, and they stay so. Only the causal mask still tells early from late."""
    nn.init.zeros_(model.wpe.weight)
    model.wpe.requires_grad_(False)
    return model


def no_mlp(model):
    for block in model.blocks:
        block.norm2, block.mlp = nn.Identity(), Zero()
    return model


def no_scaling(model):
    """Scores are not divided by the root of D: the fused call divides, so the queries are first multiplied by it."""
    for block in model.blocks:
        block.attn.qkv = LargerQueries(block.attn.qkv, math.sqrt(block.attn.head_dim))
    return model


class LargerQueries(nn.Module):
    """The map to q, k, v (B, T, 3 C) with its first third, the queries, times `factor`."""

    def __init__(self, qkv, factor):
        super().__init__()
        self.qkv, self.factor = qkv, factor

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        return torch.cat([q * self.factor, k, v], dim=-1)


def no_tying(model):
    """The output matrix is one of its own, at first with the embedding's values; it adds V * C parameters."""
    model.head.weight = nn.Parameter(model.wte.weight.detach().clone())
    return model


@torch.no_grad()
def no_scaled_init(model):
    """The two maps of a block that write to the stream start as large as all other matrices."""
    for block in model.blocks:
        for writer in (block.attn.proj, block.mlp.down):
            writer.weight.mul_(math.sqrt(2 * model.config.n_layer))
    return model


def no_dropout(model):
    """Nothing is dropped; what was the share is in model.config, and stays there no more."""
    model.config = replace(model.config, dropout=0.0)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout"):
            module.dropout = 0.0  # of the shares, in Attention
    return model


ABLATIONS = {
    "whole": nothing,
    "no residual": no_residual,
    "no norm": no_norm,
    "no position": no_position,
    "no MLP": no_mlp,
    "no scaling by root D": no_scaling,
    "no tying": no_tying,
    "no scaled init": no_scaled_init,
    "no dropout": no_dropout,
}


def build(name, config):
    """A fresh GPT without the ingredient that `name` says; initialised from torch's global generator.

    Raises ValueError for a name that is no row of ABLATIONS.
    """
    if name not in ABLATIONS:
        raise ValueError(f"there is no ablation {name!r}; choose from {', '.join(ABLATIONS)}")
    return ABLATIONS[name](GPT(config))
