"""Days 41 and 42: the tree, its twin of dilated convolutions, and batch norm over three dimensions."""

import pytest
import torch
from backprop.manual import causal_conv_forward, flatten_consecutive_forward
from backprop.wavenet import BatchNorm, Dilated, Shape, Tree, parameters, products
from torch.nn import functional as F

SHAPE = Shape(vocab_size=6, context=8, n_embd=3, n_hidden=5)


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def twins(shape=SHAPE):
    """A tree and its dilated form with the same weights, in float64, with running statistics that are not 0 and 1."""
    tree = Tree(shape, seed=3).double()
    for norm in tree.norms:
        norm.running_mean.copy_(draw(shape.n_hidden, seed=4))
        norm.running_var.copy_(draw(shape.n_hidden, seed=5).exp())
        norm.gain.data.copy_(draw(shape.n_hidden, seed=6))
    dilated = Dilated(shape).double()
    dilated.load_state_dict(tree.state_dict())
    return tree.eval(), dilated.eval()


@pytest.mark.day(42)
@pytest.mark.parametrize("activation", ["gelu", "tanh"])
def test_tree_and_dilated_convolutions_are_one(activation):
    """The same weights, two layouts: every window's prediction is that of its place in the whole name.

    Tolerance 1e-12: float64, values of order one, sums of some ten products in another order.
    """
    tree, dilated = twins(Shape(6, 8, 3, 5, activation))
    tokens = torch.randint(1, 6, (2, 11), generator=torch.Generator().manual_seed(0))
    every = dilated(tokens)[0]  # (2, 11, 6)
    padded = F.pad(tokens, (7, 0))
    for place in range(11):
        window = padded[:, place : place + 8]
        assert (tree(window)[0] - every[:, place]).abs().max() < 1e-12, place
    assert every.shape == (2, 11, 6)


@pytest.mark.day(42)
def test_both_forms_have_the_same_gradients():
    """Equal outputs could hide weights that are used in another way; their slopes tell. 1e-12 again."""
    tree, dilated = twins()
    tokens = torch.randint(1, 6, (4, 8), generator=torch.Generator().manual_seed(0))
    g = draw(4, 6, seed=9)
    ours = torch.autograd.grad(tree(tokens)[0], list(tree.parameters()), g)
    theirs = torch.autograd.grad(dilated(tokens)[0][:, -1], list(dilated.parameters()), g)
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).abs().max() < 1e-12


@pytest.mark.day(42)
def test_no_prediction_reads_what_comes_after_it():
    """Causal: another letter at place 5 changes the predictions from 5 to 12 alone."""
    _, dilated = twins()
    tokens = torch.randint(1, 6, (1, 16), generator=torch.Generator().manual_seed(0))
    other = tokens.clone()
    other[0, 5] = tokens[0, 5] % 5 + 1
    changed = (dilated(tokens)[0] != dilated(other)[0]).any(-1)[0]  # (16,)
    assert changed.tolist() == [5 <= place <= 12 for place in range(16)]


@pytest.mark.day(41)
def test_causal_conv_is_pytorchs_dilated_convolution():
    """The oracle: F.conv1d with channels first. 1e-12: float64, sums of six products."""
    x, weight = draw(2, 9, 3), draw(6, 4, seed=1)
    for dilation in (1, 2, 4):
        taps = weight.view(2, 3, 4).permute(2, 1, 0)
        theirs = F.conv1d(x.transpose(1, 2), taps, dilation=dilation).transpose(1, 2)
        assert (causal_conv_forward(x, weight, dilation)[0] - theirs).abs().max() < 1e-12
    with pytest.raises(ValueError, match="4 places are too few for a dilation of 4; put borders in front"):
        causal_conv_forward(x[:, :4], weight, 4)


@pytest.mark.day(41)
def test_neighbours_become_one_vector():
    """Pairs of neighbours, in their order: not the first half beside the second."""
    x = torch.arange(8).view(1, 4, 2)
    assert flatten_consecutive_forward(x, 2)[0].tolist() == [[[0, 1, 2, 3], [4, 5, 6, 7]]]
    with pytest.raises(ValueError, match="4 places cannot be grouped by 3"):
        flatten_consecutive_forward(x, 3)


