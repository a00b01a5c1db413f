"""Days 8 to 13: every operation on tensors passes the same exam (week0102_exam.py)."""

import numpy as np
import pytest
import torch
from autograd import functional as F
from autograd.conv import conv2d, max_pool2d
from autograd.tensor import Tensor
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as TF
from week0102_exam import examine

ROWS = np.array([2, 0, 2, 2])  # an index that repeats: its gradients must add up
LABELS = np.array([1, 0, 2, 2, 1])
GRID = np.array([[0, 2, 2], [1, 1, 0]])
positive = lambda x: np.abs(x) + 0.5

# day, name, ours, torch's, shapes, what is done to the random arrays first
OPS = [
    (8, "add", lambda a, b: a + b, None, [(3, 4), (3, 4)], None),
    (8, "add a row", lambda a, b: a + b, None, [(2, 3, 4), (4,)], None),
    (8, "add both ways", lambda a, b: a + b, None, [(3, 1), (1, 4)], None),
    (8, "add to a number", lambda a, b: a + b, None, [(), (2, 1, 3)], None),
    (8, "subtract", lambda a, b: a - b, None, [(2, 1, 3), (4, 1)], None),
    (8, "multiply", lambda a, b: a * b, None, [(2, 3, 1), (3, 4)], None),
    (8, "divide", lambda a, b: a / b, None, [(2, 3), (2, 1)], positive),
    (8, "reflected", lambda a: 2 - a + 3 * a + 1 / a + (2 + a), None, [(2, 3)], positive),
    (8, "negate", lambda a: -a, None, [(2, 3)], None),
    (8, "used twice", lambda a: a * a + a, None, [(2, 3)], None),
    (8, "power 3", lambda a: a**3, None, [(2, 3)], None),
    (8, "power -1.5", lambda a: a**-1.5, None, [(2, 3)], positive),
    (8, "power 0", lambda a: a**0, None, [(2, 3)], None),
    (8, "exp", lambda a: a.exp(), None, [(2, 3)], None),
    (8, "log", lambda a: a.log(), None, [(2, 3)], positive),
    (8, "tanh", lambda a: a.tanh(), None, [(2, 3)], None),
    (8, "sigmoid", lambda a: a.sigmoid(), None, [(2, 3)], None),
    (8, "relu", lambda a: a.relu(), None, [(4, 5)], None),
    (9, "matmul", lambda a, b: a @ b, None, [(3, 4), (4, 2)], None),
    (9, "matmul in batches", lambda a, b: a @ b, None, [(5, 3, 4), (5, 4, 2)], None),
    (9, "matmul, batch by one", lambda a, b: a @ b, None, [(2, 5, 3, 4), (4, 2)], None),
    (9, "matmul, batches broadcast", lambda a, b: a @ b, None, [(2, 1, 3, 4), (5, 4, 2)], None),
    (9, "row @ column", lambda a, b: a @ b, None, [(4,), (4,)], None),
    (9, "matrix @ column", lambda a, b: a @ b, None, [(2, 3, 4), (4,)], None),
    (9, "row @ matrix", lambda a, b: a @ b, None, [(4,), (2, 4, 3)], None),
    (9, "sum", lambda a: a.sum(), None, [(2, 3)], None),
    (9, "sum over an axis", lambda a: a.sum(1), None, [(2, 3, 4)], None),
    (9, "sum over two axes", lambda a: a.sum((0, -1)), None, [(2, 3, 4)], None),
    (9, "sum, axis kept", lambda a: a.sum(1, keepdims=True), lambda a: a.sum(1, keepdim=True), [(2, 3)], None),
    (9, "mean", lambda a: a.mean(), None, [(2, 3)], None),
    (9, "mean over two axes", lambda a: a.mean((0, 2)), None, [(2, 3, 4)], None),
    (9, "max", lambda a: a.max(), lambda a: a.amax(), [(2, 3)], None),
    (9, "max over an axis", lambda a: a.max(1), lambda a: a.amax(1), [(2, 3, 4)], None),
    (9, "max over two, kept", lambda a: a.max((0, 2), True), lambda a: a.amax((0, 2), True), [(2, 3, 4)], None),
    (9, "reshape", lambda a: a.reshape(4, -1), None, [(2, 2, 3)], None),
    (9, "transpose", lambda a: a.T, None, [(2, 3)], None),
    (9, "permute from the end", lambda a: a.transpose(-1, 0, 1), lambda a: a.permute(2, 0, 1), [(3, 3, 3)], None),
    (9, "permute", lambda a: a.transpose(2, 0, 1), lambda a: a.permute(2, 0, 1), [(2, 3, 4)], None),
    (9, "row", lambda a: a[1], None, [(3, 4)], None),
    (9, "slice", lambda a: a[:, 1::2, None], None, [(3, 4)], None),
    (9, "rows, repeated", lambda a: a[ROWS], None, [(3, 4)], None),
    (9, "pairs of indices", lambda a: a[ROWS, [0, 1, 1, 1]], None, [(3, 4)], None),
    (9, "mask", lambda a: a[[True, False, True]], None, [(3, 4)], None),
    (9, "gather", lambda a: a.gather(1, GRID), lambda a: a.gather(1, torch.tensor(GRID)), [(2, 3)], None),
    (9, "gather rows", lambda a: a.gather(0, GRID), lambda a: a.gather(0, torch.tensor(GRID)), [(3, 4)], None),
    (10, "softmax", lambda a: F.softmax(a), lambda a: TF.softmax(a, -1), [(3, 4)], None),
    (10, "softmax, axis 1", lambda a: F.softmax(a, 1), lambda a: TF.softmax(a, 1), [(2, 3, 4)], None),
    (10, "log_softmax", lambda a: F.log_softmax(a), lambda a: TF.log_softmax(a, -1), [(3, 4)], None),
    (10, "cross_entropy", lambda a: F.cross_entropy(a, LABELS),
     lambda a: TF.cross_entropy(a, torch.tensor(LABELS)), [(5, 3)], None),
    (10, "embedding", lambda w: F.embedding(w, GRID), lambda w: TF.embedding(torch.tensor(GRID), w), [(3, 4)], None),
    (10, "layer_norm", lambda x, w, b: F.layer_norm(x, w, b),
     lambda x, w, b: TF.layer_norm(x, (5,), w, b), [(2, 3, 5), (5,), (5,)], None),
    (10, "dropout", lambda x: F.dropout(x, 0.4, np.random.default_rng(7)),
     lambda x: x * torch.tensor((np.random.default_rng(7).random((4, 5), dtype=np.float32) >= 0.4) / 0.6),
     [(4, 5)], None),
    (13, "max_pool2d", lambda x: max_pool2d(x, 2), lambda x: TF.max_pool2d(x, 2), [(2, 3, 5, 4)], None),
    (13, "max_pool2d, windows overlap", lambda x: max_pool2d(x, 3, 2),
     lambda x: TF.max_pool2d(x, 3, 2), [(2, 2, 7, 6)], None),
    (13, "max_pool2d, gaps", lambda x: max_pool2d(x, 2, 3), lambda x: TF.max_pool2d(x, 2, 3), [(1, 2, 6, 6)], None),
]  # fmt: skip


