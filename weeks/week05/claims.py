"""Week 5: small experiments on what three papers claim about starts, batch norm and residual layers.

    python weeks/week05/claims.py                     # all of them, three seeds each
    python weeks/week05/claims.py bn-rate             # one of them
    python weeks/week05/claims.py --quick             # only: does it run?

The pages are papers/he2015_rectifiers.md, papers/ioffe2015_batchnorm.md and papers/he2016_residual.md. The predictions,
written before the first run, are in papers/claims.toml. All networks read three letters of a name and guess the next
one, and learn by SGD with momentum 0.9, as in the papers.
"""

import math
import sys
from functools import cache
from pathlib import Path
from statistics import fmean

import torch
from deepmlp.diagnostics import look
from deepmlp.init import GAINS
from deepmlp.layers import BatchNorm1d, Linear, ReLU, Sequential
from deepmlp.model import Config, DeepMLP
from deepmlp.vendor.makemore import names
from deepmlp.vendor.shared import claims
from deepmlp.vendor.shared.errors import entry
from deepmlp.vendor.shared.files import need

DATA = Path(__file__).resolve().parents[2] / "data/names/names.txt"
BATCH = 128
GUESSING = math.log(27)  # nats of a network that prefers no letter; what a network that broke down is said to cost
RATES = (0.03, 0.1)


@cache
def letters():
    """(tokens, targets) of the training names, from the file that make data/names writes."""
    known = names.load(need(DATA, "make data/names"))
    return names.windows(known, known.train, 3)


def learn(model, rate, steps, seed, run, label, before_step=None, goal=None):
    """SGD with momentum 0.9 at one rate, in place; returns the loss of each step. It ends where the loss breaks down.

    before_step(step, tokens, targets) is called with the gradients in place, and its answer is called after the step.
    With a goal, it ends also as soon as the mean of the last WINDOW losses is below that.
    """
    tokens, targets = letters()
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.9, fused=True)
    model.train()
    losses = []
    for step in run.bar(range(steps), steps, label):
        chosen = torch.randint(len(tokens), (BATCH,), generator=generator)
        _, loss = model(tokens[chosen], targets[chosen])
        losses.append(loss.item())
        if not losses[-1] < 10 * GUESSING:  # not a number, or far beyond what any start costs
            break
        optimizer.zero_grad()
        loss.backward()
        after = before_step and before_step(step, tokens[chosen], targets[chosen])
        optimizer.step()
        if after:
            after()
        if goal and step >= WINDOW and fmean(losses[-WINDOW:]) < goal:
            break
    return losses


def final(losses, steps):
    """The mean loss of the last 50 steps, at most that of guessing; a network that broke down costs as much."""
    return min(GUESSING, fmean(losses[-50:])) if len(losses) == steps else GUESSING


# --- He et al. 2015: how relu layers must start -----------------------------------------------------------------------

WIDTH = 64


def plain(depth, gain, seed, n_hidden=WIDTH):
    return DeepMLP(Config(n_hidden=n_hidden, depth=depth, activation="relu", gain=gain), seed)


def best_final(build, steps, seed, run, label):
    """(the lowest final loss over RATES, its rate)."""
    ends = {rate: final(learn(build(), rate, steps, seed, run, f"{label}, rate {rate}"), steps) for rate in RATES}
    rate = min(ends, key=ends.get)
    return ends[rate], rate


def he_deep(seed, run):
    """30 relu layers: training loss with Xavier's start less that with He's, in nats."""
    steps = run.steps(400)
    he, he_rate = best_final(lambda: plain(30, GAINS["relu"], seed), steps, seed, run, "He")
    xavier, xavier_rate = best_final(lambda: plain(30, 1.0, seed), steps, seed, run, "Xavier")
    return {"value": xavier - he, "he": he, "xavier": xavier, "he_rate": he_rate, "xavier_rate": xavier_rate}


REACHED = 2.6  # nats: below what letter frequencies alone give, so the hidden layers have begun to work
WINDOW = 20


