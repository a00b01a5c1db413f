"""Weeks 3 and 4: measure what three papers claim about letters as vectors, and about cells that remember.

python weeks/week03-04/claims.py                       # all claims, three seeds each: a quarter of an hour
python weeks/week03-04/claims.py lstm-lag --seeds 5    # one claim
"""

import copy
import math
import sys
from dataclasses import replace
from pathlib import Path

import torch
from makemore.fit import Recipe, evaluate, fit
from makemore.measure import RECIPES
from makemore.mlp import MLP
from makemore.names import load, windows
from makemore.recurrent import GRUCell, LSTMCell, Recurrent, RNNCell
from makemore.vendor.shared import claims
from makemore.vendor.shared.claims import once
from makemore.vendor.shared.errors import entry
from makemore.vendor.shared.files import need
from torch import nn

NAMES = Path(__file__).resolve().parents[2] / "data" / "names" / "names.txt"


@once
def names_of(run):
    names = load(need(NAMES, "make data/names"))
    if run.quick:
        return replace(names, train=names.train[:500], val=names.val[:100], test=names.test[:100])
    return names


def trained(run, build, data, recipe, seed, label):
    """A fresh model of `build`, its weights from `seed`, fitted to data."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build()
        for _ in run.bar(fit(model, data, recipe, seed), recipe.steps, label):
            pass
    return model


# --- Bengio et al. 2003 -----------------------------------------------------------------------------------------------


class Backoff:
    """n-grams of growing context: p_n = (count + k p_(n-1)) / (sum of the row + k), from p = 1 / V on.

    A long context that training rarely showed leans on the shorter one. Each k is the best on the val names.
    """

    STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)

    def __init__(self, vocab_size, data):
        self.vocab_size, (self.tokens, self.targets) = vocab_size, data

    def keys(self, tokens, context):
        """The last `context` letters of each window, read as the digits of one number. (N, n) -> (N,)."""
        key = torch.zeros(len(tokens), dtype=torch.long)
        for place in range(tokens.shape[1] - context, tokens.shape[1]):
            key = key * self.vocab_size + tokens[:, place]
        return key

    def counts(self, tokens, context):
        """How often each letter followed the same context in training: (N, n) -> (N, V)."""
        known, row = self.keys(self.tokens, context).unique(return_inverse=True)
        table = torch.zeros(len(known), self.vocab_size, dtype=torch.float64)
        table.index_put_((row, self.targets), torch.ones(len(row), dtype=torch.float64), accumulate=True)
        asked = self.keys(tokens, context)
        found = torch.searchsorted(known, asked).clamp(max=len(known) - 1)
        return table[found] * (known[found] == asked)[:, None]

    def losses(self, val, test, longest):
        """[(val loss, test loss)] for contexts of 0, 1, ... `longest` letters."""
        p = [torch.full((len(part[0]), self.vocab_size), 1 / self.vocab_size).double() for part in (val, test)]
        found = []
        for context in range(longest + 1):
            counts = [self.counts(part[0], context) for part in (val, test)]
            tries = []
            for k in self.STRENGTHS:
                q = [(c + k * before) / (c.sum(1, keepdim=True) + k) for c, before in zip(counts, p)]
                loss = [-x.gather(1, part[1][:, None]).log().mean().item() for x, part in zip(q, (val, test))]
                tries.append((loss, q))
            loss, p = min(tries, key=lambda pair: pair[0][0])
            found.append(tuple(loss))
        return found


@once
def ngrams(run, longest=6):
    names = names_of(run)
    train, val, test = (windows(names, part, longest) for part in (names.train, names.val, names.test))
    return Backoff(names.vocab_size, train).losses(val, test, longest)


class DirectMLP(MLP):
    """The MLP with the paper's direct connections: e W' is added to the logits (section 2, matrix W)."""

    def __init__(self, vocab_size, context, n_embd, n_hidden):
        super().__init__(vocab_size, context, n_embd, n_hidden)
        self.direct = nn.Linear(context * n_embd, vocab_size, bias=False)
        nn.init.zeros_(self.direct.weight)

    def logits(self, tokens):
        return super().logits(tokens) + self.direct(self.embedding(tokens).flatten(-2))


@once
def perceptron(run, kind, context, steps, seed):
    """(val loss, test loss, parameters) of one trained network."""
    names = names_of(run)
    train, val, test = (windows(names, part, context) for part in (names.train, names.val, names.test))
    recipe = Recipe(run.steps(steps), batch_size=512, lr=1e-2, weight_decay=0.02)
    build = lambda: kind(names.vocab_size, context, 16, 145)
    model = trained(run, build, train, recipe, seed, f"{kind.__name__} on {context} letters")
    return evaluate(model, val), evaluate(model, test), model.n_params()


def bengio_ngram(seed, run):
    """test perplexity of the best smoothed n-gram, divided by the MLP's"""
    best = min(ngrams(run))[1]
    _, test, params = perceptron(run, MLP, 4, 6_000, seed)
    return {
        "value": math.exp(best - test), "ngram": best, "mlp": test, "params": params,
        "context": ngrams(run).index(min(ngrams(run))),
    }  # fmt: skip


