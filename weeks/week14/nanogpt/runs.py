"""Rows for runs of tokens: the embedding of a token also tells which came right before it.

A run of 2, 3, .. tokens has a row of a table, which joins the embedding of its last token. A row is looked up, not
multiplied, so what a model must otherwise learn to put together costs it almost no time. No list of runs is kept: a
run's row is its hash, which it may share with other runs.
Sources: Pagnoni et al. 2024 (arXiv:2412.09871, section 3.2.1), Huang et al. 2025 (arXiv:2501.16975).
"""

import torch
from torch import nn

from .config import BITS

MIX = 0x5851F42D4C957F2D  # odd and large: a product with it moves high bits, whichever bit of a key differs
SCALE = 0.1  # of the rows: an optimizer's steps move them less than the rest, else they learn a text by heart


class Runs(nn.Embedding):
    """The table (ngram_rows, n_embd), and the ids that came before each token."""

    def __init__(self, config):
        super().__init__(config.ngram_rows, config.n_embd)
        self.longest, self.layer, self.n_kv_head = config.ngram, config.n_layer, config.n_kv_head

    def forward(self, tokens, cache=None, positions=None, packing=None):
        """tokens (B, T) -> (B, T, C), the sum of the rows of the runs that end at each; arguments: `GPT.hidden`'s."""
        return self.total(tokens, self.before(tokens, cache, positions, packing))

    def total(self, tokens, before):
        """The sum of the rows, times SCALE. before: for 1, 2, .. places back the ids there, -1 where a text had not
        begun. All arithmetic is modulo 2**64."""
        key, total = tokens, 0
        for earlier in before:
            key = (key ^ key >> 31) * MIX + earlier + 2
            hashed = (key ^ key >> 31) * MIX >> 32
            total = total + super().forward(hashed.remainder(self.num_embeddings))  # (B, T, C)
        return SCALE * total

    def before(self, tokens, cache=None, positions=None, packing=None):
        """A list: for 1, 2, .. places back the ids (B, T) there, -1 where a text had not begun. A cache holds the
        tokens as one more layer: in the place of a key stand the digits of an id."""
        (B, T), device = tokens.shape, tokens.device
        start = cache.offset if cache is not None else 0
        at = torch.arange(start, start + T, device=device) if positions is None else positions  # (T,) or (B, T)
        row = torch.arange(B, device=device)[:, None] if packing is None else packing.row
        if cache is None:
            whole = tokens if packing is None else packing.whole  # (B, S)
        else:
            width = cache.k.shape[-1]
            shifts = (BITS * torch.arange(width, device=device)).clamp(max=60)  # (D,); an id has no bits from 60 on
            digits = (tokens[:, None, :, None] >> shifts & 2**BITS - 1).to(cache.k.dtype)  # (B, 1, T, D)
            digits = digits.expand(-1, self.n_kv_head, -1, -1)
            whole = cache.update(self.layer, digits, digits)[0][:, 0]  # (B, S, D)
        found = [whole[row, (at - back).clamp(min=0)] for back in range(1, self.longest)]
        if cache is not None:
            found = [(ids.long() << shifts).sum(-1) for ids in found]
        return [ids.expand(B, T).masked_fill(at < back, -1) for back, ids in enumerate(found, 1)]