@pytest.mark.day(42)
def test_batch_norm_over_three_dimensions():
    """The bug of the lecture: over axis 0 alone, every place has statistics of its own, of B numbers instead of B T.

    Nothing crashes, for (1, T, C) broadcasts; only the shape of the running mean tells. 1e-6: float32 has a step of
    2.4e-7 between 2 and 4, where the largest means and variances lie, and sums in another order may end some steps off.
    """
    x = torch.randn(32, 4, 10, generator=torch.Generator().manual_seed(0)) + torch.arange(4)[None, :, None]
    right, wrong = BatchNorm(10, momentum=1.0), BatchNorm(10, "rows", momentum=1.0)
    y, z = right(x), wrong(x)
    assert right.running_mean.shape == (10,) and wrong.running_mean.shape == (1, 4, 10)
    rows = x.view(-1, 10)
    assert len(rows) == 4 * len(x) and (right.running_mean - rows.mean(0)).abs().max() < 1e-6
    assert (right.running_var - rows.var(0)).abs().max() < 1e-6  # unbiased, as PyTorch keeps it
    assert (wrong.running_var[0] - x.var(0)).abs().max() < 1e-6
    assert z.mean(0).abs().max() < 1e-6  # each place is centred by itself: which place was higher is forgotten
    assert y.mean((0, 1)).abs().max() < 1e-6 and y.mean(0).abs().max() > 1


@pytest.mark.day(42)
def test_batch_norm_is_pytorchs():
    """nn.BatchNorm1d takes (B, C, T), with channels in the middle.

    1e-6: float32 has a step of 4.8e-7 between 4 and 8, where the largest results lie; two of them.
    """
    x = torch.randn(16, 4, 6, generator=torch.Generator().manual_seed(0)) * 2 + 1
    ours, theirs = BatchNorm(6, momentum=0.1), torch.nn.BatchNorm1d(6)
    for training in (True, True, False):
        a, b = ours.train(training)(x), theirs.train(training)(x.transpose(1, 2)).transpose(1, 2)
        assert (a - b).abs().max() < 1e-6
    assert (ours.running_var - theirs.running_var).abs().max() < 1e-6


@pytest.mark.day(42)
def test_the_bug_stays_in_evaluation():
    """Evaluation must not depend on the batch, with the bug as without: running statistics, a row at a time."""
    x = torch.randn(16, 4, 6, generator=torch.Generator().manual_seed(0))
    for over in BatchNorm.AXES:
        norm = BatchNorm(6, over)
        norm(x)
        norm.eval()
        assert torch.allclose(norm(x)[:1], norm(x[:1]), atol=1e-6)  # float32


@pytest.mark.day(42)
def test_one_row_is_refused_in_training():
    """A single (1, C) row has no variance; a single (1, T, C) name has, over its places."""
    norm = BatchNorm(6)
    assert norm(torch.randn(1, 4, 6)).shape == (1, 4, 6)
    with pytest.raises(ValueError, match="one row has no variance; give batch norm two rows or more, or call"):
        norm(torch.randn(1, 6))
    with pytest.raises(ValueError, match="one row has no variance"):
        BatchNorm(6, "rows")(torch.randn(1, 4, 6))


@pytest.mark.day(42)
def test_the_size_is_what_the_gate_allows():
    """At most 76,000 parameters; the lecture's network has 76,579. Counted from the sizes, by hand."""
    C, H, V = 21, 128, 27
    assert parameters(Tree(Shape())) == V * C + 2 * C * H + 2 * (2 * H) * H + 3 * 2 * H + H * V + V <= 76_000
    lectures = parameters(Tree(Shape(n_embd=24)))
    assert lectures == 76_579


@pytest.mark.day(41)
def test_products_are_counted_as_they_are_computed():
    """The README says how much less the dilated form computes for a whole name: counted here once more, by shapes."""
    C, H, V = 3, 5, 6
    window = 4 * (2 * C * H) + 2 * (2 * H * H) + 2 * H * H + H * V
    assert products(SHAPE, 7, "tree") == 7 * window
    places = [7 + 7 - 1, 7 + 7 - 3, 7]  # what is left after dilations 1, 2, 4 of 7 borders and 7 letters
    assert products(SHAPE, 7, "dilated") == places[0] * 2 * C * H + (places[1] + places[2]) * 2 * H * H + 7 * H * V


@pytest.mark.day(42)
def test_shapes_that_cannot_be_are_refused():
    for context in (0, 1, 6):
        with pytest.raises(ValueError, match=f"a context of {context} makes no tree of pairs; give 2, 4, 8 or 16"):
            Shape(context=context)
    with pytest.raises(ValueError, match="activation 'sine' is unknown; give one of gelu, tanh"):
        Shape(activation="sine")
    with pytest.raises(ValueError, match="batch norm over 'columns' is unknown"):
        Shape(over="columns")


@pytest.mark.day(42)
def test_the_contract_of_every_language_model():
    """`logits, loss = model(tokens, targets)`; without targets no loss; padding (-1) does not count. float64: 1e-14."""
    tree, dilated = twins()
    tokens = torch.randint(1, 6, (3, 8), generator=torch.Generator().manual_seed(0))
    logits, loss = tree(tokens)
    assert logits.shape == (3, 6) and loss is None
    targets = torch.tensor([[1, 2, -1, -1, -1, -1, -1, -1]] * 3)
    logits, loss = dilated(tokens, targets)
    expected = -logits[:, :2].log_softmax(-1).gather(-1, targets[:, :2, None]).mean()
    assert abs(loss - expected) < 1e-14