def he_earlier(seed, run):
    """22 relu layers: steps to a loss of 2.6 with Xavier's start over those with He's."""
    steps, took = run.steps(800), {}
    for label, gain in (("he", GAINS["relu"]), ("xavier", 1.0)):
        took[label] = steps
        for rate in RATES:
            losses = learn(plain(22, gain, seed), rate, steps, seed, run, f"{label}, rate {rate}", goal=REACHED)
            if len(losses) > WINDOW and fmean(losses[-WINDOW:]) < REACHED:
                took[label] = min(took[label], len(losses))
    return {"value": took["xavier"] / took["he"], **took}


FUNNEL = range(128, 31, -6)  # 128, 122, ... 32: seventeen layers, each a little narrower


def funnel(start, seed):
    """Narrowing relu layers that start by the numbers they read (fan_in), or by those that they feed (fan_out)."""
    model = DeepMLP(Config(n_hidden=FUNNEL[-1], activation="relu"), seed)
    generator = torch.Generator().manual_seed(seed + 1_000)
    layers, width = [], 3 * model.config.n_embd
    for wide in FUNNEL:
        gain = GAINS["relu"] * (math.sqrt(width / wide) if start == "fan_out" and layers else 1.0)
        layers.append(Sequential(Linear(width, wide, generator=generator, gain=gain), ReLU()))
        width = wide
    model.body = Sequential(*layers)
    return model


def he_fan(seed, run):
    """Seventeen narrowing relu layers: training loss of a start by fan_out less that of one by fan_in, in nats."""
    steps, ends = run.steps(300), {}
    for start in ("fan_in", "fan_out"):
        ends[start], _ = best_final(lambda start=start: funnel(start, seed), steps, seed, run, start)
    return {"value": ends["fan_out"] - ends["fan_in"], **ends}


# --- Ioffe and Szegedy 2015: batch norm -------------------------------------------------------------------------------

SIX = {"depth": 6, "n_hidden": 100, "activation": "relu"}
TRAINS = 2.5  # nats: a little worse than counting pairs of letters; whoever is above has learned next to nothing
NORMS = ("none", "batch")


def bn_rate(seed, run):
    """Six relu layers: the largest rate that still trains with batch norm over the largest without."""
    steps, largest = run.steps(200), {}
    for norm in NORMS:
        for rate in (0.05 * 2**k for k in range(10)):
            losses = learn(DeepMLP(Config(norm=norm, **SIX), seed), rate, steps, seed, run, f"{norm}, rate {rate:g}")
            if final(losses, steps) < TRAINS:
                largest[norm] = rate
    if len(largest) < 2 and not run.quick:
        raise FloatingPointError(f"no rate trains one of the two networks ({largest}); give more steps")
    with_norm, without = largest.get("batch", 1), largest.get("none", 1)
    return {"value": with_norm / without, "with": with_norm, "without": without}


def bn_scale(seed, run):
    """Spread of final losses over weights of a quarter, one and four times the right size: without norm over with."""
    steps, spread = run.steps(300), {}
    for norm in NORMS:
        ends = []
        for times in (0.25, 1.0, 4.0):
            model = DeepMLP(Config(norm=norm, gain=times * GAINS["relu"], **SIX), seed)
            ends.append(final(learn(model, 0.05, steps, seed, run, f"{norm}, weights times {times}"), steps))
        spread[norm] = max(ends) - min(ends)
    return {"value": spread["none"] / max(spread["batch"], 1e-3), "without": spread["none"], "with": spread["batch"]}


