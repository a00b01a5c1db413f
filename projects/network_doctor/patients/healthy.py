"""A healthy patient for the network doctor: it tells ten clouds of points in 20 dimensions apart.

Each hidden layer has a norm, its weights start with the gain of relu, and the last layer starts small.
"""

import torch
from torch import nn

CENTRES = torch.randn(10, 20, generator=torch.Generator().manual_seed(1))


def batch(rows=256):
    """(inputs, targets) of one step: points around the centres, and which centre each belongs to."""
    targets = torch.randint(10, (rows,))
    return CENTRES[targets] + torch.randn(rows, 20), targets


def model():
    """A fresh network: five hidden layers of 100."""
    layers, width = [], 20
    for _ in range(5):
        linear = nn.Linear(width, 100, bias=False)  # the norm has a bias
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        layers += [linear, nn.BatchNorm1d(100), nn.ReLU()]
        width = 100
    head = nn.Linear(width, 10)
    nn.init.normal_(head.weight, std=0.01)
    nn.init.zeros_(head.bias)
    return nn.Sequential(*layers, head)


def optimizer(network):
    return torch.optim.Adam(network.parameters(), lr=2e-3)
