"""Four looks at a network from inside: saturation, gradients, gradient:data, update:data. Each ends with a sentence.

`look` runs a batch forward and back and changes nothing, neither .grad nor running statistics; each diagnostic is a
pure function of such a look (or of the updates that were seen), and gives a `Report`: a row for each layer or weight,
whether that is in order, and what it means. The thresholds stand on top, each with its reason.
Left out: hooks for foreign modules, histograms of weights.
"""

import math
from dataclasses import dataclass
from statistics import median

import torch

from .layers import GELU, ReLU, Sequential, Tanh, keeping

FLAT = 0.97  # beyond it tanh has a slope below 1 - 0.97**2 = 0.06: a sixteenth of a gradient comes through
SATURATED = 0.5  # where more than half of a layer is that flat, most of what is behind it learns nothing
ASLEEP = 0.3  # standard deviation of z below which tanh is a straight line to 3 %, and a stack of them shrinks to 0
LOUD = 3.0  # and above which it is nearly a sign: of a normal z, half is flat then
DEAD = 0.5  # of relu or gelu units: above this the layer is less than half as wide as it says
FADING = 30.0  # largest over smallest gradient along the depth; 2 a layer, over five layers
UNEVEN = 100.0  # largest over smallest gradient:data of hidden weights; a hundred times slower is standing still
# log10 of update:data. The rule of thumb is -3 for SGD over many steps; Adam on so small weights begins near -2.
# At -1.6 a weight is made anew in 40 steps: what one batch has taught is written over before it was ever tested.
FAST, SLOW = -1.6, -4.5
NOTHING = 1e-10  # what a ratio is called when it is 0, so that it has a logarithm

KINDS = {Tanh: "tanh", ReLU: "relu", GELU: "gelu"}


@dataclass(frozen=True)
class Report:
    """One diagnostic: its rows, one dict for each layer or weight; is all well; and that in words."""

    name: str
    rows: list
    healthy: bool
    verdict: str


@dataclass(frozen=True)
class Look:
    """What one batch shows: tensors of each nonlinearity from the first to the last, and of each weight matrix."""

    loss: float
    kinds: list  # "tanh", "relu" or "gelu"
    z: list  # what goes in, (B, C) each
    out: list  # what comes out
    grads: list  # d loss / d out
    weights: dict  # name -> (values, gradient)


def look(model, tokens, targets):
    """Forward and back on one batch, in the model's own mode; the model is left as it was."""
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    stacks = [m for m in model.modules() if isinstance(m, Sequential) and type(m[-1]) in KINDS]
    names, matrices = zip(*weights_of(model).items())
    with keeping(model), torch.enable_grad():
        _, loss = model(tokens, targets)
        z = [stack[len(stack) - 2].out for stack in stacks]
        out = [stack[-1].out for stack in stacks]
    gradients = torch.autograd.grad(loss, [*out, *matrices])
    with torch.no_grad():
        for buffer, before in buffers:
            buffer.copy_(before)
    return Look(
        loss=loss.item(),
        kinds=[KINDS[type(stack[-1])] for stack in stacks],
        z=[x.detach() for x in z],
        out=[x.detach() for x in out],
        grads=list(gradients[: len(out)]),
        weights={n: (p.detach().clone(), g) for n, p, g in zip(names, matrices, gradients[len(out) :])},
    )


def weights_of(model):
    """Every weight matrix by a short name: embed, hidden 1, hidden 2 ..., head."""
    found, number = {}, 0
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            part = name.split(".")[0]
            number += part == "body"
            found[f"hidden {number}" if part == "body" else part] = parameter
    return found


# --- 1. are the nonlinearities in their working range? ----------------------------------------------------------------


def saturation(seen):
    """For each nonlinearity: mean and spread of what it gives, the spread of z, the shares that are flat and dead.

    A unit is dead when its slope is 0 (relu) or below 0.01 (gelu: z below -3) for every row of the batch.
    """
    rows = []
    for number, (kind, z, out) in enumerate(zip(seen.kinds, seen.z, seen.out), start=1):
        flat = (out.abs() > FLAT).float().mean().item() if kind == "tanh" else 0.0
        floor = {"tanh": -math.inf, "relu": 0.0, "gelu": -3.0}[kind]
        dead = (z <= floor).all(0).float().mean().item()
        std = lambda x: x.std().item()
        rows.append(
            {"layer": number, "kind": kind, "mean": out.mean().item(), "std": std(out), "z_std": std(z), "flat": flat,
             "dead": dead}
        )  # fmt: skip
    worst = lambda key: max(rows, key=lambda row: row[key])
    flat, dead, loud, quiet = worst("flat"), worst("dead"), worst("z_std"), min(rows, key=lambda row: row["z_std"])
    broken = [row["layer"] for row in rows if not math.isfinite(row["z_std"])]  # nan is neither loud nor quiet
    trouble = None
    if broken:
        trouble = f"layer {broken[0]} gets numbers that are not finite: something in it or below it overflows"
    elif dead["dead"] > DEAD:
        trouble = f"{dead['dead']:.0%} of the units of layer {dead['layer']} are dead: no row of the batch wakes them"
    elif flat["flat"] > SATURATED:
        share = f"{flat['flat']:.0%} of layer {flat['layer']}"
        trouble = f"{share} is saturated (|t| > {FLAT}) and passes hardly any gradient"
    elif loud["z_std"] > LOUD:
        trouble = f"layer {loud['layer']} is loud: its z spread by {loud['z_std']:.2g}, above {LOUD:g}"
    elif quiet["z_std"] < ASLEEP:
        trouble = (
            f"layer {quiet['layer']} is asleep: its z spread by {quiet['z_std']:.2g}, below {ASLEEP:g}, "
            "where the nonlinearity hardly bends"
        )
    good = f"every layer works in the range where it bends (z spread by {quiet['z_std']:.2g} to {loud['z_std']:.2g})"
    return Report("saturation", rows, not trouble, trouble or good)


