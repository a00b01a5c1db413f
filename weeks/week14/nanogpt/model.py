"""One decoder-only transformer whose config (config.py) spans the GPT-2 family, the Llama family and what came later.

Sources of the ingredients: RoPE, Su et al. 2021; grouped queries, Ainslie et al. 2023; RMSNorm, Zhang and Sennrich
2019; SwiGLU, Shazeer 2020; squared ReLU, So et al. 2021; QK-norm, Henry et al. 2020; soft-capped logits, Gemma 2, 2024;
value embeddings, Zhou et al. 2024 and modded-nanogpt; rows for runs of tokens: runs.py.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from .config import GPTConfig
from .runs import Runs
from .vendor.gpt.attend import attend
from .vendor.gpt.dropout import Dropout

ROPE_ROWS = 2048  # positions whose angles are computed at first; more when a text needs them
SPREAD = 0.02  # standard deviation of the first weights


class RMSNorm(nn.Module):
    """x / rms(x) * weight (Zhang & Sennrich 2019), computed in float32 as Llama does."""

    def __init__(self, width, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x):
        """x (..., width) -> the same shape and dtype."""
        return F.rms_norm(x.float(), self.weight.shape, self.weight.float(), self.eps).to(x.dtype)


def make_norm(config):
    if config.norm == "rmsnorm":
        return RMSNorm(config.n_embd, config.norm_eps)
    return nn.LayerNorm(config.n_embd, eps=config.norm_eps, bias=config.bias)


def rope_tables(config, rows):
    """cos and sin of position * frequency, each (rows, head_dim) (Su et al. 2021, section 3.4.2).

    Channel c is paired with c + head_dim/2, the order in which Llama's weights are published. The first half of sin is
    negative, so that turning a pair (a, b) into (a cos - b sin, b cos + a sin) is one formula for both halves.
    """
    kind = {"dtype": torch.float32, "device": "cpu"}  # real numbers also where the weights have none yet
    half = torch.arange(0, config.head_dim, 2, **kind) / config.head_dim
    angles = torch.outer(torch.arange(rows, **kind), config.rope_base**-half)
    return torch.cat([angles.cos()] * 2, dim=1), torch.cat([-angles.sin(), angles.sin()], dim=1)  # (rows, D)


def sinusoids(config, rows):
    """(rows, n_embd): sines and cosines of many lengths (Vaswani et al. 2017, section 3.5), as large as the first
    embeddings, beside which waves of size 1 would drown the tokens."""
    half = torch.arange(0, config.n_embd, 2, dtype=torch.float32, device="cpu") / config.n_embd
    angles = torch.outer(torch.arange(rows, dtype=torch.float32, device="cpu"), 10_000.0**-half)
    waves = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, : config.n_embd]
    return SPREAD * math.sqrt(2) * waves


def rotate(x, cos, sin):
    """Turn each pair of channels of x (B, H, T, D) by its position's angle; cos, sin: (T, D) or (B, 1, T, D)."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin)


class Attention(nn.Module):
    """Causal attention; n_kv_head < n_head shares keys and values (grouped-query, Ainslie et al. 2023)."""

    def __init__(self, config, layer):
        super().__init__()
        self.layer, self.n_head, self.n_kv_head, self.head_dim = layer, config.n_head, config.n_kv_head, config.head_dim
        width, kv_width = config.n_embd, config.n_kv_head * config.head_dim
        self.q = nn.Linear(width, width, bias=config.bias)
        self.k = nn.Linear(width, kv_width, bias=config.bias)
        self.v = nn.Linear(width, kv_width, bias=config.bias)
        self.proj = nn.Linear(width, width, bias=config.bias)
        self.value = nn.Embedding(config.vocab_size, kv_width) if config.value_embed else None
        self.qk_eps = config.norm_eps if config.qk_norm else None
        self.dropout = config.dropout

    def forward(self, x, tokens, rope, mask, cache, packing=None, keep=None):
        """x (B, T, C) -> (B, T, C), or (1, M, C) at the places `keep`. tokens (B, T): what a table of values is asked
        for; rope: cos and sin, or None; mask, cache, packing: as `GPT.hidden` has them, each may be None."""
        B, T, C = x.shape
        qk = torch.cat([self.q(x), self.k(x)], dim=-1).view(B, T, -1, self.head_dim).transpose(1, 2)  # (B, H+G, T, D)
        v = self.v(x) if self.value is None else self.v(x) + self.value(tokens)
        v = v.view(B, T, self.n_kv_head, self.head_dim).transpose(1, 2)  # (B, G, T, D)
        if self.qk_eps is not None:
            qk = F.rms_norm(qk, (self.head_dim,), eps=self.qk_eps)
        if rope is not None:
            qk = rotate(qk, *rope)
        q, k = qk.split([self.n_head, self.n_kv_head], dim=1)  # (B, H, T, D), (B, G, T, D)
        dropout = self.dropout if self.training else 0.0
        if packing is not None:  # tokens of many rows one after another: each row attends to itself
            y = packing.attend(q, k, v, dropout).transpose(1, 2).reshape(B, T, C)
            return self.proj(y if keep is None else y[:, keep])
        if cache is not None:
            k, v = cache.update(self.layer, k, v)  # (B, G, S, D): all positions so far
        if T == 1:  # one new token sees everything, so the heads of a group can stand in its place: no key is copied
            q = q.view(B, self.n_kv_head, -1, self.head_dim)  # (B, G, H/G, D)
        y = attend(q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=mask is None and T > 1)
        y = y.reshape(B, self.n_head, T, self.head_dim)
        return self.proj(y.transpose(1, 2).reshape(B, T, C))


