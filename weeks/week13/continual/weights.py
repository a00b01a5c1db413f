"""Weights as a dict: name -> tensor. What a method remembers of a model, and how it is served for a while."""

from contextlib import contextmanager

import torch


def copied(tensors):
    """A snapshot: detached copies of all tensors of a dict."""
    return {name: t.detach().clone() for name, t in tensors.items()}


def nbytes(state):
    """Bytes of all tensors among the values of a dict."""
    return sum(t.nbytes for t in state.values() if torch.is_tensor(t))


@torch.no_grad()
def write(learner, values):
    """Give the trainable parameters that `values` names its numbers, for good."""
    for name, p in learner.parameters().items():
        if name in values:
            p.copy_(values[name])


def named(start, tensors):
    """The dict with `start` and a dot before each name: how several dicts share the one of `Strategy.state`."""
    return {f"{start}.{name}": t for name, t in tensors.items()}


def part(state, start):
    """What `named` gave, out of a state: copies under their own names."""
    start += "."
    return copied({key.removeprefix(start): t for key, t in state.items() if key.startswith(start)})


@contextmanager
def holding(learner, values):
    """Run the block with `values` themselves in the parameters that they name; afterwards every bit is back.

    Nothing is copied but what lies elsewhere than the parameter, so it may stand in every step. What the block writes
    to a parameter it writes to `values`.
    """
    parameters = {name: p for name, p in learner.model.named_parameters() if name in values}
    before = {name: p.data for name, p in parameters.items()}
    try:
        for name, p in parameters.items():
            p.data = values[name].to(p)
        yield
    finally:
        for name, p in parameters.items():
            p.data = before[name]


def swapped(learner, values):
    """The same with copies of `values`, wherever they lie: the block may even train on them."""
    parameters = {name: p for name, p in learner.model.named_parameters() if name in values}
    return holding(learner, {name: values[name].detach().to(p, copy=True) for name, p in parameters.items()})
