# vendored from weeks/week13/continual/weights.py, sha256 101b0c2a94595422f92b3813649b346baea08eab3583b6f91a7e7bf78f374f2c; edit there, then run: make vendor
"""Weights as a dict: name -> tensor. What a method remembers of a model, and how it is served for a while."""

from contextlib import contextmanager

import torch


def copied(tensors):
    """A snapshot: detached copies of all tensors of a dict."""
    return {name: t.detach().clone() for name, t in tensors.items()}


def named(start, tensors):
    """The dict with `start` and a dot before each name: how several dicts share the one of `Strategy.state`."""
    return {f"{start}.{name}": t for name, t in tensors.items()}


def part(state, start):
    """What `named` gave, out of a state: copies under their own names."""
    start += "."
    return copied({key.removeprefix(start): t for key, t in state.items() if key.startswith(start)})


@contextmanager
def swapped(learner, values):
    """Run the block with other values in the parameters that `values` names; afterwards every bit is back."""
    parameters = {name: p for name, p in learner.model.named_parameters() if name in values}
    before = copied(parameters)
    try:
        with torch.no_grad():
            for name, p in parameters.items():
                p.copy_(values[name])
        yield
    finally:
        with torch.no_grad():
            for name, p in parameters.items():
                p.copy_(before[name])
