"""Days 8 and 9: what a graph remembers, how gradients walk back, and what is refused with a sentence."""

import gc
import operator
import threading
import weakref

import numpy as np
import pytest
from autograd.graph import no_grad, unbroadcast
from autograd.tensor import Tensor


def of_day(day, *cases):
    """These cases of a parametrized test are graded on that day."""
    return [pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.day(day)) for case in cases]


def leaf(values):
    return Tensor(np.array(values, dtype=np.float64), requires_grad=True)


# --- the walk ---------------------------------------------------------------------------------------------------------


@pytest.mark.day(8)
def test_a_result_is_walked_back_once_after_all_who_read_it():
    """b = a + a; c = b + b: recursion without an order would send b's gradient on twice, and say 6 instead of 4."""
    a = leaf([1.0])
    b = a + a
    (b + b).backward()
    assert a.grad.tolist() == [4.0]


@pytest.mark.day(8)
def test_a_ladder_takes_one_call_a_node():
    """Each step reads the last one twice, so there are 2**60 paths: only a walk over nodes, not paths, ends."""
    a = leaf([1.0])
    x = a
    for _ in range(60):
        x = x * 0.5 + x * 0.5
    x.backward()
    assert a.grad.tolist() == [1.0]


@pytest.mark.day(8)
def test_a_long_and_a_short_way_to_the_same_leaf():
    """Breadth-first order is wrong here: one way from the result to y has two steps, another one has three."""
    for sum_of in (lambda y: y * y + y, lambda y: y + y * y):  # a walk from the right is lucky with one of them
        a = leaf([3.0])
        sum_of(a * 2).backward()
        assert a.grad.tolist() == [2 * (2 * 6 + 1)]


@pytest.mark.day(8)
def test_a_chain_of_100_000_goes_back_and_is_freed():
    """No recursion: neither in the walk, nor when Python frees a chain that the walk has left whole."""
    leaf([1.0]).backward()  # what is still to be written says so here, before the long chain
    a = leaf([1.0])
    x = a
    for _ in range(100_000):
        x = -x
    x.backward(keep_graph=True)
    assert a.grad.tolist() == [1.0]
    del x
    gc.collect()


@pytest.mark.day(8)
def test_gradients_accumulate_until_they_are_cleared():
    """Two losses may share a leaf; the sum over both is what a step for both needs."""
    a = leaf([1.0, 2.0])
    (a * 3).backward([1.0, 1.0])
    first = a.grad
    (a * 4).backward([1.0, 1.0])
    assert a.grad.tolist() == [7.0, 7.0] and first.tolist() == [3.0, 3.0]
    a.grad = None
    (a * 5).backward([1.0, 1.0])
    assert a.grad.tolist() == [5.0, 5.0]


@pytest.mark.day(8)
def test_gradients_that_share_an_array_do_not_mix():
    """a + b sends the same array to both. If it were added to in place, b would also get what belongs to a alone."""
    a, b = leaf([1.0]), leaf([1.0])
    (a + b + a).backward()
    assert (a.grad.tolist(), b.grad.tolist()) == ([2.0], [1.0])
    (a * 10).backward()
    assert (a.grad.tolist(), b.grad.tolist()) == ([12.0], [1.0])


@pytest.mark.parametrize("join, expected", [*of_day(8, (operator.mul, 2.0)), *of_day(9, (operator.matmul, 1.0))])
def test_only_leaves_that_ask_get_a_gradient(join, expected):
    """Images need none: computing theirs would cost a third of a training step for nothing."""
    asked = leaf([[1.0, 2.0]])
    image = Tensor(np.ones((2, 1)))
    out = join(asked, image)
    assert [tensor for tensor, _ in out.edges] == [asked]
    out.backward(np.ones(out.shape))
    assert image.grad is None and out.grad is None and asked.grad.tolist() == [[expected, expected]]


