"""The layers of a deep MLP: every formula written out, torch for its arrays and its derivatives alone.

`Layer` is a torch Module for the bookkeeping (parameters by name, train and eval, float64), and adds one thing: a layer
that is told to `keep` remembers its last output and that output's gradient, which is all that diagnostics need.
Left out: batch norm over more than two dimensions (week 6), momentum=None, sharing statistics between devices.
"""

import math
from contextlib import contextmanager

import torch
from torch import nn


class Layer(nn.Module):
    """A Module that can keep what it last gave out."""

    keep = False
    out = None  # the last output while keep is on; its .grad is there after backward

    def __call__(self, *inputs):
        out = super().__call__(*inputs)
        if self.keep:
            if out.requires_grad:
                out.retain_grad()
            self.out = out
        return out


@contextmanager
def keeping(model):
    """Inside, every layer of `model` keeps its output; afterwards all of them have forgotten it."""
    layers = [module for module in model.modules() if isinstance(module, Layer)]
    for layer in layers:
        layer.keep = True
    try:
        yield model
    finally:
        for layer in layers:
            layer.keep, layer.out = False, None


class Linear(Layer):
    """x (..., fan_in) -> x W + b (..., fan_out).

    Each weight starts as a normal number of standard deviation gain / sqrt(fan_in), so that inputs of mean square 1
    give outputs of standard deviation `gain`; the bias starts at 0.
    """

    def __init__(self, fan_in, fan_out, bias=True, generator=None, gain=1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(fan_in, fan_out, generator=generator) * gain / math.sqrt(fan_in))
        self.bias = nn.Parameter(torch.zeros(fan_out)) if bias else None

    def forward(self, x):
        out = x @ self.weight  # (..., fan_out)
        return out if self.bias is None else out + self.bias


class BatchNorm1d(Layer):
    """x (B, C) -> each column with mean 0 and variance 1 over the batch, times `gain`, plus `bias`.

    In training a column is measured on the batch itself, and a running mean and variance follow slowly; in evaluation
    only those two are used, so what a row gives does not depend on the rows beside it. (Ioffe and Szegedy 2015)
    """

    def __init__(self, dim, eps=1e-5, momentum=0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.gain = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.register_buffer("running_mean", torch.zeros(dim))
        self.register_buffer("running_var", torch.ones(dim))

    def forward(self, x):
        if x.dim() != 2 or x.shape[1] != len(self.gain):
            raise ValueError(
                f"batch norm of {len(self.gain)} columns was given {tuple(x.shape)}; give (batch, {len(self.gain)}), "
                "more dimensions flattened into the batch"
            )
        if self.training:
            mean, var = self.measure(x)  # (C,), (C,)
        else:
            mean, var = self.running_mean, self.running_var
        return self.gain * (x - mean) / torch.sqrt(var + self.eps) + self.bias  # (B, C)

    def measure(self, x):
        """Mean and variance of each column of x (B, C); the running ones take a step towards them.

        Raises ValueError for fewer than two rows: a row alone has no variance.
        """
        rows = len(x)
        if rows < 2:
            raise ValueError(
                f"a batch of {rows} has no variance, so batch norm cannot train on it; "
                "give two rows or more, or call model.eval() to use the running statistics"
            )
        mean = x.mean(0)
        var = ((x - mean) ** 2).mean(0)  # divided by B: this batch is all there is
        with torch.no_grad():
            self.running_mean += self.momentum * (mean - self.running_mean)
            # subtle: divided by B - 1, for here the batch stands for all data (torch does the same)
            self.running_var += self.momentum * (var * rows / (rows - 1) - self.running_var)
        return mean, var


class LayerNorm(Layer):
    """x (..., C) -> each row with mean 0 and variance 1 over its own numbers, times `gain`, plus `bias`.

    No other row is looked at, so training and evaluation are the same, and a batch of one is no special case.
    (Ba et al. 2016)
    """

    def __init__(self, dim, eps=1e-5):
        super().__init__()
        self.eps = eps
        self.gain = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x):
        centred = x - x.mean(-1, keepdim=True)
        var = (centred**2).mean(-1, keepdim=True)  # (..., 1)
        return self.gain * centred / torch.sqrt(var + self.eps) + self.bias


class Tanh(Layer):
    def forward(self, x):
        return torch.tanh(x)


class ReLU(Layer):
    def forward(self, x):
        return x * (x > 0)  # and the gradient at 0 is 0, as in torch


class GELU(Layer):
    """x times the share of a normal distribution below x (Hendrycks, Gimpel 2016), exact, not the tanh formula."""

    def forward(self, x):
        return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


class Embedding(Layer):
    """ids (...) -> rows of a table (..., dim)."""

    def __init__(self, rows, dim, generator=None):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(rows, dim, generator=generator))

    def forward(self, ids):
        return self.weight[ids]


class Flatten(Layer):
    """x (B, T, C) -> (B, T * C): the letters of a context side by side."""

    def forward(self, x):
        return x.flatten(1)


class Residual(Layer):
    """x -> x + body(x): what is learned is a change, and the gradient has a way around it."""

    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        return x + self.body(x)


class Sequential(Layer):
    """One layer after the other; a list of layers that is a layer."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x

    def __iter__(self):
        return iter(self.layers)

    def __len__(self):
        return len(self.layers)

    def __getitem__(self, index):
        return self.layers[index]
