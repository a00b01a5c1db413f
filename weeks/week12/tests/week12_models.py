"""Small models and byte comparisons that the tests of week 12 share."""

import torch
from lora import (
    base_state,
    parameters,
)  # fmt: skip
from lora.vendor.gpt.model import GPT, GPTConfig
from torch import nn


def tiny(**changes):
    torch.manual_seed(0)
    return GPT(
        GPTConfig(**{"vocab_size": 17, "block_size": 8, "n_layer": 2, "n_head": 2, "n_embd": 16, **changes})
    ).eval()


def tokens(rows=3, seed=1):
    return torch.randint(17, (rows, 8), generator=torch.Generator().manual_seed(seed))


def shake(model, name, size=0.3, seed=2):
    """Give an adapter random A and B, as if it had been trained: with B = 0 most tests would pass by doing nothing."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in parameters(model, name).values():
            p.copy_(torch.randn(p.shape, generator=g, dtype=torch.float64) * size)
    return model


def bytes_of(model):
    return {key: value.clone() for key, value in base_state(model).items()}


def same_bytes(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k].view(torch.uint8), b[k].view(torch.uint8)) for k in a)


class Net(nn.Module):
    """Biases, and paths that are ends of other paths, which PEFT's matching by ends can confuse."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.up = nn.Linear(6, 9)
        self.inner = nn.ModuleDict({"up": nn.Linear(9, 9), "down": nn.Linear(9, 6, bias=False)})
        self.eval()  # a fresh module is in training mode, where the adapter's dropout would be on

    def forward(self, x):
        return self.inner["down"](torch.tanh(self.inner["up"](torch.tanh(self.up(x)))))
