# vendored from weeks/week01-02/autograd/tensor.py, sha256 ed9b6ec53503ed49c52a84ad895a52cfd9c1824b28e03925cf779f79914a009f; edit there, then run: make vendor
"""A tensor: NumPy's arithmetic, and beside each formula its derivative.

Read an operation as: the result, then for each operand how the gradient `g` of the result becomes the operand's own.
Where shapes were broadcast, `graph.unbroadcast` sums the repeats, so no formula here speaks of it. `_operand` makes a
Tensor of the other operand, `_apply` calls NumPy and turns its error into a sentence.

Left out: integer tensors (indices and labels are plain arrays), comparison, sorting, devices.
"""

import copy
from numbers import Real

import numpy as np

from .graph import Node, record

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


class Tensor(Node):
    """An array of float32 or float64 that may take part in a graph.

    values: numbers, nested lists or an array; copied. float64 arrays stay; all else becomes float32.
    requires_grad: whether `backward` shall leave a gradient in `.grad`.
    Raises TypeError for what is no regular array of real numbers.
    """

    __slots__ = ()
    __array_ufunc__ = None  # array * tensor asks the tensor, instead of making an array of tensors
    __iter__ = None

    def __init__(self, values, requires_grad=False, dtype=None):
        if isinstance(values, Tensor):
            raise TypeError("the values are a Tensor already; use it as it is, or .detach() for one without a graph")
        try:
            array = np.array(values)
        except ValueError:  # nested lists of different lengths
            array = np.array(None)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"a Tensor is made of real numbers in a regular shape, not of {values!r:.60}")
        if dtype is None:
            was_array = isinstance(values, np.ndarray | np.generic)
            dtype = array.dtype if was_array and array.dtype in FLOATS else np.float32
        if np.dtype(dtype) not in FLOATS:
            raise TypeError(f"a Tensor holds float32 or float64, not {np.dtype(dtype)}; give dtype=np.float32")
        self._set_up(array.astype(dtype, copy=False), requires_grad, ())

    shape = property(lambda self: self._data.shape)
    ndim = property(lambda self: self._data.ndim)
    size = property(lambda self: self._data.size)
    dtype = property(lambda self: self._data.dtype)
    T = property(lambda self: self.transpose())

    def __len__(self):
        return len(self._data)

    def __repr__(self):
        return f"Tensor({self._data}{', requires_grad=True' if self.requires_grad else ''})"

    def __array__(self, dtype=None, copy=None):
        return np.array(self._data, dtype=dtype)

    def item(self):
        """The one number that this tensor holds, as a Python float."""
        return self._data.item()

    def detach(self):
        """The same values without the graph: a constant from here on."""
        out = object.__new__(Tensor)
        out._set_up(self._data, False, ())
        return out

    # --- arithmetic ---------------------------------------------------------------------------------------------------

    def __add__(self, other):
        other = self._operand(other)
        return record(self._apply(np.add, other), (self, lambda g: g), (other, lambda g: g))

    def __sub__(self, other):
        other = self._operand(other)
        return record(self._apply(np.subtract, other), (self, lambda g: g), (other, lambda g: -g))

    def __mul__(self, other):
        """self * other, element by element; shapes broadcast. Other may be a number or an array, as in all of these."""
        other = self._operand(other)
        a, b = self._data, other._data
        return record(self._apply(np.multiply, other), (self, lambda g: g * b), (other, lambda g: g * a))

    def __truediv__(self, other):
        """self / other, element by element; shapes broadcast."""
        other = self._operand(other)
        b, out = other._data, self._apply(np.divide, other)
        return record(out, (self, lambda g: g / b), (other, lambda g: -g * out / b))  # d(a/b)/db = -a/b^2

    def __pow__(self, n):
        """Each element to the power n, a plain number or a NumPy scalar; the dtype stays. Where n is 0 the slope is 0.

        Any other n is a TypeError: "the exponent must be a number, not Tensor; write a**b as (a.log() * b).exp()".
        """
        if not isinstance(n, Real | np.bool_):
            raise TypeError(f"the exponent must be a number, not {type(n).__name__}; write a**b as (a.log() * b).exp()")
        x, n = self._data, float(n)  # a NumPy scalar would bring its own dtype
        # n = 0 apart: 0 * x**-1 is not a number at x = 0, where the derivative of a constant is 0
        return record(x**n, (self, lambda g: g * (n * x ** (n - 1)) if n else np.zeros_like(x)))

    def __matmul__(self, other):
        """(..., n, k) @ (..., k, m) -> (..., n, m); axes in front broadcast, and a vector acts as a row or column."""
        other = self._operand(other)
        a, b, out = self._data, other._data, self._apply(np.matmul, other)
        # A vector gets back the axis that NumPy lent it, and one pair of formulas serves all shapes.
        rows = a if a.ndim > 1 else a[None, :]
        columns = b if b.ndim > 1 else b[:, None]

        def full(g):
            g = g if b.ndim > 1 else g[..., None]
            return g if a.ndim > 1 else g[..., None, :]

        def to_other(g):
            g = rows.swapaxes(-1, -2) @ full(g)
            return g if b.ndim > 1 else g[..., 0]

        return record(out, (self, lambda g: full(g) @ columns.swapaxes(-1, -2)), (other, to_other))

    def __neg__(self):
        return record(-self._data, (self, lambda g: -g))

    def __rsub__(self, other):
        return self._operand(other) - self

    def __rtruediv__(self, other):
        return self._operand(other) / self

    def __rmatmul__(self, other):
        return self._operand(other) @ self

    __radd__, __rmul__ = __add__, __mul__

    def _operand(self, other):
        """Tensors as they are; numbers and arrays as constants, bare numbers in this tensor's dtype."""
        if isinstance(other, Tensor):
            return other
        return Tensor(other, dtype=None if isinstance(other, np.ndarray) and other.ndim else self.dtype)

    def _apply(self, function, other):
        try:
            return function(self._data, other._data)
        except ValueError:
            a, b = self.shape, other.shape
        if function is np.matmul:
            raise ValueError(
                f"cannot matrix-multiply shapes {a} and {b}: the first one's last axis must be as long as the second "
                "one's last but one; the axes before those must broadcast"
            )
        raise ValueError(
            f"cannot {function.__name__} shapes {a} and {b}: counted from the right, two axes must be equally long, "
            "or one of them 1; reshape one tensor"
        )

    # --- functions of each element ------------------------------------------------------------------------------------

    def exp(self):
        """e to the power of each element."""
        out = np.exp(self._data)
        return record(out, (self, lambda g: g * out))

    def log(self):
        """The natural logarithm of each element."""
        x = self._data
        return record(np.log(x), (self, lambda g: g / x))

    def tanh(self):
        """The hyperbolic tangent of each element."""
        out = np.tanh(self._data)
        return record(out, (self, lambda g: g * (1 - out * out)))

    def sigmoid(self):
        """1 / (1 + exp(-x)) of each element, without an overflow and without a warning, whatever x is."""
        z = np.exp(-np.abs(self._data))  # never above 1
        out = np.where(self._data >= 0, 1, z) / (1 + z)
        return record(out, (self, lambda g: g * out * (1 - out)))

    def relu(self):
        """max(x, 0) of each element; the slope at 0 is 0. nan passes, forward and backward.

        Where x is 0 or below, the gradient is 0 even if infinity comes from above.
        """
        out = np.maximum(self._data, 0)
        return record(out, (self, lambda g: np.where(out <= 0, 0, g)))  # nan is not <= 0, so it passes and is seen

    # --- reductions ---------------------------------------------------------------------------------------------------

    def sum(self, axis=None, keepdims=False):
        """The sum over one axis, a tuple of axes, or all."""
        shape = self.shape
        return record(self._data.sum(axis, keepdims=keepdims), (self, lambda g: _spread(g, axis, keepdims, shape)))

    def mean(self, axis=None, keepdims=False):
        """The mean over one axis, a tuple of axes, or all."""
        total = self.sum(axis, keepdims)
        return total * (total.size / self.size)

    def max(self, axis=None, keepdims=False):
        """The maximum over one axis, a tuple of axes, or all. Equal maxima share the gradient, like torch's amax."""
        x = self._data

        def to_self(g):
            hit = (x == x.max(axis, keepdims=True)).astype(x.dtype)
            return _spread(g, axis, keepdims, x.shape) * (hit / hit.sum(axis, keepdims=True))

        return record(x.max(axis, keepdims=keepdims), (self, to_self))

    # --- shape --------------------------------------------------------------------------------------------------------

    def reshape(self, *shape):
        """The same elements in another shape: reshape(2, 3), reshape((2, 3)), one size may be -1."""
        shape, old = shape[0] if len(shape) == 1 else shape, self.shape
        try:
            out = self._data.reshape(shape)
        except ValueError:
            raise ValueError(f"cannot reshape {old} into {shape}: the number of elements differs") from None
        return record(out, (self, lambda g: g.reshape(old)))

    def transpose(self, *axes):
        """The axes in another order, counted from the end where negative; without arguments reversed.

        NumPy's own error for an axis that is not there is good enough.
        """
        order = axes or tuple(reversed(range(self.ndim)))
        out = self._data.transpose(order)  # NumPy refuses an axis that is not there
        order = [axis % self.ndim for axis in order]  # sorting finds the inverse only of places counted from 0
        return record(out, (self, lambda g: g.transpose(np.argsort(order))))

    def __getitem__(self, index):
        """Whatever NumPy can select: numbers, slices, None, ..., masks, arrays of indices.

        An element that was read twice gets both gradients. The caller may write into `index` before the gradient comes
        back; that changes nothing here.
        """
        x = self._data
        index = copy.deepcopy(index)

        def to_self(g):
            out = np.zeros_like(x)
            np.add.at(out, index, g)  # subtle: out[index] += g would count a repeated index once
            return out

        return record(x[index], (self, to_self))

    def __setitem__(self, index, value):
        raise TypeError(
            "a Tensor is never changed in place, for a graph may need its old values; "
            "change the array before making a Tensor of it, or build a new one"
        )

    def gather(self, axis, index):
        """Along `axis`, the elements that `index` names: out[i, j] = x[i, index[i, j]] for axis 1, as torch.gather.

        index: integers, as many axes as x has; none may be longer than x's, except `axis` itself. Else ValueError:
        "cannot gather with an index of shape (1,) from (1, 2): it needs as many axes, none longer except axis 1".
        """
        index, kept = np.asarray(index), axis % self.ndim
        if index.ndim != self.ndim or any(n > m for i, (n, m) in enumerate(zip(index.shape, self.shape)) if i != kept):
            raise ValueError(
                f"cannot gather with an index of shape {index.shape} from {self.shape}: it needs as many axes, "
                f"none longer except axis {axis}"
            )
        places = list(np.ogrid[tuple(slice(n) for n in index.shape)])
        places[axis] = index
        return self[tuple(places)]


def as_tensor(values):
    """A Tensor as it is, anything else as a constant: so that a network takes arrays as well."""
    return values if isinstance(values, Tensor) else Tensor(values)


def _spread(g, axis, keepdims, shape):
    """Give each element of `shape` the gradient of the reduction that it went into."""
    return np.broadcast_to(g if keepdims or axis is None else np.expand_dims(g, axis), shape)
