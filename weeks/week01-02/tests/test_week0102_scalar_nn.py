"""Day 4: one node for a weighted sum, and neurons, layers, a network made of it."""

import random

import numpy as np
import pytest
import torch
from autograd.engine import Value, dot, topological_order
from autograd.scalar_nn import MLP, Layer, Module, Neuron

pytestmark = pytest.mark.day(4)


def values(*numbers):
    return [Value(x) for x in numbers]


# --- dot --------------------------------------------------------------------------------------------------------------


def test_dot_is_the_sum_of_products_in_one_node():
    """The same number and the same gradients as products and sums give, but one node where they need eight.

    Twice the product rule and nothing else, so the gradients are exactly equal; the upstream gradient is not 1.
    """
    w, x, b = values(0.5, -1.25, 2.0, 0.3), values(3.0, 0.7, -0.2, 1.1), Value(0.25)
    single = dot(w, x, b) * 1.7
    single.backward()
    gradients = [node.grad for node in (*w, *x, b)]
    for node in (*w, *x, b):
        node.grad = 0.0
    many = sum((wi * xi for wi, xi in zip(w, x)), b) * 1.7
    many.backward()
    assert single.data == pytest.approx(many.data, rel=1e-15)
    assert gradients == [node.grad for node in (*w, *x, b)]
    assert len(topological_order(many)) - len(topological_order(single)) == 7


def test_dot_of_a_list_with_itself():
    """Decay uses it: every parameter stands on both sides, so both slopes must reach it: 2p."""
    p = values(1.5, -2.0)
    dot(p, p).backward()
    assert [value.grad for value in p] == [3.0, -4.0]


def test_dot_without_anything_is_its_bias():
    """The sum of no products; a plain number may be the bias."""
    assert dot([], [], 2).data == 2 and dot(values(3), values(4)).data == 12


@pytest.mark.parametrize(
    "give, error, sentence",
    [
        (lambda: (values(1, 2), values(1)), ValueError,
         "2 weights do not fit 1 inputs; give as many of one as of the other"),
        (lambda: (values(1, 2), [Value(1), 2.5]), TypeError,
         r"dot was given 2.5, which is no Value; wrap it: Value\(2.5\)"),
        (lambda: ([1, Value(2)], values(1, 2)), TypeError,
         r"dot was given 1, which is no Value; wrap it: Value\(1\)"),
        # NumPy's scalars have a .data too
        (lambda: (values(1), [np.float64(2)]), TypeError, "which is no Value; wrap it"),
    ],
)  # fmt: skip
def test_what_dot_cannot_multiply_is_a_sentence(give, error, sentence):
    """zip would drop the longer one's end without a word."""
    weights, inputs = give()
    with pytest.raises(error, match=sentence):
        dot(weights, inputs)


# --- neurons and layers -----------------------------------------------------------------------------------------------

TORCHS = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "linear": lambda x: x}


@pytest.mark.parametrize("activation", TORCHS)
def test_a_neuron_equals_torchs_linear(activation):
    """Output and all gradients; float64, four products: 1e-12 is far above their rounding."""
    neuron = Neuron(3, activation, random.Random(1))
    neuron.bias.data = 0.9
    x = values(0.4, -1.2, 0.8)
    w, b, t = (
        torch.tensor(numbers, dtype=torch.float64, requires_grad=True)
        for numbers in ([v.data for v in neuron.weights], 0.9, [v.data for v in x])
    )
    (neuron(x) * 1.7).backward()
    expected = TORCHS[activation](torch.nn.functional.linear(t, w, b)) * 1.7
    expected.backward()
    assert expected.item() != 0  # relu is on, so there is something to compare
    assert neuron(x).data * 1.7 == pytest.approx(expected.item(), rel=1e-12)
    theirs = [*w.grad.tolist(), b.grad.item(), *t.grad.tolist()]
    assert [v.grad for v in (*neuron.parameters(), *x)] == pytest.approx(theirs, rel=1e-12)


def test_a_layer_is_a_list_of_neurons_on_the_same_inputs():
    """Always a list, also of one: whoever stacks layers need not ask."""
    layer = Layer(2, 3, "tanh", random.Random(0))
    x = values(1, 2)
    assert [v.data for v in layer(x)] == [neuron(x).data for neuron in layer.neurons]
    assert len(Layer(2, 1)(x)) == 1
    assert layer.parameters() == [p for neuron in layer.neurons for p in (*neuron.weights, neuron.bias)]


