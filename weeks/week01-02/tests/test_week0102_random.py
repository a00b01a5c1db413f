"""Days 3 and 4: a thousand random graphs, against torch and against central differences."""

import pytest
import torch
from autograd.engine import Value, dot, topological_order
from hypothesis import assume, given, settings
from hypothesis import strategies as st

ANY = lambda *x: True
# (operands, with Values, with torch, where it is smooth); None: torch's is written in the same way
KIT = [
    (2, lambda a, b: a + b, None, ANY),
    (2, lambda a, b: a - b, None, ANY),
    (2, lambda a, b: a * b, None, ANY),
    (2, lambda a, b: a / b, None, lambda a, b: abs(b) > 0.2),
    (2, lambda a, b: a**b, None, lambda a, b: a > 0.2 and abs(b) < 4),
    (1, lambda a: -a, None, ANY),
    (1, lambda a: a.exp(), None, lambda a: a < 4),
    (1, lambda a: a.log(), None, lambda a: a > 0.2),
    (1, lambda a: a.tanh(), None, ANY),
    (1, lambda a: a.sigmoid(), None, ANY),
    (1, lambda a: a.relu(), None, lambda a: abs(a) > 0.01),
    (1, lambda a: a**3, None, ANY),
    (1, lambda a: a**-1, None, lambda a: abs(a) > 0.2),
    (1, lambda a: 2 - a, None, ANY),
    (1, lambda a: 2 / a, None, lambda a: abs(a) > 0.2),
    (1, lambda a: 2**a, None, ANY),
    (1, lambda a: 0.5 * a + 1, None, ANY),
]
DOT = (5, lambda a, b, c, d, e: dot([a, b], [c, d], e), lambda a, b, c, d, e: a * c + b * d + e, ANY)  # of day 4


def steps_of(kit):
    return st.lists(st.tuples(st.sampled_from(kit), *[st.integers(0, 1000)] * 5), min_size=1, max_size=15)


LEAVES = st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=4)


def plan(leaves, steps):
    """The steps that are smooth where they stand and stay below 50, each with the numbers of its operands."""
    nodes, kept = [Value(x) for x in leaves], []
    for (n, ours, theirs, smooth), *picks in steps:
        picks = [pick % len(nodes) for pick in picks[:n]]
        operands = [nodes[pick] for pick in picks]
        if smooth(*(node.data for node in operands)) and abs((out := ours(*operands)).data) < 50:
            nodes.append(out)
            kept.append((ours, theirs or ours, picks))
    return kept


def follow(kept, nodes, who):
    """Carry the plan out on these leaves; who: 0 for Values, 1 for torch. The result joins two of the nodes."""
    nodes = list(nodes)
    for *functions, picks in kept:
        nodes.append(functions[who](*(nodes[pick] for pick in picks)))
    return nodes[-1] * 1.3 + nodes[len(nodes) // 2] * 0.7


def examine(leaves, steps):
    """Forward and backward against torch, backward against central differences.

    torch: the same float64 sums in another order; 1e-9 of the largest gradient in the graph. Differences are taken with
    two widths, h and h/2; theory says that the finer is wrong by a third of how much the two differ. So the tolerance
    is that difference, and 1e-8 for rounding (50 x 1e-16 / 2.5e-6 is 2e-9). Graphs where it is not below 1e-3 (a kink
    of relu nearby, a derivative that explodes) are passed over and do not count as one of the thousand.
    """
    kept = plan(leaves, steps)
    ours = [Value(x) for x in leaves]
    theirs = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in leaves]
    out, expected = follow(kept, ours, 0), follow(kept, theirs, 1)
    assert out.data == pytest.approx(expected.item(), rel=1e-9, abs=1e-9)
    out.backward()
    expected.backward()
    largest = max(abs(node.grad) for node in topological_order(out))
    wanted = [0.0 if tensor.grad is None else tensor.grad.item() for tensor in theirs]
    assert [value.grad for value in ours] == pytest.approx(wanted, rel=1e-9, abs=1e-9 * largest)

    value_at = lambda i, x: follow(kept, [Value(x if i == j else leaf) for j, leaf in enumerate(leaves)], 0).data
    for i, leaf in enumerate(leaves):
        wide, fine = ((value_at(i, leaf + h) - value_at(i, leaf - h)) / (2 * h) for h in (5e-6, 2.5e-6))
        tolerance = abs(wide - fine) + 1e-8 * max(1, abs(out.data))
        assume(tolerance < 1e-3 * max(1, abs(fine)))
        assert ours[i].grad == pytest.approx(fine, rel=0, abs=tolerance)


@pytest.mark.day(3)
@settings(max_examples=1000)
@given(LEAVES, steps_of(KIT))
def test_a_thousand_random_graphs(leaves, steps):
    """Graphs that nobody would think of: result and gradients against torch, gradients against central differences."""
    Value(1).backward()
    examine(leaves, steps)


@pytest.mark.day(4)
@settings(max_examples=1000)
@given(LEAVES, steps_of([*KIT, DOT]))
def test_a_thousand_random_graphs_with_dot(leaves, steps):
    """The same with `dot` among the operations: one node with five children, each with its own slope."""
    dot([], [])
    examine(leaves, steps)
