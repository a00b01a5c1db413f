# vendored from weeks/week13/continual/learner.py, sha256 13a907ebd080437e4f9d518c43f424eec6848a831e14983bc9bf8ef0db199a0f; edit there, then run: make vendor
"""What a strategy may ask of a model: its parameters, a loss, logits, a gradient. Nothing that changes it.

The model's contract: `logits, loss = model(tokens, targets=None, cache=None)`, the loss a mean over targets != -100.
"""

import contextlib

import torch

IGNORE = -100  # a target that the loss leaves out


class Learner:
    def __init__(self, model, *, autocast=contextlib.nullcontext):
        """`autocast` is called for every forward pass, e.g. `lambda: torch.autocast("cpu", torch.bfloat16)`."""
        self.model = model
        self.autocast = autocast

    def parameters(self):
        """Trainable parameters by name. Asked anew each time, for a strategy may add or freeze some."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def count(self, rows):
        """Targets that the loss of these rows is the mean over: what they weigh beside other rows."""
        return int(rows.judged[:, 1:].sum())

    def forward(self, rows):
        """Rows of ids (B, T+1) -> logits (B, T, V) and the scalar mean loss over what is judged."""
        rows = rows.to(next(self.model.parameters()).device)
        targets = rows.ids[:, 1:].masked_fill(~rows.judged[:, 1:], IGNORE)  # (B, T)
        with self.autocast():
            return self.model(rows.ids[:, :-1], targets)

    def loss(self, rows):
        """Scalar mean loss in nats per judged token."""
        return self.forward(rows)[1]

    def logits(self, rows):
        """(B, T+1) -> (B, T, V), at the positions whose targets `loss` may judge."""
        return self.forward(rows)[0]

    def gradient(self, rows):
        """Gradient of `loss(rows)` by parameter name. A training step's own `.grad` is neither read nor written."""
        named = self.parameters()
        with torch.enable_grad():
            values = torch.autograd.grad(self.loss(rows), list(named.values()), allow_unused=True)
        return {name: torch.zeros_like(p) if g is None else g.detach() for (name, p), g in zip(named.items(), values)}
