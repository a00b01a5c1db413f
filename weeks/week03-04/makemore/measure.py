"""The experiment of these two weeks on one file of names: count, train the family, judge it, let it invent names.

`measure` yields its results model by model, so that whoever stops it keeps what was finished.
"""

import math
import statistics
from dataclasses import dataclass, field, replace

import torch

from . import finder, models
from .counts import SMOOTHINGS, Counts
from .fit import Recipe, evaluate, fit
from .sample import sample, sort_samples
from .vendor.shared.progress import bar
from .vendor.shared.results import Stopwatch

COUNTED = ("bigram", "trigram")
# Recipes found on makemore's validation names; only steps differ between presets. A batch of 256 whole names holds
# about 1,800 letters, one of 512 windows 512.
RECIPES = {
    "bigram_gradient": Recipe(2_000, batch_size=4_096, lr=0.1, weight_decay=0.0),
    "mlp": Recipe(8_000, batch_size=512, lr=1e-2, weight_decay=0.02),
    "rnn": Recipe(800, batch_size=256, lr=1.5e-2, weight_decay=0.01),
    "gru": Recipe(800, batch_size=256, lr=2e-2, weight_decay=0.03),
    "lstm": Recipe(800, batch_size=256, lr=2e-2, weight_decay=0.03),
    "cnn": Recipe(800, batch_size=256, lr=1.2e-2, weight_decay=0.05),
}


@dataclass(frozen=True)
class Preset:
    """How long to run: one dial each."""

    seeds: int = 1
    steps: dict = field(default_factory=dict)  # model -> steps, where they differ from RECIPES
    points: int = 12  # places of the learning curve where validation is judged
    sweep: int = 200  # steps of the learning-rate finder
    samples: int = 1_000
    words: int | None = None  # names of each part that are used; None: all

    def recipe(self, name):
        return replace(RECIPES[name], steps=self.steps.get(name, RECIPES[name].steps))


PRESETS = {
    "smoke": Preset(steps=dict.fromkeys(RECIPES, 20), points=2, sweep=20, samples=20, words=500),
    "default": Preset(),
    # 12,500 batches of 512: as many windows as the lecture's 200,000 batches of 32
    "full": Preset(seeds=3, steps={"mlp": 12_500, "rnn": 1_200, "gru": 1_200, "lstm": 1_200, "cnn": 1_200}),
}


def fresh(names):
    """The val names that training does not hold as well: a name given to girls and to boys is twice in the file."""
    known = set(names.train)
    return [name for name in names.val if name not in known]


def parts_for(model, names):
    """{"train": (tokens, targets), "val": ..., "test": ..., "fresh": ...} as this model takes them."""
    words = {"train": names.train, "val": names.val, "test": names.test, "fresh": fresh(names)}
    return {part: model.data(names, some) for part, some in words.items() if some}


def shortened(names, count):
    """The first `count` names of each part, which is shuffled already."""
    return replace(names, **{part: getattr(names, part)[:count] for part in ("train", "val", "test")})


def losses_of(model, parts):
    return {part: evaluate(model, data) for part, data in parts.items()}


def count_names(name, names):
    """A counting model at its best k, and its metrics."""
    model = models.build(name, names.vocab_size)
    parts = parts_for(model, names)
    model.count(parts["train"])
    add_one = evaluate(model, parts["val"])
    k = model.choose_smoothing(parts["val"])
    found = {"params": model.n_params(), "k": k, "add_one_val": add_one, **losses_of(model, parts)}
    return model, {f"{name}_{key}": value for key, value in found.items()}


def train_one(name, names, parts, recipe, seed, points=0, title=None):
    """A trained model, its curve [[step, train, val], ...] (train: mean since the point before), and its seconds."""
    model, watch = models.build(name, names.vocab_size, seed), Stopwatch()
    due = {round(recipe.steps * i / points) for i in range(1, points + 1)} if points else set()
    curve, recent = ([[0, None, evaluate(model, parts["val"])]] if points else []), []
    letters = recipe.batch_size * (parts["train"][1] >= 0).double().mean().item() * parts["train"][1][0].numel()
    with (
        torch.random.fork_rng(devices=[]),
        bar(total=recipe.steps, label=title or name, unit="step") as line,
    ):
        torch.manual_seed(seed)  # dropout draws from everybody's generator: what was trained before must not matter
        for step, loss in fit(model, parts["train"], recipe, seed):
            recent.append(loss)
            pace = letters * (step + 1) / watch.seconds
            line.set_postfix_str(f"loss {loss:.3f}, {pace:,.0f} letters/s", refresh=False)
            line.update()
            if step + 1 in due:
                curve.append([step + 1, statistics.fmean(recent), evaluate(model, parts["val"])])
                recent = []
    return model, curve, watch.seconds


