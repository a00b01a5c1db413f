"""The same GPT on three engines: numbers (week 1), NumPy arrays (week 2), torch. Same weights, same names, same steps.

    train(config, state, rows, lr) -> a generator: the loss of each step, one row of ids a step

`state` is what `scalar_gpt.start` makes. The recipe is scalar_gpt.train's: Adam, the rate in a line towards 0. So the
three losses of a step differ by rounding alone, and what is compared is time. A further engine is a function and a row.
"""

import numpy as np
import torch

from . import numpy_gpt, scalar_gpt
from .model import GPT, GPTConfig
from .vendor.autograd import optim

BETAS = (0.85, 0.99)  # as scalar_gpt.train has them


def on_numbers(config, state, rows, lr):
    """Week 1's engine: float64, for Python has no other."""
    yield from scalar_gpt.train(scalar_gpt.GPT(config, state), rows, lr, BETAS)


def on_arrays(config, state, rows, lr):
    """Week 2's engine, in float32."""
    model = numpy_gpt.GPT(config, state)
    optimizer = optim.Adam(model.parameters(), lr, BETAS)
    for step, row in enumerate(rows):
        ids = np.array([row])  # (1, T + 1)
        _, loss = model(ids[:, :-1], ids[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.lr = lr * (1.0 - step / len(rows))
        optimizer.step()
        yield loss.item()


def on_torch(config, state, rows, lr):
    """torch, in float32."""
    model = with_weights(config, state)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, betas=BETAS)
    for step, row in enumerate(rows):
        ids = torch.tensor([row])  # (1, T + 1)
        _, loss = model(ids[:, :-1], ids[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = lr * (1.0 - step / len(rows))
        optimizer.step()
        yield loss.item()


ENGINES = {"scalar": on_numbers, "numpy": on_arrays, "torch": on_torch}


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
