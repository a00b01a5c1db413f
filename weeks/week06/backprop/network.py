"""The batch-norm MLP of Karpathy's fourth makemore lecture, trained with a backward pass written out by hand.

    three letters -> table (27, 10) -> W1 (30, 200) -> batch norm -> tanh -> W2 (200, 27) -> cross-entropy

`Hand` is built for speed, and there is no graph in it: every array that a step needs is made once and written into
again (`out=`), the softmax's result becomes its gradient in place, batch norm's two sums are at once the gradients of
bias and gain, and no gradient is computed that nobody asks for. Left out: running statistics, the bias of the first
layer (batch norm subtracts it again, so its gradient is zero).
"""

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from .losses import cross_entropy_plain_backward, cross_entropy_plain_forward
from .manual import (
    embedding_backward_plain,
    embedding_forward,
    linear_backward,
    linear_forward,
    tanh_backward,
    tanh_forward,
)
from .norms import batch_norm_forward, norm_plain_backward, norm_plain_forward

NAMES = ("table", "w1", "gain", "bias", "w2", "b2")


@dataclass(frozen=True)
class Sizes:
    vocab_size: int = 27
    context: int = 3
    n_embd: int = 10
    n_hidden: int = 200
    batch_size: int = 32
    lr: float = 0.1
    eps: float = 1e-5


def weights(sizes, seed=0, dtype=torch.float32):
    """First weights, drawn in float64 and rounded, so that both precisions start from the same numbers."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *size: torch.randn(*size, generator=generator, dtype=torch.float64)
    n, H, V = sizes.context * sizes.n_embd, sizes.n_hidden, sizes.vocab_size
    first = {
        "table": draw(V, sizes.n_embd),
        "w1": draw(n, H) * (5 / 3) / n**0.5,
        "gain": torch.ones(H, dtype=torch.float64),
        "bias": torch.zeros(H, dtype=torch.float64),
        "w2": draw(H, V) * 0.1,
        "b2": torch.zeros(V, dtype=torch.float64),
    }
    return {name: first[name].to(dtype) for name in NAMES}


def logits_of(sizes, parameters, tokens):
    """The network's forward pass alone: ids (B, context) -> logits (B, V)."""
    p = parameters
    x = p["table"][tokens].flatten(1) @ p["w1"]  # (B, H)
    return torch.tanh(batch_norm_forward(x, p["gain"], p["bias"], eps=sizes.eps)[0]) @ p["w2"] + p["b2"]


def gradients_plain(sizes, parameters, tokens, targets):
    """(loss, {name: gradient}), the pairs of this package one after the other: what `Hand` does, with nothing saved."""
    p = parameters
    emb, from_table = embedding_forward(p["table"], tokens)  # (B, context, n_embd)
    x, from_first = linear_forward(emb.flatten(1), p["w1"], torch.zeros_like(p["bias"]))  # (B, H)
    x, from_norm = norm_plain_forward(x, p["gain"], p["bias"], eps=sizes.eps)
    h, from_tanh = tanh_forward(x)
    logits, from_last = linear_forward(h, p["w2"], p["b2"])  # (B, V)
    loss, from_loss = cross_entropy_plain_forward(logits, targets)
    d, out = cross_entropy_plain_backward(1.0, from_loss)["logits"], {}
    d, out["w2"], out["b2"] = linear_backward(d, from_last)
    (d,) = tanh_backward(d, from_tanh)
    norm = norm_plain_backward(d, from_norm)
    out["gain"], out["bias"] = norm["gain"], norm["bias"]
    d, out["w1"], _ = linear_backward(norm["x"], from_first)
    (out["table"],) = embedding_backward_plain(d.view_as(emb), from_table)
    return loss, {name: out[name] for name in NAMES}


class Hand:
    """step(tokens, targets) -> loss before the step, for ids of the shapes (B, context) and (B,)."""

    def __init__(self, sizes, parameters):
        self.sizes = sizes
        self.parameters = {name: value.clone() for name, value in parameters.items()}
        self.gradients = {name: torch.zeros_like(value) for name, value in parameters.items()}
        B, n, H, V = sizes.batch_size, sizes.context * sizes.n_embd, sizes.n_hidden, sizes.vocab_size
        new = lambda *shape: parameters["w1"].new_empty(*shape)
        self.emb, self.demb = new(B * sizes.context, sizes.n_embd), new(B, n)
        self.raw, self.h, self.dh, self.scratch = new(B, H), new(B, H), new(B, H), new(B, H)
        self.mean, self.inv = new(H), new(H)
        self.logits, self.minus_one = new(B, V), new(B, 1).fill_(-1.0)
        self.lists = list(self.parameters.values()), list(self.gradients.values())

    @torch.inference_mode()
    def step(self, tokens, targets):
        loss = self.forward(tokens, targets)
        self.back(tokens, targets)
        torch._foreach_add_(*self.lists, alpha=-self.sizes.lr)  # plain gradient descent, all arrays in one call
        return loss

    def forward(self, tokens, targets):
        p, B = self.parameters, self.sizes.batch_size
        if tokens.shape != (B, self.sizes.context):
            raise ValueError(f"tokens are {tuple(tokens.shape)}; this network has room for {(B, self.sizes.context)}")
        torch.index_select(p["table"], 0, tokens.view(-1), out=self.emb)  # (B context, n_embd)
        torch.mm(self.emb.view(B, -1), p["w1"], out=self.raw)  # (B, H)
        torch.sum(self.raw, 0, out=self.mean)  # (H,)
        self.raw.sub_(self.mean, alpha=1 / B)
        torch.mul(self.raw, self.raw, out=self.scratch)
        torch.sum(self.scratch, 0, out=self.inv)
        self.inv.mul_(1 / B).add_(self.sizes.eps).rsqrt_()
        self.raw.mul_(self.inv)
        torch.addcmul(p["bias"], p["gain"], self.raw, out=self.h).tanh_()
        torch.addmm(p["b2"], self.h, p["w2"], out=self.logits)  # (B, V)
        torch.log_softmax(self.logits, 1, out=self.logits)
        return F.nll_loss(self.logits, targets)

    def back(self, tokens, targets):
        """From the loss to the table, last layer first; `forward` left everything that is needed."""
        p, d, B = self.parameters, self.gradients, self.sizes.batch_size
        dlogits = self.logits.exp_()  # probabilities ...
        dlogits.scatter_add_(1, targets[:, None], self.minus_one).mul_(1 / B)  # ... minus truth, over B
        torch.sum(dlogits, 0, out=d["b2"])
        torch.mm(self.h.T, dlogits, out=d["w2"])
        torch.mm(dlogits, p["w2"].T, out=self.dh)
        torch.mul(self.h, self.h, out=self.h)
        torch.addcmul(self.dh, self.dh, self.h, value=-1, out=self.dh)  # tanh: dh (1 - h^2)
        torch.sum(self.dh, 0, out=d["bias"])
        torch.mul(self.dh, self.raw, out=self.scratch)
        torch.sum(self.scratch, 0, out=d["gain"])
        torch.addcmul(self.dh, self.raw, d["gain"], value=-1 / B, out=self.dh)  # batch norm: what goes along raw ...
        self.dh.sub_(d["bias"], alpha=1 / B).mul_(self.inv.mul_(p["gain"]))  # ... and the mean are taken out
        torch.mm(self.emb.view(B, -1).T, self.dh, out=d["w1"])
        torch.mm(self.dh, p["w1"].T, out=self.demb)
        d["table"].zero_().index_add_(0, tokens.view(-1), self.demb.view(-1, self.sizes.n_embd))
