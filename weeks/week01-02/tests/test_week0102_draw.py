"""Day 5: the drawing of a graph: everything is in it, nothing covers anything, and what cannot be drawn is refused."""

import re
from itertools import combinations
from xml.etree import ElementTree

import pytest
from autograd.draw import LARGEST, draw
from autograd.engine import Value, dot, topological_order
from autograd.scalar_nn import Neuron
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.day(5)
SVG = "{http://www.w3.org/2000/svg}"


def read(text):
    """A drawing's size, boxes as (x, y, width, height), arrows as lists of points, and words; read by Python's XML."""
    root = ElementTree.fromstring(text)
    number = lambda element, *names: tuple(float(element.get(name)) for name in names)
    _, *rectangles = root.iter(f"{SVG}rect")  # the first is the paper
    boxes = [number(rectangle, "x", "y", "width", "height") for rectangle in rectangles]
    arrows = []
    for path in root.iter(f"{SVG}path"):
        numbers = [float(x) for x in re.findall(r"-?[\d.]+", path.get("d"))]
        arrows.append(list(zip(numbers[::2], numbers[1::2])))
    page = number(root, "width", "height")
    return page, boxes, arrows, [text.text for text in root.iter(f"{SVG}text")]


def edges(root):
    """The pairs (child, node), each once."""
    return {(child, node) for node in topological_order(root) for child in node.children}


def neuron():
    x1, x2, w1, w2, b = (Value(x) for x in (2.0, 0.0, -3.0, 1.0, 6.5))
    out = (x1 * w1 + x2 * w2 + b).tanh()
    out.backward()
    return out, {"x1": x1, "x2": x2, "w1": w1, "w2": w2, "b": b, "out": out}


def test_every_node_and_edge_is_there():
    """Ten boxes and nine arrows, with names, operations, numbers, gradients and slopes."""
    out, names = neuron()
    _, boxes, arrows, words = read(draw(out, **names))
    assert len(boxes) == 10 and len(arrows) == len(edges(out)) == 9
    for word in ("x1", "x2", "w1", "w2", "b", "out = tanh", "*", "+", "data 6.5", f"grad {names['w1'].grad:.4g}"):
        assert word in words, word
    assert f"{out.slopes[0]:.4g}" in words  # on the arrow into tanh
    assert words.count("*") == words.count("+") == 2


def test_a_child_used_twice_is_one_arrow_with_two_slopes():
    """a + a: two arrows would lie on each other."""
    a = Value(3)
    _, boxes, arrows, words = read(draw(a + a, a=a))
    assert (len(boxes), len(arrows)) == (2, 1) and "1 + 1" in words


def overlapping(boxes):
    apart = lambda a, b: a[0] + a[2] <= b[0] or b[0] + b[2] <= a[0] or a[1] + a[3] <= b[1] or b[1] + b[3] <= a[1]
    return [(a, b) for a, b in combinations(boxes, 2) if not apart(a, b)]


def check_layout(root):
    """No two boxes touch, all is on the page, each arrow leaves a box's right side and ends at another's left side."""
    page, boxes, arrows, _ = read(draw(root))
    assert len(boxes) == len(topological_order(root)) and len(arrows) == len(edges(root))
    assert not overlapping(boxes)
    for x, y, width, height in boxes:
        assert 0 <= x and x + width <= page[0] and 0 <= y and y + height <= page[1]
    for arrow in arrows:
        xs = [x for x, _ in arrow]
        assert xs == sorted(xs)  # from left to right, also through its waypoints
        (x1, y1), (x2, y2) = arrow[0], arrow[-1]
        # coordinates are written to a tenth of a pixel, sums of two of them are exact to two tenths
        assert any(abs(x + w - x1) < 0.25 and y <= y1 <= y + h for x, y, w, h in boxes)
        assert any(abs(x - x2) < 0.25 and y <= y2 <= y + h for x, y, w, h in boxes)
    return boxes, arrows


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=25))
def test_the_layout_of_any_graph(pairs):
    """Random graphs of up to 28 nodes, with arrows over many columns: the rules hold for all of them."""
    nodes = [Value(0.5), Value(2)]
    for a, b in pairs:
        nodes.append((nodes[a % len(nodes)] * nodes[b % len(nodes)]).tanh() if a % 3 else nodes[b % len(nodes)] + 1)
    check_layout(nodes[-1])


def test_arrows_of_a_node_with_many_children_do_not_end_at_one_place():
    """A dot of eight products has seventeen arrows; its box grows, so that each has a line of its own for its slope."""
    w, x = [Value(i) for i in range(8)], [Value(i / 10) for i in range(8)]
    boxes, arrows = check_layout(dot(w, x))
    assert len({arrow[-1] for arrow in arrows}) == len(arrows) == 17
    ends = sorted(y for _, y in (arrow[-1] for arrow in arrows))
    assert min(b - a for a, b in zip(ends, ends[1:])) > 11  # the height of the letters
    assert max(box[3] for box in boxes) > 17 * 12


def test_an_arrow_over_a_column_does_not_go_through_its_boxes():
    """x is used at once and five steps later: the long arrow passes beside the boxes in between.

    Looked at where it is straight: between the ends of each box's column it lies at one height.
    """
    x = Value(0.5)
    chain = x
    for _ in range(5):
        chain = chain.tanh()
    boxes, arrows = check_layout(chain * x)
    (long,) = (arrow for arrow in arrows if len(arrow) > 4)
    straight = [(x1, x2, y) for (x1, y), (x2, end) in zip(long, long[1:]) if y == end]
    assert straight
    for x1, x2, y in straight:
        assert not [b for b in boxes if b[0] + 1 < x2 and x1 < b[0] + b[2] - 1 and b[1] < y < b[1] + b[3]]


def test_the_same_graph_is_the_same_drawing():
    """No chance and no addresses in it: a committed picture changes only when the graph does."""
    assert draw(neuron()[0]) == draw(neuron()[0])


def test_names_are_escaped():
    """A name with < or & must not break the XML."""
    a = Value(1)
    *_, words = read(draw(a + 1, **{"<w & b>": a}))
    assert "<w & b>" in words


def test_a_single_node_and_numbers_that_are_none():
    """The smallest graph; and inf and nan, which a drawing is often wanted for."""
    assert len(check_layout(Value(1))[0]) == 1
    *_, words = read(draw(Value(0).log()))
    assert "data -inf" in words and "inf" in words


@pytest.mark.parametrize(
    "do, error, sentence",
    [
        (lambda: draw(3.0), TypeError, "draw was given 3.0, which is no Value; give the one that the drawing"),
        (lambda: draw(Value(1) + 1, b=Value(2)), ValueError, "b is no part of what is drawn; name only Values that"),
        (lambda: draw(sum([Value(1)] * 200)), ValueError, f"a drawing of .* nodes cannot be read; draw {LARGEST} at m"),
    ],
)
def test_what_cannot_be_drawn_is_a_sentence(do, error, sentence):
    """What was given, why not, what instead."""
    with pytest.raises(error, match=sentence):
        do()


def test_a_neuron_of_the_network_can_be_drawn():
    """One neuron is what the sentence about large graphs proposes."""
    unit = Neuron(4, "relu")
    out = unit([Value(x) for x in (1, 2, 3, 4)])
    assert len(check_layout(out)[0]) == 4 + 4 + 1 + 2
