"""Days 1 to 3: the scalar engine: slopes, numbers at the edge, and the walk back."""

import gc
import math
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import autograd
import numpy as np
import pytest
import torch
from autograd.engine import Value, topological_order


def derivative(node, leaf, so_far=1.0):
    """d node / d leaf: the sum, over all ways from node down to leaf, of the product of the slopes along each way.

    This reads `children` and `slopes` only, so days 1 and 2 need no `backward`. The graphs here have a few nodes; day 3
    shows a graph for which this way of counting never ends.
    """
    if node is leaf:
        return so_far
    return sum(derivative(child, leaf, so_far * slope) for child, slope in zip(node.children, node.slopes))


def both_ways(function, values):
    """(result, derivatives) of function(*leaves), with Values and with torch's float64 scalars."""
    ours = [Value(value) for value in values]
    theirs = [torch.tensor(float(value), dtype=torch.float64, requires_grad=True) for value in values]
    out, expected = function(*ours), function(*theirs)
    expected.backward()
    assert type(out.children) is tuple and type(out.slopes) is tuple, "children and slopes are tuples; of one: (x,)"
    return (out.data, [derivative(out, value) for value in ours]), (expected.item(), [t.grad.item() for t in theirs])


# --- days 1 and 2: operations -----------------------------------------------------------------------------------------

# how it reads -> the same as a function of Values or torch's scalars, and the two points at which it is looked at
BINARY = {
    "a + b": (lambda a, b: a + b, (1.5, -0.5)),
    "a - b": (lambda a, b: a - b, (1.5, -0.5)),
    "a * b": (lambda a, b: a * b, (1.5, -0.5)),
    "a / b": (lambda a, b: a / b, (1.5, -0.5)),
    "a ** b": (lambda a, b: a**b, (1.5, -0.7)),
    "(a + 2) * b": (lambda a, b: (a + 2) * b, (1.5, -0.5)),
    "(2 + a) * b": (lambda a, b: (2 + a) * b, (1.5, -0.5)),
    "(a - 2) * b": (lambda a, b: (a - 2) * b, (1.5, -0.5)),
    "(2 - a) * b": (lambda a, b: (2 - a) * b, (1.5, -0.5)),
    "a * 2 * b": (lambda a, b: a * 2 * b, (1.5, -0.5)),
    "2 * a * b": (lambda a, b: 2 * a * b, (1.5, -0.5)),
    "a / 2 * b": (lambda a, b: a / 2 * b, (1.5, -0.5)),
    "2 / a * b": (lambda a, b: 2 / a * b, (1.5, -0.5)),
    "a ** 3 * b": (lambda a, b: a**3 * b, (-1.5, -0.5)),
    "a ** -2 * b": (lambda a, b: a**-2 * b, (-1.5, -0.5)),
    "a ** 0.5 * b": (lambda a, b: a**0.5 * b, (1.5, -0.5)),
    "a ** 1.3 * b": (lambda a, b: a**1.3 * b, (1.5, -0.5)),
    "2 ** a * b": (lambda a, b: 2**a * b, (-1.5, -0.5)),
    "-a * b": (lambda a, b: -a * b, (1.5, -0.5)),
}
UNARY = {
    "exp": (lambda a: a.exp(), (1.5, -0.5)),
    "log": (lambda a: a.log(), (1.5, 0.3)),
    "tanh": (lambda a: a.tanh(), (0.7, -0.5)),
    "sigmoid": (lambda a: a.sigmoid(), (0.7, -0.5)),
    "relu": (lambda a: a.relu(), (0.7, -0.5)),
}


@pytest.mark.day(1)
@pytest.mark.parametrize("name", BINARY)
def test_arithmetic(name):
    """The result (one number) and the slopes (a list: of a, then of b) equal torch's; a is 1.5 or -1.5, b -0.5 or -0.7.

    1e-14: one or two operations, each rounded in float64.
    """
    function, values = BINARY[name]
    (out, gradients), (expected, theirs) = both_ways(function, values)
    assert out == pytest.approx(expected, rel=1e-14, abs=0)
    assert gradients == pytest.approx(theirs, rel=1e-14, abs=0)


@pytest.mark.day(2)
@pytest.mark.parametrize("name", UNARY)
def test_functions(name):
    """The result (one number) and its slope (a list of one) equal torch's at two points.

    1e-14: each operation is rounded once, in float64.
    """
    function, points = UNARY[name]
    for value in points:
        (out, gradients), (expected, theirs) = both_ways(function, [value])
        assert out == pytest.approx(expected, rel=1e-14, abs=0)
        assert gradients == pytest.approx(theirs, rel=1e-14, abs=0)


CORNERS = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 3.0, -3.0, 800.0, -800.0, 1e308, -1e308, 5e-324]
CORNERS += [math.inf, -math.inf, math.nan]


