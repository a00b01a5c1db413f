# vendored from weeks/week01-02/autograd/engine.py, sha256 268a2341f5980b635d1ea9d29406bb8116736b60af18c1f3161cf238d6e0d1af; edit there, then run: make vendor
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
    """One number, and after `backward` the derivative of the result with respect to it, in `grad`.

    data      the number, a Python float; anything but a real number is a TypeError (`_real` has its words)
    grad      a float, 0.0 at first
    op        which operation made it: "+", "-", "*", "/", "**", "neg", "exp", "log", "tanh", "sigmoid", "relu", "dot";
              "**2" for a power with the plain number 2; "" for a leaf, a Value that was made from a number
    children  a tuple of the Values that it was made from; () for a leaf
    slopes    a tuple of floats, one for each child: how fast `data` changes with that child's `data`
    serial    its number in the order in which Values are made

    Setting any other attribute is an AttributeError. Its repr is Value(data=2.0, grad=0.0). In every operation of two
    operands, the other one may be a Value or a plain number; a plain number becomes a Value first (`_value`).
    """

    __slots__ = ("data", "grad", "op", "children", "slopes", "serial")
    __array_ufunc__ = None  # so NumPy leaves array * value to us: a TypeError, and no array of Values

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
        """self - other; its op is "-"."""
        other = _value(other)
        return Value(self.data - other.data, "-", (self, other), (1.0, -1.0))

    def __mul__(self, other):
        """self * other; its op is "*"."""
        other = _value(other)
        return Value(self.data * other.data, "*", (self, other), (other.data, self.data))

    def __truediv__(self, other):
        """self / other; its op is "/". A division by 0 gives inf or nan as in NumPy, in result and slopes."""
        other = _value(other)
        ratio = _divide(self.data, other.data)
        slopes = (_divide(1.0, other.data), -_divide(ratio, other.data))  # 1/b and -a/b^2
        return Value(ratio, "/", (self, other), slopes)

    def __pow__(self, exponent):
        """self ** exponent, for a Value or a plain number as exponent.

        A Value: two children, two slopes, and the op is "**". A plain number gets no node, for it would get no
        gradient: one child, one slope, and the op holds the number in the format `g`, as "**2" or "**0.5". No number
        raises: result and slopes are inf or nan where NumPy's are. (What is no number at all is a TypeError; `_real`
        and `_value` raise it.) Two conventions, as in torch: where the exponent is 0, the slope by the base is 0; where
        the base is 0 and the exponent is not negative, the slope by the exponent is 0.
        """
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

    def __rsub__(self, other):
        """other - self, where other is no Value: Python calls this one then."""
        return _value(other) - self

    def __rmul__(self, other):  # other * self
        return _value(other) * self

    def __rtruediv__(self, other):  # other / self
        return _value(other) / self

    def __rpow__(self, other):  # other ** self
        return _value(other) ** self

    # --- functions ----------------------------------------------------------------------------------------------------

    def exp(self):
        """e to the power of self; its op is "exp". A result too large for a float is inf."""
        e = _exp(self.data)
        return Value(e, "exp", (self,), (e,))

    def log(self):
        """The natural logarithm; its op is "log". It is -inf at 0 and nan below; the slope has one formula for all."""
        return Value(_log(self.data), "log", (self,), (_divide(1.0, self.data),))

    def tanh(self):
        """The hyperbolic tangent; its op is "tanh"."""
        t = math.tanh(self.data)
        return Value(t, "tanh", (self,), (1.0 - t * t,))

    def sigmoid(self):
        """1 / (1 + exp(-x)) without an overflow, whatever x is; its op is "sigmoid"."""
        e = math.exp(-abs(self.data))  # e to the power of a number that is never positive cannot overflow
        s = (1.0 if self.data >= 0 else e) / (1.0 + e)
        return Value(s, "sigmoid", (self,), (s * (1.0 - s),))

    def relu(self):
        """max(self, 0); its op is "relu". The slope at 0 is 0, as in torch. nan stays nan, and its slope is 1."""
        off = self.data <= 0  # nan is not, so it passes and is seen
        return Value(0.0 if off else self.data, "relu", (self,), (0.0 if off else 1.0,))

    # --- the way back -------------------------------------------------------------------------------------------------

    def backward(self):
        """Add d self / d leaf to the `grad` of every leaf, and set the `grad` of every node in between.

        Leaves (nodes without children) add up from call to call, as parameters must when two losses share them. What
        lies between gets its gradient of this call. `self` has gradient 1; where it is a leaf, that adds up too. The
        slopes were fixed on the way forward, so a second call adds the same once more, even where a leaf's `data` was
        changed in the meantime.
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
    """A list of `root` and all nodes that it was made from. Each stands in it once, and before its children.

    The order is the same in every run, and depth is no limit: a chain of 100,000 nodes is walked without recursion.
    """
    found, order = {root}, [root]
    for node in order:  # the list grows while it is walked
        for child in node.children:
            if child not in found:
                found.add(child)
                order.append(child)
    order.sort(key=attrgetter("serial"), reverse=True)  # newest first: a node is always younger than its children
    return order


def dot(weights, inputs, bias=0.0):
    """bias + sum of weight * input, as one node instead of two for each product.

    weights, inputs: two lists of Values, equally long; they may be empty. bias: a Value or a plain number. The node's
    children are all weights, all inputs and the bias; its op is "dot". Raises ValueError for lists of other lengths
    ("2 weights do not fit 1 inputs; give as many of one as of the other") and TypeError for something in them that is
    no Value ("dot was given 2.5, which is no Value; wrap it: Value(2.5)").
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
