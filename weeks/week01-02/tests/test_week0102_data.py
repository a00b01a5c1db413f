"""Day 14: MNIST's files, batches, and images moved about."""

import numpy as np
import pytest
from autograd import augment, data
from autograd.vendor.shared.errors import Mistake
from week0102_digits import drawing, idx, write_mnist

pytestmark = pytest.mark.day(14)


# --- files ------------------------------------------------------------------------------------------------------------


def test_the_parts_of_mnist(tmp_path):
    """Validation is the end of the training files; nothing is in two parts, and the test files stay whole."""
    parts = data.mnist(write_mnist(tmp_path, train=60, test=20))
    assert {name: len(labels) for name, (_, labels) in parts.items()} == {"train": 50, "val": 10, "test": 20}
    raw = data.read_idx(tmp_path / "train-images-idx3-ubyte", 3)
    images = np.concatenate([parts["train"][0], parts["val"][0]])
    assert images.dtype == np.float32 and images.shape == (60, 1, 28, 28)
    np.testing.assert_array_equal(images[:, 0] * np.float32(255), raw)
    assert parts["val"][1].dtype == np.int64


def test_validation_is_the_last_5000_of_60000(monkeypatch):
    """The split of the results tables, on stand-ins of one pixel each."""
    monkeypatch.setattr(data, "read_images", lambda path: np.zeros(60_000 if "train" in path.name else 10_000))
    monkeypatch.setattr(data, "read_labels", lambda path: np.arange(60_000 if "train" in path.name else 10_000))
    parts = data.mnist("anywhere")
    assert [len(parts[name][1]) for name in ("train", "val", "test")] == [55_000, 5_000, 10_000]
    assert parts["val"][1][0] == 55_000


PICTURES = np.stack([drawing(d) for d in range(3)])


@pytest.mark.parametrize(
    "name, content, sentence",
    [
        ("train-images-idx3-ubyte", None, "train-images-idx3-ubyte does not exist; run: make data/mnist"),
        ("train-images-idx3-ubyte", b"", r"no idx file of bytes with 3 axes \(it begins with ''\); delete the folder"),
        ("train-images-idx3-ubyte", b"\x1f\x8b\x08\x00gz", "begins with '1f 8b 08 00'"),
        ("train-images-idx3-ubyte", idx(PICTURES)[:10], "no idx file of bytes with 3 axes"),
        ("train-images-idx3-ubyte", idx(PICTURES)[:-1], r"promises 2352 bytes, \(3, 28, 28\), and holds 2351"),
        ("train-images-idx3-ubyte", idx(PICTURES) + b"x", "promises 2352 bytes, .*, and holds 2353"),
        ("train-images-idx3-ubyte", idx(np.zeros((0, 28, 28), np.uint8)), "promises 0 bytes"),
        ("train-images-idx3-ubyte", idx(PICTURES[:, 1:]), r"images of \(27, 28\) pixels, not \(28, 28\)"),
        ("train-images-idx3-ubyte", idx(PICTURES), "has 3 images, .* 60 labels"),
        ("t10k-labels-idx1-ubyte", idx(np.array([1, 9, 10], np.uint8)), "label 2 is 10, which is no digit from 0 to 9"),
        ("t10k-labels-idx1-ubyte", idx(PICTURES), "no idx file of bytes with 1 axes"),
    ],
)
def test_a_damaged_file_is_a_sentence(tmp_path, name, content, sentence):
    """A broken download must not become a network that learned nothing."""
    path = write_mnist(tmp_path, train=60, test=20) / name
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(Mistake, match=sentence) as caught:
        data.mnist(tmp_path)
    assert str(caught.value).endswith("run: make data/mnist")


# --- batches ----------------------------------------------------------------------------------------------------------


