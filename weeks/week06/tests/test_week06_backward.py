"""Days 36 to 40: every hand-written backward, against autograd on PyTorch's own form, and against finite differences.

Scale: values are of order one and the gradient from above is that of a mean over the rows, as in a real loss.
"""

import ast
from pathlib import Path

import backprop
import pytest
import torch
from backprop import attention, exam, losses, manual, norms
from backprop.compare import cmp, max_difference
from hypothesis import given, settings
from hypothesis import strategies as st

DAYS = {
    "cross_entropy": 36, "softmax": 36, "batch_norm": 37, "layer_norm, plain": 37, "layer_norm": 39, "tanh": 38,
    "relu": 38, "gelu": 38, "linear": 38, "embedding": 38, "residual": 38, "attention": 40, "self_attention": 40,
    "block": 40, "flatten_consecutive": 41, "causal_conv": 41,
}  # fmt: skip
LAYERS = [
    pytest.param(name, marks=pytest.mark.day(next(DAYS[n] for n in sorted(DAYS, key=len)[::-1] if name.startswith(n))))
    for name in exam.EXAM
]
NAMED = [param for param in LAYERS if exam.EXAM[param.values[0]].by_name]
# float32 carries 24 bits and float64 53: rounding moves values of order one by about 1e-7 and 1e-16. The bounds are
# what the week promises; a wrong formula is off by 1e-3 or more.
PRECISIONS = [(torch.float32, 1e-6), (torch.float64, 1e-12)]


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", LAYERS)
def test_layer(name):
    """Result and gradients agree with PyTorch's own form in both precisions, for a random gradient from above.

    Tolerances: 1e-6 in float32 and 1e-12 in float64, rounding of values of order one and some hundred additions.
    """
    for dtype, tolerance in PRECISIONS:
        for what, mine, theirs in exam.take(name, dtype=dtype):
            assert mine.dtype == dtype
            # the result itself is not divided by the rows, so in float32 it may be ten times as far off
            assert max_difference(what, mine, theirs) < tolerance * (10 if what == "result" else 1), what


@pytest.mark.parametrize("name", LAYERS)
@settings(max_examples=6)
@given(sizes=st.tuples(st.integers(1, 7), st.integers(2, 9), st.integers(1, 5)), seed=st.integers(0, 99))
def test_any_shape(name, sizes, seed):
    """A formula may be right for one shape by luck: where n = C, or where a single row hides a missing sum.

    Tolerance 1e-12 in float64, as above, times 1 + the largest gradient: two rows that are nearly equal have a tiny
    variance, and batch norm then divides by it.
    """
    for what, mine, theirs in exam.take(name, sizes, seed, torch.float64):
        assert max_difference(what, mine, theirs) < 1e-12 * (1 + theirs.abs().max().item()), what


@pytest.mark.parametrize("name", NAMED)
def test_every_named_value(name):
    """The plain forms promise the gradient of each intermediate value, so a mistake shows where it was made.

    Tolerances as in test_layer: each name is one step of arithmetic away from the next.
    """
    for dtype, tolerance in PRECISIONS:
        rows = exam.take_names(name, dtype=dtype)
        assert len(rows) > len(exam.EXAM[name].names.split())
        for what, mine, theirs in rows:
            assert max_difference(what, mine, theirs) < tolerance, what


@pytest.mark.parametrize("name", LAYERS)
def test_finite_differences(name):
    """A second oracle that knows no formula: move one input a little, and see what the output does.

    Central differences in float64 with a step of 1e-6 are off by about 1e-12 (the curve) and 1e-16 / 1e-6 = 1e-10 (the
    rounding), each times the values; 1e-8 leaves a hundred times that. No value of these inputs is within 1e-6 of
    ReLU's corner.
    """
    row, step = exam.EXAM[name], 1e-6
    inputs, draw_more = exam.draw_inputs(row, (3, 4, 2), 1, torch.float64)
    out, saved = row.forward(*inputs)
    g = draw_more(*out.shape)
    gradients = exam.in_order(name, row.names.split(), row.back(g, saved))
    for x, gradient in zip([x for x in inputs if x.is_floating_point()], gradients, strict=True):
        numbers, measured = x.view(-1), torch.empty(x.numel(), dtype=torch.float64)
        for i in range(len(numbers)):
            was = numbers[i].item()
            numbers[i] = was + step
            up = (row.forward(*inputs)[0] * g).sum()
            numbers[i] = was - step
            down = (row.forward(*inputs)[0] * g).sum()
            numbers[i] = was
            measured[i] = (up - down) / (2 * step)
        assert (measured.view_as(x) - gradient).abs().max() < 1e-8