class MLP(nn.Module):
    """GELU (tanh form, as GPT-2), squared ReLU, or SwiGLU: silu(gate) * up."""

    def __init__(self, config):
        super().__init__()
        self.gate = nn.Linear(config.n_embd, config.n_hidden, bias=config.bias) if config.mlp == "swiglu" else None
        self.up = nn.Linear(config.n_embd, config.n_hidden, bias=config.bias)
        self.down = nn.Linear(config.n_hidden, config.n_embd, bias=config.bias)
        self.squared = config.mlp == "relu2"

    def forward(self, x):
        """x (B, T, C) -> (B, T, C)."""
        if self.gate is not None:
            return self.down(F.silu(self.gate(x)) * self.up(x))
        up = self.up(x)
        return self.down(F.relu(up).square() if self.squared else F.gelu(up, approximate="tanh"))


class Block(nn.Module):
    def __init__(self, config, layer):
        super().__init__()
        self.norm1, self.attn = make_norm(config), Attention(config, layer)
        self.norm2, self.mlp = make_norm(config), MLP(config)
        self.dropout = Dropout(config.dropout)

    def forward(self, x, tokens, rope, mask, cache, packing=None, keep=None):
        y = self.attn(self.norm1(x), tokens, rope, mask, cache, packing, keep)
        x = (x if keep is None else x[:, keep]) + self.dropout(y)
        return x + self.dropout(self.mlp(self.norm2(x)))


class GPT(nn.Module):
    """`logits, loss = model(tokens, targets=None, cache=None)`.

    tokens (B, T) int64; targets (B, T), -100 where no loss is wanted; logits (B, T, vocab_size); loss the mean
    cross-entropy in nats, or None. A cache offers `offset`, `update(layer, k, v)` and `advance(T)`.
    """

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.n_embd)
        self.runs = Runs(config) if config.ngram > 1 else None
        self.position = nn.Embedding(config.block_size, config.n_embd) if config.position == "learned" else None
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layer))
        self.norm = make_norm(config)
        self.head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        if config.tie:
            self.head.weight = self.embed.weight
        if config.position == "rope":
            tables = rope_tables(config, min(config.block_size, ROPE_ROWS))
            for name, table in zip(("cos", "sin"), tables, strict=True):
                self.register_buffer(name, table, persistent=False)
        elif config.position == "sinusoidal":
            self.register_buffer("waves", sinusoids(config, config.block_size), persistent=False)
        self.init_weights()

    def init_weights(self):
        """All initialisation: N(0, SPREAD), biases 0, and the writers to the residual stream smaller by their number,
        or 0."""
        for name, p in self.named_parameters():
            residual = name.endswith(("proj.weight", "down.weight"))
            if name.endswith("bias") or name == "runs.weight" or (residual and self.config.zero_init):
                nn.init.zeros_(p)
            elif p.dim() == 2:
                nn.init.normal_(p, std=SPREAD / math.sqrt(2 * self.config.n_layer) if residual else SPREAD)

    def hidden(self, tokens, cache=None, positions=None, mask=None, packing=None, keep=None):
        """The normalised states (B, T, C) that `logits` reads: where few logits are wanted, call it on those alone.

        Rows of a batch may stand at different places: then `positions` (B, T) and `mask` (B, 1, T, S), True where
        attention may look, say so. By default the tokens follow those in the cache, and see all before them. A
        `packing` (packing.py) is of rows that are given as one, (1, N), at its positions: attention keeps them apart.
        Then `keep` (M,) says which states are wanted: behind the last attention no others are computed.
        """
        B, T = tokens.shape
        start = cache.offset if cache is not None else 0
        if positions is None and start + T > self.config.block_size:
            raise ValueError(
                f"{start + T} tokens do not fit into this model's context of {self.config.block_size}; "
                "keep the last ones only"
            )
        place = slice(start, start + T) if positions is None else positions
        x = self.embed(tokens)  # (B, T, C)
        if self.runs is not None:
            x = x + self.runs(tokens, cache, positions, packing)
        rope = None
        if self.config.position == "learned":
            x = x + self.position.weight[place]
        elif self.config.position == "sinusoidal":
            x = x + self.waves[place]
        elif self.config.position == "rope":
            last = start + T if positions is None else int(positions.max()) + 1
            if last > len(self.cos):  # cos comes last, for another thread looks at its length
                rows = min(self.config.block_size, max(last, 2 * len(self.cos)))
                self.sin, self.cos = (table.to(x.device) for table in reversed(rope_tables(self.config, rows)))
            rope = [table[place].to(x.dtype) for table in (self.cos, self.sin)]  # (T, D) or (B, T, D)
            rope = [table.unsqueeze(1) for table in rope] if positions is not None else rope  # (B, 1, T, D)
        if mask is None and start and T > 1:  # several new tokens after cached ones: row t sees the first start + t + 1
            mask = torch.ones(T, start + T, dtype=torch.bool, device=tokens.device).tril(start)
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x, tokens, rope, mask, cache, packing, keep if block is self.blocks[-1] else None)
        if cache is not None:
            cache.advance(T)
        return self.norm(x)

    def logits(self, states):
        """The head's logits (..., V) of states (..., C) that `hidden` gave."""
        logits, cap = self.head(states), self.config.softcap
        return cap * torch.tanh(logits / cap) if cap else logits

    def forward(self, tokens, targets=None, cache=None):
        logits = self.logits(self.hidden(tokens, cache))  # (B, T, V)
        if targets is None:
            return logits, None
        return logits, F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=-100)

    def n_params(self):
        """Number of parameters; a tied head is counted once."""
        return sum(p.numel() for p in self.parameters())

    def flops_per_token(self):
        """Training FLOPs per token: 6 per matmul weight, plus attention's 12 * layers * width * context
        (Chowdhery et al. 2022, appendix B)."""
        c = self.config
        tables = ("position.weight", "value.weight", "runs.weight")  # looked up, not multiplied
        tables += () if c.tie else ("embed.weight",)
        weights = sum(p.numel() for name, p in self.named_parameters() if p.dim() == 2 and not name.endswith(tables))
        return 6 * weights + 12 * c.n_layer * c.n_embd * c.block_size

    def cache_bytes_per_token(self, bytes_per_value=4):
        """Bytes of keys and values that one token of context holds: what grouped-query attention saves."""
        c = self.config
        return 2 * c.cache_layers * c.n_kv_head * c.head_dim * bytes_per_value