@pytest.mark.parametrize(
    "ours, theirs, shapes, prepare",
    [pytest.param(*row[2:], id=row[1], marks=pytest.mark.day(row[0])) for row in OPS],
)
def test_operation(ours, theirs, shapes, prepare):
    """One exam for all: torch judges the result and the gradient, finite differences the gradient once more."""
    rng = np.random.default_rng(0)
    arrays = [(prepare or np.asarray)(rng.standard_normal(shape)) for shape in shapes]
    examine(ours, theirs or ours, arrays, rng)


@pytest.mark.day(13)
@pytest.mark.parametrize(
    "channels, out, size, stride, padding, height, width",
    [
        (1, 4, (3, 3), 1, 0, 6, 5),  # few channels: the copy goes column by column
        (3, 2, (3, 3), 1, 1, 5, 4),
        (4, 3, (3, 2), 2, 0, 6, 7),  # a rest of the image that no window reaches
        (2, 3, (1, 1), 3, 2, 4, 4),  # windows with gaps between them, and some in the padding alone
        (2, 2, (4, 5), 1, 0, 4, 5),  # one window
    ],
)
def test_conv2d(channels, out, size, stride, padding, height, width):
    """Images, weights and bias, for windows that overlap, leave gaps, reach into the padding or fit just once."""
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal(s) for s in ((2, channels, height, width), (out, channels, *size), (out,))]
    examine(
        lambda x, w, b: conv2d(x, w, b, stride, padding),
        lambda x, w, b: TF.conv2d(x, w, b, stride, padding),
        arrays, rng,
    )  # fmt: skip


@pytest.mark.day(13)
def test_conv2d_without_bias_after_a_pool():
    """In a network images arrive as a transposed view and gradients in yet another order of memory."""
    rng = np.random.default_rng(2)
    examine(
        lambda x, w: conv2d(max_pool2d(x, 2), w).relu().reshape(2, -1),
        lambda x, w: TF.conv2d(TF.max_pool2d(x, 2), w).relu().reshape(2, -1),
        [rng.standard_normal((2, 3, 8, 6)), rng.standard_normal((2, 3, 3, 2))], rng,
    )  # fmt: skip


SIZES = st.lists(st.integers(1, 3), min_size=0, max_size=3)


@pytest.mark.day(8)
@given(SIZES, SIZES, st.data())
def test_any_two_shapes_that_broadcast(left, right, data):
    """Un-broadcasting, on shapes nobody thought of: torch decides what broadcasts and what each side's gradient is."""
    n = min(len(left), len(right))
    for i in range(1, n + 1):  # make them fit: equal, or one of them 1
        if left[-i] != right[-i]:
            (left if data.draw(st.booleans()) else right)[-i] = 1
    rng = np.random.default_rng(0)
    a, b = (Tensor(rng.standard_normal(s), requires_grad=True) for s in (left, right))
    x, y = (torch.tensor(t.data.copy(), requires_grad=True) for t in (a, b))
    out, expected = a * b + a - b, x * y + x - y
    upstream = rng.standard_normal(out.shape)
    out.backward(upstream)
    expected.backward(torch.tensor(upstream))
    for tensor, other in ((a, x), (b, y)):
        assert tensor.grad.shape == tensor.shape
        np.testing.assert_allclose(tensor.grad, other.grad.numpy(), rtol=1e-12, atol=1e-12)  # the same few sums


