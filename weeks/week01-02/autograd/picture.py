"""From a PNG that somebody drew to the kind of image that MNIST is made of.

MNIST's digits are light on dark, fill a box of 20 x 20 pixels and have their centre of mass in the middle of 28 x 28
(LeCun et al. 1998, "Gradient-based learning applied to document recognition", section III.A). A network that has seen
nothing else reads nothing else, so a drawing is brought into that form first.
"""

import math
from pathlib import Path

import numpy as np

from .data import PIXELS
from .vendor.shared.errors import Mistake

BOX = 20  # pixels of the digit's longer side
LARGEST = 5_000  # pixels of a picture's side


def read_png(path):
    """A PNG of any kind as (height, width) brightness from 0 to 1. Raises Mistake for what is none, or too large.

    The size stands in the first 24 bytes, so a picture that would fill the memory is refused before it is unpacked.
    """
    if not Path(path).is_file():
        raise Mistake(f"{path} is no file; give the path of a PNG that is there")
    head = Path(path).read_bytes()[:24]
    if not head:
        raise Mistake(f"{path} is empty; save the picture again")
    if head[:8] != b"\x89PNG\r\n\x1a\n" or len(head) < 24:
        raise Mistake(f"{path} is no PNG; save the picture as PNG")
    width, height = np.frombuffer(head, ">u4", 2, offset=16).tolist()
    if max(width, height) > LARGEST:
        raise Mistake(f"{path} is {width} x {height} pixels, more than {LARGEST} on a side; make it smaller")
    from matplotlib.image import imread  # it reads every kind of PNG; here, for nothing else needs matplotlib

    try:
        values = np.asarray(imread(path), dtype=np.float64)
    except (OSError, SyntaxError, ValueError) as error:
        raise Mistake(f"{path} begins as a PNG but cannot be read ({error}); save it again") from None
    return brightness(values / 255 if values.max(initial=0) > 1 else values)


def brightness(values):
    """(H, W), or (H, W, 2 to 4) with colours and a transparent part, which shows the paper: -> (H, W)."""
    if values.ndim == 2:
        return values
    channels = values.shape[2]
    colours = values[..., :3] @ [0.299, 0.587, 0.114] if channels >= 3 else values[..., 0]
    if channels in (1, 3):
        return colours
    alpha = values[..., -1]
    # Paper under transparent ink: the opposite of the ink, or dark ink on nothing would vanish in the dark.
    ink = (colours * alpha).sum() / max(alpha.sum(), 1e-9)
    return colours * alpha + (1 - alpha) * (1.0 if ink < 0.5 else 0.0)


def as_mnist(picture):
    """(H, W) brightness, dark on light or light on dark -> (1, 1, 28, 28) as MNIST has it.

    Raises Mistake for a picture without ink.
    """
    edge = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    ink = abs(picture - np.median(edge))  # the paper is what the edge shows most; ink is whatever differs
    if ink.max() < 0.1:
        raise Mistake("the picture is blank: nothing in it differs from its edge; draw a digit, darker or lighter")
    ink = np.where(ink < 0.2 * ink.max(), 0, ink)  # grain of the paper, traces of a JPEG
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = (max(1, round(side * BOX / max(ink.shape))) for side in ink.shape)
    ink = averaging(ink.shape[0], height) @ ink @ averaging(ink.shape[1], width).T
    ink /= ink.max()  # a thin line has become a faint one
    out = np.zeros((PIXELS, PIXELS), np.float32)
    top, left = (corner(ink.sum(1 - axis), PIXELS) for axis in (0, 1))
    out[top : top + height, left : left + width] = ink
    return out[None, None]


def averaging(n, m):
    """The matrix (m, n) that shrinks or stretches n values to m: each new value is the mean of what it covers.

    Lay the n old values side by side, each one wide, and cut the whole into m equal pieces. A piece takes of each old
    value the share that it covers, divided by its own width; so each row of the matrix sums to 1.
    """
    edges = np.linspace(0, n, m + 1)
    low, high = edges[:-1, None], edges[1:, None]
    cover = np.minimum(high, np.arange(1, n + 1)) - np.maximum(low, np.arange(n))
    return np.maximum(cover, 0) * (m / n)


def corner(mass, size):
    """Where a piece of len(mass) begins, so that its centre of mass is in the middle of `size`, and it lies inside."""
    centre = (mass * np.arange(len(mass))).sum() / mass.sum()
    return int(np.clip(math.floor((size - 1) / 2 - centre + 0.5), 0, size - len(mass)))