@pytest.mark.day(8)
def test_memory_is_freed_on_the_way_back():
    """What an operation kept for its gradient is let go once it was used, not when the loss is deleted."""
    a = leaf(np.ones(10))
    middle = a.exp()
    kept = weakref.ref(middle.data)
    loss = -middle
    del middle
    gc.collect()
    assert kept() is not None
    loss.backward(np.ones(10))
    assert kept() is None


@pytest.mark.day(8)
def test_a_second_walk_needs_keep_graph():
    """A freed graph is an error, never a gradient that is silently missing; with keep_graph it adds the same again."""
    a = leaf([2.0])
    loss = a * a
    loss.backward(keep_graph=True)
    loss.backward()
    assert a.grad.tolist() == [8.0]
    with pytest.raises(RuntimeError, match="walked back before and is freed; compute the loss again, or pass"):
        loss.backward()
    with pytest.raises(RuntimeError, match="freed"):
        (loss + a).backward()  # the freed part is reached from a new one
    assert a.grad.tolist() == [8.0]  # and nothing was added before it was noticed


@pytest.mark.day(8)
def test_no_grad_records_nothing_and_ends_with_its_block():
    """Evaluation keeps no memory; an error inside must not switch recording off for the rest of the program."""
    a = leaf([1.0])
    with pytest.raises(KeyError), no_grad():
        with no_grad():
            pass
        assert not (a * 2).requires_grad
        raise KeyError
    assert (a * 2).requires_grad


@pytest.mark.day(8)
def test_no_grad_holds_for_its_own_thread():
    """A server that evaluates in one thread must not stop another one's training."""
    a, seen = leaf([1.0]), []
    with no_grad():
        assert not (a * 2).requires_grad
        thread = threading.Thread(target=lambda: seen.append((a * 2).requires_grad))
        thread.start()
        thread.join()
    assert seen == [True]


@pytest.mark.day(8)
def test_detach_cuts_the_graph():
    """The same values as a constant: a * a.detach() has the slope a, not 2a."""
    a = leaf([3.0])
    (a * a.detach()).backward()
    assert a.grad.tolist() == [3.0]


@pytest.mark.day(8)
def test_unbroadcast_sums_what_was_repeated():
    """Axes put in front and axes of length 1, both at once; what was not repeated comes back as it is."""
    g = np.arange(24.0).reshape(2, 3, 4)
    assert unbroadcast(g, (2, 3, 4)) is g
    np.testing.assert_array_equal(unbroadcast(g, (3, 1)), g.sum((0, 2)).reshape(3, 1))
    np.testing.assert_array_equal(unbroadcast(g, (1, 1, 4)), g.sum((0, 1), keepdims=True))
    assert unbroadcast(g, ()).shape == () and unbroadcast(g, ()) == g.sum()


# --- nothing changes under a graph ------------------------------------------------------------------------------------


@pytest.mark.day(8)
@pytest.mark.parametrize("change", ["a[0] = 5.0", "a.data[0] = 5.0", "a.data += 1", "out.data[0] = 5.0", "a.grad *= 2"])
def test_arrays_of_a_graph_cannot_be_written(change):
    """The gradient of a * a needs a as it was; every way to write into it ends in an error, not in a wrong gradient."""
    a = leaf([1.0, 2.0])
    out = a * a
    out.backward([1.0, 1.0], keep_graph=True)
    with pytest.raises((TypeError, ValueError), match="never changed in place|read-only"):
        exec(change, {"a": a, "out": out})
    assert a.data.tolist() == [1, 2] and a.grad.tolist() == [2, 4]


@pytest.mark.day(8)
def test_writing_into_a_tensor_is_a_sentence():
    """It says what to do instead."""
    with pytest.raises(TypeError, match="never changed in place.*change the array before making a Tensor"):
        leaf([1.0])[0] = 2.0