@pytest.mark.day(9)
def test_equal_maxima_share_the_gradient():
    """No finite difference exists at a tie, so the choice is checked against torch's amax, which made the same one."""
    values = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
    a, x = Tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
    a.max(1).backward([2.0, 3.0])
    x.amax(1).backward(torch.tensor([2.0, 3.0]))
    np.testing.assert_array_equal(a.grad, x.grad.numpy())


@pytest.mark.day(13)
def test_pooling_gives_a_tie_to_the_first():
    """After relu most windows are four zeros; torch's choice is the first of them, and training must not double it."""
    values = np.random.default_rng(0).integers(0, 2, (2, 3, 6, 6)).astype(np.float64)
    a, x = Tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
    upstream = np.random.default_rng(1).standard_normal((2, 3, 3, 3))
    max_pool2d(a, 2).backward(upstream)
    TF.max_pool2d(x, 2).backward(torch.tensor(upstream))
    np.testing.assert_array_equal(a.grad, x.grad.numpy())


@pytest.mark.day(8)
def test_relu_has_no_slope_at_zero():
    """A convention, torch's too: dead pixels of MNIST give exact zeros all the time."""
    a = Tensor([-1.0, 0.0, 2.0], requires_grad=True)
    a.relu().backward([5.0, 5.0, 5.0])
    np.testing.assert_array_equal(a.grad, [0, 0, 5])


@pytest.mark.day(8)
def test_power_zero_at_zero_is_flat():
    """x**0 is 1 everywhere; the formula 0 * 0**-1 would make its slope not a number."""
    a = Tensor([0.0, 2.0], requires_grad=True)
    (a**0).backward([1.0, 1.0])
    np.testing.assert_array_equal(a.grad, [0, 0])


EXTREME = np.array([[1000.0, -1000.0, 0.0], [-800.0, -801.0, -802.0], [1e4, 1e4, -1e4]])


STABLE = [  # day, name, ours, torch's
    (8, "sigmoid", lambda a: a.sigmoid(), torch.sigmoid),
    (8, "tanh", lambda a: a.tanh(), torch.tanh),
    (10, "softmax", lambda a: F.softmax(a), lambda a: TF.softmax(a, -1)),
    (10, "log_softmax", lambda a: F.log_softmax(a), lambda a: TF.log_softmax(a, -1)),
    (10, "cross_entropy", lambda a: F.cross_entropy(a, [1, 2, 0]),
     lambda a: TF.cross_entropy(a, torch.tensor([1, 2, 0]))),
]  # fmt: skip


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "ours, theirs", [pytest.param(*row[2:], id=row[1], marks=pytest.mark.day(row[0])) for row in STABLE]
)
def test_where_the_naive_formula_overflows(ours, theirs):
    """exp(1000) is infinite and inf / inf no number; warnings are errors here, so no detour through inf passes."""
    a, x = Tensor(EXTREME, requires_grad=True), torch.tensor(EXTREME, requires_grad=True)
    out, expected = ours(a), theirs(x)
    upstream = np.random.default_rng(0).standard_normal(out.shape)
    out.backward(upstream)
    expected.backward(torch.tensor(upstream))
    np.testing.assert_allclose(out.data, expected.detach().numpy(), rtol=1e-12, atol=1e-15)  # float64, same formulas
    np.testing.assert_allclose(a.grad, x.grad.numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.day(10)
def test_dropout_keeps_the_expectation():
    """Kept elements are divided by 1 - p; at p = 0 the very tensor comes back. 5 standard errors of 100,000 draws."""
    x = Tensor(np.ones(100_000))
    out = F.dropout(x, 0.3, np.random.default_rng(0)).data
    assert set(np.unique(out)) == {0, 1 / 0.7}
    assert abs(out.mean() - 1) < 5 * (0.3 / 0.7 / 100_000) ** 0.5
    assert F.dropout(x, 0.0, None) is x


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "ours, shapes, prepare",
    [pytest.param(row[2], *row[4:], id=row[1], marks=pytest.mark.day(row[0])) for row in OPS],
)
def test_no_operation_changes_the_dtype(ours, shapes, prepare, dtype):
    """One stray float64 constant makes a whole network twice as slow, and nothing else would notice."""
    rng = np.random.default_rng(0)
    arrays = [(prepare or np.asarray)(rng.standard_normal(shape)).astype(dtype) for shape in shapes]
    tensors = [Tensor(array, requires_grad=True) for array in arrays]
    out = ours(*tensors)
    out.backward(np.ones(out.shape))
    assert {out.dtype, *(t.grad.dtype for t in tensors)} == {np.dtype(dtype)}