@pytest.mark.day(36)
def test_cross_entropy_plain_and_fast_are_one():
    """Both forms give one gradient, also for a g of 0.7 from above. Tolerance: float64 rounding of values below 1."""
    logits, targets = draw(6, 5), torch.tensor([0, 4, 2, 2, 1, 3])
    loss, values = losses.cross_entropy_plain_forward(logits, targets)
    quick, saved = losses.cross_entropy_forward(logits, targets)
    assert abs(loss - quick) < 1e-14
    (fast,) = losses.cross_entropy_backward(0.7, saved)
    assert (losses.cross_entropy_plain_backward(0.7, values)["logits"] - fast).abs().max() < 1e-15


@pytest.mark.day(36)
def test_large_logits_and_equal_ones():
    """exp(1000) overflows unless the maximum is taken out first; equal maxima share a gradient that is zero anyway."""
    logits, targets = torch.tensor([[1000.0, 0.0, 1000.0], [-1000.0, -1000.0, -1000.0]]), torch.tensor([0, 1])
    for forward in (losses.cross_entropy_plain_forward, losses.cross_entropy_forward):
        assert forward(logits, targets)[0].item() == pytest.approx((torch.tensor([2.0, 3.0]).log().mean()).item())
    (d,) = losses.cross_entropy_backward(1.0, losses.cross_entropy_forward(logits, targets)[1])
    third = 1 / 3
    expected = torch.tensor([[0.5 - 1, 0, 0.5], [third, third - 1, third]]) / 2
    assert torch.allclose(d, expected, atol=1e-6)  # float32, values below 1


@pytest.mark.day(36)
def test_the_gradient_of_the_logits_sums_to_zero():
    """Each row pulls one probability up and pushes the others down by the same amount in all: what the figure shows."""
    (d,) = losses.cross_entropy_backward(1.0, losses.cross_entropy_forward(draw(4, 7), torch.tensor([1, 1, 6, 0]))[1])
    assert d.sum(1).abs().max() < 1e-16 * 7 and (d < 0).sum(1).tolist() == [1, 1, 1, 1]


@pytest.mark.day(36)
def test_targets_that_do_not_fit_are_refused():
    """A negative id would be read from the row's end, and the loss would be quietly wrong."""
    logits = draw(3, 5)
    with pytest.raises(ValueError, match="targets from -1 to 4 do not fit logits of 5 columns; give ids from 0 to 4"):
        losses.cross_entropy_forward(logits, torch.tensor([0, -1, 4]))
    with pytest.raises(ValueError, match="give ids from 0 to 4"):
        losses.cross_entropy_plain_forward(logits, torch.tensor([0, 5, 1]))
    with pytest.raises(TypeError, match="give whole numbers"):
        losses.cross_entropy_forward(logits, torch.tensor([0.0, 1.0, 1.0]))
    with pytest.raises(ValueError, match=r"give \(N, V\) and \(N,\)"):
        losses.cross_entropy_forward(logits, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="give one row or more"):
        losses.cross_entropy_forward(logits[:0], torch.tensor([], dtype=torch.long))


@pytest.mark.day(37)
@pytest.mark.parametrize("correction", [0, 1])
def test_batch_norm_plain_and_fast_are_one(correction):
    """Seven lines and one: tied for both ways to count the variance. Tolerance: float64, values of order one."""
    x, gain, bias, g = draw(6, 4), draw(4, seed=1), draw(4, seed=2), draw(6, 4, seed=3)
    out, values = norms.norm_plain_forward(x, gain, bias, correction=correction)
    quick, saved = norms.batch_norm_forward(x, gain, bias, correction=correction)
    assert (out - quick).abs().max() < 1e-14
    d = norms.norm_plain_backward(g, values)
    for name, mine in zip(("x", "gain", "bias"), norms.batch_norm_backward(g, saved), strict=True):
        assert (d[name] - mine).abs().max() < 1e-14, name


@pytest.mark.day(39)
@pytest.mark.parametrize("correction", [0, 1])
def test_one_backward_serves_both_norms(correction):
    """The general form, given what batch norm saved, is batch norm's own. Tolerance: float64, values of order one."""
    x, gain, bias, g = draw(6, 4), draw(4, seed=1), draw(4, seed=2), draw(6, 4, seed=3)
    saved = norms.batch_norm_forward(x, gain, bias, correction=correction)[1]
    for shared, own in zip(norms.norm_backward(g, saved), norms.batch_norm_backward(g, saved), strict=True):
        assert (shared - own).abs().max() < 1e-14


