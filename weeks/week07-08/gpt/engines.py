"""The same GPT on three engines: numbers (week 1), NumPy arrays (week 2), torch. Same weights, same names, same steps.

    build(config, state) -> model                state: {name: nested lists}, as `scalar_gpt.start` makes it
    train(model, batches, lr) -> a generator: the loss of each step; a batch is a list of rows of ids

The recipe is scalar_gpt.train's: Adam, the rate in a line towards 0. So the three losses of a step differ by rounding
alone (Python's float64, and float32), and what is compared is time. A further engine is two functions and a row.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from . import numpy_gpt, scalar_gpt
from .model import GPT, GPTConfig
from .vendor.autograd import optim
from .vendor.autograd.functional import log_softmax

BETAS = (0.85, 0.99)  # as scalar_gpt.train has them
RATE, SPREAD, SIZE = 0.01, 0.2, 4  # for names, one layer, 16 wide: learning rate, sd of first weights, names a step


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


def padded(rows):
    """Rows of several lengths as arrays: inputs and targets (B, T), and the share (B, T) that a target has in the loss.

    Each row weighs alike, and in it each target; what fills a row up weighs nothing, and causal attention hides it.
    """
    inputs, targets = np.zeros((2, len(rows), max(map(len, rows)) - 1), np.int64)
    shares = np.zeros(inputs.shape, np.float32)
    for b, row in enumerate(rows):
        n = len(row) - 1
        inputs[b, :n], targets[b, :n], shares[b, :n] = row[:-1], row[1:], 1.0 / (n * len(rows))
    return inputs, targets, shares


def train_arrays(model, batches, lr):
    optimizer = optim.Adam(model.parameters(), lr, BETAS)
    for step, rows in enumerate(batches):
        inputs, targets, shares = padded(rows)
        logits, _ = model(inputs)  # (B, T, V)
        loss = -(log_softmax(logits).gather(2, targets[..., None])[..., 0] * shares).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.lr = lr * (1.0 - step / len(batches))
        optimizer.step()
        yield loss.item()


def train_torch(model, batches, lr):
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, betas=BETAS, fused=True)
    for step, rows in enumerate(batches):
        inputs, targets, shares = map(torch.from_numpy, padded(rows))
        logits, _ = model(inputs)  # (B, T, V)
        loss = (F.cross_entropy(logits.transpose(1, 2), targets, reduction="none") * shares).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = lr * (1.0 - step / len(batches))
        optimizer.step()
        yield loss.item()


ENGINES = {
    "scalar": Engine(scalar_gpt.GPT, scalar_gpt.train),
    "numpy": Engine(numpy_gpt.GPT, train_arrays),
    "torch": Engine(with_weights, train_torch),
}