def bengio_context(seed, run):
    """what the MLP gains from four letters instead of two, less what the n-gram gains (nats)"""
    short, long = (perceptron(run, MLP, context, 6_000, seed)[1] for context in (2, 4))
    table = ngrams(run)[2][1] - ngrams(run)[4][1]
    return {"value": short - long - table, "mlp_gain": short - long, "ngram_gain": table, "mlp_two": short}


def bengio_direct(seed, run):
    """test loss with direct connections less the loss without (nats)"""
    without, joined = (perceptron(run, kind, 4, 6_000, seed)[1] for kind in (MLP, DirectMLP))
    early = [perceptron(run, kind, 4, 600, seed)[1] for kind in (MLP, DirectMLP)]
    return {"value": joined - without, "with": joined, "without": without, "early": early[1] - early[0]}


# --- Hochreiter and Schmidhuber 1997 ----------------------------------------------------------------------------------


class Carousel(LSTMCell):
    """The cell of 1997: no forget gate. What was written into c stays, and an error comes back through it unchanged."""

    def update(self, from_x, state):
        h, c = state
        gates, offered = torch.addmm(from_x, h, self.weight_h).split([3 * self.n_hidden, self.n_hidden], dim=1)
        i, _, o = torch.sigmoid(gates).chunk(3, dim=1)
        c = c + i * torch.tanh(offered)
        return o * torch.tanh(c), c


class Ungated(LSTMCell):
    """The carousel without its two gates: everything is written, everything is shown."""

    def update(self, from_x, state):
        h, c = state
        c = c + torch.tanh(torch.addmm(from_x, h, self.weight_h)[:, 3 * self.n_hidden :])
        return torch.tanh(c), c


class Last(Recurrent):
    """One answer a sequence, from the last state: (B, T) -> (B, V)."""

    def logits(self, tokens):
        return super().logits(tokens)[:, -1]


def remember(count, lag, seed, same=False):
    """Sequences whose first letter (one of four) is asked for after `lag` others: tokens (N, lag + 1), targets (N,).

    The others are four letters of their own, or with `same` the same four: then only the place tells which one counts.
    """
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(4, (count, 1), generator=generator)
    others = torch.randint(4, (count, lag), generator=generator) + (0 if same else 4)
    return torch.cat([first, others], dim=1), first[:, 0]


def decades_lost(model, lag):
    """How many powers of ten smaller the gradient is at a letter `lag` places back than at the last one."""
    x = model.embedding(remember(64, lag, seed=7)[0]).detach().double().requires_grad_()
    h = copy.deepcopy(model.cell).double()(x)[:, -1]  # (B, H)
    upstream = torch.randn(h.shape, generator=torch.Generator().manual_seed(7), dtype=h.dtype)
    (h * upstream).sum().backward()
    size = x.grad.norm(dim=(0, 2)).clamp(min=1e-300)  # (T,)
    return -math.log10(size[0] / size[-1])


