"""What a training costs before it is begun: operations, bytes and seconds, each by a formula.

Pure functions of a GPTConfig; nothing is built, so they answer for models that no machine here could hold. All bytes
are those of float32. Left out: bf16 weights, activation checkpointing, what a framework itself takes, the time to talk
between machines.
"""

from typing import NamedTuple

BYTES = 4  # of a float32
# How many tensors of a parameter's size an optimizer remembers: (for hidden matrices, for all others).
STATES = {"sgd": (1, 1), "adamw": (2, 2), "lion": (1, 1), "muon": (1, 2)}


class Machine(NamedTuple):
    """Cards or processors that work together. `peak`: operations a second of one card."""

    name: str
    peak: float
    cards: int = 1


# NVIDIA H100 SXM: 1,979 bf16 teraFLOP/s with sparsity, so half of that for dense matrices. NVIDIA's data sheet.
H100 = Machine("one H100", 989.4e12)
MACHINES = {"h100": H100, "8xh100": H100._replace(name="8 x H100", cards=8)}


def hidden(config):
    """Numbers in the matrices of the blocks: (C, 3 C), (C, C), (C, 4 C) and (4 C, C) a layer, that is 12 C^2."""
    return 12 * config.n_layer * config.n_embd**2


def parameters(config):
    """All numbers of a GPT, the tied matrix counted once: tables, matrices, and what biases and norms add."""
    width, layers = config.n_embd, config.n_layer
    tables = (config.vocab_size + config.block_size) * width
    vectors = (13 * layers + 2) * width if config.bias else (2 * layers + 1) * width
    return tables + hidden(config) + vectors


def flops(config, tokens):
    """Floating-point operations to train on `tokens` tokens, in windows of block_size.

    A token: 6 for each weight that multiplies (2 forward, 4 backward), and 12 C T a layer for the two products of
    attention, as if nothing were masked (Chowdhery et al. 2022, arXiv:2204.02311, appendix B).
    """
    multiply = hidden(config) + config.vocab_size * config.n_embd  # the tied table works once, as the head
    return tokens * (6 * multiply + 12 * config.n_layer * config.n_embd * config.block_size)


def memory(config, batch, optimizer="adamw"):
    """{part: bytes} of training with `batch` windows a step, without dropout; the most at one time is their sum.

    activations: what the forward keeps for the backward. Each token of a layer keeps 16 C numbers (the inputs of two
    norms, of qkv, proj, up and gelu's 4 C twice; q, k, v; what attention gave), a mean and a spread for each norm,
    and one number a head. logits: they, their log-softmax, and their gradient.
    Raises ValueError for an optimizer that is not in STATES, and for a batch below 1.
    """
    if not batch >= 1:
        raise ValueError(f"a batch of {batch} windows holds nothing; give 1 or more")
    if optimizer not in STATES:
        raise ValueError(f"nothing is known of the memory of {optimizer!r}; choose from {', '.join(STATES)}")
    n, matrices, tokens = parameters(config), hidden(config), batch * config.block_size
    of_matrices, of_rest = STATES[optimizer]
    layer = 16 * config.n_embd + 4 + config.n_head
    return {
        "weights": BYTES * n,
        "gradients": BYTES * n,
        "optimizer": BYTES * (of_matrices * matrices + of_rest * (n - matrices)),
        "activations": BYTES * tokens * (config.n_layer * layer + 2 * config.n_embd + 2),
        "logits": BYTES * tokens * 3 * config.vocab_size,
    }


def seconds(flops, flop_rate, utilisation=1.0):
    """How long `flops` operations take at `flop_rate` a second, of which the share `utilisation` is reached.

    Raises ValueError for a rate of 0 or less, and for a share outside of (0, 1].
    """
    if not flop_rate > 0:
        raise ValueError(f"a rate of {flop_rate} operations a second never ends; give a number above 0")
    if not 0 < utilisation <= 1:
        raise ValueError(f"utilisation is {utilisation}, but it is the share of the peak; give a number in (0, 1]")
    return flops / (flop_rate * utilisation)
