"""Week 6: measure what the WaveNet paper claims about dilation, gates and residual connections.

python weeks/week06/claims.py                          # all claims, three seeds each: some minutes
python weeks/week06/claims.py wavenet-gate --seeds 5   # one claim
"""

import math
import sys
from dataclasses import replace
from pathlib import Path

import torch
from backprop.manual import causal_conv_forward
from backprop.vendor.makemore.fit import Recipe, evaluate, fit
from backprop.vendor.makemore.names import IGNORE, load, rows
from backprop.vendor.shared import claims
from backprop.vendor.shared.claims import once
from backprop.vendor.shared.errors import entry
from backprop.vendor.shared.files import need
from torch import nn
from torch.nn import functional as F

NAMES = Path(__file__).resolve().parents[2] / "data" / "names" / "names.txt"
DILATED, FLAT = (1, 2, 4), (1, 1, 1)  # eight letters and four, with three layers each


class Stack(nn.Module):
    """A small WaveNet: causal convolutions of two taps, each with a unit, residual and skip connections (section 2.4).

        z = tanh(x * W_f) sigmoid(x * W_g)   (section 2.3), or relu(x * W_f);   x' = x + z W_r;   skip = sum of z W_s
    No batch norm, no biases inside a layer. `logits, loss = model(tokens, targets)` for whole names, as in week 3.
    """

    def __init__(self, vocab_size, dilations, width, gated=True, residual=True):
        super().__init__()
        self.dilations, self.gated, self.residual = dilations, gated, residual
        draw = lambda n_in, n_out: nn.Parameter(torch.randn(n_in, n_out) / math.sqrt(n_in))
        self.embedding = draw(vocab_size, width)
        with torch.no_grad():
            self.embedding.mul_(math.sqrt(vocab_size))
        self.filters = nn.ParameterList(draw(2 * width, (1 + gated) * width) for _ in dilations)
        self.mixes = nn.ParameterList(draw(width, 2 * width) for _ in dilations)  # W_r beside W_s
        self.out_weight = draw(width, vocab_size)
        self.out_bias = nn.Parameter(torch.zeros(vocab_size))
        with torch.no_grad():
            self.out_weight.mul_(0.1)  # unsure at first

    def unit(self, x):
        if not self.gated:
            return torch.relu(x)
        signal, gate = x.chunk(2, dim=-1)
        return torch.tanh(signal) * torch.sigmoid(gate)

    def forward(self, tokens, targets=None):
        x, skip = self.embedding[tokens], 0.0  # (B, T, C)
        for filters, mix, dilation in zip(self.filters, self.mixes, self.dilations):
            padded = F.pad(x, (0, 0, dilation, 0))  # before the name there is nothing: zeros
            z = self.unit(causal_conv_forward(padded, filters, dilation)[0])
            onward, out = (z @ mix).chunk(2, dim=-1)
            x, skip = x + onward if self.residual else onward, skip + out
        read = skip if self.residual else x  # without these connections only the last layer is read
        logits = torch.relu(read) @ self.out_weight + self.out_bias
        if targets is None:
            return logits, None
        return logits, F.cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=IGNORE)


@once
def names_of(run):
    names = load(need(NAMES, "make data/names"))
    if run.quick:
        return replace(names, train=names.train[:500], test=names.test[:100])
    return names


@once
def judged(run, dilations, width, gated, residual, seed):
    """(test loss, training loss, parameters) of one trained stack."""
    names = names_of(run)
    train, test = rows(names, names.train), rows(names, names.test)
    recipe = Recipe(run.steps(600), batch_size=128, lr=5e-3, weight_decay=0.05)
    label = f"{'gated' if gated else 'relu'} {'residual' if residual else 'plain'} {len(dilations)} layers"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Stack(names.vocab_size, dilations, width, gated, residual)
        for _ in run.bar(fit(model, train, recipe, seed), recipe.steps, label):
            pass
    sample = [part[:3_000] for part in train]
    return evaluate(model, test), evaluate(model, sample), sum(p.numel() for p in model.parameters())


def wavenet_dilation(seed, run):
    """test loss of three layers without dilation less that of three dilated ones, equal numbers (nats)"""
    flat, dilated = (judged(run, d, 32, True, True, seed) for d in (FLAT, DILATED))
    seven = judged(run, (1,) * 7, 32, True, True, seed)
    return {
        "value": flat[0] - dilated[0], "flat": flat[0], "dilated": dilated[0], "params": dilated[2],
        "seven_layers": seven[0], "seven_layers_params": seven[2],
    }  # fmt: skip


def wavenet_gate(seed, run):
    """test loss of relu units less that of gated ones, equal numbers (nats)"""
    gated, relu = judged(run, DILATED, 32, True, True, seed), judged(run, DILATED, 39, False, True, seed)
    return {
        "value": relu[0] - gated[0], "relu": relu[0], "gated": gated[0], "relu_params": relu[2],
        "relu_train": relu[1], "gated_train": gated[1],
    }  # fmt: skip


def wavenet_residual(seed, run):
    """test loss of nine layers without residual and skip connections less that of nine with them (nats)"""
    plain, joined = (judged(run, DILATED * 3, 32, True, residual, seed) for residual in (False, True))
    return {"value": plain[0] - joined[0], "plain": plain[0], "joined": joined[0],
            "plain_train": plain[1], "joined_train": joined[1]}  # fmt: skip


CLAIMS = {"wavenet-dilation": wavenet_dilation, "wavenet-gate": wavenet_gate, "wavenet-residual": wavenet_residual}


def main(argv=None):
    return claims.main(__file__, CLAIMS, __doc__, argv)


if __name__ == "__main__":
    sys.exit(entry(main))
