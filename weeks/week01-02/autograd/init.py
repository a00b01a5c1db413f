"""Where weights start: random, and so large that signals neither die out nor blow up from layer to layer.

A sum of n products has n times the variance of one. Kaiming divides by n (times 2, for relu lets half of it through),
Xavier by the mean of both directions' n, for functions that are near the identity around 0, such as tanh.
Sources: Glorot and Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks";
He et al. 2015, arXiv:1502.01852.
"""

import math

import numpy as np


def fans(shape):
    """(inputs, outputs) of one unit. (n_in, n_out) is a Linear's weight here, (O, C, h, w) a convolution's."""
    if len(shape) == 2:
        return shape
    if len(shape) == 4:
        o, c, h, w = shape
        return c * h * w, o * h * w
    raise ValueError(f"fans are defined for weights of 2 or 4 axes, not of {tuple(shape)}; start others at 0 or 1")


def kaiming_normal(rng, shape):
    """float32 weights with standard deviation sqrt(2 / fan_in), by one draw of `_normal`; `fans` counts the inputs."""
    return _normal(rng, shape, math.sqrt(2 / fans(shape)[0]))


def kaiming_uniform(rng, shape):
    """Between -b and b, b = sqrt(6 / fan_in): the same variance as `kaiming_normal`."""
    return _uniform(rng, shape, math.sqrt(6 / fans(shape)[0]))


def xavier_normal(rng, shape):
    """Standard deviation sqrt(2 / (fan_in + fan_out))."""
    return _normal(rng, shape, math.sqrt(2 / sum(fans(shape))))


def xavier_uniform(rng, shape):
    """Between -b and b, b = sqrt(6 / (fan_in + fan_out))."""
    return _uniform(rng, shape, math.sqrt(6 / sum(fans(shape))))


def _normal(rng, shape, sd):
    return (sd * rng.standard_normal(shape)).astype(np.float32)


def _uniform(rng, shape, bound):
    return rng.uniform(-bound, bound, shape).astype(np.float32)
