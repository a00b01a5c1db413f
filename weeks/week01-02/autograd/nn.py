"""Layers: parameters with a name, and a call. Everything random comes from the generator that is passed in."""

import numpy as np

from . import functional, init
from .conv import conv2d, max_pool2d
from .tensor import Tensor, as_tensor


def parameter(values):
    """A leaf that an optimizer moves."""
    return Tensor(values, requires_grad=True)


class Module:
    """Something with parameters. Assign tensors and modules as attributes: they are found by name, in that order."""

    training = True

    def __call__(self, x):
        return self.forward(x)

    def forward(self, x):
        raise NotImplementedError(f"{type(self).__name__} has no forward(x); write one")

    def named_parameters(self):
        """{name: Tensor} of this module and all inside it, in the order in which the attributes were assigned.

        A Tensor's name is that of its attribute, "weight"; inside a module the module's attribute and a dot come first,
        "2.weight" or "body.0.weight". Attributes that are neither Tensor nor Module are passed over.
        """
        found = {}
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                found[name] = value
            elif isinstance(value, Module):
                found |= {f"{name}.{inner}": tensor for inner, tensor in value.named_parameters().items()}
        return found

    def parameters(self):
        """Every parameter once, also where two layers share it."""
        return list({id(tensor): tensor for tensor in self.named_parameters().values()}.values())

    def modules(self):
        """This module and all inside it."""
        yield self
        for value in vars(self).values():
            if isinstance(value, Module):
                yield from value.modules()

    def train(self, mode=True):
        """Training mode (dropout drops) for this module and all inside it; returns self."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self):
        """Evaluation mode: the same input gives the same output."""
        return self.train(False)

    def zero_grad(self):
        for tensor in self.parameters():
            tensor.grad = None

    def state(self):
        """name -> array, read-only: what `load_state` takes and serialize.save writes."""
        return {name: tensor.data for name, tensor in self.named_parameters().items()}

    def load_state(self, state):
        """Take over the arrays of `state`, {name: array}. Where anything does not fit, take none and raise ValueError.

        The error lists all that is wrong, in alphabetical order: "these weights are of another network (a is missing; b
        is unknown here; c has shape (3,), here (2,); d holds <U1, no real numbers); build the network that they were
        saved from".
        """
        own = self.state()
        wrong = [f"{name} is missing" for name in own.keys() - state.keys()]
        wrong += [f"{name} is unknown here" for name in state.keys() - own.keys()]
        wrong += [
            f"{name} has shape {state[name].shape}, here {own[name].shape}"
            for name in own.keys() & state.keys()
            if state[name].shape != own[name].shape
        ]
        wrong += [f"{name} holds {array.dtype}, no real numbers" for name, array in state.items()
                  if array.dtype.kind not in "biuf"]  # fmt: skip
        if wrong:
            raise ValueError(
                f"these weights are of another network ({'; '.join(sorted(wrong))}); build the network that they "
                "were saved from"
            )
        for name, tensor in self.named_parameters().items():
            tensor.data = np.array(state[name])


class Sequential(Module):
    """One layer after the other; plain functions may stand among them. Parameters are named by position."""

    def __init__(self, *layers):
        self.layers = layers
        for i, layer in enumerate(layers):
            if isinstance(layer, Module):
                setattr(self, str(i), layer)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class Linear(Module):
    """x @ weight + bias: (..., n_in) -> (..., n_out)."""

    def __init__(self, n_in, n_out, rng, start=init.kaiming_normal):
        self.weight = parameter(start(rng, (n_in, n_out)))
        self.bias = parameter(np.zeros(n_out, np.float32))

    def forward(self, x):
        return x @ self.weight + self.bias


class Conv2d(Module):
    """(N, n_in, H, W) -> (N, n_out, H', W'), see conv.conv2d."""

    def __init__(self, n_in, n_out, size, rng, stride=1, padding=0, start=init.kaiming_normal):
        self.weight = parameter(start(rng, (n_out, n_in, size, size)))
        self.bias = parameter(np.zeros(n_out, np.float32))
        self.stride, self.padding = stride, padding

    def forward(self, x):
        return conv2d(x, self.weight, self.bias, self.stride, self.padding)


class MaxPool2d(Module):
    def __init__(self, size, stride=None):
        self.size, self.stride = size, stride

    def forward(self, x):
        return max_pool2d(x, self.size, self.stride)


class Embedding(Module):
    """Integers (...,) -> (..., dim): a row of a table for each."""

    def __init__(self, n_rows, dim, rng):
        self.weight = parameter(rng.standard_normal((n_rows, dim)).astype(np.float32))

    def forward(self, indices):
        return functional.embedding(self.weight, indices)


class LayerNorm(Module):
    def __init__(self, dim):
        self.weight = parameter(np.ones(dim, np.float32))
        self.bias = parameter(np.zeros(dim, np.float32))

    def forward(self, x):
        return functional.layer_norm(x, self.weight, self.bias)


class Dropout(Module):
    """Drops with probability p while training, nothing in evaluation."""

    def __init__(self, p, rng):
        self.p, self.rng = p, rng

    def forward(self, x):
        """functional.dropout of x while `self.training` is True, x itself otherwise."""
        return functional.dropout(x, self.p, self.rng) if self.training else x


def relu(x):
    return as_tensor(x).relu()


def flatten(x):
    """(N, ...) -> (N, everything else)."""
    return as_tensor(x).reshape(x.shape[0], -1)
