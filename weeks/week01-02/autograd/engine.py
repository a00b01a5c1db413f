"""Reverse-mode automatic differentiation on single numbers.

An operation makes a node. The node keeps what it was made from (`children`) and how fast it changes with each of them
(`slopes`): plain numbers, worked out on the way forward, where everything they need is at hand. So the way back is one
loop for all operations, and that loop is the chain rule: `child.grad += slope * node.grad`.

Numbers behave as in NumPy and torch (IEEE 754): exp(1000) is inf, 1 / 0 is inf, log(-1) is nan, and no operation raises
because of a value. Left out: arrays (the tensor engine), gradients of gradients (slopes are numbers, not nodes) and
comparisons (a node equals itself alone; compare `.data`).
"""

import math
from itertools import count
from numbers import Real
from operator import attrgetter, mul

_serials = count()


class Value:
    """One number, and after `backward` the derivative of the result with respect to it, in `grad`."""

    __slots__ = ("data", "grad", "op", "children", "slopes", "serial")
    __array_ufunc__ = None  # else array * value would be an array of Values, not the TypeError that says so

    def __init__(self, data, op="", children=(), slopes=()):
        self.data = data if type(data) is float else _real(data)
        self.grad = 0.0
        self.op = op  # what a drawing says; no computation reads it
        self.children = children
        self.slopes = slopes  # one number a child: d data / d child.data
        self.serial = next(_serials)  # a node is made after its children, so it has the higher number

    def __repr__(self):
        return f"Value(data={self.data}, grad={self.grad})"

    # --- arithmetic ---------------------------------------------------------------------------------------------------

    def __add__(self, other):
        other = _value(other)
        return Value(self.data + other.data, "+", (self, other), (1.0, 1.0))

    def __sub__(self, other):
        other = _value(other)
        return Value(self.data - other.data, "-", (self, other), (1.0, -1.0))

    def __mul__(self, other):
        other = _value(other)
        return Value(self.data * other.data, "*", (self, other), (other.data, self.data))

    def __truediv__(self, other):
        other = _value(other)
        ratio = _divide(self.data, other.data)
        slopes = (_divide(1.0, other.data), -_divide(ratio, other.data))  # 1/b and -a/b^2
        return Value(ratio, "/", (self, other), slopes)

    def __pow__(self, exponent):
        """self ** exponent. A plain number as exponent gets no node, for it would get no gradient."""
        constant = not isinstance(exponent, Value)
        p = _value(exponent).data
        power = _power(self.data, p)
        by_base = p * _power(self.data, p - 1.0) if p else 0.0  # p x^(p-1); x^0 is 1 everywhere, so flat
        if constant:
            return Value(power, f"**{p:g}", (self,), (by_base,))
        by_exponent = 0.0 if self.data == 0 and p >= 0 else power * _log(self.data)  # x^p log x; 0^p is 0: flat
        return Value(power, "**", (self, exponent), (by_base, by_exponent))

    def __neg__(self):
        return Value(-self.data, "neg", (self,), (-1.0,))

    def __radd__(self, other):  # other + self
        return _value(other) + self

    def __rsub__(self, other):  # other - self
        return _value(other) - self

    def __rmul__(self, other):  # other * self
        return _value(other) * self

    def __rtruediv__(self, other):  # other / self
        return _value(other) / self

    def __rpow__(self, other):  # other ** self
        return _value(other) ** self

    # --- functions ----------------------------------------------------------------------------------------------------

    def exp(self):
        e = _exp(self.data)
        return Value(e, "exp", (self,), (e,))

    def log(self):
        return Value(_log(self.data), "log", (self,), (_divide(1.0, self.data),))

    def tanh(self):
        t = math.tanh(self.data)
        return Value(t, "tanh", (self,), (1.0 - t * t,))

    def sigmoid(self):
        """1 / (1 + exp(-x)), written so that only a negative number is ever raised to e: it cannot overflow."""
        e = math.exp(-abs(self.data))
        s = (1.0 if self.data >= 0 else e) / (1.0 + e)
        return Value(s, "sigmoid", (self,), (s * (1.0 - s),))

    def relu(self):
        off = self.data <= 0  # nan is not, so it passes and is seen
        return Value(0.0 if off else self.data, "relu", (self,), (0.0 if off else 1.0,))

    # --- the way back -------------------------------------------------------------------------------------------------

    def backward(self):
        """Add d self / d leaf to the `grad` of every leaf, and set the `grad` of every node in between.

        Leaves (nodes without children) accumulate from call to call, as parameters must when two losses share them;
        what lies between gets its gradient of this call. The slopes were fixed on the way forward, so a second call
        adds the same once more, even where a leaf's `data` was changed in the meantime.
        """
        order = topological_order(self)
        for node in order:
            if node.children:
                node.grad = 0.0
        self.grad += 1.0
        for node in order:
            gradient = node.grad
            for child, slope in zip(node.children, node.slopes):
                child.grad += slope * gradient


def topological_order(root):
    """The nodes that `root` was made from, itself first, each before its children; the same order in every run.

    The nodes are found with a list instead of recursion, so depth is no limit. Newest first is then a right order,
    for a node is always younger than its children.
    """
    found, order = {root}, [root]
    for node in order:  # the list grows while it is walked
        for child in node.children:
            if child not in found:
                found.add(child)
                order.append(child)
    order.sort(key=attrgetter("serial"), reverse=True)
    return order


def dot(weights, inputs, bias=0.0):
    """bias + sum of weight * input, as one node instead of two for each product; weights and inputs are Values.

    Raises ValueError where the two differ in number, TypeError for something in them that is no Value.
    """
    bias = _value(bias)
    if len(weights) != len(inputs):
        raise ValueError(f"{len(weights)} weights do not fit {len(inputs)} inputs; give as many of one as of the other")
    try:
        w = [value.data for value in weights]
        x = [value.data for value in inputs]
        total = sum(map(mul, w, x), bias.data)
    except (AttributeError, TypeError):  # to ask each one first takes as long as the sum
        strange = next(value for value in (*weights, *inputs) if not isinstance(value, Value))
        raise TypeError(f"dot was given {strange!r}, which is no Value; wrap it: Value({strange!r})") from None
    return Value(total, "dot", (*weights, *inputs, bias), (*x, *w, 1.0))  # d/dw = x, d/dx = w


# --- numbers ----------------------------------------------------------------------------------------------------------
# Python raises where IEEE 754 has an answer. These give the answer.


def _value(x):
    return x if isinstance(x, Value) else Value(x)


def _real(x):
    if isinstance(x, Real):  # int, bool, Fraction, NumPy's scalars
        return float(x)
    raise TypeError(f"a Value holds one real number, but was given {x!r} ({type(x).__name__}); give an int or a float")


def _divide(x, y):
    if y:
        return x / y
    if x == 0 or x != x:
        return math.nan
    return math.copysign(math.inf, x) * math.copysign(1.0, y)


def _log(x):
    return math.log(x) if x > 0 else -math.inf if x == 0 else math.nan


def _exp(x):
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf


def _power(x, p):
    try:
        return math.pow(x, p)
    except (OverflowError, ValueError):
        if x < 0 and p % 1:
            return math.nan  # a negative base to a fraction is not real
        return math.copysign(math.inf, x) if p % 2 == 1 else math.inf  # too large, or 0 to a negative power
