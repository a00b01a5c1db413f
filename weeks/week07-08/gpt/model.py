"""The GPT: a decoder-only transformer, as in GPT-2 (Radford et al. 2019).

    tokens -> wte + wpe -> [ x + attn(norm1(x)) ; x + mlp(norm2(x)) ] * n_layer -> norm -> head -> logits

Left out on purpose: rotary positions, grouped heads, RMSNorm, SwiGLU (they come in week 14), loading of files,
the training loop and sampling (loop.py and sampling.py). Other weeks vendor it with attend.py and dropout.py.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from .attend import attend
from .dropout import Dropout

IGNORE = -100  # a target with this value adds nothing to the loss


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a GPT. Wrong sizes raise ValueError here, before any memory is taken."""

    vocab_size: int
    block_size: int  # the longest sequence that the position table covers
    n_layer: int
    n_head: int
    n_embd: int
    dropout: float = 0.0  # 0 fits pre-training on plenty of text; 0.1 to 0.2 fits many passes over a little
    bias: bool = True  # in Linear and LayerNorm, as GPT-2 has it; False is a little faster

    def __post_init__(self):
        for name in ("vocab_size", "block_size", "n_layer", "n_head", "n_embd"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is {value!r}, but it must be a whole number; give 1 or more")
        if self.n_embd % self.n_head:
            down, up = self.n_embd // self.n_head * self.n_head, (self.n_embd // self.n_head + 1) * self.n_head
            near = f"{down} or {up}" if down else f"{up}"
            raise ValueError(
                f"n_head = {self.n_head} does not divide n_embd = {self.n_embd}, so the heads cannot be equally wide; "
                f"with {self.n_head} heads choose n_embd = {near}"
            )
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout is {self.dropout!r}, but it is the share to drop; give 0 or more, below 1")

    @property
    def head_dim(self) -> int:
        return self.n_embd // self.n_head


class Attention(nn.Module):
    """Causal self-attention with `n_head` heads (Vaswani et al. 2017, section 3.2): position t reads positions <= t."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.n_head, self.head_dim, self.dropout = config.n_head, config.head_dim, config.dropout
        self.qkv = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)  # three maps in one matmul
        self.proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)

    def forward(self, x, layer=0, cache=None):
        B, T, C = x.shape
        q, k, v = self.qkv(x).split(C, dim=2)  # each (B, T, C)
        q, k, v = (part.view(B, T, self.n_head, self.head_dim).transpose(1, 2) for part in (q, k, v))  # (B, H, T, D)
        if cache is not None:
            k, v = cache.update(layer, k, v)  # (B, H, S, D): the S - T earlier positions, then these T
        S = k.shape[2]
        # subtle: is_causal aligns its triangle to the top left, which is right only for T == S. Where a cache holds
        # earlier tokens, query t stands at position S - T + t, so the triangle must be aligned to the bottom right.
        mask = None
        if 1 < T < S:
            mask = torch.ones(T, S, dtype=torch.bool, device=x.device).tril(S - T)
        dropout = self.dropout if self.training else 0.0
        y = attend(q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=T == S and T > 1)
        y = y.transpose(1, 2).reshape(B, T, C)  # heads side by side again
        return self.proj(y)


class MLP(nn.Module):
    """Two linear maps with GELU between, at each position alone; four times as wide inside."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.up = nn.Linear(config.n_embd, 4 * config.n_embd, bias=config.bias)
        self.down = nn.Linear(4 * config.n_embd, config.n_embd, bias=config.bias)

    def forward(self, x):
        return self.down(F.gelu(self.up(x), approximate="tanh"))  # GPT-2 uses the tanh form; exact GELU differs by 5e-4


class Block(nn.Module):
    """Talk (attention), then think (MLP), each added to the residual stream; pre-norm keeps that stream clean."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.norm1 = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.attn = Attention(config)
        self.norm2 = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.mlp = MLP(config)
        self.drop = Dropout(config.dropout)

    def forward(self, x, layer=0, cache=None):
        x = x + self.drop(self.attn(self.norm1(x), layer, cache))  # (B, T, C)
        return x + self.drop(self.mlp(self.norm2(x)))  # (B, T, C)


class GPT(nn.Module):
    """`logits, loss = model(tokens, targets=None, cache=None)`: the contract of every language model here."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)  # what a token is
        self.wpe = nn.Embedding(config.block_size, config.n_embd)  # where it stands
        self.drop = Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.norm = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.head.weight = self.wte.weight  # tied (Press and Wolf 2017): one tensor under two names
        self.init_weights()

    @torch.no_grad()
    def init_weights(self):
        """All initialisation, in one place, drawn from torch's global generator (call torch.manual_seed before).

        Every matrix N(0, 0.02), biases 0, norms 1; then the two maps of a block that write to the residual stream are
        shrunk by 1 / sqrt(2 n_layer): the sum of 2 n_layer writes then has the variance of one (GPT-2, section 2.3).
        """
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)) and module is not self.head:  # head is wte: drawn once
                nn.init.normal_(module.weight, mean=0.0, std=0.02)
            if isinstance(module, nn.LayerNorm):
                nn.init.ones_(module.weight)
            if isinstance(module, (nn.Linear, nn.LayerNorm)) and module.bias is not None:
                nn.init.zeros_(module.bias)
        for block in self.blocks:
            for writer in (block.attn.proj, block.mlp.down):
                writer.weight.mul_(1.0 / math.sqrt(2 * self.config.n_layer))

    def forward(self, tokens, targets=None, cache=None):
        """tokens (B, T) int64 -> logits (B, T, V), and the loss: a scalar mean in nats, or None without targets.

        targets (B, T) holds the next token at each position; -100 is left out of the mean (all of them -100: nan).
        cache holds the keys and values of `cache.offset` earlier tokens; it gains these T. It must offer `offset`,
        `update(layer, k, v) -> (k_all, v_all)` and `advance(n)`. Raises ValueError beyond block_size.
        """
        if tokens.dim() != 2 or tokens.shape[1] == 0:
            raise ValueError(f"tokens have shape {tuple(tokens.shape)}; give (batch, time) with at least one token")
        B, T = tokens.shape
        offset = 0 if cache is None else cache.offset
        if offset + T > self.config.block_size:
            held = f" on top of {offset} in the cache" if offset else ""
            raise ValueError(
                f"{T} tokens{held} are more than block_size = {self.config.block_size}, the end of the position table; "
                f"give the last {self.config.block_size} tokens only, or build the model with a larger block_size"
            )
        positions = torch.arange(offset, offset + T, device=tokens.device)
        x = self.drop(self.wte(tokens) + self.wpe(positions))  # (B, T, C) + (T, C)
        for layer, block in enumerate(self.blocks):
            x = block(x, layer, cache)  # (B, T, C)
        if cache is not None:
            cache.advance(T)  # only now: every layer of one forward writes at the same offset
        logits = self.head(self.norm(x))  # (B, T, V)
        if targets is None:
            return logits, None
        # float32 for the sum of exponentials, whatever autocast made of the logits
        return logits, F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORE)

    def n_params(self, embeddings: bool = True) -> int:
        """Parameters, the tied matrix counted once; embeddings=False leaves out wte and wpe (Kaplan et al. 2020)."""
        total = sum(p.numel() for p in self.parameters())  # parameters() yields a shared tensor once
        return total if embeddings else total - self.wte.weight.numel() - self.wpe.weight.numel()

    def flops_per_token(self, length: int | None = None) -> int:
        """Floating-point operations to train on one token of a sequence of `length` (default: block_size).

        6 for each weight that multiplies (2 forward, 4 backward), and 12 * C * length a layer for q @ k and
        weights @ v, as if no position were masked (PaLM, Chowdhery et al. 2022, appendix B). wpe is only looked up;
        wte multiplies once, as the head.
        """
        length = self.config.block_size if length is None else length
        multiply = sum(p.numel() for p in self.parameters() if p.dim() == 2) - self.wpe.weight.numel()
        return 6 * multiply + 12 * self.config.n_layer * self.config.n_embd * length
