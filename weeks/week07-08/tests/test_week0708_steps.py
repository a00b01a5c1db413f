"""The six steps to attention: each equals the one before; test_week0708_model.py ties the last to the model.

All in float64. Sums of up to 6 terms in another order differ by about 1e-16 of their size: 1e-12 is ample.
"""

import pytest
import torch
from gpt.attention import attention_loops
from gpt.steps import fused_heads, many_heads, mean_loops, mean_softmax, mean_triangle, one_head

pytestmark = pytest.mark.day(43)
B, T, C, H, D = 2, 6, 8, 2, 4
CLOSE = dict(rtol=0, atol=1e-12)


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def maps(*shape):
    return [random(*shape, seed=seed) for seed in (1, 2, 3)]


def test_the_loops_are_means_of_the_past():
    """The first step is checked by a case that fits in the head: 2, 4, 9 have the running means 2, 3, 5."""
    x = torch.tensor([2.0, 4.0, 9.0], dtype=torch.float64).view(1, 3, 1)
    torch.testing.assert_close(mean_loops(x).flatten(), torch.tensor([2.0, 3.0, 5.0], dtype=torch.float64), **CLOSE)


@pytest.mark.parametrize(("before", "after"), [(mean_loops, mean_triangle), (mean_triangle, mean_softmax)])
def test_a_mean_equals_the_step_before(before, after):
    x = random(B, T, C)
    torch.testing.assert_close(after(x), before(x), **CLOSE)


def test_a_head_that_asks_nothing_is_a_mean():
    """No query, so equal scores; the identity as value map."""
    x, identity = random(B, T, C), torch.eye(C, dtype=torch.float64)
    nothing = torch.zeros(C, D, dtype=torch.float64)
    torch.testing.assert_close(one_head(x, nothing, random(C, D), identity), mean_softmax(x), **CLOSE)


def test_a_head_equals_the_loops_of_attention():
    """The head's formula with all its scores, against the file that writes each dot product out."""
    x, (wq, wk, wv) = random(B, T, C), maps(C, D)
    expected = attention_loops(*((x @ w)[:, None] for w in (wq, wk, wv)))[:, 0]
    torch.testing.assert_close(one_head(x, wq, wk, wv), expected, **CLOSE)


def test_one_of_many_heads_is_one_head():
    x, weights = random(B, T, C), maps(H, C, D)
    torch.testing.assert_close(many_heads(x, *(w[:1] for w in weights)), one_head(x, *(w[0] for w in weights)), **CLOSE)


def test_all_heads_at_once_equal_one_after_the_other():
    x, weights = random(B, T, C), maps(H, C, D)
    torch.testing.assert_close(fused_heads(x, *weights), many_heads(x, *weights), **CLOSE)


@pytest.mark.parametrize("step", [mean_loops, mean_triangle, mean_softmax])
def test_the_past_does_not_change_with_the_future(step):
    """A step that looked ahead would still be a mean: the last position must not move the others."""
    x = random(B, T, C)
    other = x.clone()
    other[:, -1] += 100.0
    assert torch.equal(step(x)[:, :-1], step(other)[:, :-1])
    assert not torch.equal(step(x)[:, -1], step(other)[:, -1])


@pytest.mark.parametrize("step", [many_heads, fused_heads])
def test_heads_do_not_read_the_future(step):
    """As above. The fused call may add in another order, so the tolerance is that of this file."""
    x, weights = random(B, T, C), maps(H, C, D)
    other = x.clone()
    other[:, -1] += 100.0
    torch.testing.assert_close(step(x, *weights)[:, :-1], step(other, *weights)[:, :-1], **CLOSE)