@pytest.mark.day(2)
@pytest.mark.parametrize("name", UNARY)
def test_corners_of_functions(name):
    """exp(800) is inf, log(-1) is nan, nothing raises: a loss that has gone wrong must be seen, not crash.

    Result and slope equal torch's at sixteen corners; 1e-12, because libraries round exp differently.
    """
    for value in CORNERS:
        (out, (slope,)), (expected, (theirs,)) = both_ways(UNARY[name][0], [value])
        assert out == pytest.approx(expected, rel=1e-12, abs=0, nan_ok=True), f"the result at {value}"
        assert slope == pytest.approx(theirs, rel=1e-12, abs=0, nan_ok=True), f"the slope at {value}"


CORNERED = ["a + b", "a - b", "a * b", "a / b", "a ** b", "a ** 3 * b", "a ** -2 * b", "a ** 1.3 * b"]


@pytest.mark.day(1)
@pytest.mark.parametrize("name", CORNERED)
def test_corners_of_arithmetic(name):
    """All pairs of the corners, 0 / 0 and (-1) ** 1.3 among them: results and slopes are those of torch."""
    for a in CORNERS:
        for b in CORNERS:
            (out, slopes), (expected, theirs) = both_ways(BINARY[name][0], [a, b])
            assert out == pytest.approx(expected, rel=1e-12, abs=0, nan_ok=True), f"the result at a = {a}, b = {b}"
            assert slopes == pytest.approx(theirs, rel=1e-12, abs=0, nan_ok=True), f"the slopes at a = {a}, b = {b}"


# --- day 1: what an operand may be ------------------------------------------------------------------------------------


@pytest.mark.day(1)
@pytest.mark.parametrize("number", [3, 3.0, True, Fraction(3, 2), np.float64(3), np.float32(3), np.int64(3)], ids=repr)
def test_every_real_number_may_stand_on_either_side(number):
    """int, float, bool, a fraction and NumPy's scalars: the result is a Value whose `data` is a Python float."""
    x = float(number)
    for out, expected in [
        (Value(2) + number, 2 + x), (number + Value(2), x + 2), (Value(2) - number, 2 - x), (number - Value(2), x - 2),
        (Value(2) * number, 2 * x), (number * Value(2), x * 2), (Value(2) / number, 2 / x), (number / Value(2), x / 2),
        (Value(2) ** number, 2**x), (number ** Value(2), x**2),
    ]:  # fmt: skip
        assert type(out) is Value and type(out.data) is float, f"{out!r} is no Value of a float"
        assert out.data == expected


@pytest.mark.day(1)
@pytest.mark.parametrize("wrong", ["3", None, [1.0], 1j, np.ones(2), torch.tensor(1.0)], ids=lambda x: type(x).__name__)
def test_what_is_no_number_is_a_sentence(wrong):
    """It is refused where it comes in. Otherwise it would fail much later, on the walk back, far from the mistake."""
    for use in (Value, lambda x: Value(1) + x, lambda x: Value(1) ** x, lambda x: Value(1) / x):
        with pytest.raises(TypeError, match=r"holds one real number, but was given .*; give an int or a float"):
            use(wrong)


@pytest.mark.day(1)
def test_a_constant_exponent_gets_no_node():
    """x ** 2 has one child: a slope for the exponent would be worked out for nothing, and log(-3) is nan."""
    out = Value(-3) ** 2
    assert (out.op, len(out.children), out.slopes) == ("**2", 1, (-6.0,))
    assert math.isnan((Value(-3) ** Value(2)).slopes[1])


@pytest.mark.day(1)
def test_a_value_shows_its_number_and_gradient_and_has_no_other_place():
    """A misspelt attribute (`gard`) is an error instead of a gradient that never arrives."""
    x = Value(2)
    assert repr(x) == "Value(data=2.0, grad=0.0)"
    x.grad = 1.0
    assert repr(x) == "Value(data=2.0, grad=1.0)"
    with pytest.raises(AttributeError):
        x.gard = 0.0


# --- day 3: the walk back ---------------------------------------------------------------------------------------------


def readme_expression(a, b):
    """The expression of micrograd's README. Its `+=` on a node that the sum itself uses is what makes it a test."""
    c = a + b
    c = c + (c + 1)
    c = c + (1 + c - a)
    d = a * b + b**3
    d = d + (d * 2 + (b + a).relu())
    d = d + (3 * d + (b - a).relu())
    f = (c - d) ** 2
    return f / 2.0 + 10.0 / f


@pytest.mark.day(3)
def test_the_numbers_of_micrograds_readme():
    """24.7041, 138.8338 and 645.5773, printed there to four places: so 1e-4."""
    a, b = Value(-4.0), Value(2.0)
    g = readme_expression(a, b)
    g.backward()
    assert [g.data, a.grad, b.grad] == pytest.approx([24.7041, 138.8338, 645.5773], rel=0, abs=1e-4)


def naive_backward(node):
    """What one writes first: add to each child, then go on from it at once."""
    for child, slope in zip(node.children, node.slopes):
        child.grad += slope * node.grad
        naive_backward(child)


