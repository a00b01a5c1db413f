"""Names the disease of a sick network from its diagnostics alone: it never sees the config, the norms, or the rate.

`examine` trains a network a little and writes down what the four diagnostics say, before and after; `diagnose` reads
that chart and nothing else. Six diseases are known, with a test that plants each.
Left out: diseases that hide from these four (wrong labels, a leak from train to val), and two diseases at once: the
one that explains the others is named.
"""

import math
from dataclasses import dataclass, replace

from .diagnostics import (
    DEAD,
    NOTHING,
    SLOW,
    Report,
    grad_to_data,
    gradients,
    look,
    saturation,
    step_size,
    typical,
    update_to_data,
    weights_of,
)
from .model import Config
from .vendor.makemore.fit import Recipe, fit

SURPRISE = 0.5  # nats of the first loss above ln V: logits of standard deviation s cost s**2 / 2, so this is s = 1
FADES = 2.0  # how far the spreads of z may lie apart before the first step; right gains keep them alike along the depth
DRIFT = 1.25  # how many times the spread of a layer's z may change while it is trained; a norm holds it near 1
SHALLOW = 4  # below that many hidden layers a drift is what learning looks like: there is no depth to add it up
FEWEST = 8  # steps of an examination
ROWS = 512  # of the batch that is looked at


@dataclass(frozen=True)
class Chart:
    """What the doctor is given: reports by name before the first step and after the last, and of the steps between."""

    vocab_size: int
    first_loss: float
    last_loss: float
    before: dict
    after: dict
    updates: Report


@dataclass(frozen=True)
class Diagnosis:
    """disease: a key of ADVICE, or None. evidence: what in the chart says so. advice: what to do."""

    disease: str | None
    evidence: str
    advice: str


ADVICE = {
    "bad_init": "start the last layer small (head_std 0.01), so that the first loss is ln V",
    "wrong_gain": "start hidden weights at gain / sqrt(fan_in): 5/3 for tanh, sqrt 2 for relu (init.py); or add a norm",
    "dead_relu": "start biases at 0 and lower the learning rate; gelu or a norm before relu keep units awake",
    "high_lr": "divide the learning rate by 10 and look at update:data again; about 10^-3 is the place",
    "low_lr": "multiply the learning rate by 10 and look at update:data again; about 10^-3 is the place",
    "no_norm": "put a norm before each nonlinearity (norm='batch' or 'layer'), and residuals into deep stacks",
    None: "nothing to do",
}


def reports(model, data):
    """(loss, the three diagnostics of a moment by name) on the first rows of data, as in training."""
    model.train()
    seen = look(model, *(part[:ROWS] for part in data))
    return seen.loss, {report.name: report for report in (saturation(seen), gradients(seen), grad_to_data(seen))}


