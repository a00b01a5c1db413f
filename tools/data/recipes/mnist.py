"""MNIST as the four uncompressed idx files, whatever a source has wrapped around them.

One source has them as they are, one compressed, and one as a Python pickle of NumPy arrays. A pickle is a program, and
opening it runs it; so this one is not opened. `pickletools` lists its steps without taking any, and from the list of
steps it can be seen where the bytes of the arrays lie. Left out: every pickle that is more than tuples of arrays.

idx, after yann.lecun.com/exdb/mnist: two zero bytes, 8 for "unsigned byte", the number of dimensions, each dimension as
four bytes (big-endian), the data row by row.
"""

import gzip
import math
import pickletools
import struct
import zlib
from pathlib import PurePosixPath

from shared.errors import Mistake

SHAPES = {
    "train-images-idx3-ubyte": (60_000, 28, 28),
    "train-labels-idx1-ubyte": (60_000,),
    "t10k-images-idx3-ubyte": (10_000, 28, 28),
    "t10k-labels-idx1-ubyte": (10_000,),
}


def recipe(files):
    files = {PurePosixPath(name).name: content for name, content in files.items()}
    files = {name.removesuffix(".gz"): unzipped(name, content) for name, content in files.items()}
    pickles = [name for name in files if name.endswith(".pkl")]
    found = idx_files(pickles[0], files[pickles[0]]) if pickles else files
    for name, shape in SHAPES.items():
        if name not in found:
            raise Mistake(f"the source holds no {name} but {', '.join(files)}; correct its `members` in data.toml")
        start, size = header(shape), math.prod(shape)
        if found[name][: len(start)] != start or len(found[name]) != len(start) + size:
            raise Mistake(f"{name} is not an idx file of {' x '.join(map(str, shape))} bytes, so it is not MNIST")
    return {name: found[name] for name in SHAPES}


def unzipped(name, content):
    """The content of a .gz file; any other as it is."""
    if not name.endswith(".gz"):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise Mistake(f"{name} cannot be unpacked ({error}), so it is not what data.toml means") from None


def header(shape):
    return struct.pack(f">2x2B{len(shape)}I", 8, len(shape), *shape)


def idx_files(name, content):
    """The idx files from a pickle of three pairs (images, labels): training, validation, test.

    Images are float32 (N, 784) with byte / 256 in them, labels int64 (N,). The original training set is the first two.
    """
    parts = outline(name, content)
    if not (isinstance(parts, tuple) and len(parts) == 3 and all(isinstance(p, tuple) and len(p) == 2 for p in parts)):
        raise Mistake(f"{name} is not three pairs of images and labels, so it is not what data.toml means")
    images = [pixels(name, array(name, part[0], "f4", columns=784)) for part in parts]
    labels = [digits(name, array(name, part[1], "i8")) for part in parts]
    found = {}
    for split, chosen in (("train", (0, 1)), ("t10k", (2,))):
        size = sum(len(labels[k]) for k in chosen)
        found[f"{split}-images-idx3-ubyte"] = header((size, 28, 28)) + b"".join(images[k] for k in chosen)
        found[f"{split}-labels-idx1-ubyte"] = header((size,)) + b"".join(labels[k] for k in chosen)
    return found


def outline(name, content):
    """What a pickle would build, as tuples, numbers, strings and lists, without building it.

    A call that the pickle asks for becomes a list [function's name, arguments, state]. Nothing is called or imported.
    A long string, which is where an array keeps its data, becomes a view of its place in `content`.
    """
    stack, memo, mark, view = [], {}, object(), memoryview(content)
    try:
        for step, argument, at in pickletools.genops(content):
            match step.name:
                case "PROTO" | "STOP":
                    pass
                case "GLOBAL" | "BININT" | "BININT1" | "BININT2" | "SHORT_BINSTRING" | "NONE" | "NEWFALSE":
                    stack.append(argument)
                case "BINSTRING":  # the step and its length take five bytes
                    stack.append(view[at + 5 : at + 5 + len(argument)])
                case "BINPUT":
                    memo[argument] = stack[-1]
                case "BINGET":
                    stack.append(memo[argument])
                case "MARK":
                    stack.append(mark)
                case "TUPLE":
                    start = len(stack) - 1 - stack[::-1].index(mark)
                    stack[start:] = [tuple(stack[start + 1 :])]
                case "TUPLE1" | "TUPLE2" | "TUPLE3":
                    size = int(step.name[-1])
                    stack[-size:] = [tuple(stack[-size:])]
                case "REDUCE":
                    stack[-2:] = [[*stack[-2:], None]]
                case "BUILD":
                    stack[-2][2] = stack[-1]
                    stack.pop()
                case other:
                    raise Mistake(f"{name} is a pickle with a step {other}, which arrays do not need; it is not used")
        (built,) = stack
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise Mistake(f"{name} is not a whole pickle of arrays ({error}), so it is not what data.toml means") from None
    return built


def array(name, built, kind, columns=None):
    """The NumPy array that a part of an outline stands for: `kind` f4 or i8, shape (N,) or (N, columns)."""
    import numpy as np  # here, because making any other set needs no library

    width = () if columns is None else (columns,)
    match built:
        case [
            "numpy.core.multiarray _reconstruct",
            _,  # the empty array to begin with
            (1, (int() as n, *rest), ["numpy dtype", (code, 0, 1), (3, "<", *_)], None, memoryview() as data),
        ] if (code, tuple(rest)) == (kind, width) and len(data) == n * math.prod(width) * np.dtype(kind).itemsize:
            return np.frombuffer(data, "<" + kind).reshape(n, *width)
    shape = ", ".join(map(str, ("N", *width)))
    raise Mistake(f"{name} holds something else than {kind} arrays of shape ({shape}), so it is not used")


def pixels(name, images):
    """The bytes of images (N, 784), of which each value is byte / 256."""
    import numpy as np

    scaled = images * np.float32(256)
    with np.errstate(invalid="ignore"):
        whole = scaled.astype(np.uint8)
    if not (whole == scaled).all():
        raise Mistake(f"{name} holds images whose values are not a byte / 256, so it is not what data.toml means")
    return whole.tobytes()


def digits(name, labels):
    """The bytes of labels (N,), each from 0 to 9."""
    if len(labels) and not 0 <= labels.min() <= labels.max() <= 9:
        raise Mistake(f"{name} holds labels from {labels.min()} to {labels.max()}, but a digit is one of 0 to 9")
    return labels.astype("u1").tobytes()
