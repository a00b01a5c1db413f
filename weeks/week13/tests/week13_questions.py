"""Questions as tasks, for the tests of methods that read and write: a tiny model of ASCII, no dropout, a script."""

from collections import Counter

import torch
from continual import Format, Learner, Pair, Shuffle, Task, step
from continual.vendor.gpt.model import GPT, GPTConfig


def encode(text):
    return list(text.encode())


TEXT = Format(encode, lambda ids: bytes(ids).decode(errors="replace"), encode, end=0, length=12)


def learner(generate=None, context=64, text=TEXT):
    torch.manual_seed(0)
    model = GPT(GPTConfig(128, context, n_layer=1, n_head=2, n_embd=8))  # ASCII; no dropout, so that losses repeat
    return Learner(model, text=text) if generate is None else Learner(model, text=text, generate=generate)


def task(name, n=20, instruction=""):
    """Questions such as `a03?`, answered with a letter of the task's own: `a` and `b` for "a"."""
    pairs = [Pair(f"{instruction}{name}{i:02}?", name if i % 2 else chr(ord(name) + 1)) for i in range(n)]
    return Task(name, TEXT.rows(pairs), instruction=instruction.strip())


def train(strategy, who, tasks, steps=4, lr=1e-2):
    for one in tasks:
        rows = strategy.start(who, one)
        optimizer = torch.optim.AdamW(who.parameters().values(), lr=lr)
        for i in range(steps):
            step(who, strategy, optimizer, rows[Shuffle(len(rows), 4, seed=3).at(i)])
        strategy.finish(who, one)
    return who


def as_counts(rows):
    return Counter(map(tuple, rows.ids.tolist()))


def weights(who):
    return {name: p.detach().clone() for name, p in who.parameters().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


class Script:
    """A `generate` that answers what it is told to, and notes how it was asked."""

    def __init__(self, answer):
        self.answer, self.calls = answer, []

    def __call__(self, model, prompts, n, **settings):
        self.calls.append({"prompts": prompts, "n": n, "weight": model.wte.weight.detach().clone(), **settings})
        return [encode(self.answer(bytes(prompt).decode())) for prompt in prompts]
