"""What every model of this room promises: `logits, loss = model(tokens, targets=None)`, and the loss itself, once.

A model writes `logits(tokens)` and nothing else. Two shapes of data serve all of them (names.py): a model that `takes`
windows maps (B, context) to the logits of one next letter (B, V), one that takes rows maps (B, T) to (B, T, V).
Left out: caches for quicker sampling (weeks 7 and 8), devices other than the CPU.
"""

import torch.nn.functional as F
from torch import nn

from . import names as data
from .names import IGNORE


def mean_loss(logits, targets):
    """Mean of -log p(target) in nats over the targets that are not IGNORE: (..., V) and (...) -> ()."""
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1), ignore_index=IGNORE)


def mean_loss_plain(logits, targets):
    """The same, spelled out: -log softmax(z)_y = log(sum_j exp z_j) - z_y.

    logits (..., V), targets (...) -> (), the mean over the targets that are not IGNORE. A number taken from all logits
    alike changes nothing, so the largest is: exp(1000) would overflow. Use torch operations, so that autograd works.
    """
    z = logits - logits.max(dim=-1, keepdim=True).values  # (..., V)
    wanted = z.gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)  # (...); padding asks for letter 0,
    losses = z.exp().sum(dim=-1).log() - wanted  # (...)
    return losses[targets != IGNORE].mean()  # ... and is dropped here


class LanguageModel(nn.Module):
    """The contract; a model sets `takes` and `context`, and writes `logits`."""

    takes = "rows"  # "rows": whole names; "windows": the `context` letters before each letter
    context = None  # how many letters back it looks; None: to the beginning

    def logits(self, tokens):
        raise NotImplementedError(f"{type(self).__name__} has no logits(tokens); write one")

    def forward(self, tokens, targets=None):
        """The logits, and the mean loss over `targets` (None without them)."""
        logits = self.logits(tokens)
        return logits, None if targets is None else mean_loss(logits, targets)

    def data(self, names, words):
        """`words` as the (tokens, targets) that this model takes."""
        if self.takes == "windows":
            return data.windows(names, words, self.context)
        return data.rows(names, words)

    def n_params(self):
        """Numbers that were fitted: parameters, and for a counting model the entries of its table."""
        return sum(p.numel() for p in self.parameters())
