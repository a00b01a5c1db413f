"""What the week measures: four rungs of one shallow network, four deep ones seen from inside, and the trap of eval.

A rung changes one thing of the rung below. All of them read three letters and have about 12,000 numbers, as the
network of the lectures, so that only the start and the norm can make the difference.
Left out: options, printing, files (train.py), drawing (figures.py).
"""

import math
import statistics
from dataclasses import dataclass

import torch

from . import doctor
from .diagnostics import look, saturation, typical
from .init import GAINS, derived_gain, settled_std
from .model import ACTIVATIONS, Config, DeepMLP, as_trained
from .vendor.makemore.fit import Recipe, evaluate, fit
from .vendor.makemore.names import windows
from .vendor.shared.results import Stopwatch


@dataclass(frozen=True)
class Preset:
    """One dial for everything that decides how long a run takes."""

    recipe: Recipe
    seeds: int = 1
    deep_steps: int = 600  # of the deep networks, at two learning rates each
    points: int = 16  # how often a curve asks the validation names


# fmt: off
PRESETS = {
    "smoke": Preset(Recipe(steps=60, warmup=10), deep_steps=20, points=3),
    "default": Preset(Recipe(steps=8_000, batch_size=1024)),
    "full": Preset(Recipe(steps=8_000, batch_size=1024), seeds=3),
}
# fmt: on

SHAPE = {"context": 3, "n_embd": 16, "n_hidden": 150}
RUNGS = {  # name -> what differs from the right start
    "naive": {"weight_std": 1.0, "head_std": 1.0},  # the lectures': every weight a standard normal number
    "softmax_fix": {"weight_std": 1.0},
    "gain_fix": {},
    "bn": {"norm": "batch"},
}
OTHER_FILE = ("gain_fix", "bn")  # the rungs that are measured on a second file as well
DEPTH = {"depth": 6, "n_hidden": 100, "n_embd": 10, "context": 3}
STARTS = {  # six layers of tanh before the first step, for the figures
    "naive": {"weight_std": 1.0},
    "gain_1": {"gain": 1.0},
    "kaiming": {},
    "bn": {"norm": "batch"},
}
DEEP = {
    "none": {},
    "bn": {"norm": "batch"},
    "ln": {"norm": "layer"},
    "residual_ln": {"norm": "layer", "residual": True},
}
DEEP_RATES = {"": 5e-3, "_fast": 5e-2}
TRAP_ROWS = (1, 2, 4, 8, 32, 128, 512)


def baselines(names, data):
    """The two lines every curve must beat: guessing evenly, and counting which letter follows which (plus one)."""
    (tokens, targets), (unseen, wanted) = data["train"], data["val"]
    counts = torch.ones(names.vocab_size, names.vocab_size)
    counts.index_put_((tokens[:, -1], targets), torch.tensor(1.0), accumulate=True)
    logs = (counts / counts.sum(1, keepdim=True)).log()
    return {"uniform_loss": math.log(names.vocab_size), "bigram_val": -logs[unseen[:, -1], wanted].mean().item()}


def data_of(names, context=SHAPE["context"]):
    return {part: windows(names, getattr(names, part), context) for part in ("train", "val", "test")}


def train_one(config, data, recipe, points, seed, bar=None):
    """(model, curve [[step, val loss], ...]) of one network; the curve begins before the first step.

    `bar(step, loss)` is called after each step.
    """
    model = DeepMLP(config, seed)
    due = {round(recipe.steps * i / points) for i in range(1, points + 1)}
    curve = [[0, as_trained(model, *data["val"], 512)]]  # running statistics mean nothing before the first step
    for step, loss in fit(model, data["train"], recipe, seed):
        if bar:
            bar(step, loss)
        if step + 1 in due:
            curve.append([step + 1, evaluate(model, data["val"])])
    return model, curve


