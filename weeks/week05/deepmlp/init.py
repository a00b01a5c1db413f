"""How large weights must start, from one integral: a layer's gain undoes what its nonlinearity does to the size.

With inputs of mean square 1 and weights of variance gain**2 / fan_in, a layer gives numbers z of variance gain**2. The
next layer is fed act(z), and the size is kept where gain**2 * E[act(z)**2] = 1 for a standard normal z (He et al.,
2015).
Left out: orthogonal starts, and a gain for the way back: there a layer multiplies a gradient's mean square by
gain**2 * E[act'(z)**2] (times fan_out / fan_in), which is 1 together with the condition above for relu alone.
"""

import math

import torch

# For tanh, that condition gives 1.59. The field, torch and the lectures write 5/3, a little more, which lets a deep
# stack settle where z has a standard deviation of 1.09 instead of 1 (settled_std).
GAINS = {"linear": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "gelu": 1.533530}


def mean_square(act, std=1.0):
    """E[act(std * z)**2] for a standard normal z, by adding up 40,001 thin slices from -10 to 10, in float64."""
    z = torch.linspace(-10, 10, 40_001, dtype=torch.float64)
    density = torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    return torch.trapezoid(act(std * z) ** 2 * density, z).item()


def derived_gain(act):
    """The gain that keeps the size of standard normal numbers through `act`: 1 / sqrt(E[act(z)**2])."""
    return 1 / math.sqrt(mean_square(act))


def settled_std(act, gain, layers=200):
    """The standard deviation of z after many layers of that gain: 1 is kept, 0 is a signal that dies out."""
    std = 1.0
    for _ in range(layers):
        std = gain * math.sqrt(mean_square(act, std))
    return std