# --- 2. does the gradient reach every layer? --------------------------------------------------------------------------


def gradients(seen):
    """For each nonlinearity: mean and spread of d loss / d output, as for a batch of one row (so times B)."""
    rows = []
    for number, (kind, grad) in enumerate(zip(seen.kinds, seen.grads), start=1):
        grad = grad * len(grad)
        rows.append({"layer": number, "kind": kind, "mean": grad.mean().item(), "std": grad.std().item()})
    first, last = rows[0]["std"], rows[-1]["std"]
    spread = [max(row["std"], NOTHING) for row in rows]
    ratio = max(spread) / min(spread)
    if not math.isfinite(sum(spread)):  # nan is never above a threshold
        return Report("gradients", rows, False, "gradients are not finite: something above them overflows")
    if max(spread) == NOTHING:
        return Report("gradients", rows, False, "no gradient reaches any layer: something above all of them is dead")
    if ratio <= FADING:
        return Report("gradients", rows, True, f"gradients of all layers are alike, within a factor of {ratio:.2g}")
    how = "fade on their way down" if first < last else "grow on their way down"
    return Report("gradients", rows, False, f"gradients {how}: the layers differ by a factor of {ratio:.2g}")


# --- 3. how large is a gradient beside what it changes? ---------------------------------------------------------------


def grad_to_data(seen):
    """For each weight matrix: spread of its gradient, of its values, and one over the other."""
    rows = []
    for name, (data, grad) in seen.weights.items():
        std, size = grad.std().item(), data.std().item()
        ratio = std / max(size, NOTHING)  # weights may all be 0
        rows.append({"weight": name, "shape": list(data.shape), "grad": std, "data": size, "ratio": ratio})
    if not all(math.isfinite(row["ratio"]) for row in rows):
        return Report("gradient:data", rows, False, "gradient:data is not finite: a weight or a gradient overflows")
    hidden = [max(row["ratio"], NOTHING) for row in rows if row["weight"].startswith("hidden")]
    uneven, head = max(hidden) / min(hidden), rows[-1]["ratio"] / max(hidden)
    if uneven > UNEVEN:
        words = f"gradient:data of the hidden weights differs by a factor of {uneven:.2g}: some would stand still"
        return Report("gradient:data", rows, False, words)
    words = f"gradient:data of the hidden weights is alike, within a factor of {uneven:.2g}"
    if head > 10:  # a small last layer, as it should start; under plain SGD it would learn that much faster
        words += f"; the last layer's is {head:.2g} times theirs, which Adam evens out and SGD would not"
    return Report("gradient:data", rows, True, words)


# --- 4. how far does a step move a weight? ----------------------------------------------------------------------------


def step_size(before, after):
    """log10 of the spread of what a step changed in a weight, over the spread of the weight before it."""
    return math.log10(max((after - before).std().item() / max(before.std().item(), NOTHING), NOTHING))


def typical(rows):
    """The median over hidden weights of the rows of update_to_data."""
    return median(row["log10"] for row in rows if row["weight"].startswith("hidden"))


def update_to_data(steps):
    """steps: one dict {weight: step_size} for each step that was watched, of hidden weights and others."""
    rows = [{"weight": name, "log10": median(step[name] for step in steps)} for name in steps[0]]
    if not all(math.isfinite(row["log10"]) for row in rows):
        return Report("update:data", rows, False, "steps are not finite: a weight overflows")
    middle = typical(rows)
    words = f"a step moves a typical hidden weight by 10^{middle:.1f} of its size"
    if middle > FAST:
        words += f", above 10^{FAST:g}: it is made anew in {10**-middle:.0f} steps"
        return Report("update:data", rows, False, words)
    if middle < SLOW:
        return Report("update:data", rows, False, f"{words}, below 10^{SLOW:g}: it hardly moves")
    return Report("update:data", rows, True, f"{words}; the rule of thumb is 10^-3")
