"""Models that count: how often did each letter follow the one letter (bigram) or the two letters (trigram) before it?

No gradient: the shares counted are the ones that make the training text most likely. Add-k smoothing (k imagined
sightings of every pair) keeps a pair that training never showed from being impossible. Left out: backing off to
shorter contexts, Kneser-Ney.
"""

import math

import torch

from .contract import LanguageModel

LARGEST = 10**9  # numbers of a table: 4 GB
SMOOTHINGS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


class Counts(LanguageModel):
    """p(next | the letters before) = (count + k) / (sum of the row + k V); a table of V^(context + 1) numbers."""

    takes = "windows"

    def __init__(self, vocab_size, context, smoothing=1.0):
        """Raises ValueError where there is no such table: a context below 1, one too long for the memory, a wrong k."""
        if context < 1 or vocab_size ** (context + 1) > LARGEST:
            raise ValueError(
                f"a table of the {context} letters before, out of {vocab_size}, cannot be held; give a context of 1 or "
                f"more, with vocab_size ** (context + 1) of at most {LARGEST:,}"
            )
        if not 0 <= smoothing < math.inf:  # below 0 a share would be negative, and nan would stay unseen
            raise ValueError(f"a smoothing of {smoothing} is no number of sightings; give 0 or more")
        super().__init__()
        self.context = context
        self.register_buffer("table", torch.zeros(vocab_size**context, vocab_size))  # (V^context, V), counts
        self.register_buffer("smoothing", torch.tensor(float(smoothing)))

    def row_of(self, tokens):
        """The table's row of each window: its letters read as the digits of a number in base V, the oldest first.

        (..., context) -> (...): with V = 27 the window 4, 0, 7 has row 4 * 27 * 27 + 0 * 27 + 7.
        """
        row = tokens[..., 0]
        for place in range(1, self.context):
            row = row * self.table.shape[1] + tokens[..., place]
        return row

    def count(self, data):
        """Add 1 to self.table for each window and target of data = (tokens, targets); returns the model.

        The row is that of the window (`row_of`), the column is the target. What was counted before stays.
        """
        tokens, targets = data
        pairs = self.row_of(tokens) * self.table.shape[1] + targets  # (B,), each pair a number of its own
        self.table += pairs.bincount(minlength=self.table.numel()).view_as(self.table)
        return self

    def logits(self, tokens):
        """log p itself: a softmax leaves it as it is. Without smoothing an unseen pair has -inf.

        (B, context) -> (B, V). k is self.smoothing. With k = 0 a row that was never seen guesses evenly: 1 / V each.
        """
        rows = self.table[self.row_of(tokens)] + self.smoothing  # (B, V)
        # an even guess where it would be 0 / 0
        rows = torch.where(rows.sum(-1, keepdim=True) > 0, rows, torch.ones_like(rows))
        return (rows / rows.sum(-1, keepdim=True)).log()

    def n_params(self):
        return self.table.numel()

    def choose_smoothing(self, data, choices=SMOOTHINGS):
        """Keep the k of `choices` with the lowest loss on data, which must not be what was counted: there 0 wins.

        The k is left in self.smoothing and returned. Calling the model gives the loss: `_, loss = self(*data)`.
        """
        losses = {}
        for k in choices:
            self.smoothing.fill_(k)
            losses[k] = self(*data)[1].item()
        best = min(losses, key=losses.get)
        self.smoothing.fill_(best)
        return best
