# vendored from weeks/week07-08/gpt/cache.py, sha256 3322c6a3f4caaa1cc7b7f2961218cf3c94fe9fd07ea89ab6758d714b2820a6df; edit there, then run: make vendor
"""The key-value cache: what attention has computed for earlier tokens, kept so that a new token costs one column.

Buffers are allocated once, at full length, and filled from the left; `update` returns views, never copies.
Left out on purpose: paging, eviction, rows of different lengths. This file stands alone: week 14 vendors it.
"""

import torch


class KVCache:
    """Keys and values of `offset` tokens for every layer, in two buffers (n_layer, B, n_kv_head, block_size, head_dim).

    For decoding only: a tensor that carries a gradient is refused. With grouped queries, n_kv_head is less than n_head.
    """

    def __init__(self, n_layer, batch, n_kv_head, block_size, head_dim, dtype=torch.float32, device="cpu"):
        shape = (n_layer, batch, n_kv_head, block_size, head_dim)
        if min(shape) < 1:
            names = "n_layer, batch, n_kv_head, block_size, head_dim"
            raise ValueError(f"a cache of shape {shape} ({names}) holds nothing; give sizes of 1 or more")
        self.k = torch.zeros(shape, dtype=dtype, device=device)
        self.v = torch.zeros(shape, dtype=dtype, device=device)
        self.offset = 0  # tokens held: the position of the next one

    @classmethod
    def of(cls, config, batch=1, dtype=torch.float32, device="cpu", length=None):
        """The cache for a model's config: n_layer, n_head, n_embd, block_size; n_kv_head, cache_layers if it has them.

        `length` is the room in tokens where less than the whole block_size will be needed.
        """
        n_kv_head = getattr(config, "n_kv_head", None) or config.n_head
        head_dim = getattr(config, "head_dim", None) or config.n_embd // config.n_head
        layers = getattr(config, "cache_layers", None) or config.n_layer
        return cls(layers, batch, n_kv_head, length or config.block_size, head_dim, dtype, device)

    @property
    def block_size(self) -> int:
        return self.k.shape[3]

    @property
    def nbytes(self) -> int:
        return self.k.nbytes + self.v.nbytes

    def update(self, layer, k, v):
        """Write k, v (B, n_kv_head, T, head_dim) after the tokens held; return all, (B, n_kv_head, S, head_dim).

        `offset` stays: every layer of a forward writes at the same place, and `advance` ends the forward.
        """
        expected = (*self.k.shape[1:3], k.shape[2], self.k.shape[4])
        if tuple(k.shape) != expected or v.shape != k.shape:
            raise ValueError(
                f"keys {tuple(k.shape)} and values {tuple(v.shape)} do not fit the cache, which holds {expected} "
                f"(batch, n_kv_head, time, head_dim); build the cache from this model's config and batch size"
            )
        if torch.is_grad_enabled() and (k.requires_grad or v.requires_grad):
            raise ValueError("the cache is for decoding, and these keys carry a gradient; call inside torch.no_grad()")
        end = self.offset + k.shape[2]
        if end > self.block_size:
            raise ValueError(
                f"{k.shape[2]} tokens after {self.offset} pass block_size = {self.block_size}; reset the cache "
                f"and feed the last {self.block_size} tokens or fewer"
            )
        self.k[layer, :, :, self.offset : end] = k  # also converts to the cache's dtype
        self.v[layer, :, :, self.offset : end] = v
        keys, values = self.k[layer, :, :, :end], self.v[layer, :, :, :end]
        return keys.to(k.dtype), values.to(v.dtype)  # a copy only where the cache has another dtype

    def advance(self, n: int):
        """The forward over n tokens is complete: they are held from now on."""
        self.offset += n

    def crop(self, length: int):
        """Keep the first `length` tokens and forget the newest: to try another continuation.

        The oldest cannot be dropped: each key carries the position at which it was computed.
        """
        if not 0 <= length <= self.offset:
            raise ValueError(f"cannot keep {length} tokens of {self.offset}; give a number from 0 to {self.offset}")
        self.offset = length

    def reset(self):
        """Forget everything; the memory stays."""
        self.offset = 0

    def clone(self, batch: int | None = None):
        """An independent copy; with `batch`, one row repeated, to read a prompt once and continue it in many ways.

        Raises ValueError for a `batch` below 1, and for another number than its own where there are several rows.
        """
        rows = self.k.shape[1]
        if batch is not None and (batch < 1 or batch != rows and rows != 1):
            raise ValueError(f"a cache of {rows} rows cannot become {batch}: one row can be repeated; call clone()")
        repeats = (1, batch if batch and rows == 1 else 1, 1, 1, 1)
        other = object.__new__(type(self))
        other.k, other.v, other.offset = self.k.repeat(repeats), self.v.repeat(repeats), self.offset
        return other
