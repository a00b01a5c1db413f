"""tools/data/recipes/mnist.py: the same idx files out of every wrapping, and a pickle that is read but never run."""

import gzip
import io
import os
import pickletools
import struct

import numpy as np
import pytest

SHAPES = {  # of a toy MNIST; its pickle holds the last five training images as "validation"
    "train-images-idx3-ubyte": (13, 28, 28),
    "train-labels-idx1-ubyte": (13,),
    "t10k-images-idx3-ubyte": (4, 28, 28),
    "t10k-labels-idx1-ubyte": (4,),
}


@pytest.fixture
def mnist(load_tool, monkeypatch):
    """The module, set to the shapes of the toy."""
    module = load_tool("data.recipes.mnist")
    monkeypatch.setattr(module, "SHAPES", SHAPES)
    return module


@pytest.fixture(scope="module")
def arrays():
    """{file: its uint8 array}."""
    draw = np.random.default_rng(0)
    return {name: draw.integers(0, 256 if len(s) > 1 else 10, s, dtype=np.uint8) for name, s in SHAPES.items()}


@pytest.fixture
def idx(arrays):
    """{file: its bytes}, written after the format's description: 8 for bytes, dimensions, sizes, data."""
    return {
        name: bytes([0, 0, 8, a.ndim]) + b"".join(struct.pack(">I", n) for n in a.shape) + a.tobytes()
        for name, a in arrays.items()
    }


# ---- a pickle, step by step, for the house forbids the module that writes one ----------------------------------------


def number(n):
    return b"J" + struct.pack("<i", n)


def short(text):
    return b"U" + bytes([len(text)]) + text


def pickled(array, kind, known, order=b"<", shape=None, module=b"numpy.core.multiarray", data=None):
    """The steps with which Python 2 pickled an array: a call of _reconstruct, then its state.

    What was written before (`known`) is fetched from the memo, as in the real file.
    """

    def once(key, steps):
        if key in known:
            return b"h" + bytes([key])
        known.add(key)
        return steps + b"q" + bytes([key])

    data = array.astype(order.decode() + kind).tobytes() if data is None else data
    shape = b"(" + b"".join(map(number, shape or array.shape)) + b"t"
    start = once(1, b"c" + module + b"\n_reconstruct\n") + once(2, b"cnumpy\nndarray\n") + b"K\x00\x85U\x01b\x87R"
    key = {"f4": 5, "f8": 6, "i8": 7, "i4": 8}[kind]
    state = b"" if key in known else b"(K\x03" + short(order) + b"NNN" + number(-1) + number(-1) + b"K\x00tb"
    dtype = once(key, once(4, b"cnumpy\ndtype\n") + short(kind.encode()) + b"K\x00K\x01\x87R") + state
    return start + b"(K\x01" + shape + dtype + b"\x89T" + struct.pack("<i", len(data)) + data + b"tb"


def parts(arrays, **odd):
    """The three pairs of the toy as one pickle; `odd` changes how the first images are pickled."""
    images, labels = arrays["train-images-idx3-ubyte"].reshape(-1, 784) / 256, arrays["train-labels-idx1-ubyte"]
    test, answers = arrays["t10k-images-idx3-ubyte"].reshape(-1, 784) / 256, arrays["t10k-labels-idx1-ubyte"]
    known = set()
    pairs = [
        pickled(**{"array": images[:8], "kind": "f4", "known": known, **odd}) + pickled(labels[:8], "i8", known),
        pickled(images[8:], "f4", known) + pickled(labels[8:], "i8", known),
        pickled(test, "f4", known) + pickled(answers, "i8", known),
    ]
    return b"\x80\x02" + b"".join(pair + b"\x86" for pair in pairs) + b"\x87."


def test_the_pickle_of_these_tests_is_a_pickle(mnist, arrays):
    """Steps written by hand could be wrong just as the reader is: Python's own checker and NumPy are asked as well."""
    pickletools.dis(parts(arrays), out=io.StringIO())  # raises where a stack, a mark or the memo does not fit
    labels = arrays["t10k-labels-idx1-ubyte"].astype("<i8")
    function, _, (version, shape, _, fortran, data) = labels.__reduce__()
    name, _, state = mnist.outline("x", b"\x80\x02" + pickled(labels, "i8", set()) + b".")
    assert name.split()[1] == function.__name__ and state[:2] == (version, shape)
    assert bytes(state[4]) == data and not state[3] and not fortran


# ---- every source ----------------------------------------------------------------------------------------------------


def test_idx_files_are_kept_as_they_are(mnist, idx):
    """The archive has them in a folder."""
    assert mnist.recipe({f"package/data/{name}": content for name, content in idx.items()}) == idx


def test_compressed_idx_files_are_unpacked(mnist, idx):
    """The canonical address has each as .gz."""
    assert mnist.recipe({f"{name}.gz": gzip.compress(content) for name, content in idx.items()}) == idx


def test_the_pickle_gives_the_same_files(mnist, arrays, idx):
    """Training and validation together are the original training set; byte / 256 becomes the byte again."""
    assert mnist.recipe({"mnist/data/mnist.pkl.gz": gzip.compress(parts(arrays))}) == idx


# ---- what is not MNIST -----------------------------------------------------------------------------------------------