def examine(model, data, recipe, seed=0, history=None):
    """Train in place on data = (tokens, targets) and return the Chart.

    Updates are judged in the second half of the warm-up: the rate is reaching its height, and the weights have not yet
    grown so large that any step looks small beside them.

    A list given as `history` gets (step, {weight: log10 of update:data}) for every step but the first.
    """
    if recipe.steps < FEWEST:
        raise ValueError(f"{recipe.steps} steps are too few to see how large they are; give {FEWEST} or more")
    first, before = reports(model, data)
    matrices, kept, steps = weights_of(model), {}, []
    for step, _ in fit(model, data, recipe, seed):
        if kept:
            steps.append((step, {name: step_size(kept[name], p.detach()) for name, p in matrices.items()}))
        kept = {name: p.detach().clone() for name, p in matrices.items()}
    last, after = reports(model, data)
    if history is not None:
        history += steps
    end = max(2, min(recipe.warmup, recipe.steps))
    early = [sizes for step, sizes in steps if end // 2 <= step < end]
    return Chart(model.config.vocab_size, first, last, before, after, update_to_data(early))


def drift(chart):
    """(factor, layer): by how much the spread of z changed while it was trained, where it changed most."""
    spread = lambda row: max(row["z_std"], NOTHING)  # behind a dead layer there is none
    rows = zip(chart.before["saturation"].rows, chart.after["saturation"].rows)
    factors = [(math.exp(abs(math.log(spread(b) / spread(a)))), a["layer"]) for a, b in rows]
    return max(factors, key=lambda pair: math.inf if math.isnan(pair[0]) else pair[0])  # nan must not hide


def diagnose(chart):
    """The disease that explains what the chart shows, causes before consequences: starts, then steps, then drifts."""
    even = math.log(chart.vocab_size)
    before, after = chart.before["saturation"], chart.after["saturation"]
    dead = lambda report: max(row["dead"] for row in report.rows)
    if dead(before) > DEAD:
        return told("dead_relu", f"before the first step {before.verdict}")
    if not before.healthy:  # looked at before the loss: loud layers make a loud last one
        return told("wrong_gain", f"before the first step {before.verdict}")
    if not chart.first_loss <= even + SURPRISE:  # nan is never above
        return told(
            "bad_init", f"the first loss is {chart.first_loss:.2f}, where knowing nothing costs ln V = {even:.2f}: "
            "the network is sure before it has seen a name"
        )  # fmt: skip
    spreads = [row["z_std"] for row in before.rows]
    if max(spreads) > FADES * min(spreads):
        return told(
            "wrong_gain", f"before the first step the spread of z goes from {spreads[0]:.2g} in layer 1 to "
            f"{spreads[-1]:.2g} in layer {len(spreads)}: each layer changes the size of what it gets"
        )  # fmt: skip
    slopes = chart.before["gradients"]
    if all(row["std"] <= NOTHING for row in slopes.rows):
        return told("bad_init", f"before the first step {slopes.verdict}: the last layer starts at 0")
    if not slopes.healthy:
        return told("wrong_gain", f"before the first step {slopes.verdict}")
    if not chart.updates.healthy:
        return told("low_lr" if typical(chart.updates.rows) < SLOW else "high_lr", chart.updates.verdict)
    if not all(math.isfinite(number) for number in (chart.last_loss, *(row["z_std"] for row in after.rows))):
        return told("high_lr", f"it starts with finite numbers and ends without (last loss {chart.last_loss:.3g})")
    if dead(after) > DEAD:
        return told("dead_relu", f"after training {after.verdict}")
    factor, layer = drift(chart)
    if factor > DRIFT and len(before.rows) >= SHALLOW:
        return told(
            "no_norm", f"the start and the steps are right, and yet the spread of layer {layer}'s z changed by a "
            f"factor of {factor:.2g}: nothing holds the layers where they began"
        )  # fmt: skip
    return told(None, f"all four diagnostics are in order (drift at most {factor:.2g})")


def told(disease, evidence):
    return Diagnosis(disease, evidence, ADVICE[disease])


# --- patients ---------------------------------------------------------------------------------------------------------

STEPS = 200
HEALTHY = Recipe(steps=STEPS, batch_size=256, lr=5e-3, warmup=20)


def patient(disease, depth=6, seed=0, vocab_size=27):
    """(config, recipe) of a network with that disease planted, or a healthy one for None; the seed varies its kind."""
    if disease not in ADVICE:
        known = ", ".join(name for name in ADVICE if name)
        raise ValueError(f"the disease {disease!r} is unknown; choose one of {known}")
    norm, residual = (("batch", False), ("layer", False), ("layer", True))[seed % 3]
    activation = ("tanh", "relu")[seed // 3 % 2]
    base = {"vocab_size": vocab_size, "n_hidden": 100, "depth": depth, "activation": activation, "norm": norm}
    base |= {"residual": residual}
    bare = base | {"norm": "none", "residual": False}
    recipe = HEALTHY
    match disease:
        case "bad_init":
            base |= {"head_std": 0.5}
        case "wrong_gain":
            base = bare | {"gain": (0.3, 6.0)[seed % 2]}
        case "dead_relu":
            base |= {"activation": "relu", "bias_mean": -6.0}
        case "high_lr":
            base |= {"residual": False}  # residual networks shrug it off: they train as well, with larger weights
            recipe = replace(recipe, lr=10 * recipe.lr)
        case "low_lr":
            recipe = replace(recipe, lr=recipe.lr / 1000)
        case "no_norm":
            base = bare
    return Config(**base), recipe
