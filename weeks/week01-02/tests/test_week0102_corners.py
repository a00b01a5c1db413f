"""Days 1, 8, 9 and 13: numbers at the edge (nan, infinities, zeros) and NumPy's own scalars, as torch has them."""

import operator

import numpy as np
import pytest
import torch
from autograd.engine import Value
from autograd.tensor import Tensor
from torch.nn import functional as TF

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy says of each nan that it was made
CORNERS = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 1e-300, 1e300, np.inf, -np.inf, np.nan]


def agree(ours, theirs, *arrays):
    """Result and gradients of `ours` are those of `theirs`; nan where torch has nan."""
    tensors = [Tensor(array, requires_grad=True) for array in arrays]
    others = [torch.tensor(array, requires_grad=True) for array in arrays]
    out, expected = ours(*tensors), theirs(*others)
    upstream = np.random.default_rng(0).standard_normal(out.shape)
    out.backward(upstream)
    expected.backward(torch.tensor(upstream))
    # 1e-12: float64, the same few roundings
    np.testing.assert_allclose(out.data, expected.detach().numpy(), rtol=1e-12)
    for tensor, other in zip(tensors, others):
        np.testing.assert_allclose(tensor.grad, other.grad.numpy(), rtol=1e-12)


@pytest.mark.day(8)
@pytest.mark.parametrize("name", ["exp", "log", "tanh", "sigmoid", "relu"])
def test_functions_at_the_edge(name):
    """A loss that has gone wrong must be seen, so nan is passed on, forward and backward: relu has slope 1 there."""
    agree(operator.methodcaller(name), operator.methodcaller(name), np.array(CORNERS))


@pytest.mark.day(8)
def test_relu_stops_an_infinite_gradient_where_it_is_flat():
    """inf * 0 is nan, and one nan spoils every weight; torch selects, it does not multiply."""
    a, x = Tensor([-1.0, 2.0], requires_grad=True), torch.tensor([-1.0, 2.0], requires_grad=True)
    a.relu().backward([np.inf, np.inf])
    x.relu().backward(torch.tensor([np.inf, np.inf]))
    np.testing.assert_array_equal(a.grad, x.grad.numpy())


@pytest.mark.day(8)
@pytest.mark.parametrize("name", ["add", "sub", "mul", "truediv"])
def test_arithmetic_at_the_edge(name):
    """All pairs: 0 / 0, inf - inf, inf * 0 and the like."""
    left, right = np.meshgrid(CORNERS, CORNERS)
    agree(getattr(operator, name), getattr(operator, name), left, right)


@pytest.mark.day(8)
@pytest.mark.parametrize("n", [0, 1, 2, 3, -1, -2, 1.3, -1.5])
def test_powers_at_the_edge(n):
    """nan ** 0 is 1 and flat, 0 ** -1 is infinite, a root of a negative number is nan.

    Not 0.5: torch takes sqrt then, whose -inf is nan, where IEEE 754's power, which is NumPy's, is inf.
    """
    agree(lambda a: a**n, lambda x: x**n, np.array(CORNERS))


@pytest.mark.day(9)
@pytest.mark.parametrize("axis", [0, 1])
def test_a_maximum_of_a_row_with_nan_is_nan(axis):
    """And its gradient as in torch."""
    values = np.array([[1.0, np.nan, 3.0], [np.inf, 2.0, np.inf], [-np.inf, -np.inf, -np.inf]])
    agree(lambda a: a.max(axis), lambda x: x.amax(axis), values)


@pytest.mark.day(13)
def test_a_pool_sends_the_gradient_of_nan_to_nan():
    """The maximum of a window with nan is nan, so nan is what won it, wherever in the window it stands."""
    from autograd.conv import max_pool2d

    values = np.arange(64.0).reshape(1, 1, 8, 8)
    values[0, 0, [0, 1, 2, 3, 4, 5], [0, 3, 4, 5, 6, 7]] = np.nan
    values[0, 0, 6:, :2] = -np.inf
    values[0, 0, 6:, 2:4] = np.nan
    agree(lambda a: max_pool2d(a, 2), lambda x: TF.max_pool2d(x, 2), values)