def refused(mnist, files):
    """The sentence with which these files are refused."""
    with pytest.raises(mnist.Mistake) as caught:
        mnist.recipe(files)
    return str(caught.value)


def test_a_pickle_that_would_run_a_program_is_only_read(mnist, tmp_path, monkeypatch):
    """The reason for all this: opened as a pickle, these steps call a function, and it could be any function."""
    ran = tmp_path / "ran"
    attack = b"\x80\x02cos\nmkdir\n" + short(os.fsencode(ran)) + b"\x85R."
    assert "not three pairs of images and labels" in refused(mnist, {"mnist.pkl": attack})
    assert not ran.exists()


@pytest.mark.parametrize(
    "odd",
    [
        {"kind": "f8"},
        {"kind": "i4"},
        {"order": b">"},
        {"shape": (8 * 784,)},
        {"shape": (8, 783)},
        {"shape": (9, 784)},
        {"data": b""},
        {"module": b"some.other"},
    ],
)
def test_other_arrays_are_refused(mnist, arrays, odd):
    """Another type, byte order, shape, length or maker: the bytes would be read as other numbers."""
    sentence = refused(mnist, {"mnist.pkl": parts(arrays, **odd)})
    assert "mnist.pkl holds something else than f4 arrays of shape (N, 784)" in sentence


@pytest.mark.parametrize("value", [1 / 512, 1.0, -1 / 256, float("nan")])
def test_images_that_are_no_bytes_are_refused(mnist, arrays, value):
    """Rounding would make a picture out of anything."""
    images = np.full((8, 784), value)
    assert "values are not a byte / 256" in refused(mnist, {"mnist.pkl": parts(arrays, array=images)})


def test_labels_beyond_nine_are_refused(mnist, arrays):
    """As a byte 266 would become the digit 10, and -1 become 255."""
    for wrong in (10, -1):
        labels = np.array([1, wrong, 3])
        pair = pickled(np.zeros((3, 784)), "f4", set()) + pickled(labels, "i8", set()) + b"\x86"
        steps = b"\x80\x02" + pair * 3 + b"\x87."
        assert f"labels from {labels.min()} to {labels.max()}" in refused(mnist, {"mnist.pkl": steps})


def test_a_pickle_cut_anywhere_is_refused(mnist, arrays):
    """Wherever a download breaks off, there is a sentence; in strides of a prime, to meet every kind of step."""
    whole = parts(arrays)
    heads = [*range(300), *range(300, len(whole), 997)]
    for size in heads:
        assert "mnist.pkl " in refused(mnist, {"mnist.pkl": whole[:size]})


@pytest.mark.parametrize(
    ("steps", "sentence"),
    [
        (b"", "not a whole pickle"),
        (b"not a pickle", "not a whole pickle"),
        (b"\x80\x02t.", "not a whole pickle"),
        (b"\x80\x02R.", "not three pairs"),
        (b"\x80\x02b.", "not a whole pickle"),
        (b"\x80\x02K\x01K\x02b.", "not a whole pickle"),
        (b"\x80\x02h\x07.", "not a whole pickle"),
        (b"\x80\x02K\x01K\x02.", "not a whole pickle"),
        (b"\x80\x02K\x01.", "not three pairs"),
        (b"\x80\x02K\x01K\x01K\x01\x87.", "not three pairs"),
        (b"\x80\x02" + b"K\x01K\x01\x86" * 3 + b"\x87.", "something else than f4 arrays"),
        (b"\x80\x02\x88.", "a step NEWTRUE, which arrays do not need"),  # Fortran's order
        (b"\x80\x02(lp0\n.", "a step LIST, which arrays do not need"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "a step SHORT_BINUNICODE, which arrays do not need"),
    ],
)
def test_other_pickles_are_refused(mnist, steps, sentence):
    """Steps that fit no stack, that build something else, or that no array of the old file needs."""
    assert sentence in refused(mnist, {"mnist.pkl": steps})


def test_broken_compression_is_refused(mnist, idx):
    """Cut, or not compressed at all."""
    for name in ("mnist.pkl.gz", "train-images-idx3-ubyte.gz"):
        for content in (gzip.compress(b"x" * 99)[:-9], b"<html>"):
            assert f"{name} cannot be unpacked" in refused(mnist, {name: content})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda content: content[:-1], "train-images-idx3-ubyte is not an idx file of 13 x 28 x 28 bytes"),
        (lambda content: content + b"x", "train-images-idx3-ubyte is not an idx file"),
        (lambda content: b"\0\0\x09" + content[3:], "train-images-idx3-ubyte is not an idx file"),
        (lambda content: content[:7] + b"\x0c" + content[8:], "train-images-idx3-ubyte is not an idx file"),
        (lambda content: b"", "train-images-idx3-ubyte is not an idx file"),
    ],
)
def test_other_idx_files_are_refused(mnist, idx, change, sentence):
    """Too short, too long, other numbers than bytes, other sizes, nothing at all."""
    idx["train-images-idx3-ubyte"] = change(idx["train-images-idx3-ubyte"])
    assert sentence in refused(mnist, idx)


def test_a_missing_file_is_named(mnist, idx):
    """A wrong `members` in data.toml; three of the four are no data set."""
    del idx["t10k-labels-idx1-ubyte"]
    sentence = refused(mnist, idx)
    assert "the source holds no t10k-labels-idx1-ubyte but train-images" in sentence and "`members`" in sentence