def rung(name, names, data, preset, seed, bar=None):
    """Metrics of one rung over the preset's seeds, their names beginning with the rung's; the last one's model."""
    config = Config(names.vocab_size, **SHAPE, **RUNGS[name])
    watch, rows = Stopwatch(), []
    for one in range(seed, seed + preset.seeds):
        model, curve = train_one(config, data, preset.recipe, preset.points, one, bar)
        rows.append({"curve": curve, **{part: evaluate(model, data[part]) for part in data}})
    metrics = {part: statistics.fmean(row[part] for row in rows) for part in data}
    metrics |= {"initial": statistics.fmean(row["curve"][0][1] for row in rows), "params": model.size()}
    if preset.seeds > 1:
        metrics["val_sd"] = statistics.stdev(row["val"] for row in rows)
    metrics |= {"curve": rows[0]["curve"], "seconds": watch.seconds / preset.seeds}
    return {f"{name}_{key}": value for key, value in metrics.items()}, model


def trap(model, data):
    """The same network judged with running statistics and with those of batches of 1, 2, 4 ... rows."""
    shuffled = torch.randperm(len(data["val"][1]), generator=torch.Generator().manual_seed(0))
    tokens, targets = (part[shuffled] for part in data["val"])  # neighbours are letters of one name: no fair batch
    model.eval()
    rows = [[size, as_trained(model, tokens, targets, size)] for size in TRAP_ROWS if size <= len(targets)]
    return {"bn_trap": rows, "bn_batch_of_one_loss": rows[0][1], "bn_running_loss": evaluate(model, data["val"])}


# --- deep networks, from inside ---------------------------------------------------------------------------------------


def histogram(values, low, high, bins=40):
    """Counts of `values` in equal bins, as shares; what lies outside is counted in the first or last bin."""
    counts = torch.histc(values.clamp(low, high), bins, low, high)
    return [round(share, 5) for share in (counts / counts.sum()).tolist()]


def starts(names, data, seed):
    """Histograms of what six layers give out, and of its gradients, before the first step, for four kinds of start."""
    found = {}
    for label, options in STARTS.items():
        model = DeepMLP(Config(names.vocab_size, **DEPTH, **options), seed)
        seen = look(model, *(part[: doctor.ROWS] for part in data["train"]))
        grads = [grad * len(grad) for grad in seen.grads]
        found[f"start_{label}"] = {
            "outputs": [histogram(out, -1, 1) for out in seen.out],
            "flat": [row["flat"] for row in saturation(seen).rows],
            "std": [row["std"] for row in saturation(seen).rows],
            # on a logarithmic axis: spreads may differ by powers of ten, and a common linear axis shows one of them
            "log_grads": [histogram(grad.abs().clamp_min(1e-12).log10(), -7, 2) for grad in grads],
            "grad_std": [grad.std().item() for grad in grads],
        }
        start = found[f"start_{label}"]
        found[f"start_{label}_flat"] = statistics.fmean(start["flat"])
        found[f"start_{label}_grad_ratio"] = start["grad_std"][0] / start["grad_std"][-1]  # first layer over last
    return found


def gains():
    """What init.py derives: the gains themselves, and the size at which a deep stack of tanh comes to rest."""
    found = {f"derived_gain_{name}": derived_gain(layer()) for name, layer in ACTIVATIONS.items()}
    return found | {"settled_tanh": settled_std(torch.tanh, GAINS["tanh"])}


def deep(label, rate, names, data, steps, seed):
    """One deep network examined by the doctor: its chart as plain tables, its losses, and what is said of it."""
    config = Config(names.vocab_size, **DEPTH, **DEEP[label])
    model = DeepMLP(config, seed)
    recipe = Recipe(steps=steps, batch_size=256, lr=DEEP_RATES[rate], warmup=doctor.HEALTHY.warmup)
    history = []
    chart = doctor.examine(model, data["train"], recipe, seed, history)
    every = max(1, len(history) // 60)
    name = f"deep_{label}{rate}"
    return {
        f"{name}_val": evaluate(model, data["val"]),
        f"{name}_verdict": doctor.diagnose(chart).disease or "healthy",
        f"{name}_z_std": [
            [row["z_std"] for row in moment["saturation"].rows] for moment in (chart.before, chart.after)
        ],
        f"{name}_grad_data": [[row["weight"], row["ratio"]] for row in chart.after["gradient:data"].rows],
        f"{name}_updates": [
            [step, *(round(size, 3) for size in sizes.values())] for step, sizes in history[::every]
        ],
        f"{name}_update": typical(chart.updates.rows),
        f"{name}_drift": doctor.drift(chart)[0],
    }  # fmt: skip