@pytest.mark.day(8)
def test_the_callers_own_array_stays_the_callers():
    """Its values are copied: the caller may go on writing into it, and does not change the tensor by that."""
    mine = np.ones(3)
    a = Tensor(mine, requires_grad=True)
    mine[:] = 7
    upstream = np.ones(3)
    a.backward(upstream)
    upstream[:] = 9
    assert a.data.tolist() == [1, 1, 1] and a.grad.tolist() == [1, 1, 1]


@pytest.mark.day(9)
def test_the_callers_indices_stay_the_callers():
    """Written into before the gradient comes back, they do not change what was read."""
    a, index = leaf([1.0, 2.0, 3.0]), np.array([0, 1])
    out = a[index].sum()
    index[0] = 2
    out.backward()
    assert a.grad.tolist() == [1, 1, 0]
    assert a[[]].shape == (0,) and a[np.array([], int)].shape == (0,)


@pytest.mark.day(8)
def test_the_callers_views_stay_the_callers():
    """A parameter gets a row of the caller's array. The caller then writes into the row: the parameter stays."""
    rows, p = np.array([[5.0, 6.0]], np.float32), leaf([0.0, 0.0])
    p.data = rows[0]
    rows[0] = 7
    assert p.data.tolist() == [5, 6]


@pytest.mark.day(9)
@pytest.mark.parametrize("wrong", [lambda x: x.transpose(2, 0, 1), lambda x: x.gather(5, np.zeros((2, 2), int))])
def test_an_axis_that_is_not_there_is_refused(wrong):
    """Counting from the end must not turn axis 5 of two into axis 1."""
    with pytest.raises((ValueError, IndexError)):
        wrong(leaf(np.ones((2, 2))))


@pytest.mark.parametrize(
    "operation",
    [
        *of_day(
            8, lambda a: a * a, lambda a: a / (a + 1), lambda a: a**2, lambda a: a.relu(), lambda a: a.log(),
            lambda a: a.exp(), lambda a: a.tanh(), lambda a: a.sigmoid(),
        ),
        *of_day(9, lambda a: a @ a, lambda a: a.max()),
    ],
)  # fmt: skip
def test_a_step_between_forward_and_backward_changes_nothing(operation):
    """The classic mistake: the gradient must be that of the values the loss was computed from, whatever came after."""
    a, b = leaf([1.0, 2.0]), leaf([1.0, 2.0])
    late, early = operation(a), operation(b)
    early.backward(np.ones(early.shape))
    a.data = [3.5, 0.5]  # what an optimizer does: the tensor gets another array
    late.backward(np.ones(late.shape))
    assert a.grad.tolist() == b.grad.tolist()


@pytest.mark.day(8)
def test_replacing_an_array_keeps_shape_and_dtype():
    """A parameter of another shape would fail later, far from the place where it was given."""
    a = Tensor([1.0, 2.0], requires_grad=True)
    a.data = np.array([3.0, 4.0])
    assert a.dtype == np.float32 and a.data.tolist() == [3, 4]
    with pytest.raises(ValueError, match=r"shape \(3,\) cannot replace one of shape \(2,\)"):
        a.data = np.ones(3)


# --- what a tensor is made of -----------------------------------------------------------------------------------------


@pytest.mark.day(8)
@pytest.mark.parametrize(
    "values, dtype",
    [
        (1, np.float32), ([1.5, 2], np.float32), ([[True]], np.float32), (np.arange(3), np.float32),
        (np.ones(2), np.float64), (np.float64(1), np.float64), (np.ones(2, np.float32), np.float32),
        (np.ones(2, np.float16), np.float32),
    ],
)  # fmt: skip
def test_dtype_of_a_new_tensor(values, dtype):
    """float32 unless an array says float64: Python's own numbers are float64 and would slow everything down."""
    assert Tensor(values).dtype == dtype
    assert (Tensor(values) * 2 + 1.5).dtype == dtype  # bare numbers join the tensor's dtype
    assert (Tensor(values, dtype=np.float64) / 3).dtype == np.float64


