"""The one dial: from a budget to a model, its tokens, its learning rate, and the loss that a law expects of it.

    "2 cores x 1 hour"  ->  operations  ->  the shape with the lowest predicted loss  ->  a table, a formula a line

All but `speed` are pure functions. Left out: other batches and windows than those of the sweep, for the law knows no
others.
"""

import itertools
import math
import re
from typing import NamedTuple

import torch

from . import cost
from .law import interval
from .sweep import BATCH, BLOCK, HEAD, SHAPES, Trial, pace
from .vendor.shared.errors import Mistake
from .vendor.shared.results import cpu_count

UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 7 * 86400, "year": 365 * 86400}
SHORT = {"s": "second", "sec": "second", "min": "minute", "h": "hour", "d": "day"}
FORM = re.compile(r"(\d+)\s*cores?\s*(?:x|\*|×)\s*(\d+(?:\.\d+)?)\s*([a-z]+)", re.IGNORECASE)
LONGEST = 365 * 86400  # seconds
LEAST = 100  # steps; fewer are all warm-up, and no run of the sweep was so short
LIKELY = 5e10  # operations a second of a machine that nobody has measured yet
LARGEST = (4, 112)  # (layers, width) that is timed; a larger model is hardly faster, and takes long
MOST = 1e27  # operations; no model known has had more
EXAMPLE = 'give a budget such as "2 cores x 1 hour"'


class Budget(NamedTuple):
    """So many processor cores for so many seconds."""

    cores: int
    seconds: float


def parse_budget(text):
    """ "2 cores x 1 hour" -> Budget(2, 3600.0); second, minute, hour, day, week and year, short or long, as unit.

    Raises ValueError, a sentence each: no budget, another form, an unknown unit, nothing to spend, more than a year.
    """
    if not text.strip():
        raise ValueError(f"the budget is empty; {EXAMPLE}")
    found = FORM.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text!r} is no budget of cores and time; {EXAMPLE}")
    cores, amount, unit = int(found[1]), float(found[2]), found[3].lower()
    unit = SHORT.get(unit, unit.removesuffix("s"))
    if unit not in UNITS:
        raise ValueError(f"{found[3]!r} is no unit of time; write one of {', '.join(UNITS)}")
    seconds = amount * UNITS[unit]
    if cores == 0 or seconds == 0:
        raise ValueError(f"{text!r} is a budget of nothing, and nothing can be trained with it; {EXAMPLE}")
    if seconds > LONGEST:
        raise ValueError(
            f"{text!r} is longer than a year, far beyond what a law of minutes and hours can tell; {EXAMPLE}"
        )
    return Budget(cores, seconds)


def speed(law, budget, vocab_size, given=None, threads=None):
    """Operations a second: those `given`, or what training reaches here and now on `threads` (default: the cores).

    That takes some seconds, with a model of about the size that the budget pays for. Raises Mistake: a rate that is no
    number above 0, more cores than this machine has.
    """
    if given is not None:
        if not 0 < given < math.inf:
            raise Mistake(f"--rate is {given}; give operations a second, a number above 0")
        return given
    if budget.cores > max(2, cpu_count()):  # 2: the example must work on one core too
        raise Mistake(
            f"this machine has {cpu_count()} cores, so the speed of {budget.cores} cannot be measured; give --rate, "
            "their operations a second"
        )
    torch.set_num_threads(threads or budget.cores)
    likely = best(law, LIKELY * budget.seconds, vocab_size)
    return pace(min((likely.layers, likely.width), LARGEST), vocab_size)


def shapes():
    """(layers, width) without end: those of the sweep, then a layer and 32 channels more each time."""
    yield from SHAPES
    layers, width = SHAPES[-1]
    for more in itertools.count(1):
        yield layers + more, width + 2 * HEAD * more


class Choice(NamedTuple):
    """A shape with all of a budget spent on it."""

    layers: int
    width: int
    n: int  # parameters, embeddings too
    d: float  # tokens
    each: int  # operations to train on one token
    loss: float  # nats a token, as the law has it