def test_an_epoch_sees_every_row_once_with_its_label():
    """Each walk in another order, the same again from the same seed; the last batch holds the rest."""
    x, y = np.arange(10) * 10, np.arange(10)
    loader = data.Loader(x, y, batch_size=4, rng=np.random.default_rng(0))
    walks = [list(loader) for _ in range(2)]
    orders = [np.concatenate([labels for _, labels in walk]) for walk in walks]
    assert len(loader) == 3 and [len(labels) for _, labels in walks[0]] == [4, 4, 2]
    for walk, order in zip(walks, orders):
        assert sorted(order) == list(range(10))
        assert all((inputs == labels * 10).all() for inputs, labels in walk)
    assert not np.array_equal(*orders)
    again = data.Loader(x, y, batch_size=4, rng=np.random.default_rng(0))
    assert np.array_equal(orders[0], np.concatenate([labels for _, labels in again]))
    assert [labels.tolist() for _, labels in data.Loader(x, y, batch_size=6)] == [list(range(6)), list(range(6, 10))]


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_of_nothing_is_a_sentence(size):
    """range() with step 0 would say something about range()."""
    with pytest.raises(ValueError, match=f"a batch size of {size} gives no batches; use 1 or more"):
        data.Loader(np.arange(3), batch_size=size)


def test_arrays_that_do_not_belong_together_are_a_sentence():
    """A label too many would shift nothing and hide for long."""
    with pytest.raises(ValueError, match=r"arrays of \[3, 4\] rows cannot be walked through together"):
        data.Loader(np.arange(3), np.arange(4), batch_size=1)


# --- moved images -----------------------------------------------------------------------------------------------------

IMAGES = np.random.default_rng(0).random((4, 1, 9, 7)).astype(np.float32)
IDENTITY = np.broadcast_to(np.eye(2), (4, 2, 2))


def test_the_identity_changes_nothing():
    """Each place falls on a pixel: bilinear weights of 0 and 1, but for the clip at the far edge, 1e-3 of a pixel."""
    out = augment.sample(IMAGES, IDENTITY, np.zeros((4, 2)))
    np.testing.assert_allclose(out, IMAGES, atol=1e-6)


def test_shifts_by_whole_and_half_pixels():
    """Down by one row, zeros come in; half a column gives the mean of two neighbours."""
    out = augment.sample(IMAGES, IDENTITY, np.tile([1.0, 0.0], (4, 1)))
    np.testing.assert_allclose(out[:, :, :-1], IMAGES[:, :, 1:], atol=1e-6)
    assert abs(out[:, :, -1]).max() < 2e-3  # outside: what the clip lets through
    out = augment.sample(IMAGES, IDENTITY, np.tile([0.0, 0.5], (4, 1)))
    np.testing.assert_allclose(out[..., :-1], (IMAGES[..., :-1] + IMAGES[..., 1:]) / 2, atol=1e-6)


def test_a_quarter_turn():
    """Square images, turned by matrices for 90 degrees, each with its own direction."""
    square = IMAGES[:2, :, :7]
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
    out = augment.sample(square, np.stack([turn, turn.T]), np.zeros((2, 2)))
    np.testing.assert_allclose(out[0, 0], np.rot90(square[0, 0], 1), atol=2e-3)
    np.testing.assert_allclose(out[1, 0], np.rot90(square[1, 0], -1), atol=2e-3)


def test_distortions_are_small_random_and_repeatable():
    """Each image its own; the same again from the same seed; float32 stays, or all training would slow down."""
    images = np.repeat(drawing(3)[None, None], 50, 0).astype(np.float32) / 255
    out = augment.distort(np.random.default_rng(0), images)
    assert out.dtype == np.float32 and out.shape == images.shape and 0 <= out.min() and out.max() <= 1
    assert np.array_equal(out, augment.distort(np.random.default_rng(0), images))
    assert len({image.tobytes() for image in out}) == 50
    ink = out.sum((1, 2, 3)) / images.sum((1, 2, 3))
    assert 0.75 < ink.min() and ink.max() < 1.3  # zoom of 0.9 to 1.1 squared, and edges
    rows = (out[:, 0].sum(2) * np.arange(28)).sum(1) / out.sum((1, 2, 3))
    assert 1 < rows.max() - rows.min() < 2 * 2 + 1.5  # shifts of at most two pixels up and down, a little by turning
    still = augment.distort(np.random.default_rng(0), images, shift=0, turn=0, zoom=0)
    np.testing.assert_allclose(still, images, atol=1e-6)