def train_seeds(name, names, preset, seed, title):
    """The model of the first seed, and the metrics of all: means, and the standard deviation and maximum of val.

    Seeds are seed, seed + 1, ...; each is trained by `train_one` with the recipe of `preset.recipe(name)` and judged by
    `losses_of` on the parts of `parts_for`. Only the first seed is judged on the way, at `preset.points` places.
    Keys begin with the model's name, as in "mlp_val": for each part its mean loss; val_sd (statistics.stdev; 0.0 for
    one seed), val_max, params, steps, seconds (a mean), and curve, that of the first seed, its losses rounded to four
    digits (None stays None).
    """
    recipe, found, first, curve, taken = preset.recipe(name), [], None, [], []
    parts = parts_for(models.build(name, names.vocab_size), names)
    for i in range(preset.seeds):
        label = f"{title}{name}" + (f", seed {seed + i}" if preset.seeds > 1 else "")
        points = preset.points if i == 0 else 0
        model, rows, seconds = train_one(name, names, parts, recipe, seed + i, points, label)
        found.append(losses_of(model, parts))
        taken.append(seconds)
        if first is None:
            first, curve = model, rows
    vals = [losses["val"] for losses in found]
    metrics = {part: statistics.fmean(losses[part] for losses in found) for part in parts}
    metrics |= {
        "val_sd": statistics.stdev(vals) if len(vals) > 1 else 0.0,
        "val_max": max(vals),
        "params": first.n_params(),
        "steps": recipe.steps,
        "seconds": statistics.fmean(taken),
        "curve": [[step, train if train is None else round(train, 4), round(val, 4)] for step, train, val in curve],
    }
    return first, {f"{name}_{key}": value for key, value in metrics.items()}


def gradient_gap(model, names):
    """How far the bigram by gradient is above the counted one, both on the training names, without smoothing.

    The counted shares are the minimum: the gap cannot be below 0, but for rounding.
    """
    counted = Counts(names.vocab_size, 1, smoothing=0.0)
    data = counted.data(names, names.train)
    return evaluate(model, data) - evaluate(counted.count(data), data)


def sweep_rates(names, preset, seed):
    """The learning-rate finder on a fresh MLP."""
    model = models.build("mlp", names.vocab_size, seed)
    recipe = preset.recipe("mlp")
    rates, losses = finder.sweep(
        model, model.data(names, names.train), 1e-4, 1.0, preset.sweep, recipe.batch_size, recipe.weight_decay, seed
    )
    pairs = [[float(f"{rate:.4g}"), round(loss, 4)] for rate, loss in zip(rates, losses)]
    return {"sweep": pairs, "suggested_rate": finder.suggest(rates, losses), "used_rate": recipe.lr}


def invent(name, model, names, preset, seed):
    """Invented names, the first of each kind, and the share of each kind among all."""
    found = sort_samples(sample(model, names, preset.samples, torch.Generator().manual_seed(seed)), names)
    shares = {f"{name}_{kind}_share": len(words) / preset.samples for kind, words in found.items()}
    return {**shares, f"{name}_samples": {kind: words[:12] for kind, words in found.items()}}


def pictures(name, model, names):
    """Numbers that only a figure needs, each row of a table as one string."""
    if name == "bigram":
        return {"bigram_counts": [" ".join(f"{int(n)}" for n in row) for row in model.table]}
    if name == "mlp":
        table = model.embedding.weight.detach()
        return {"mlp_embedding": [" ".join(f"{x:.3f}" for x in row) for row in table.tolist()]}
    return {}


def measure(names, preset, seed=0, chosen=None, title=""):
    """Yields (name, model, metrics) for each model of the table, or for `chosen` alone (the bigram always comes first:
    every curve is drawn beside it)."""
    if preset.words:
        names = shortened(names, preset.words)
    wanted = [name for name in models.MODELS if chosen in (None, name) or name == "bigram"]
    for name in wanted:  # a context that does not fit the names is told now, not after the minutes before its turn
        models.build(name, names.vocab_size).data(names, names.val[:1])
    for name in wanted:
        if name in COUNTED:
            model, metrics = count_names(name, names)
        else:
            model, metrics = train_seeds(name, names, preset, seed, title)
        if name == "bigram":
            sizes = {part: len(getattr(names, part)) for part in ("train", "val", "test")}
            metrics |= {"uniform_loss": math.log(names.vocab_size), "names": sizes, "smoothings": list(SMOOTHINGS)}
            metrics |= {"alphabet": names.alphabet, "seeds": preset.seeds}
            metrics["val_in_train_share"] = 1 - len(fresh(names)) / len(names.val)
        if name == "bigram_gradient":
            metrics["bigram_gradient_gap"] = gradient_gap(model, names)
        if name == "mlp":
            metrics |= sweep_rates(names, preset, seed)
        yield name, model, metrics | pictures(name, model, names) | invent(name, model, names, preset, seed)