def test_first_weights_are_spread_over_minus_one_to_one():
    """Uniform, with standard deviation 1 / sqrt(3); 400 draws give it to 0.58 +- 0.015, so 0.05 is three times that."""
    neuron = Neuron(400, rng=random.Random(0))
    weights = [w.data for w in neuron.weights]
    assert neuron.bias.data == 0 and -1 <= min(weights) < -0.9 and 0.9 < max(weights) <= 1
    assert np.std(weights) == pytest.approx(3**-0.5, abs=0.05)


# --- the network ------------------------------------------------------------------------------------------------------


def test_an_mlp_equals_torchs():
    """Three layers, two outputs, a random upstream gradient, every parameter and input; the last layer is linear."""
    model = MLP([3, 5, 4, 2], "tanh", seed=3)
    layers = []
    for layer in model.layers:
        linear = torch.nn.Linear(len(layer.neurons[0].weights), len(layer.neurons), dtype=torch.float64)
        with torch.no_grad():
            weights = [[w.data for w in neuron.weights] for neuron in layer.neurons]
            linear.weight.copy_(torch.tensor(weights, dtype=torch.float64))
            linear.bias.zero_()
        layers += [linear, torch.nn.Tanh()]
    theirs = torch.nn.Sequential(*layers[:-1])
    x = values(0.3, -1.1, 2.0)
    t = torch.tensor([0.3, -1.1, 2.0], dtype=torch.float64, requires_grad=True)
    one, two = model(x)
    (one * 0.6 + two * -1.3).backward()
    (theirs(t) * torch.tensor([0.6, -1.3], dtype=torch.float64)).sum().backward()
    assert [one.data, two.data] == pytest.approx(theirs(t).tolist(), rel=1e-12)
    for layer, linear in zip(model.layers, layers[::2], strict=True):
        slopes = linear.weight.grad.tolist(), linear.bias.grad.tolist()
        for neuron, w, b in zip(layer.neurons, *slopes, strict=True):
            assert [p.grad for p in neuron.parameters()] == pytest.approx([*w, b], rel=1e-12)
    assert [v.grad for v in x] == pytest.approx(t.grad.tolist(), rel=1e-12)


def test_the_network_of_the_moons_has_337_parameters():
    """As the anchor's (micrograd's demo): 3 x 16 + 17 x 16 + 17; each once, in the order of the layers."""
    model = MLP([2, 16, 16, 1])
    parameters = model.parameters()
    assert len(parameters) == 337 and len({id(p) for p in parameters}) == 337
    assert parameters[:2] == model.layers[0].neurons[0].weights
    layers = "Layer(16 x Neuron(2, relu)), Layer(16 x Neuron(16, relu)), Layer(1 x Neuron(16, linear))"
    assert repr(model) == f"MLP({layers})"


def test_a_seed_is_a_network():
    """The same seed gives the same weights, another one others, and the global random state is left alone."""
    random.seed(5)
    expected = random.Random(5).random()
    a, b, c = ([p.data for p in MLP([2, 4, 1], seed=seed).parameters()] for seed in (0, 0, 1))
    assert a == b != c and random.random() == expected


def test_plain_numbers_and_values_are_both_inputs():
    """Data are numbers; but who asks how the answer depends on the input gives Values and reads their grad."""
    model, x = MLP([2, 3, 1], "tanh"), values(0.5, -1.0)
    (out,) = model(x)
    assert out.data == model([0.5, -1])[0].data
    out.backward()
    assert all(v.grad != 0 for v in x)


def test_zero_grad_forgets():
    """Without it, each step would use the sum of all gradients so far."""
    model = MLP([2, 3, 1], "tanh")
    model([1, 2])[0].backward()
    assert any(p.grad for p in model.parameters())
    model.zero_grad()
    assert not any(p.grad for p in model.parameters()) and Module().parameters() == []


@pytest.mark.parametrize(
    "build, sentence",
    [
        (lambda: MLP([2]), r"sizes \[2\] make no network; give two or more positive integers, as in \[2, 16, 16, 1\]"),
        (lambda: MLP([2, 0, 1]), r"sizes \[2, 0, 1\] make no network"),
        (lambda: MLP([2, 1.5]), r"sizes \[2, 1.5\] make no network"),
        (lambda: MLP([2, 3, 1], "gelu"), "there is no activation 'gelu'; use one of relu, tanh, sigmoid, linear"),
        (lambda: MLP([2, 1])([1, 2, 3]), "2 weights do not fit 3 inputs"),
    ],
)
def test_misuse_is_a_sentence(build, sentence):
    """What was given, why it cannot be, what to give."""
    with pytest.raises(ValueError, match=sentence):
        build()