def shift_probe(model, every, found):
    """A before_step for `learn`: how much a layer's gradient turns when the layers below it take their step.

    For each hidden layer above the first: 1 - cosine of its gradient before the step, and of its gradient with the
    layers below it already changed and all else as before (the definition of Santurkar et al. 2018, section 2).
    """
    weights = [p for name, p in model.named_parameters() if name.startswith("body") and p.dim() > 1]
    below = list(model.parameters())

    def before_step(step, tokens, targets):
        if step % every:
            return None
        old = [p.detach().clone() for p in below]
        before = [w.grad.detach().clone() for w in weights]
        buffers = [b.clone() for b in model.buffers()]

        def after():
            new = [p.detach().clone() for p in below]
            for number, weight in enumerate(weights[1:], start=1):
                place = next(i for i, p in enumerate(below) if p is weight)
                with torch.no_grad():
                    for i, p in enumerate(below):
                        p.copy_(new[i] if i < place else old[i])
                (grad,) = torch.autograd.grad(model(tokens, targets)[1], [weight])
                found.append(1 - torch.cosine_similarity(grad.flatten(), before[number].flatten(), dim=0).item())
            with torch.no_grad():
                for p, value in zip(below, new):
                    p.copy_(value)
                for b, value in zip(model.buffers(), buffers):
                    b.copy_(value)

        return after

    return before_step


def bn_shift(seed, run):
    """How much a step of the layers below turns a layer's gradient: with batch norm over without."""
    steps, turned, ends = run.steps(200), {}, {}
    for norm in NORMS:
        model, found = DeepMLP(Config(norm=norm, **SIX), seed), []
        losses = learn(model, 0.05, steps, seed, run, norm, shift_probe(model, max(1, steps // 20), found))
        turned[norm], ends[norm] = fmean(found), final(losses, steps)
    return {"value": turned["batch"] / turned["none"], "with": turned["batch"], "without": turned["none"],
            "with_loss": ends["batch"], "without_loss": ends["none"]}  # fmt: skip


# --- He et al. 2016: residual layers ----------------------------------------------------------------------------------

SHALLOW, DEEP = 10, 30


@claims.once
def grown(run, depth, residual, seed, steps):
    """(training loss, mean standard deviation of z over the hidden layers) of a network with batch norm, trained.

    One more batch norm stands before the last layer, in plain networks too: what residual layers add up grows with
    depth, and without it the last layer would need a rate of its own.
    """
    model = DeepMLP(Config(n_hidden=WIDTH, depth=depth, activation="relu", norm="batch", residual=residual), seed)
    model.body = Sequential(*model.body, BatchNorm1d(WIDTH))
    losses = learn(model, 0.05, steps, seed, run, f"{depth} layers{', residual' if residual else ''}")
    seen = look(model, *(part[:1_000] for part in letters()))
    return final(losses, steps), fmean(z.std().item() for z in seen.z[1:])


def deeper(residual, seed, run):
    steps = run.steps(500)
    return {depth: grown(run, depth, residual, seed, steps) for depth in (SHALLOW, DEEP)}


def res_degradation(seed, run):
    """Plain networks with batch norm: training loss of 30 layers less that of 10, in nats."""
    ends = deeper(False, seed, run)
    return {"value": ends[DEEP][0] - ends[SHALLOW][0], "shallow": ends[SHALLOW][0], "deep": ends[DEEP][0]}


def res_reversal(seed, run):
    """Residual networks with batch norm: training loss of 30 layers less that of 10, in nats."""
    ends = deeper(True, seed, run)
    return {"value": ends[DEEP][0] - ends[SHALLOW][0], "shallow": ends[SHALLOW][0], "deep": ends[DEEP][0]}


def res_response(seed, run):
    """Spread of what the 30 layers give before their relu: in a residual network over a plain one."""
    sizes = {residual: deeper(residual, seed, run)[DEEP][1] for residual in (False, True)}
    return {"value": sizes[True] / sizes[False], "residual": sizes[True], "plain": sizes[False]}


CLAIMS = {
    "he-deep": he_deep, "he-earlier": he_earlier, "he-fan": he_fan,
    "bn-rate": bn_rate, "bn-scale": bn_scale, "bn-shift": bn_shift,
    "res-degradation": res_degradation, "res-reversal": res_reversal, "res-response": res_response,
}  # fmt: skip


def main(argv=None):
    return claims.main(__file__, CLAIMS, __doc__, argv)


if __name__ == "__main__":
    sys.exit(entry(main))
