"""Convolution and pooling as a few large array operations instead of loops over pixels.

Images are (N, C, H, W): number, channel, row, column, as in torch. In memory the channels of a pixel lie side by side:
a matrix product whose rows are pixels gives that order anyway, and only the view is transposed.

Left out: dilation, groups, padding other than zeros.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .graph import record
from .tensor import as_tensor


def conv2d(x, weight, bias=None, stride=1, padding=0):
    """Slide `weight` over x: (N, C, H, W) with (O, C, h, w) and bias (O,) -> (N, O, H', W').

    H' = (H + 2 padding - h) // stride + 1, W' alike; a rest that no window fills is left out. Each patch is copied into
    a row ("im2col"), so that all N * H' * W' positions are one matrix product. Raises ValueError for shapes that do not
    fit ("conv2d cannot take images (1, 2, 4, 4) and weights (1, 3, 2, 2); give (N, C, H, W) and (O, C, h, w) with the
    same C") and, by `_steps`, for a window that does not fit or cannot slide. `_views` helps on the way back.
    """
    x = as_tensor(x)
    if x.ndim != 4 or weight.ndim != 4 or x.shape[1] != weight.shape[1]:
        raise ValueError(
            f"conv2d cannot take images {x.shape} and weights {weight.shape}; give (N, C, H, W) and (O, C, h, w) "
            "with the same C"
        )
    (n, c, _, _), (o, _, h, w) = x.shape, weight.shape
    images = x.data.transpose(0, 2, 3, 1)  # (N, H, W, C)
    if padding:
        images = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    rows, columns = _steps(images.shape, h, w, stride, x.shape, padding)
    windows = sliding_window_view(images, (h, w), axis=(1, 2))[:, ::stride, ::stride]  # (N, H', W', C, h, w), no copy
    # The copy, a row a patch. With few channels a row of whole images is copied in longer pieces: then as columns.
    if c < w:
        patches = windows.transpose(4, 5, 3, 0, 1, 2).reshape(h * w * c, n * rows * columns).T
    else:
        patches = windows.transpose(0, 1, 2, 4, 5, 3).reshape(n * rows * columns, h * w * c)
    kernel = weight.data.transpose(2, 3, 1, 0).reshape(h * w * c, o)
    out = patches @ kernel
    if bias is not None:
        out += bias.data

    def flat(g):
        return g.transpose(0, 2, 3, 1).reshape(n * rows * columns, o)

    def to_x(g):
        # Each weight (i, j) saw the image moved by (i, j), so its part of the gradient goes back there.
        g, grad = flat(g), np.zeros(images.shape, images.dtype)
        for (i, j), seen in _views(grad, h, w, stride, rows, columns):
            seen += (g @ weights[:, :, i, j]).reshape(n, rows, columns, c)
        return grad[:, padding : grad.shape[1] - padding, padding : grad.shape[2] - padding].transpose(0, 3, 1, 2)

    def to_weight(g):
        return (patches.T @ flat(g)).reshape(h, w, c, o).transpose(3, 2, 0, 1)

    weights, edges = weight.data, [(x, to_x), (weight, to_weight)]
    if bias is not None:
        edges.append((bias, lambda g: np.ones(len(patches), g.dtype) @ flat(g)))  # a sum; BLAS is faster at it
    return record(out.reshape(n, rows, columns, o).transpose(0, 3, 1, 2), *edges)


def max_pool2d(x, size, stride=None):
    """The maximum of each size x size window: (N, C, H, W) -> (N, C, H', W'), H' = (H - size) // stride + 1.

    stride: `size` if left out. Of equal maxima the first (row by row) gets the gradient, as in torch; the maximum of a
    window with nan is nan, and the last nan gets the gradient. Raises ValueError for other than four axes ("max_pool2d
    needs images (N, C, H, W), not shape (4, 4)") and, by `_steps`, for a window that does not fit or cannot slide.
    """
    x = as_tensor(x)
    if x.ndim != 4:
        raise ValueError(f"max_pool2d needs images (N, C, H, W), not shape {x.shape}")
    stride = stride or size
    images = x.data.transpose(0, 2, 3, 1)
    rows, columns = _steps(images.shape, size, size, stride, x.shape, 0)
    # One place of all windows at a time: size * size passes over large arrays, not one pass over many small windows.
    best = winner = None
    for k, (_, seen) in enumerate(_views(images, size, size, stride, rows, columns)):
        if k == 0:
            best, winner = seen.copy(), np.zeros(seen.shape, np.uint8 if size < 16 else np.int64)
        else:
            np.maximum(winner, ((seen > best) | np.isnan(seen)) * winner.dtype.type(k), out=winner)
            np.maximum(best, seen, out=best)

    def to_x(g):
        g, grad = g.transpose(0, 2, 3, 1), np.zeros(images.shape, images.dtype)
        for k, (_, seen) in enumerate(_views(grad, size, size, stride, rows, columns)):
            seen += g * (winner == k)
        return grad.transpose(0, 3, 1, 2)

    return record(best.transpose(0, 3, 1, 2), (x, to_x))


def _views(images, h, w, stride, rows, columns):
    """For each place (i, j) of an h x w window: what all windows see there, (N, rows, columns, C), as a view."""
    for i in range(h):
        for j in range(w):
            yield (i, j), images[:, i : i + rows * stride : stride, j : j + columns * stride : stride]


def _steps(shape, h, w, stride, given, padding):
    """How many windows fit down and across."""
    if min(h, w, stride) < 1 or padding < 0:
        raise ValueError(
            f"a window of {h} x {w}, stride {stride} and padding {padding} cannot slide; sizes and stride must be 1 or "
            "more, padding 0 or more"
        )
    _, height, width, _ = shape
    if height < h or width < w:
        raise ValueError(f"a window of {h} x {w} does not fit into images {given} with padding {padding}")
    return (height - h) // stride + 1, (width - w) // stride + 1
