# vendored from weeks/week13/continual/learner.py, sha256 61ecccffd9e082dd3c0e2050fc79a3be210d8a3604c9d5e21e9aa1e7fd74438b; edit there, then run: make vendor
"""What a strategy may ask of a model: its parameters, a loss, logits, a gradient. Nothing that changes it.

The model's contract: `logits, loss = model(tokens, targets=None, cache=None)`, the loss a mean over targets != -100.
Rows are a LongTensor (B, T+1). Short rows may be padded at the end with -100: ignored as targets, and no earlier
position of a causal model can see them as inputs.
"""

import contextlib

import torch


class Learner:
    def __init__(self, model, *, autocast=contextlib.nullcontext):
        """`autocast` is called for every forward pass, e.g. `lambda: torch.autocast("cpu", torch.bfloat16)`."""
        self.model = model
        self.autocast = autocast

    def parameters(self):
        """Trainable parameters by name. Asked anew each time, for a strategy may add or freeze some."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def forward(self, rows):
        """(B, T+1) -> logits (B, T, V) and the scalar mean loss."""
        rows = rows.to(next(self.model.parameters()).device)
        inputs, targets = rows[:, :-1].clamp(min=0), rows[:, 1:]  # (B, T) each; an embedding has no row -100
        with self.autocast():
            return self.model(inputs, targets)

    def loss(self, rows):
        """Scalar mean loss in nats per token."""
        return self.forward(rows)[1]

    def logits(self, rows):
        """(B, T+1) -> (B, T, V), at the positions that `loss` judges."""
        return self.forward(rows)[0]

    def gradient(self, rows):
        """Gradient of `loss(rows)` by parameter name. A training step's own `.grad` is neither read nor written."""
        named = self.parameters()
        with torch.enable_grad():
            values = torch.autograd.grad(self.loss(rows), list(named.values()), allow_unused=True)
        return {name: torch.zeros_like(p) if g is None else g.detach() for (name, p), g in zip(named.items(), values)}