@pytest.mark.day(3)
def test_the_counterexample_that_needs_an_order():
    """b = a + a; c = b + b: four ways from c to a, so the gradient is 4; naive recursion sends b's first half twice."""
    a = Value(3)
    b = a + a
    c = b + b
    c.backward()
    assert (c.data, c.grad, b.grad, a.grad) == (12, 1, 2, 4)
    for node in (a, b):
        node.grad = 0.0
    naive_backward(c)
    assert a.grad == 6


@pytest.mark.day(3)
def test_a_ladder_takes_one_visit_a_node():
    """Each rung reads the last one twice: 2**60 ways down, of which a walk over ways would never see the end."""
    a = Value(1)
    x = a
    for _ in range(60):
        x = x * 0.5 + x * 0.5
    x.backward()
    assert a.grad == 1.0 and len(topological_order(x)) == 1 + 60 * 5


@pytest.mark.day(3)
def test_a_long_and_a_short_way_to_the_same_leaf():
    """Breadth-first is no right order: one way from the result to y has one step, another one has two.

    Both orders of the sum: a walk that takes children from the right is lucky with one of them.
    """
    for sum_of in (lambda y: y * y + y, lambda y: y + y * y):
        a = Value(3)
        sum_of(a * 2).backward()
        assert a.grad == 2 * (2 * 6 + 1)


@pytest.mark.day(3)
def test_each_node_stands_once_and_before_its_children():
    """What a right order is; looked at on the README's expression, where many nodes are used twice."""
    root = readme_expression(Value(-4), Value(2))
    order = topological_order(root)
    place = {node: i for i, node in enumerate(order)}
    assert order[0] is root and len(place) == len(order)
    assert all(place[node] < place[child] for node in order for child in node.children)


@pytest.mark.day(3)
def test_a_chain_of_100_000_goes_back_and_is_freed():
    """No recursion, neither in the walk nor when Python frees the chain: depth is no limit (Python's own is 1,000)."""
    Value(1).backward()  # what is still to be written says so here, before the long chain
    a = Value(1)
    x = a
    for _ in range(100_000):
        x = -x
    x.backward()
    assert (x.data, a.grad) == (1, 1)
    del x
    gc.collect()
    assert a.grad == 1


ORDER = """
import sys; sys.path.insert(0, sys.argv[1])
from autograd.engine import Value, topological_order
waste = [object() for _ in range(int(sys.argv[2]))]  # other addresses, so another order in a set
a, b = Value(0.1), Value(0.7)
x = [a, b]
for i in range(40):
    x.append((x[i] * x[i + 1] + x[i // 2]).tanh())
root = sum(x)
root.backward()
print([node.op for node in topological_order(root)], a.grad.hex(), b.grad.hex())
"""


@pytest.mark.day(3)
def test_the_order_is_the_same_in_every_process():
    """A set of children has the order of their addresses: sums, and so gradients, would differ in their last bits."""
    Value(1).backward()  # one that is still to be written says so here, before any process starts
    folder = str(Path(autograd.__file__).resolve().parents[1])
    run = lambda n: subprocess.run([sys.executable, "-c", ORDER, folder, n], capture_output=True, text=True, check=True)
    first, second = (run(n).stdout for n in ("1", "12345"))
    assert first == second and "0x1." in first


@pytest.mark.day(3)
def test_leaves_accumulate_and_nodes_between_do_not():
    """Two losses that share a parameter add up in it; the node in between shows the gradient of the last call."""
    a = Value(2)
    shared = a * 3
    (shared * 4).backward()
    assert (a.grad, shared.grad) == (12, 4)
    (shared * 5).backward()
    assert (a.grad, shared.grad) == (12 + 15, 5)


@pytest.mark.day(3)
def test_a_second_backward_adds_the_same_once_more():
    """Defined, not an accident: the graph is kept, and nodes in between start from 0 each time (else: 9, not 6)."""
    a = Value(2)
    loss = (a * 3) * 1
    loss.backward()
    loss.backward()
    assert (a.grad, loss.grad) == (6, 1)
    leaf = Value(5)
    leaf.backward()
    leaf.backward()
    assert leaf.grad == 2


@pytest.mark.day(3)
def test_a_step_between_forward_and_backward_changes_nothing():
    """Slopes are fixed on the way forward: the gradient is that of the values that were used, also the second time."""
    a, b = Value(2), Value(5)
    loss = a * b + a.exp() + a**2
    expected = 5 + math.exp(2) + 4
    a.data = 100.0
    loss.backward()
    assert a.grad == pytest.approx(expected, rel=1e-15) and b.grad == 2
    loss.backward()
    assert a.grad == pytest.approx(2 * expected, rel=1e-15) and b.grad == 4


@pytest.mark.day(3)
def test_a_part_of_a_graph_survives_the_rest():
    """The loss is deleted, its middle goes on into another: nothing was freed that is still needed."""
    a = Value(2)
    middle = a * a
    loss = middle * 10
    loss.backward()
    del loss
    gc.collect()
    a.grad = 0.0
    (middle + 1).backward()
    assert a.grad == 4