def choices(law, budget_flops, vocab_size):
    """Choice after Choice, from the smallest shape up, to a tenth of a token a parameter: an IsoFLOP curve."""
    for layers, width in shapes():
        config = Trial(layers, width, budget_flops).config(vocab_size)
        n, each = cost.parameters(config), cost.flops(config, 1)
        d = budget_flops / each
        if d < n / 10:
            return
        yield Choice(layers, width, n, d, each, law.loss(n, d))


def best(law, budget_flops, vocab_size):
    """The Choice with the lowest loss. Raises ValueError where the smallest shape gets fewer than LEAST steps, and
    where there are more operations than MOST."""
    layers, width = SHAPES[0]
    least = LEAST * BATCH * BLOCK * cost.flops(Trial(layers, width, budget_flops).config(vocab_size), 1)
    if not budget_flops >= least:
        raise ValueError(
            f"{budget_flops:.2g} operations pay for {budget_flops / least * LEAST:.0f} steps of the smallest model, "
            f"{layers} layers x {width}, and fewer than {LEAST} tell nothing; give {least:.2g} or more: more time"
        )
    if budget_flops > MOST:
        raise ValueError(f"{budget_flops:.2g} operations are more than any model has had; give {MOST:g} at most")
    return min(choices(law, budget_flops, vocab_size), key=lambda choice: choice.loss)


class Advice(NamedTuple):
    """What the law advises for a budget; each (low, high) holds 80 % of the laws fitted to resampled runs."""

    layers: int
    width: int
    n: int
    d: float
    each: int
    batch: int  # windows a step
    lr: float
    loss: float
    low: float  # of the loss of THIS model
    high: float
    sizes: tuple  # (low, high) of n: what each of the laws would choose
    tokens: tuple  # (low, high) of d
    rates: tuple  # (low, high) of lr

    @property
    def steps(self):
        return round(self.d / (self.batch * BLOCK))

    def table(self):
        """[(what, value, interval, formula), ...] as text, in the order in which one follows from the other."""
        span = lambda pair, style: f"{pair[0]:{style}} to {pair[1]:{style}}"
        return [
            ("operations C", f"{self.d * self.each:.3g}", "", "cores x seconds x operations a second, measured"),
            ("model", f"{self.layers} layers x {self.width}", "", "of all shapes, the one with the lowest L(N, D)"),
            ("parameters N", f"{self.n:,}", span(self.sizes, ",.0f"), "(V + T) C + 12 L C^2 + biases and norms"),
            ("tokens D", f"{self.d:,.0f}", span(self.tokens, ",.0f"), "C / (6 (12 L C^2 + V C) + 12 L C T)"),
            ("batch", f"{self.batch} x {BLOCK} tokens", "", "as in the sweep: the law knows no other"),
            ("steps", f"{self.steps:,}", "", "D / batch"),
            ("learning rate", f"{self.lr:.2g}", span(self.rates, ".2g"), "Muon's at every width, as in the sweep"),
            ("expected loss", f"{self.loss:.3f} nats", span((self.low, self.high), ".3f"),
             "E + A / N^alpha + B / D^beta"),
        ]  # fmt: skip


def advise(law, laws, budget_flops, rate_fn, vocab_size):
    """The Advice for a budget of operations.

    law: the fit; laws: fits to resampled runs (law.bootstrap), for the intervals; rate_fn(width): the learning rate.
    Raises ValueError where the budget is too small for any model.
    """
    chosen = best(law, budget_flops, vocab_size)
    others = [best(each, budget_flops, vocab_size) for each in laws]
    spread = lambda of: interval([of(other) for other in others])
    low, high = interval([each.loss(chosen.n, chosen.d) for each in laws])
    return Advice(
        chosen.layers, chosen.width, chosen.n, chosen.d, chosen.each, BATCH, rate_fn(chosen.width), chosen.loss, low,
        high, spread(lambda c: c.n), spread(lambda c: c.d), spread(lambda c: rate_fn(c.width)),
    )  # fmt: skip


def beyond(budget_flops, swept_flops):
    """A sentence where a budget lies beyond what the law has seen, else ""."""
    ratio = budget_flops / swept_flops
    if ratio <= 1:
        return ""
    trust = (
        "one prediction at 4 times was checked" if ratio <= 4 else "nothing that far was checked: take it as a guess"
    )
    return f"This is {ratio:.1f} times the largest compute that the law was fitted on; {trust}."