def blank(config):
    """The weights of `GPT(config)` on the meta device: every name and shape, no numbers, no memory. A tied head, which
    is the embedding, has no name of its own."""
    wide, hidden, kv = config.n_embd, config.n_hidden, config.n_kv_head * config.head_dim
    block = {"norm1": (wide,), "attn.q": (wide, wide), "attn.k": (kv, wide), "attn.v": (kv, wide)}
    block |= {"attn.proj": (wide, wide), "norm2": (wide,), "mlp.up": (hidden, wide), "mlp.down": (wide, hidden)}
    block |= {"mlp.gate": (hidden, wide)} if config.mlp == "swiglu" else {}
    block |= {"attn.value": (config.vocab_size, kv)} if config.value_embed else {}
    shapes = {f"blocks.{i}.{name}": shape for i in range(config.n_layer) for name, shape in block.items()}
    shapes["norm"] = (wide,)
    biased = {1: config.bias and config.norm == "layernorm", 2: config.bias}  # by the number of dimensions
    tensors = {f"{name}.weight": shape for name, shape in shapes.items()}
    linear = {name: shape for name, shape in shapes.items() if not name.endswith("attn.value")}
    tensors |= {f"{name}.bias": shape[:1] for name, shape in linear.items() if biased[len(shape)]}
    tensors |= {"runs.weight": (config.ngram_rows, wide)} if config.ngram > 1 else {}
    tensors |= {"position.weight": (config.block_size, wide)} if config.position == "learned" else {}
    tensors |= {name: (config.vocab_size, wide) for name in ("embed.weight", "head.weight")[: 1 if config.tie else 2]}
    return {name: torch.empty(shape, device="meta") for name, shape in tensors.items()}


class _Untouched(TorchFunctionMode):
    """Within it, what initialises a tensor in place leaves it as it is."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        draws = (torch.Tensor.normal_, torch.Tensor.uniform_)
        if function in draws or getattr(function, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return function(*args, **(kwargs or {}))


def build(config, tensors):
    """A GPT that takes over `tensors`, which have the names and shapes of `blank(config)`: no second copy, no
    initialisation."""
    with torch.device("meta"), _Untouched():
        model = GPT(config)
    state = {**tensors, "head.weight": tensors["embed.weight" if config.tie else "head.weight"]}
    model.load_state_dict(state, assign=True)
    if config.tie:
        model.head.weight = model.embed.weight  # one Parameter again, not two that share memory
    return model.to(model.embed.weight.device).requires_grad_(True).eval()
