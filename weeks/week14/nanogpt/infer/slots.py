"""The cache of a batch whose rows come and go: each row stands at its own length, in a slot that another takes later.

slots   [a b c . .]   lengths 3      the rows in use are always the first ones, so that a layer's keys are one view;
        [d e f g .]           4      what lies behind a row's length is masked
        [. . . . .]   free
"""

import torch


class Slots:
    """Keys and values of up to `batch` rows of up to `room` tokens, each (cache_layers, batch, n_kv_head, room,
    head_dim).

    Both buffers are allocated once: a step writes one column, and attention reads a view. For a model it is a cache
    that takes one token a row, with `positions()` and `mask()` beside it.
    """

    def __init__(self, config, batch, room, dtype, device):
        shape = (config.cache_layers, batch, config.n_kv_head, room, config.head_dim)
        self.k = torch.zeros(shape, dtype=dtype, device=device)
        self.v = torch.zeros(shape, dtype=dtype, device=device)
        self.lengths = torch.zeros(batch, dtype=torch.long, device=device)  # tokens held, the next one's position
        self.rows = torch.arange(batch, device=device)
        self.places = torch.arange(room, device=device)
        self.used = self.longest = 0

    @property
    def offset(self):
        return self.longest

    def positions(self):
        """(B, 1): where the next token of each row stands."""
        return self.lengths[: self.used, None]

    def mask(self):
        """(B, 1, 1, S): True for what each row holds, and for its next token."""
        return (self.places[: self.longest + 1] <= self.positions())[:, None, None]

    def update(self, layer, k, v):
        """Write k, v (B, G, 1, D) at each row's end; return all, (B, G, S, D)."""
        here, used = self.lengths[: self.used], self.rows[: self.used]
        self.k[layer][used, :, here] = k[:, :, 0].to(self.k.dtype)
        self.v[layer][used, :, here] = v[:, :, 0].to(self.v.dtype)
        keys, values = (part[layer, : self.used, :, : self.longest + 1] for part in (self.k, self.v))
        return keys.to(k.dtype), values.to(v.dtype)

    def advance(self, n):
        self.lengths[: self.used] += n
        self.longest += n

    def admit(self, cache, lengths):
        """Take the rows of a KVCache that has read their prompts; `lengths` (b,) tells how much of each is real."""
        rows, most = slice(self.used, self.used + len(lengths)), cache.offset
        self.k[:, rows, :, :most], self.v[:, rows, :, :most] = cache.k[..., :most, :], cache.v[..., :most, :]
        self.lengths[rows] = lengths
        self.used += len(lengths)
        self.longest = int(self.lengths[: self.used].max())

    def drop(self, row):
        """Free a slot: the last row in use moves there, so that the rows in use stay together."""
        last, held = self.used - 1, int(self.lengths[self.used - 1])
        if row != last:
            for part in (self.k, self.v):
                part[:, row, :, :held] = part[:, last, :, :held]
            self.lengths[row] = held
        self.used = last
        self.longest = int(self.lengths[:last].max()) if last else 0
