"""The same network with automatic differentiation, step by step beside the one written by hand, and against the clock.

Two rivals: `Expression` writes batch norm as the lecture does, `Fused` calls PyTorch's own F.batch_norm. Both get what
makes autograd cheapest here: gradients without accumulation (torch.autograd.grad) and the same one-call update.
Left out: torch.compile, which needs a C++ compiler and would make another program of either.
"""

import time
from statistics import median

import torch
from torch.nn import functional as F

from .compare import max_difference
from .network import NAMES, Hand, gradients_plain, weights


class Fused:
    """The network in PyTorch's own functions."""

    def __init__(self, sizes, parameters):
        self.sizes = sizes
        self.parameters = {name: value.clone().requires_grad_() for name, value in parameters.items()}
        self.list = list(self.parameters.values())

    def step(self, tokens, targets):
        loss = self.loss(tokens, targets)
        gradients = torch.autograd.grad(loss, self.list)
        with torch.no_grad():
            torch._foreach_add_(self.list, gradients, alpha=-self.sizes.lr)
        return loss.detach()

    def loss(self, tokens, targets):
        p = self.parameters
        x = F.embedding(tokens, p["table"]).flatten(1) @ p["w1"]  # (B, H)
        h = torch.tanh(self.norm(x))
        return F.cross_entropy(torch.addmm(p["b2"], h, p["w2"]), targets)

    def norm(self, x):
        p = self.parameters
        return F.batch_norm(x, None, None, p["gain"], p["bias"], training=True, eps=self.sizes.eps)


class Expression(Fused):
    """Batch norm as a line of arithmetic."""

    def norm(self, x):
        p = self.parameters
        mean, var = x.mean(0, keepdim=True), x.var(0, keepdim=True, unbiased=False)
        return p["gain"] * (x - mean) / torch.sqrt(var + self.sizes.eps) + p["bias"]


RUNNERS = {"hand": Hand, "fused": Fused, "expression": Expression}


def batches(data, sizes, steps, seed=0):
    """`steps` batches, drawn beforehand so that everybody gets the same ones and nobody waits for them."""
    tokens, targets = data
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(tokens), (steps, sizes.batch_size), generator=generator)
    return list(zip(tokens[chosen], targets[chosen]))


def whole_loss_apart(sizes, batch, dtype, seed=0):
    """The largest difference of any weight's gradient, for the whole loss of one batch: by hand and by autograd."""
    first = weights(sizes, seed, dtype)
    other = Fused(sizes, first)
    theirs = torch.autograd.grad(other.loss(*batch), other.list)
    _, mine = gradients_plain(sizes, first, *batch)
    return max(max_difference(name, mine[name], g) for name, g in zip(NAMES, theirs))


def side_by_side(sizes, batches, dtype, seed=0):
    """Train by hand and by autograd on the same batches; yields (loss, |loss difference|, |weight difference|, hand).

    The weight difference is the largest over all numbers of all arrays, after the step; hand is the one that trains.
    """
    first = weights(sizes, seed, dtype)
    hand, other = Hand(sizes, first), Fused(sizes, first)
    for tokens, targets in batches:
        mine, theirs = hand.step(tokens, targets), other.step(tokens, targets)
        apart = max((hand.parameters[n] - other.parameters[n].detach()).abs().max().item() for n in NAMES)
        yield mine.item(), abs(mine.item() - theirs.item()), apart, hand


def update_ratios(hand):
    """{array: log10 of the last step's size over the array's own}, by standard deviations; about -3 is healthy."""
    ratios = {}
    for name in ("table", "w1", "w2"):  # gain, bias and b2 start constant: a ratio to nearly nothing says nothing
        step = hand.sizes.lr * hand.gradients[name].std()
        ratios[name] = (step / hand.parameters[name].std()).log10().item()
    return ratios


def race(sizes, batches, turns, slice_steps=100, seed=0):
    """{runner: [seconds of each turn]}: all go the same steps in slices, in an order that moves on with every turn."""
    first = weights(sizes, seed)
    runners = {name: kind(sizes, first) for name, kind in RUNNERS.items()}
    order, seconds = list(runners), {name: [] for name in runners}
    for turn in range(-1, turns):  # the first turn warms up and does not count
        part = [batches[(turn * slice_steps + i) % len(batches)] for i in range(slice_steps)]
        for name in order:
            step, start = runners[name].step, time.perf_counter()
            for tokens, targets in part:
                step(tokens, targets)
            if turn >= 0:
                seconds[name].append(time.perf_counter() - start)
        order.append(order.pop(0))
    return seconds


def verdict(seconds, slice_steps=100):
    """The race in numbers: microseconds a step (the median turn), and our time over that of the faster rival."""
    step = {name: median(times) / slice_steps * 1e6 for name, times in seconds.items()}
    rival = min((name for name in step if name != "hand"), key=step.get)
    return {
        "manual_vs_autograd_time_ratio": step["hand"] / step[rival],
        "manual_vs_expression_time_ratio": step["hand"] / step["expression"],
        "manual_vs_fused_time_ratio": step["hand"] / step["fused"],
        **{f"{name}_step_us": us for name, us in step.items()},
        "rival": rival,
        "race_turns": len(seconds["hand"]),
        "race_steps": len(seconds["hand"]) * slice_steps,
    }
