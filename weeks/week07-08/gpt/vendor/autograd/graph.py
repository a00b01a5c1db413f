# vendored from weeks/week01-02/autograd/graph.py, sha256 1524959bc11494772bc828ce0e9aa97ff69eeaa1b05f0508f31337a727db84b9; edit there, then run: make vendor
"""How a tensor remembers where it came from, and how gradients walk back: the whole of automatic differentiation.

Every operation makes a new tensor and notes, for each tensor it read, one function: "given the gradient of my result,
this is my contribution to yours". `backward` calls these functions from the youngest tensor to the oldest.

Left out: second derivatives, hooks, changing an array in place. An array that has become a tensor's is read-only, so
what an operation remembered cannot change under it; an optimizer replaces a parameter's array by a new one.
"""

import contextlib
import contextvars
import itertools

import numpy as np

_recording = contextvars.ContextVar("recording", default=True)  # per thread, and restored however a block is left
_serials = itertools.count()


@contextlib.contextmanager
def no_grad():
    """Inside this block operations remember nothing: less memory and time where no gradient is wanted."""
    token = _recording.set(False)
    try:
        yield
    finally:
        _recording.reset(token)


class Node:
    """An array with a place in a graph. `Tensor` adds the arithmetic.

    data           the values, a read-only float32 or float64 array
    grad           d(loss)/d(data) of the same shape, or None; only leaves that require a gradient keep one
    edges          [(tensor, function)]: whom to send a gradient, and how to compute it; None once it was walked back
    """

    __slots__ = ("_data", "grad", "requires_grad", "edges", "serial")

    def _set_up(self, data, requires_grad, edges):
        data.flags.writeable = False
        self._data, self.grad, self.requires_grad, self.edges = data, None, requires_grad, edges
        self.serial = next(_serials)  # a result is younger than what it was computed from: this alone orders the graph

    @property
    def data(self):
        return self._data

    @data.setter
    def data(self, array):
        """Take another array of the same shape. Graphs that used the old one keep it, and stay right."""
        array = np.asarray(array, dtype=self._data.dtype)
        array = array if array.flags.owndata else array.copy()  # whoever owns a view's memory may write into it
        if array.shape != self._data.shape:
            raise ValueError(
                f"an array of shape {array.shape} cannot replace one of shape {self._data.shape}; make a new Tensor"
            )
        array.flags.writeable = False
        self._data = array

    def backward(self, gradient=None, keep_graph=False):
        """Add d(self)/d(leaf) to `leaf.grad` for every leaf that requires a gradient.

        gradient: the gradient of whatever comes after, in this tensor's shape; may be left out for a single number.
        keep_graph: the graph is freed on the way, so that memory falls as the walk goes on; True allows a second walk.
        To free a node is to set its `edges` to None. A leaf's grad is a read-only array in the leaf's shape and dtype
        (where the shape is (), NumPy makes bare numbers of sums; `np.asarray` makes them arrays again). A second call
        adds to it, in a new array. Raises RuntimeError where nothing was recorded or the graph is gone,
        ValueError for a gradient of wrong shape: `_upstream` and `_reachable` below do that.
        """
        gradient = _upstream(self, gradient)
        nodes = _reachable(self)
        nodes.sort(key=lambda node: node.serial)
        gradients = {self: gradient}
        while nodes:
            node = nodes.pop()  # the youngest: everybody who read it has sent its part by now
            gradient = gradients.pop(node)
            if not node.edges:
                node.grad = np.asarray(gradient if node.grad is None else node.grad + gradient)
                node.grad.flags.writeable = False  # two leaves may share one array
                continue
            for tensor, function in node.edges:
                part = unbroadcast(function(gradient), tensor._data.shape).astype(tensor._data.dtype, copy=False)
                # subtle: never `+=`, for the first part may be the very array that another tensor was sent
                gradients[tensor] = gradients[tensor] + part if tensor in gradients else part
            if not keep_graph:
                node.edges = None


def record(data, *edges):
    """The tensor of an operation's result. edges: (tensor, function from the result's gradient to the tensor's).

    The functions must hold arrays, not tensors: a tensor's array may have been replaced when the gradient comes back.
    """
    kept = tuple(edge for edge in edges if edge[0].requires_grad) if _recording.get() else ()
    out = object.__new__(type(edges[0][0]))
    out._set_up(np.asarray(data), bool(kept), kept)  # asarray: NumPy makes a bare number of a 0-d result
    return out


def unbroadcast(gradient, shape):
    """Sum a gradient over the axes along which an array of `shape` was repeated.

    (3,) + (2, 3) reads each of the three numbers twice, so each collects two gradients. The result has the shape
    `shape`; where nothing was repeated, it is the very array that was given.
    """
    if gradient.shape == shape:
        return gradient
    gradient = gradient.sum(axis=tuple(range(gradient.ndim - len(shape))))  # axes that broadcasting put in front
    stretched = tuple(axis for axis, size in enumerate(shape) if size == 1 and gradient.shape[axis] != 1)
    return gradient.sum(axis=stretched, keepdims=True) if stretched else gradient


def _upstream(node, gradient):
    if not node.requires_grad:
        raise RuntimeError(
            "backward() on a tensor that was recorded from nothing; give a leaf requires_grad=True, "
            "and compute outside of no_grad()"
        )
    if gradient is None:
        if node._data.size != 1:
            raise ValueError(
                f"backward() without a gradient needs a single number, not shape {node._data.shape}; "
                "take .sum() or .mean() first, or pass a gradient of that shape"
            )
        return np.ones_like(node._data)
    gradient = np.array(gradient, dtype=node._data.dtype)  # a copy: it may become the grad of a leaf
    if gradient.shape != node._data.shape:
        raise ValueError(
            f"the gradient has shape {gradient.shape}, the tensor {node._data.shape}; they must be the same"
        )
    return gradient


def _reachable(start):
    """All nodes that a gradient of `start` reaches. A stack, not recursion: graphs are deeper than Python's stack."""
    seen, stack = {start}, [start]
    while stack:
        node = stack.pop()
        if node.edges is None:
            raise RuntimeError(
                "this graph was walked back before and is freed; compute the loss again, "
                "or pass keep_graph=True to the first backward()"
            )
        for tensor, _ in node.edges:
            if tensor not in seen:
                seen.add(tensor)
                stack.append(tensor)
    return list(seen)
