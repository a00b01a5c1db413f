"""Slightly moved, turned and stretched copies of images: the label stays, so each epoch sees new training data.

Source of the idea: Simard et al. 2003, "Best practices for convolutional neural networks applied to visual document
analysis", section 2 (there also elastic distortions, left out here).
"""

import math

import numpy as np


def distort(rng, images, shift=2.0, turn=10.0, zoom=0.1):
    """images (N, 1, H, W) -> the same, each through a random map of its own.

    shift: at most so many pixels along each axis; turn: at most so many degrees; zoom: size times 1 - zoom to 1 + zoom.
    """
    n, _, h, w = images.shape
    angle = rng.uniform(-turn, turn, n) * (math.pi / 180)
    scale = 1 / rng.uniform(1 - zoom, 1 + zoom, n)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    matrices = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], 1)  # (N, 2, 2)
    return sample(images, matrices, rng.uniform(-shift, shift, (n, 2)))


def sample(images, matrices, shifts):
    """For each pixel of the result, where it comes from: matrix @ (row, column) from the middle + shift, in pixels.

    Between pixels the four around are mixed (bilinear); outside of the image is 0. matrices (N, 2, 2), shifts (N, 2).
    """
    n, _, h, w = images.shape
    middle = np.array([(h - 1) / 2, (w - 1) / 2])
    grid = (np.indices((h, w)).reshape(2, -1) - middle[:, None]).astype(np.float32)
    places = matrices.astype(np.float32) @ grid + (middle + shifts).astype(np.float32)[:, :, None]  # (N, 2, H W)
    # One row and column of zeros around the image: a place outside is moved there and reads 0.
    places = np.clip(places + 1, 0, np.array([[h + 1], [w + 1]], np.float32) - np.float32(1e-3))
    padded = np.pad(images[:, 0], ((0, 0), (1, 1), (1, 1))).reshape(-1)
    corner = places.astype(np.int32)
    # float32 less int32 would be float64, and so would be the whole network after it: half as fast
    down, right = (places - corner.astype(np.float32)).transpose(1, 0, 2)  # (N, H W) each, between 0 and 1
    first = corner[:, 0] * (w + 2) + corner[:, 1] + np.arange(n, dtype=np.int32)[:, None] * ((h + 2) * (w + 2))
    a, b, c, d = (padded.take(first + step) for step in (0, 1, w + 2, w + 3))
    top, bottom = a * (1 - right) + b * right, c * (1 - right) + d * right
    return (top * (1 - down) + bottom * down).reshape(images.shape)
