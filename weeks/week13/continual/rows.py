"""Rows of a task: named tensors of one length, that are taken, joined and stored together.

A language model's rows are `ids` (N, T+1), int64, and `judged` (N, T+1), bool: is this token a target of the loss?
A prompt is read and not judged; padding, at a row's end, is id 0 and not judged, and nothing judged comes after it.
What the names mean only the learner knows: rows of pictures would be `pixels` and `label`.
"""

import hashlib
from itertools import pairwise

import torch


class Rows:
    """`Rows(ids=..., judged=...)`; `rows.ids` is the tensor, `rows[index]` the rows that a tensor or slice picks."""

    def __init__(self, **tensors):
        lengths = {name: len(t) for name, t in tensors.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"rows are tensors of one length, but got {lengths or 'none'}; cut them alike")
        self.tensors = tensors

    def __getattr__(self, name):
        try:
            return self.__dict__["tensors"][name]
        except KeyError:
            raise AttributeError(f"these rows have {', '.join(self.__dict__.get('tensors', ()))}, no {name}") from None

    def __len__(self):
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, index):
        return self.map(lambda t: t[index])

    def map(self, change):
        return Rows(**{name: change(t) for name, t in self.tensors.items()})

    def to(self, device):
        return self.map(lambda t: t.to(device))

    def split(self, size):
        """Parts of `size` rows each, the last one shorter where it does not divide."""
        return [self[start : start + size] for start in range(0, len(self), size)]

    def shape(self):
        """{name: (shape of one row)}: rows may be joined only if these are equal."""
        return {name: tuple(t.shape[1:]) for name, t in self.tensors.items()}

    def digest(self):
        """sha256 of all that stands in the rows: a stopped run must go on with the rows it began with."""
        total = hashlib.sha256()
        for name in sorted(self.tensors):
            t = self.tensors[name].contiguous().cpu()
            total.update(f"{name} {tuple(t.shape)} {t.dtype}".encode() + t.numpy().tobytes())
        return total.hexdigest()


def cat(parts):
    """The rows of all parts, in order. Rows of another shape raise: cut or pad all tasks to one length."""
    shapes = [part.shape() for part in parts]
    for shape in shapes:
        if shape != shapes[0]:
            raise ValueError(
                f"rows of shape {shape} cannot lie beside rows of shape {shapes[0]}; cut or pad all tasks to one length"
            )
    return Rows(**{name: torch.cat([part.tensors[name] for part in parts]) for name in shapes[0]})


def patchwork(rows, length, generator):
    """Rows of plain text anew, each of pieces of `length` tokens (or a few more) from all over the text.

    A piece keeps its place in the row. Rows that are not plain text, or too short for two pieces, stay as they are; so
    do all with length 0.
    """
    tokens = rows.ids.shape[1] - 1 if set(rows.tensors) == {"ids", "judged"} else 0
    if not length or tokens < 2 * length or not rows.judged[:, 1:].all():
        return rows
    ids, pieces = rows.ids.clone(), tokens // length
    seams = [1 + tokens * i // pieces for i in range(1, pieces + 1)]  # the first piece stays where it is
    for start, end in pairwise(seams):
        ids[:, start:end] = ids[torch.randperm(len(ids), generator=generator), start:end]
    return all_judged(ids)


def asked(sequences):
    """Lists of ids as Rows in which the token after each is judged, whatever it is; what follows is padding."""
    width = max(map(len, sequences)) + 1
    ids = torch.zeros(len(sequences), width, dtype=torch.long)
    judged = torch.zeros_like(ids, dtype=torch.bool)
    for i, sequence in enumerate(sequences):
        ids[i, : len(sequence)], judged[i, len(sequence)] = torch.tensor(sequence), True
    return Rows(ids=ids, judged=judged)


def at(mask, logits):
    """A learner's logits (B, T, V) at the positions of its mask (B, T), in the order of the rows: (M, V).

    A learner may give no others in the first place, (M, V): these stay as they are. Where all is judged nothing is
    picked, for picking costs as much as a layer.
    """
    if logits.dim() == 2:
        return logits
    return logits.flatten(0, 1) if mask.all() else logits[mask.to(logits.device)]


def content_only(rows, end):
    """The same rows with no `end` judged, the id that closes an answer: for a score of what was answered.

    Whether a model ends its answers is learned and forgotten by itself. In a score it can look as if the answers had
    been forgotten (0.765 -> 0.265 in one such case), while each of them was still right.
    """
    return Rows(**{**rows.tensors, "judged": rows.judged & (rows.ids != end)})


def all_judged(ids):
    """Rows of plain text, (N, T+1) ids: every token but the first of a row is predicted."""
    judged = torch.ones_like(ids, dtype=torch.bool)
    judged[:, 0] = False  # nothing comes before it to predict it from
    return Rows(ids=ids, judged=judged)


def laid(lists, width, begin=1):
    """Lists of ids -> Rows (N, width), judged from place `begin` on; what is left of a row is padding, never judged."""
    rows = Rows(ids=torch.zeros(len(lists), width, dtype=torch.long), judged=torch.zeros(len(lists), width).bool())
    for i, ids in enumerate(lists):
        rows.ids[i, : len(ids)], rows.judged[i, begin : len(ids)] = torch.tensor(ids), True
    return rows


def windows(tokens, length):
    """Cut a 1-D tensor of tokens into Rows of length + 1 whose targets tile it: each token is predicted once.

    Neighbouring rows share one token: the last target of a row is the first input of the next one. A ValueError where
    the length is below 1, or the tokens fill no row.

    >>> windows(torch.arange(8), 3).ids
    tensor([[0, 1, 2, 3],
            [3, 4, 5, 6]])
    """
    if length < 1:
        raise ValueError(f"a window of {length} tokens predicts nothing; use length 1 or more")
    if len(tokens) < length + 1:
        raise ValueError(
            f"{len(tokens)} tokens do not fill one window of {length} + 1; give a longer text or a smaller length"
        )
    return all_judged(tokens.unfold(0, length + 1, length).clone())  # clone: unfold is a view that shares memory