@pytest.mark.day(38)
def test_a_bias_before_batch_norm_learns_nothing():
    """The mean takes it out again, so its gradient is zero: why the first layer of the network has none."""
    x, weight, g = draw(6, 3), draw(3, 4, seed=1), draw(6, 4, seed=2)
    y, from_linear = manual.linear_forward(x, weight, draw(4, seed=3))
    _, saved = norms.batch_norm_forward(y, draw(4, seed=4), draw(4, seed=5))
    dbias = manual.linear_backward(norms.batch_norm_backward(g, saved)[0], from_linear)[2]
    assert dbias.abs().max() < 1e-14  # rounding of sums of order one in float64


@pytest.mark.day(37)
def test_norms_refuse_what_has_no_variance():
    gain = draw(4)
    with pytest.raises(ValueError, match="one row has no variance; give batch norm two or more"):
        norms.batch_norm_forward(draw(1, 4), gain, gain)
    with pytest.raises(ValueError, match="one column has no variance; give layer norm two or more"):
        norms.layer_norm_forward(draw(4, 1), gain[:1], gain[:1])


@pytest.mark.day(39)
def test_layer_norm_plain_and_fast_are_one():
    """The same tie for the other axis: here gain and bias are summed over other axes than the statistics are."""
    x, gain, bias, g = draw(2, 3, 5), draw(5, seed=1), draw(5, seed=2), draw(2, 3, 5, seed=3)
    d = norms.norm_plain_backward(g, norms.norm_plain_forward(x, gain, bias, layer=True)[1])
    fast = norms.norm_backward(g, norms.layer_norm_forward(x, gain, bias)[1])
    for name, mine in zip(("x", "gain", "bias"), fast, strict=True):
        assert (d[name] - mine).abs().max() < 1e-14, name  # float64, values of order one


@pytest.mark.day(38)
def test_embedding_plain_and_fast_are_one():
    """An id that was looked up three times gets three gradients, one that was not gets zero. Equal to the bit."""
    ids, g = torch.tensor([[0, 3], [3, 3]]), draw(2, 2, 4)
    saved = manual.embedding_forward(draw(5, 4), ids)[1]
    plain, fast = manual.embedding_backward_plain(g, saved)[0], manual.embedding_backward(g, saved)[0]
    assert torch.equal(plain, fast) and torch.equal(fast[0], g[0, 0]) and not fast[[1, 2, 4]].any()
    assert torch.allclose(fast[3], g[0, 1] + g[1, 0] + g[1, 1], atol=1e-15)
    for wrong in (-1, 5):
        with pytest.raises(ValueError, match="do not fit a table of 5 rows; give ids from 0 to 4"):
            manual.embedding_forward(draw(5, 4), torch.tensor([0, wrong]))


@pytest.mark.day(38)
def test_relu_at_zero_sends_nothing_back():
    """There is no slope at the corner; PyTorch takes 0, and so do we."""
    _, saved = manual.relu_forward(torch.tensor([-1.0, 0.0, 2.0]))
    assert manual.relu_backward(torch.ones(3), saved)[0].tolist() == [0.0, 0.0, 1.0]


@pytest.mark.day(38)
def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="x has 3 columns but the weight 4 rows"):
        manual.linear_forward(draw(2, 3), draw(4, 5), draw(5))


@pytest.mark.day(41)
def test_places_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="3 places cannot be grouped by 2"):
        manual.flatten_consecutive_forward(draw(2, 3, 4), 2)
    with pytest.raises(ValueError, match="2 places are too few for a dilation of 2; put borders in front"):
        manual.causal_conv_forward(draw(1, 2, 3), draw(6, 4), 2)
    for dilation in (0, -1):
        with pytest.raises(ValueError, match=f"a dilation of {dilation} joins no two places; give 1 or more"):
            manual.causal_conv_forward(draw(1, 5, 3), draw(6, 4), dilation)


@pytest.mark.day(40)
def test_attention_plain_and_fast_are_one():
    """Name by name, and with the softmax's sum taken over D instead of T numbers. Tolerance: float64, order one."""
    q, k, v, g = (draw(2, 5, 3, seed=i) for i in range(4))
    d = attention.attention_plain_backward(g, attention.attention_plain_forward(q, k, v)[1])
    fast = attention.attention_backward(g, attention.attention_forward(q, k, v)[1])
    for name, mine in zip("qkv", fast, strict=True):
        assert (d[name] - mine).abs().max() < 1e-14, name


