"""Induction heads (Olsson et al. 2022): can a model that only attends copy what followed a token the last time?

A row is some random tokens, then a random piece, then that piece again: `x y a b c d a b c d`. In the second piece each
token but the first is known: it followed the same token before. The piece's length differs from row to row, so a
position alone does not give it away. Two layers can do it: one writes at each token which came before it,
the next looks for the token at hand and reads what followed. One layer cannot look for a token by its neighbour.
Left out: MLPs, natural text.
"""

from dataclasses import dataclass

import torch
from torch import nn

from .ablations import build
from .attention import attention_maps
from .model import IGNORE, GPTConfig


@dataclass(frozen=True)
class Copying:
    """The task, the model's shape and how it is trained."""

    vocab_size: int
    block_size: int
    shortest: int  # a row's piece has a length from here to half a row, all equally likely
    n_head: int
    n_embd: int
    steps: int
    batch_size: int
    lr: float

    def __post_init__(self):
        if not 2 <= self.shortest <= self.longest:
            raise ValueError(
                f"a piece of {self.shortest} tokens does not fit twice into rows of {self.block_size + 1}, or has "
                f"nothing to copy; give shortest = 2 or more, at most {self.longest}"
            )
        if self.vocab_size < self.block_size:
            raise ValueError(
                f"{self.vocab_size} tokens are too few for {self.block_size} positions without an accidental "
                f"repetition; give vocab_size = {self.block_size} or more"
            )

    @property
    def longest(self) -> int:
        return (self.block_size + 1) // 2


def repeated_rows(task, rows, generator):
    """(tokens (B, T + 1), lengths (B, 1)), int64: a row ends with a piece of that length, twice.

    Apart from the repetition all tokens of a row differ, so there is one right answer.
    """
    lengths = torch.randint(task.shortest, task.longest + 1, (rows, 1), generator=generator)
    order = torch.rand(rows, task.vocab_size, generator=generator).argsort(dim=1)  # (B, V): a random order of all
    place = torch.arange(task.block_size + 1)
    return order.gather(1, place - lengths * (place >= place[-1] + 1 - lengths)), lengths


def is_known(task, lengths):
    """(B, T) bool: position t stands in the second piece, so what follows it has been seen."""
    return torch.arange(task.block_size) >= task.block_size + 1 - lengths


def copying_accuracy(model, task, tokens, lengths):
    """Share of the known tokens that are the model's first choice."""
    model.eval()
    with torch.no_grad():
        right = model(tokens[:, :-1])[0].argmax(dim=-1) == tokens[:, 1:]  # (B, T)
    return right[is_known(task, lengths)].float().mean().item()


def train_copier(task, n_layer, seed):
    """A model of `n_layer` attentions alone: yields (step, loss, model) after each step, and the same for a seed.

    The loss counts known tokens only: the others are noise, which no model can predict.
    """
    torch.manual_seed(seed)
    model = build("no MLP", GPTConfig(task.vocab_size, task.block_size, n_layer, task.n_head, task.n_embd))
    for weight in model.parameters():
        if weight.dim() == 2:  # at 0.02 scores stay near 0 for many steps, and attention drowns a token's embedding
            nn.init.normal_(weight, std=task.n_embd**-0.5)
    optimizer = torch.optim.AdamW(model.parameters(), lr=task.lr, betas=(0.9, 0.98), weight_decay=0.01)
    generator = torch.Generator().manual_seed(seed)
    for step in range(task.steps):
        for group in optimizer.param_groups:
            group["lr"] = task.lr * min(1.0, (step + 1) / 50) * min(1.0, 4 * (1 - step / task.steps))  # up, flat, down
        tokens, lengths = repeated_rows(task, task.batch_size, generator)
        model.train()
        _, loss = model(tokens[:, :-1], tokens[:, 1:].masked_fill(~is_known(task, lengths), IGNORE))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        yield step, loss.item(), model


def head_scores(model, task, tokens, lengths):
    """Two shares of attention for every head, each (n_layer, n_head), means over the known positions:

    `previous`, on the token just before; `induction`, on what followed the token at hand in the first piece (for a
    piece of P tokens, at t - P + 1).
    """
    maps = attention_maps(model, tokens[:, :-1])  # (n_layer, B, n_head, T, T)
    here = torch.arange(task.block_size)
    known = is_known(task, lengths)  # (B, T)

    def share(looked_at):  # (B, T) int64 -> (n_layer, n_head)
        index = looked_at.clamp(min=0)[None, :, None, :, None].expand(*maps.shape[:4], 1)
        return maps.gather(-1, index).squeeze(-1).permute(0, 2, 1, 3)[:, :, known].mean(dim=-1)

    return {"previous": share((here - 1).expand_as(known)), "induction": share(here - lengths + 1)}
