"""Rows without padding, and what rows begin with alike only once: the same loss from fewer tokens.

    rows      a b c d e         packed    a b | c d e | f | x y z        row 0 = pieces 0, 1
              a b f                                                      row 1 = pieces 0, 2
              x y z                                                      row 2 = piece 3

A token sees only what comes before it, so after the same beginning it has the same states in every row. All but
attention works on single tokens, and runs on the packed ones; attention takes each row's keys and values together from
their pieces, for the queries that no earlier row has. Prompts of one task share the system message and the question:
in batches of short texts that is half of all tokens.

Without padding: Krell et al. 2021, "Efficient Sequence Packing without Cross-contamination". Dropout of a shared token
is drawn once.
"""

import torch

from .vendor.gpt.attend import attend


class Packing:
    """ids (B, T), of which row b holds lengths[b] >= 1 tokens -> the packed `ids` (N,) and their `positions` (N,).

    `place` (B, T) says where each token of the rows is among the packed ones; behind a row's end it is 0.
    """

    def __init__(self, ids, lengths):
        runs = _runs(ids, lengths)
        self.whole = ids  # in its row `row` (N,) a packed token lies at its position
        rows = [torch.full((n,), b, device=ids.device) for b, row in enumerate(runs) for own, _, _, n in row if own]
        self.row = torch.cat(rows)
        self.ids = torch.cat([ids[b, to : to + n] for b, row in enumerate(runs) for own, to, start, n in row if own])
        self.positions = torch.cat(
            [torch.arange(to, to + n, device=ids.device) for row in runs for own, to, start, n in row if own]
        )
        edges = sorted({edge for row in runs for _, _, start, n in row for edge in (start, start + n)})
        self.sizes = [end - start for start, end in zip(edges, edges[1:])]  # of the pieces
        self.rows = []  # of each row that has tokens of its own: its pieces, and how many of its tokens are its own
        self.place = torch.zeros_like(ids)
        for b, row in enumerate(runs):
            for _, to, start, n in row:
                self.place[b, to : to + n] = torch.arange(start, start + n, device=ids.device)
            pieces = [i for _, _, start, n in row for i, edge in enumerate(edges[:-1]) if start <= edge < start + n]
            if row[-1][0]:
                self.rows.append((pieces, row[-1][3]))

    def attend(self, q, k, v, dropout=0.0):
        """Causal attention within each row: q (1, H, N, D), k and v (1, G, N, D) of packed tokens -> (1, H, N, D).

        torch.split and torch.cat are each other's way back, so a gradient is never spread over a whole array of zeros.
        """
        queries = q.split([own for _, own in self.rows], dim=2)
        keys, values = k.split(self.sizes, dim=2), v.split(self.sizes, dim=2)
        out = []
        for query, (pieces, _) in zip(queries, self.rows):
            key, value = (torch.cat([part[i] for i in pieces], dim=2) for part in (keys, values))  # (1, G, T, D)
            out.append(attend(query, key, value, dropout_p=dropout, is_causal=True))  # own tokens are a row's last
        return torch.cat(out, dim=2)


def _runs(ids, lengths):
    """For each row its runs of packed tokens: (is it this row's own?, place in the row, place in the pack, length).

    A row takes its beginning from the earlier row with which it has most in common, and the rest is its own.
    """
    lengths = torch.as_tensor(lengths, device=ids.device)
    inside = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]  # (B, T)
    rows, total = [], 0
    for b, length in enumerate(lengths.tolist()):
        common = mate = 0
        if b:
            same = (ids[:b] == ids[b]) & inside[:b] & inside[b]  # (b, T)
            common, mate = (int(t) for t in same.long().cumprod(dim=1).sum(dim=1).max(dim=0))
        row = [
            (False, to, start, min(n, common - to)) for _, to, start, n in (rows[mate] if common else []) if to < common
        ]
        if length > common:
            row.append((True, common, total, length - common))
            total += length - common
        rows.append(row)
    return rows
