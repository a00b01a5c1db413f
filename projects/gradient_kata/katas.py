"""Ten forward passes whose backward you write: each in a few lines, judged by the row of week 6's exam."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kata:
    """row: its name in week 6's EXAM, which draws inputs and knows the truth. forward: the text of the function."""

    row: str
    day: int
    forward: str


KATAS = {
    "tanh": Kata("tanh", 38, """
def forward(x):
    y = torch.tanh(x)
    return y, (y,)
"""),
    "relu": Kata("relu", 38, """
def forward(x):
    y = x.clamp(min=0)
    return y, (y,)
"""),
    "linear": Kata("linear (B, T, C)", 38, """
def forward(x, weight, bias):  # x (B, T, n), weight (n, m), bias (m,)
    return x @ weight + bias, (x, weight)
"""),
    "embedding": Kata("embedding", 38, """
def forward(table, ids):  # table (V, C), ids of any shape; the gradient of the table alone is asked for
    return table[ids], (ids, len(table))
"""),
    "gelu": Kata("gelu", 38, """
def forward(x):
    below = 0.5 * (1 + torch.erf(x / math.sqrt(2)))  # the share of a normal distribution below x
    return x * below, (x, below)
"""),
    "softmax": Kata("softmax", 36, """
def forward(x):  # x (N, V)
    counts = torch.exp(x - x.amax(-1, keepdim=True))
    p = counts / counts.sum(-1, keepdim=True)
    return p, (p,)
"""),
    "cross_entropy": Kata("cross_entropy", 36, """
def forward(logits, targets):  # logits (N, V), targets (N,); the gradient of the logits alone is asked for
    shifted = logits - logits.amax(1, keepdim=True)
    logprobs = shifted - shifted.exp().sum(1, keepdim=True).log()
    loss = -logprobs.gather(1, targets[:, None]).mean()
    return loss, (logprobs, targets)
"""),
    "batch_norm": Kata("batch_norm", 37, """
def forward(x, gain, bias):  # x (N, C), gain (C,), bias (C,)
    mean = x.mean(0, keepdim=True)
    var = ((x - mean) ** 2).mean(0, keepdim=True)
    inv = (var + 1e-5) ** -0.5
    raw = (x - mean) * inv
    return gain * raw + bias, (raw, inv, gain)
"""),
    "layer_norm": Kata("layer_norm", 39, """
def forward(x, gain, bias):  # x (B, T, C), gain (C,), bias (C,)
    mean = x.mean(-1, keepdim=True)
    var = ((x - mean) ** 2).mean(-1, keepdim=True)
    inv = (var + 1e-5) ** -0.5
    raw = (x - mean) * inv
    return gain * raw + bias, (raw, inv, gain)
"""),
    "attention": Kata("attention", 40, """
def forward(q, k, v):  # (B, T, D) each; a place reads from the places up to it
    T, D = q.shape[-2:]
    later = torch.ones(T, T, dtype=torch.bool).triu(1)
    scores = (q @ k.transpose(-1, -2) / math.sqrt(D)).masked_fill(later, -math.inf)
    weights = scores.softmax(-1)  # (B, T, T)
    return weights @ v, (q, k, v, weights)
"""),
}  # fmt: skip

FILE = '''"""Kata: {name} (day {day}). Write `backward` and save this file; kata.py checks it against autograd.

g is the gradient of the loss with respect to the result of `forward`, in the shape of that result.
Return a tuple with the gradient of: {names}. You may let `forward` save something else.
"""

import math

import torch

{forward}

def backward(g, saved):
    raise NotImplementedError("write the gradient of: {names}")
'''


def file_text(name, names):
    """What a new kata file holds."""
    kata = KATAS[name]
    return FILE.format(name=name, day=kata.day, names=", ".join(names.split()), forward=kata.forward)
