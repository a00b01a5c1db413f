"""Neurons, layers and a multilayer perceptron made of Values: one number, one node, nothing hidden.

Left out: optimizers, batches, saving. The networks of week 2 have them; this one is here to be looked into.
"""

import random
from itertools import pairwise

from .engine import Value, dot

ACTIVATIONS = {"relu": Value.relu, "tanh": Value.tanh, "sigmoid": Value.sigmoid, "linear": lambda value: value}


class Module:
    """Something with parameters."""

    def parameters(self):
        """A list of the Values that training may change, always in the same order."""
        return []

    def zero_grad(self):
        """Set every parameter's `grad` back to 0.0; the next `backward` would otherwise add to the old one."""
        for parameter in self.parameters():
            parameter.grad = 0.0


class Neuron(Module):
    """activation(bias + sum of weight * input), for `n_in` inputs.

    Weights are drawn from `rng` between -1 and 1, the bias starts at 0. That is right for layers of about this size;
    week 2 asks what wider ones need.
    """

    def __init__(self, n_in, activation="relu", rng=random):
        if activation not in ACTIVATIONS:
            raise ValueError(f"there is no activation {activation!r}; use one of {', '.join(ACTIVATIONS)}")
        self.weights = [Value(rng.uniform(-1.0, 1.0)) for _ in range(n_in)]
        self.bias = Value(0.0)
        self.activation = activation

    def __call__(self, inputs):
        """A list of n_in Values -> one Value. The activation's function is ACTIVATIONS[self.activation]."""
        return ACTIVATIONS[self.activation](dot(self.weights, inputs, self.bias))

    def parameters(self):
        return [*self.weights, self.bias]

    def __repr__(self):
        return f"Neuron({len(self.weights)}, {self.activation})"


class Layer(Module):
    """`n_out` neurons that see the same inputs. Gives a list, also where it has one neuron."""

    def __init__(self, n_in, n_out, activation="relu", rng=random):
        self.neurons = [Neuron(n_in, activation, rng) for _ in range(n_out)]

    def __call__(self, inputs):
        return [neuron(inputs) for neuron in self.neurons]

    def parameters(self):
        return [parameter for neuron in self.neurons for parameter in neuron.parameters()]

    def __repr__(self):
        return f"Layer({len(self.neurons)} x {self.neurons[0]})"


class MLP(Module):
    """Layers of these sizes, input first: MLP([2, 16, 16, 1]). The last layer is linear."""

    def __init__(self, sizes, activation="relu", seed=0):
        """self.layers: a list of one Layer less than there are sizes; all but the last have `activation`.

        One generator, random.Random(seed), draws the weights of all layers, first to last; Python's global random state
        stays as it is. Raises ValueError for fewer than two sizes, or one that is no positive integer ("sizes [2] make
        no network; give two or more positive integers, as in [2, 16, 16, 1]").
        """
        if len(sizes) < 2 or not all(isinstance(size, int) and size > 0 for size in sizes):
            raise ValueError(f"sizes {sizes} make no network; give two or more positive integers, as in [2, 16, 16, 1]")
        rng = random.Random(seed)
        kinds = [activation] * (len(sizes) - 2) + ["linear"]
        self.layers = [Layer(n_in, n_out, kind, rng) for (n_in, n_out), kind in zip(pairwise(sizes), kinds)]

    def __call__(self, inputs):
        """List of n_in Values or plain numbers -> list of n_out Values."""
        outputs = [x if isinstance(x, Value) else Value(x) for x in inputs]
        for layer in self.layers:
            outputs = layer(outputs)
        return outputs

    def parameters(self):
        return [parameter for layer in self.layers for parameter in layer.parameters()]

    def __repr__(self):
        return f"MLP({', '.join(map(repr, self.layers))})"
