"""A network shaped like a tree, after WaveNet (van den Oord et al. 2016): eight letters, then four pairs, two, one.

The same weights can be laid out in two ways. `Tree` reads windows of letters and gives one prediction for each window.
`Dilated` reads whole names and gives a prediction after every letter: each layer is a causal convolution of two taps,
one place apart in the first layer, two in the second, four in the third. What two neighbouring windows have in common
is then computed once. Both ways to join neighbours are in manual.py, beside their backward passes. Left out: gates,
residual and skip connections, the many blocks of the published network.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from .manual import causal_conv_forward, flatten_consecutive_forward
from .vendor.makemore.names import IGNORE

ACTIVATIONS = {"gelu": F.gelu, "tanh": torch.tanh}


@dataclass(frozen=True)
class Shape:
    """Sizes of the network; the context must be a power of two, for each layer halves it."""

    vocab_size: int = 27
    context: int = 8
    n_embd: int = 21  # with 128 hidden units the most that stays below 76,000 parameters
    n_hidden: int = 128
    activation: str = "gelu"  # or "tanh", as in the lecture
    over: str = "rows and places"  # what batch norm takes its statistics over; "rows" is the bug of the lecture

    def __post_init__(self):
        if self.context < 2 or self.context & (self.context - 1):
            raise ValueError(f"a context of {self.context} makes no tree of pairs; give 2, 4, 8 or 16")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation {self.activation!r} is unknown; give one of {', '.join(ACTIVATIONS)}")
        if self.over not in BatchNorm.AXES:
            raise ValueError(f"batch norm over {self.over!r} is unknown; give one of {', '.join(BatchNorm.AXES)}")

    @property
    def depth(self):
        return self.context.bit_length() - 1


class BatchNorm(nn.Module):
    """y = gain * (x - mean) / sqrt(var + eps) + bias, over all axes but the last.

    In training the statistics are the batch's, and running ones are kept for evaluation. over="rows" takes them over
    axis 0 alone: right for (B, C), a bug for (B, T, C), where every place then has statistics of its own, of B numbers
    instead of B T, and the running ones have the shape (1, T, C).
    """

    AXES = {"rows and places": None, "rows": 0}

    def __init__(self, width, over="rows and places", momentum=0.1, eps=1e-5):
        super().__init__()
        self.gain, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))
        self.over, self.momentum, self.eps = over, momentum, eps

    def forward(self, x):
        if self.over == "rows" and x.dim() == 3:
            return self.place_by_place(x)
        rows = x.reshape(-1, x.shape[-1])  # (B T, C)
        if self.training and len(rows) < 2:
            raise ValueError("one row has no variance; give batch norm two rows or more, or call model.eval()")
        statistics = self.running_mean, self.running_var
        rows = F.batch_norm(rows, *statistics, self.gain, self.bias, self.training, self.momentum, self.eps)
        return rows.view(x.shape)

    def place_by_place(self, x):
        """The bug, kept to be measured: (B, T, C) normalised over axis 0 only."""
        if self.training:
            if len(x) < 2:
                raise ValueError("one row has no variance; give batch norm two rows or more, or call model.eval()")
            var, mean = torch.var_mean(x, 0, keepdim=True, correction=0)  # (1, T, C): one for each place
            with torch.no_grad():
                unbiased = var * len(x) / (len(x) - 1)
                self.running_mean = self.running_mean + self.momentum * (mean - self.running_mean)
                self.running_var = self.running_var + self.momentum * (unbiased - self.running_var)
        else:
            mean, var = self.running_mean, self.running_var
        return self.gain * (x - mean) * torch.rsqrt(var + self.eps) + self.bias


class Tree(nn.Module):
    """`logits, loss = model(tokens, targets)` for windows: tokens (B, context), targets (B,), logits (B, V)."""

    def __init__(self, shape, seed=0):
        super().__init__()
        self.shape = shape
        generator = torch.Generator().manual_seed(seed)
        draw = lambda *size: nn.Parameter(torch.randn(*size, generator=generator))
        C, H = shape.n_embd, shape.n_hidden
        self.embedding = draw(shape.vocab_size, C)
        widths = [2 * C, *[2 * H] * (shape.depth - 1)]
        self.weights = nn.ParameterList([nn.Parameter(draw(n, H).data * 5 / 3 / math.sqrt(n)) for n in widths])
        self.norms = nn.ModuleList([BatchNorm(H, shape.over) for _ in widths])
        self.out_weight = nn.Parameter(draw(H, shape.vocab_size).data * 0.1 / math.sqrt(H))  # unsure at first
        self.out_bias = nn.Parameter(torch.zeros(shape.vocab_size))

    def forward(self, tokens, targets=None):
        x = self.embedding[tokens]  # (B, T, C)
        for weight, norm in zip(self.weights, self.norms):
            x = self.unit(flatten_consecutive_forward(x, 2)[0] @ weight, norm)  # (B, T/2, H), then (B, T/4, H) ...
        return self.judge(x.squeeze(1), targets)

    def unit(self, x, norm):
        return ACTIVATIONS[self.shape.activation](norm(x))

    def judge(self, x, targets):
        logits = x @ self.out_weight + self.out_bias
        if targets is None:
            return logits, None
        return logits, F.cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=IGNORE)


class Dilated(Tree):
    """The same weights for whole names: tokens (B, T), targets (B, T), logits (B, T, V), one prediction a letter.

    Borders are put in front, as many as the first window has, so each prediction has the tree's context.
    """

    def forward(self, tokens, targets=None):
        tokens = F.pad(tokens, (self.shape.context - 1, 0))  # id 0 is the border
        x = self.embedding[tokens]  # (B, context - 1 + T, C)
        for layer, (weight, norm) in enumerate(zip(self.weights, self.norms)):
            x = self.unit(causal_conv_forward(x, weight, 2**layer)[0], norm)
        return self.judge(x, targets)


def parameters(model):
    """How many numbers are trained."""
    return sum(p.numel() for p in model.parameters())


def products(shape, places, form):
    """Multiplications of all matrix products for predictions at `places` places in a row of one name."""
    widths = [2 * shape.n_embd, *[2 * shape.n_hidden] * (shape.depth - 1)]
    if form == "tree":  # every window computes all its pairs
        spots = [places * shape.context // 2 ** (layer + 1) for layer in range(shape.depth)]
    else:  # every layer computes each place once, and those before the name
        spots = [places + shape.context - 2 ** (layer + 1) for layer in range(shape.depth)]
    layers = sum(spot * width * shape.n_hidden for spot, width in zip(spots, widths))
    return layers + places * shape.n_hidden * shape.vocab_size
