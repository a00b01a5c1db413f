"""What a strategy may ask of a model: its parameters, a loss, logits, a gradient, answers. Nothing that changes it.

The model's contract: `logits, loss = model(tokens, targets=None, cache=None)`, the loss a mean over targets != -100.
"""

import contextlib

import torch

from .generate import context, generate
from .rows import at
from .vendor.shared.errors import Mistake

IGNORE = -100  # a target that the loss leaves out
EMBED_BATCH = 64  # rows embedded at once


class Learner:
    def __init__(self, model, *, autocast=contextlib.nullcontext, text=None, generate=generate):
        """`autocast` is called for every forward pass, e.g. `lambda: torch.autocast("cpu", torch.bfloat16)`.

        `text` is a Format (pairs.py) where rows are text. `generate` may be a faster function of the same arguments as
        the one in generate.py.
        """
        self.model = model
        self.autocast = autocast
        self.text = text
        self._generate = generate

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

    def mask(self, rows):
        """(B, T) bool: the positions that the loss is the mean over."""
        return rows.judged[:, 1:]

    def predict(self, rows):
        """The logits at these positions alone, (M, V), row by row; and the scalar mean loss over them."""
        logits, loss = self.forward(rows)
        return at(self.mask(rows), logits), loss

    def gradient(self, rows):
        """Gradient of `loss(rows)` by parameter name. A training step's own `.grad` is neither read nor written."""
        named = self.parameters()
        with torch.enable_grad():
            values = torch.autograd.grad(self.loss(rows), list(named.values()), allow_unused=True)
        return {name: torch.zeros_like(p) if g is None else g.detach() for (name, p), g in zip(named.items(), values)}

    @contextlib.contextmanager
    def evaluating(self):
        """Run the block without dropout. Nothing of torch's global random numbers is used up in it."""
        was_training = self.model.training
        self.model.eval()
        try:
            yield
        finally:
            self.model.train(was_training)

    def context(self):
        """Tokens that the model can read at once."""
        return context(self.model)

    def generate(
        self, prompts, n, *, temperature=0.0, top_p=None, repetition_penalty=1.0, seed=None, stop=None, **options
    ):
        """Up to `n` new ids for each of the prompts (lists of ids); they end before `text.end`, or an id in `stop`.

        `options` are of a faster generate, which may have more.
        """
        stop = (self.needs_text("generating").end,) if stop is None else stop
        if not prompts:
            return []
        with self.evaluating(), torch.no_grad(), self.autocast():
            return self._generate(
                self.model, prompts, n, temperature=temperature, top_p=top_p, repetition_penalty=repetition_penalty,
                seed=seed, stop=stop, **options,
            )  # fmt: skip

    def embed(self, rows):
        """What each row's prompt means to the model: (N, C), float32 on the CPU.

        The mean of the hidden states that the head reads, where the model offers `hidden(tokens)`; else the mean of the
        predicted distributions. A row without a prompt (plain text) is embedded whole, up to its last judged token.
        """
        parts = []
        with self.evaluating(), torch.no_grad():
            for part in rows.split(EMBED_BATCH):
                part = part.to(next(self.model.parameters()).device)
                mask = prompt_mask(part.judged)[:, :-1, None]  # (B, T, 1)
                width = int(mask.any(dim=0).sum())  # no padding is read, nor what comes after all prompts
                mask = mask[:, :width]
                states = self.states(part.ids[:, :width], mask.sum(dim=(1, 2))).float()
                parts.append(((states * mask).sum(dim=1) / mask.sum(dim=1)).cpu())
        return torch.cat(parts)

    def states(self, ids, lengths):
        """ids (B, T), of which row b holds lengths[b] -> (B, T, C), what the model makes of each; the rest is free."""
        with self.autocast():
            if hasattr(self.model, "hidden"):
                return self.model.hidden(ids)
            return self.model(ids)[0].float().softmax(dim=-1)  # (B, T, V)

    def needs_text(self, who):
        """The Format of this learner; a Mistake where it has none, named after `who` asks."""
        if self.text is None:
            raise Mistake(f"{who} needs to read and write text; build the learner with text=Format(...)")
        return self.text


def prompted(judged):
    """(B, T+1) bool -> (B,): does the row have a prompt, two tokens or more before the first judged one?"""
    return judged.int().argmax(dim=1) > 1  # of equal values the first


def prompt_mask(judged):
    """(B, T+1) bool: the positions before the first judged one; where that is one token alone, all up to the last."""
    places = torch.arange(judged.shape[1], device=judged.device)
    first = judged.int().argmax(dim=1, keepdim=True)  # (B, 1)
    last = judged.shape[1] - 1 - judged.flip(1).int().argmax(dim=1, keepdim=True)  # (B, 1)
    return torch.where(prompted(judged)[:, None], places < first, places < last.clamp(min=1))
