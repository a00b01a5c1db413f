"""The same GPT on three engines: numbers (week 1), NumPy arrays (week 2), torch. Same weights, same names, same steps.

    build(config, state) -> model                state: {name: nested lists}, as `scalar_gpt.start` makes it
    train(model, rows, lr) -> a generator: the loss of each step, one row of ids a step

The recipe is scalar_gpt.train's: Adam, the rate in a line towards 0. So the three losses of a step differ by rounding
alone (Python's float64, and float32), and what is compared is time. A further engine is two functions and a row.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from . import numpy_gpt, scalar_gpt
from .model import GPT, GPTConfig
from .vendor.autograd import optim

BETAS = (0.85, 0.99)  # as scalar_gpt.train has them
RATE, SPREAD = 0.01, 0.2  # for names, one layer, 16 wide: the learning rate, and the sd of the first weights


class Engine(NamedTuple):
    build: Callable
    train: Callable


def with_weights(config, state):
    """The torch model of these weights (nested lists), in float32."""
    model = GPT(GPTConfig(**vars(config)))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.tensor(state[name]))
    return model


def weights_of(model):
    """A torch model's weights as nested lists: what the two other engines take. float32 becomes Python's float64."""
    return {name: parameter.tolist() for name, parameter in model.named_parameters()}


def train_arrays(model, rows, lr):
    optimizer = optim.Adam(model.parameters(), lr, BETAS)
    for step, row in enumerate(rows):
        ids = np.array([row])  # (1, T + 1)
        _, loss = model(ids[:, :-1], ids[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.lr = lr * (1.0 - step / len(rows))
        optimizer.step()
        yield loss.item()


def train_torch(model, rows, lr):
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, betas=BETAS, fused=True)
    for step, row in enumerate(rows):
        ids = torch.tensor([row])  # (1, T + 1)
        _, loss = model(ids[:, :-1], ids[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = lr * (1.0 - step / len(rows))
        optimizer.step()
        yield loss.item()


ENGINES = {
    "scalar": Engine(scalar_gpt.GPT, scalar_gpt.train),
    "numpy": Engine(numpy_gpt.GPT, train_arrays),
    "torch": Engine(with_weights, train_torch),
}