@pytest.mark.day(8)
def test_mixed_dtypes_compute_in_float64_and_give_each_its_own_gradient():
    """As torch: the result is the wider, a gradient always has the dtype of its tensor."""
    a, b = Tensor([1.0], requires_grad=True), leaf([2.0])
    out = a * b
    out.backward([1.0])
    assert (out.dtype, a.grad.dtype, b.grad.dtype) == (np.float64, np.float32, np.float64)


@pytest.mark.parametrize(
    "join",
    [*of_day(8, operator.mul, operator.add, operator.sub, operator.truediv), *of_day(9, operator.matmul)],
    ids=lambda join: join.__name__,
)
def test_arrays_on_the_left_make_tensors(join):
    """array * tensor asks the tensor; NumPy alone would build an array of tensors and lose the graph's speed."""
    a = leaf([1.0, 2.0])
    out = join(np.ones((3, 2)), a)
    assert isinstance(out, Tensor) and out.requires_grad
    assert np.asarray(a).tolist() == [1, 2]


@pytest.mark.parametrize(
    "do, error, sentence",
    [
        *of_day(
            8,
            (lambda: leaf([[1.0, 2, 3]]) + leaf([1.0, 2]), ValueError,
             r"cannot add shapes \(1, 3\) and \(2,\): counted from the right"),
            (lambda: leaf([[1.0, 2, 3]]) * np.ones((2, 2)), ValueError,
             r"cannot multiply shapes \(1, 3\) and \(2, 2\)"),
            (lambda: leaf(np.ones((2, 1, 3))) - leaf(np.ones((5, 7))), ValueError,
             r"cannot subtract shapes \(2, 1, 3\) and \(5, 7\)"),
            (lambda: leaf([1.0]) ** leaf([1.0]), TypeError, r"exponent must be a number, not Tensor; write a\*\*b as"),
            (lambda: Tensor([[1], [2, 3]]), TypeError, r"real numbers in a regular shape, not of \[\[1\], \[2, 3\]\]"),
            (lambda: Tensor("12"), TypeError, "real numbers in a regular shape, not of '12'"),
            (lambda: Tensor([1j]), TypeError, r"real numbers in a regular shape, not of \[1j\]"),
            (lambda: Tensor(leaf([1.0])), TypeError, "Tensor already; use it as it is"),
            (lambda: Tensor([1], dtype=np.int64), TypeError,
             "holds float32 or float64, not int64; give dtype=np.float32"),
            (lambda: leaf([1.0, 2.0]).backward(), ValueError,
             r"needs a single number, not shape \(2,\); take .sum\(\)"),
            (lambda: leaf([1.0, 2.0]).backward([1.0]), ValueError, r"gradient has shape \(1,\), the tensor \(2,\)"),
            (lambda: Tensor([1.0]).backward(), RuntimeError, "recorded from nothing; give a leaf requires_grad=True"),
        ),
        *of_day(
            9,
            (lambda: 1 - leaf([1.0]) / leaf([[1.0, 2], [3, 4], [5, 6]]).T[:, None] - leaf(np.ones((5, 7))), ValueError,
             r"cannot subtract shapes \(2, 1, 3\) and \(5, 7\)"),
            (lambda: leaf([[1.0, 2]]) @ leaf([[1.0, 2]]), ValueError,
             r"cannot matrix-multiply shapes \(1, 2\) and \(1, 2\): the first one's last axis"),
            (lambda: leaf([1.0]) @ 2.0, ValueError, r"cannot matrix-multiply shapes \(1,\) and \(\)"),
            (lambda: leaf([1.0, 2]).reshape(3), ValueError, r"cannot reshape \(2,\) into 3: the number of elements"),
            (lambda: leaf([[1.0, 2]]).gather(1, [0]), ValueError,
             r"index of shape \(1,\) from \(1, 2\): it needs as many axes"),
        ),
    ],
)  # fmt: skip
def test_misuse_is_a_sentence(do, error, sentence):
    """What was given, why it cannot be, what to do; for shapes, both of them."""
    with pytest.raises(error, match=sentence):
        do()
