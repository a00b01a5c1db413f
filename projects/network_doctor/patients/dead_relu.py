"""A patient for the network doctor: biases that start at -6, so that nearly every relu is silent for every row."""

import torch
from torch import nn

CENTRES = torch.randn(10, 20, generator=torch.Generator().manual_seed(1))


def batch(rows=256):
    targets = torch.randint(10, (rows,))
    return CENTRES[targets] + torch.randn(rows, 20), targets


class Network(nn.Module):
    """relu is called as a method here: the doctor sees it all the same."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(20, 100), nn.Linear(100, 100), nn.Linear(100, 10)
        for layer in (self.first, self.second):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.constant_(layer.bias, -6.0)

    def forward(self, x):
        return self.head(self.second(self.first(x).relu()).relu())


def model():
    return Network()