@pytest.mark.day(40)
def test_nothing_comes_back_from_the_future():
    """If only place 2 has a gradient, the keys and values of places 3 and 4 get none: exactly zero, not small."""
    q, k, v = (draw(5, 3, seed=i) for i in range(3))
    g = torch.zeros(5, 3, dtype=torch.float64)
    g[2] = 1.0
    dq, dk, dv = attention.attention_backward(g, attention.attention_forward(q, k, v)[1])
    assert not dk[3:].any() and not dv[3:].any() and not dq[[0, 1, 3, 4]].any() and dk[:3].any() and dv[:3].all()


@pytest.mark.day(40)
def test_heads_must_share_the_channels():
    with pytest.raises(ValueError, match="6 channels cannot be shared by 4 heads"):
        attention.self_attention_forward(draw(1, 2, 6), draw(6, 18), draw(18), draw(6, 6), draw(6), n_head=4)


@pytest.mark.day(36)
def test_cmp_says_exact_approximate_and_how_far(capsys):
    """The helper is what a learner looks at all week: it must tell equal, nearly equal and wrong apart."""
    ones = torch.ones(2, 3)
    assert cmp("same", ones, ones) == 0 and cmp("near", ones, ones + 1e-7) < 2e-7 and cmp("far", ones, 2 * ones) == 1
    same, near, far = capsys.readouterr().out.splitlines()
    assert "(2, 3)" in same and "exact yes" in same and "max difference 0.0e+00" in same
    assert "exact no" in near and "approximate yes" in near
    assert "approximate no" in far and "max difference 1.0e+00" in far
    assert cmp("broken", torch.tensor([float("nan")]), torch.ones(1)) == float("inf")
    with pytest.raises(ValueError, match=r"gradient of bias has the shape \(1, 3\), but autograd's has"):
        cmp("bias", torch.ones(1, 3), torch.ones(3))


@pytest.mark.day(36)
def test_gradients_in_another_form_are_named():
    """A tensor instead of a tuple, or a name left out, ends with a sentence instead of an error inside zip."""
    g = draw(2, 3)
    with pytest.raises(TypeError, match=r"softmax: the backward function gave a Tensor; return a tuple .*: \(dx,\)"):
        exam.in_order("softmax", ["x"], g)
    with pytest.raises(ValueError, match="linear: the backward function gave 1 gradients; there are 3 inputs: x, w, b"):
        exam.in_order("linear", ["x", "w", "b"], (g,))
    with pytest.raises(TypeError, match="plain: the backward function gave a tuple; return a dictionary"):
        exam.in_order("batch_norm, plain", ["x"], (g,))
    with pytest.raises(ValueError, match="plain: the dictionary has no gradient of gain, bias"):
        exam.in_order("batch_norm, plain", ["x", "gain", "bias"], {"x": g})


@pytest.mark.day(36)
@pytest.mark.parametrize("file", ["manual.py", "norms.py", "losses.py", "attention.py", "network.py"])
def test_nothing_by_hand_uses_autograd(file):
    """Hand-written means hand-written: no backward method, no autograd, no requires_grad in the code's names."""
    banned = {"backward", "autograd", "grad", "requires_grad", "requires_grad_", "retain_grad", "grad_fn"}
    tree = ast.parse((Path(backprop.__file__).parent / file).read_text(encoding="utf-8"))
    words = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    words |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    words |= {a.name for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom) for a in n.names}
    words = {part for word in words for part in word.split(".")}  # import torch.autograd, too
    assert not words & banned


@pytest.mark.day(36)
def test_a_probability_too_small_for_a_float():
    """Why there is a second form: the first takes the log of a probability, and 0 has none. The true loss is 1,000."""
    logits, targets = torch.tensor([[1000.0, 0.0]]), torch.tensor([1])
    loss, v = losses.cross_entropy_plain_forward(logits, targets)
    assert loss.isinf() and losses.cross_entropy_plain_backward(1.0, v)["logits"].isnan().any()
    loss, saved = losses.cross_entropy_forward(logits, targets)
    assert loss.item() == 1000.0 and losses.cross_entropy_backward(1.0, saved)[0].tolist() == [[1.0, -1.0]]
