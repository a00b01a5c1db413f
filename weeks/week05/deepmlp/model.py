"""A deep MLP that reads the letters before and scores the next one, with each choice of week 5 as a line of its config.

embedding -> side by side -> [linear, norm, nonlinearity] depth times -> linear. The contract is that of every language
model here: `logits, loss = model(tokens, targets)`. Left out: dropout, weights shared between layers.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn

from .init import GAINS
from .layers import GELU, BatchNorm1d, Embedding, Flatten, LayerNorm, Linear, ReLU, Residual, Sequential, Tanh

ACTIVATIONS = {"tanh": Tanh, "relu": ReLU, "gelu": GELU}
NORMS = {"none": None, "batch": BatchNorm1d, "layer": LayerNorm}


@dataclass(frozen=True)
class Config:
    """What a network looks like and how it starts; the last four are for starting it wrongly on purpose."""

    vocab_size: int = 27
    context: int = 3
    n_embd: int = 10
    n_hidden: int = 200
    depth: int = 1  # hidden layers
    activation: str = "tanh"
    norm: str = "none"
    residual: bool = False  # from the second hidden layer on, a layer is added to what came in
    gain: float | None = None  # of the hidden layers; None takes the right one for the activation
    weight_std: float | None = None  # of the hidden weights, instead of gain / sqrt(fan_in); the lecture began with 1
    head_std: float = 0.01  # of the last weights: small, so that at first no letter is preferred
    bias_mean: float = 0.0  # where hidden biases start; -6 kills nearly every ReLU

    def __post_init__(self):
        for name, table in (("activation", ACTIVATIONS), ("norm", NORMS)):
            if getattr(self, name) not in table:
                raise ValueError(f"{name} {getattr(self, name)!r} is unknown; choose one of {', '.join(table)}")
        for name in ("vocab_size", "context", "n_embd", "n_hidden", "depth"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} builds no network; give 1 or more")


class DeepMLP(nn.Module):
    """tokens (B, context) of letters -> logits (B, vocab_size), and the mean loss in nats for targets (B,)."""

    def __init__(self, config, seed=0):
        super().__init__()
        self.config = config
        generator = torch.Generator().manual_seed(seed)
        self.embed = Sequential(Embedding(config.vocab_size, config.n_embd, generator), Flatten())
        width, blocks = config.context * config.n_embd, []
        for number in range(config.depth):
            block = hidden(config, width, generator)
            blocks.append(Residual(block) if config.residual and number else block)
            width = config.n_hidden
        self.body = Sequential(*blocks)
        self.head = Linear(width, config.vocab_size, generator=generator, gain=config.head_std * math.sqrt(width))

    def forward(self, tokens, targets=None):
        if tokens.dim() != 2 or tokens.shape[1] != self.config.context:
            raise ValueError(
                f"the network reads windows of {self.config.context} letters, and was given tokens of shape "
                f"{tuple(tokens.shape)}; give (batch, {self.config.context})"
            )
        x = self.embed(tokens)  # (B, context * n_embd)
        x = self.body(x)  # (B, n_hidden)
        logits = self.head(x)  # (B, vocab_size)
        return logits, None if targets is None else nn.functional.cross_entropy(logits, targets)

    def size(self):
        """How many numbers are learned."""
        return sum(p.numel() for p in self.parameters())


def hidden(config, fan_in, generator):
    """One hidden layer: linear, norm, nonlinearity. A norm would subtract a bias before it, so there is none."""
    norm = NORMS[config.norm]
    gain = GAINS[config.activation] if config.gain is None else config.gain
    if config.weight_std is not None:
        gain = config.weight_std * math.sqrt(fan_in)
    linear = Linear(fan_in, config.n_hidden, bias=norm is None, generator=generator, gain=gain)
    layers = [linear] if norm is None else [linear, norm(config.n_hidden)]
    with torch.no_grad():
        layers[-1].bias += config.bias_mean
    return Sequential(*layers, ACTIVATIONS[config.activation]())


@torch.no_grad()
def as_trained(model, tokens, targets, rows):
    """The mean loss where batch norm, `rows` at a time, goes on using the batch as in training: the trap of `eval`.

    Running statistics stay as they are. Of a batch of one row nothing is left but the bias: x - mean is 0.
    """
    norms = [module for module in model.modules() if isinstance(module, BatchNorm1d)]
    kept = [(norm.momentum, norm.training, norm.gain.clone()) for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0
            norm.train(rows > 1)
            if rows == 1:
                norm.gain.zero_()
        rows = min(rows, len(tokens))
        whole = len(tokens) // rows * rows  # the last, shorter batch is left out
        losses = [
            model(part, wanted)[1] for part, wanted in zip(tokens[:whole].split(rows), targets[:whole].split(rows))
        ]
    finally:
        for norm, (momentum, training, gain) in zip(norms, kept):
            norm.momentum, norm.training = momentum, training
            norm.gain.copy_(gain)
    return torch.stack(losses).mean().item()
