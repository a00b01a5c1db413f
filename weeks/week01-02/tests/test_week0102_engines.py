"""Day 9: one network, two engines: single numbers and arrays must give the same gradients."""

import ast
from pathlib import Path

import autograd
import numpy as np
import pytest
from autograd.scalar_nn import MLP
from autograd.tensor import Tensor

pytestmark = pytest.mark.day(9)


def as_arrays(model, attribute):
    """[(weights (n_in, n_out), biases (n_out,))] of a scalar MLP: its values or its gradients."""
    read = lambda value: getattr(value, attribute)
    return [
        (
            np.array([[read(w) for w in neuron.weights] for neuron in layer.neurons]).T,
            np.array([read(neuron.bias) for neuron in layer.neurons]),
        )
        for layer in model.layers
    ]


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_the_same_mlp_gives_the_same_gradients(activation):
    """The lesson of the two weeks: an array engine does what the scalar one does, only many numbers at a time.

    A hinge loss with weights over 13 points. Both compute in float64 and sum in another order: 1e-9 is far above that.
    """
    rng = np.random.default_rng(0)
    points, labels = rng.standard_normal((13, 3)), rng.standard_normal(13)
    scalar = MLP([3, 8, 5, 1], activation, seed=4)
    loss = sum((1 - y * scalar(x)[0]).relu() for x, y in zip(points.tolist(), labels.tolist())) / 13
    loss.backward()

    layers = [tuple(Tensor(array, requires_grad=True) for array in pair) for pair in as_arrays(scalar, "data")]
    x = Tensor(points)
    for i, (weight, bias) in enumerate(layers):
        x = x @ weight + bias
        x = getattr(x, activation)() if i < len(layers) - 1 else x
    ours = (1 - labels * x.reshape(-1)).relu().mean()
    ours.backward()

    assert ours.item() == pytest.approx(loss.data, rel=1e-12)
    for pair, expected in zip(layers, as_arrays(scalar, "grad"), strict=True):
        for tensor, gradient in zip(pair, expected, strict=True):
            assert abs(gradient).max() > 1e-3  # there is something to compare
            np.testing.assert_allclose(tensor.grad, gradient, rtol=1e-9, atol=1e-9)


def test_the_package_imports_no_torch():
    """The package uses NumPy only. The tests compare it with torch, so torch must not do its work."""
    package = Path(autograd.__file__).parent
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in package.rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    assert "numpy" in names and not {name for name in names if name.split(".")[0] == "torch"}