KINDS = (int, float, bool, np.bool_, np.int8, np.uint8, np.int64, np.float16, np.float32, np.float64)


@pytest.mark.day(8)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_kind_of_number_is_a_number(kind, dtype):
    """np.int64(2) comes out of every NumPy sum: x ** it is x squared, in the tensor's dtype, as with a plain 2."""
    values, number = np.array([-3.0, 0.5, 2.0], dtype), kind(2)
    for ours in (
        lambda a, n: a**n, lambda a, n: a * n, lambda a, n: n * a, lambda a, n: a + n, lambda a, n: n + a,
        lambda a, n: a - n, lambda a, n: n - a, lambda a, n: a / n, lambda a, n: n / a,
    ):  # fmt: skip
        a, b = Tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
        out, expected = ours(a, number), ours(b, float(number))
        out.backward(np.ones(3))
        expected.sum().backward()
        assert type(out) is Tensor and out.dtype == a.grad.dtype == dtype
        np.testing.assert_array_equal(out.data, expected.detach().numpy())
        np.testing.assert_allclose(a.grad, b.grad.numpy(), rtol=4 * np.finfo(dtype).eps)  # a few roundings


@pytest.mark.day(8)
@pytest.mark.parametrize("name", ["add", "sub", "mul", "truediv"])
def test_an_array_without_axes_is_a_number_too(name):
    """As in torch: it does not make float64 of a float32 tensor."""
    a, number = Tensor([1.0, -2.0]), np.array(2.0)
    for ours in (getattr(operator, name)(a, number), getattr(operator, name)(number, a)):
        assert type(ours) is Tensor and ours.dtype == np.float32
    theirs = getattr(operator, name)(torch.tensor([1.0, -2.0]), torch.tensor(2.0, dtype=torch.float64))
    assert theirs.dtype == torch.float32
    np.testing.assert_array_equal(getattr(operator, name)(a, number).data, theirs.numpy())


@pytest.mark.parametrize(
    "name",
    [
        *[pytest.param(name, marks=pytest.mark.day(8)) for name in ("add", "sub", "mul", "truediv")],
        pytest.param("matmul", marks=pytest.mark.day(9)),
    ],
)
def test_an_array_on_the_left_asks_the_tensor(name):
    """Without __array_ufunc__ = None, NumPy would take the tensor apart and answer with an array of tensors."""
    values = np.array([[1.0, -2.0], [0.5, 4.0]])
    function, array = getattr(operator, name), np.array([[3.0, 1.0], [-1.0, 2.0]])
    assert type(function(array, Tensor(values))) is Tensor
    agree(lambda a: function(array, a), lambda x: function(torch.tensor(array), x), values)


@pytest.mark.day(8)
@pytest.mark.parametrize("exponent", ["2", None, [2], np.array([1.0, 2.0]), 2j, np.complex64(2)])
def test_what_is_no_number_is_no_exponent(exponent):
    """The sentence names the type, and how two tensors make a power."""
    with pytest.raises(TypeError, match=f"must be a number, not {type(exponent).__name__}; write"):
        Tensor([1.0, 2.0]) ** exponent


@pytest.mark.day(1)
@pytest.mark.parametrize("use", [lambda a, v: a + v, lambda a, v: a - v, lambda a, v: a * v, lambda a, v: a / v])
def test_an_array_on_the_left_is_refused_too(use):
    """NumPy would take the Value for one of its elements, and answer with an array of Values."""
    with pytest.raises(TypeError, match=r"holds one real number, but was given array\(\[1., 1.\]\) .*; give an int"):
        use(np.ones(2), Value(2))
