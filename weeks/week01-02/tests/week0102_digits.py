"""A small stand-in for MNIST: ten simple shapes, moved about, in MNIST's own file format. Made here, no real images."""

import struct
import zlib

import numpy as np

SHAPES = [  # segments of a seven-segment display: top, left and right above, middle, left and right below, bottom
    "1110111", "0010010", "1011101", "1011011", "0111010", "1101011", "1101111", "1010010", "1111111", "1111011",
]  # fmt: skip


def drawing(digit, size=28, top=6, left=9):
    """One digit as bright strokes on black, (size, size) uint8."""
    out, (h, w) = np.zeros((size, size), np.uint8), (16, 10)
    bars = [
        (0, 0, 2, w), (0, 0, 8, 2), (0, w - 2, 8, 2), (7, 0, 2, w), (8, 0, 8, 2), (8, w - 2, 8, 2), (h - 2, 0, 2, w),
    ]  # fmt: skip
    for lit, (y, x, high, wide) in zip(SHAPES[digit], bars):
        if lit == "1":
            out[top + y : top + y + high, left + x : left + x + wide] = 255
    return out


def idx(array):
    """uint8 array -> the bytes of an idx file."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_mnist(folder, train=600, test=100, seed=0):
    """The four files; every sixth training image ends up in the validation part."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, n in (("train", train), ("t10k", test)):
        labels = rng.integers(0, 10, n).astype(np.uint8)
        images = np.stack([drawing(d, top=rng.integers(4, 9), left=rng.integers(7, 12)) for d in labels])
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(labels))
    return folder


def png(pixels, width=None, height=None):
    """(H, W), (H, W, 2), (H, W, 3) or (H, W, 4) uint8 -> a PNG; width and height may lie about it."""
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[pixels.shape[2]]
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    size = (pixels.shape[1] if width is None else width, pixels.shape[0] if height is None else height)
    header = struct.pack(">IIBBBBB", *size, 8, kind, 0, 0, 0)
    chunk = lambda name, body: struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