@once
def remembers(run, cell, lag, same, seed):
    """(share, lost): of fresh sequences whose first letter a trained network names, and `decades_lost` of it.

    Chance is a quarter.
    """
    build = lambda: Last(8, cell, n_embd=8, n_hidden=32)
    recipe = Recipe(run.steps(1_000), batch_size=128, lr=1e-2, weight_decay=0.0, warmup=50)
    label = f"{cell.__name__}, lag {lag}"
    model = trained(run, build, remember(20_000, lag, 2 * seed, same), recipe, seed, label).eval()
    tokens, targets = remember(2_000, lag, 2 * seed + 1, same)
    with torch.no_grad():
        share = (model(tokens)[0].argmax(1) == targets).float().mean().item()
    return share, decades_lost(model, lag)


def lstm_lag(seed, run):
    """share of right answers after 50 distractors, the 1997 cell less the plain recurrent cell"""
    right = {cell: remembers(run, cell, 50, False, seed)[0] for cell in (Carousel, RNNCell, LSTMCell)}
    return {
        "value": right[Carousel] - right[RNNCell], "carousel": right[Carousel], "rnn": right[RNNCell],
        "with_forget_gate": right[LSTMCell],
    }  # fmt: skip


def lstm_gates(seed, run):
    """share of right answers when distractors look like the signal, the 1997 cell less the same without gates"""
    gated, ungated = (remembers(run, cell, 50, True, seed)[0] for cell in (Carousel, Ungated))
    return {"value": gated - ungated, "gated": gated, "ungated": ungated}


def lstm_vanish(seed, run):
    """powers of ten that a gradient loses over 50 letters in trained networks, plain cell less the 1997 cell"""
    lost = {cell: remembers(run, cell, 50, False, seed)[1] for cell in (RNNCell, Carousel, LSTMCell)}
    return {
        "value": lost[RNNCell] - lost[Carousel], "rnn": lost[RNNCell], "carousel": lost[Carousel],
        "with_forget_gate": lost[LSTMCell],
    }  # fmt: skip


# --- Cho et al. 2014 --------------------------------------------------------------------------------------------------

WIDTHS = {"rnn": (RNNCell, 128), "gru": (GRUCell, 71), "lstm": (LSTMCell, 60)}  # each about 25,000 numbers


@once
def cell_on_names(run, name, seed):
    """(test loss, parameters) of one trained cell on names."""
    names, (cell, width) = names_of(run), WIDTHS[name]
    build = lambda: Recurrent(names.vocab_size, cell, 32, width, dropout=0.1)
    train, test = (build().data(names, part) for part in (names.train, names.test))
    recipe = Recipe(run.steps(800), 256, RECIPES[name].lr, RECIPES[name].weight_decay)
    model = trained(run, build, train, recipe, seed, name)
    return evaluate(model, test), model.n_params()


def gru_rnn(seed, run):
    """test loss on names of the plain cell less the GRU's, about 25,000 numbers each (nats)"""
    (plain, n_plain), (gated, n_gated) = (cell_on_names(run, name, seed) for name in ("rnn", "gru"))
    return {"value": plain - gated, "rnn": plain, "gru": gated, "rnn_params": n_plain, "gru_params": n_gated}


def gru_lag(seed, run):
    """share of right answers after 20 distractors, the GRU less the plain recurrent cell"""
    gated, plain = (remembers(run, cell, 20, False, seed)[0] for cell in (GRUCell, RNNCell))
    return {"value": gated - plain, "gru": gated, "rnn": plain}


def gru_lstm(seed, run):
    """test loss on names of the LSTM less the GRU's, about 25,000 numbers each (nats)"""
    (memory, n_memory), (gated, _) = (cell_on_names(run, name, seed) for name in ("lstm", "gru"))
    return {"value": memory - gated, "lstm": memory, "gru": gated, "lstm_params": n_memory}


CLAIMS = {
    "bengio-ngram": bengio_ngram,
    "bengio-context": bengio_context,
    "bengio-direct": bengio_direct,
    "lstm-lag": lstm_lag,
    "lstm-gates": lstm_gates,
    "lstm-vanish": lstm_vanish,
    "gru-rnn": gru_rnn,
    "gru-lag": gru_lag,
    "gru-lstm": gru_lstm,
}


def main(argv=None):
    return claims.main(__file__, CLAIMS, __doc__, argv)


if __name__ == "__main__":
    sys.exit(entry(main))
