"""What train.py does with a file of names: two baselines, networks of several seeds, invented names, weights in a file.

Everything that prints or parses options is in train.py; loop and recipe are from week 3 (vendor/makemore/fit.py).
"""

import json
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean, stdev

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from .vendor.makemore.fit import Recipe, evaluate, fit
from .vendor.makemore.names import Names, load, rows, windows
from .vendor.shared.files import atomic_write
from .wavenet import Dilated, Shape, Tree, parameters, products

JUDGED = 20  # how often a training stops to look at the validation names


@dataclass(frozen=True)
class Plan:
    """A preset: what is trained, how long, with how many seeds."""

    shape: Shape = field(default_factory=Shape)
    recipe: Recipe = field(default_factory=lambda: Recipe(steps=6000, weight_decay=1.0))
    seeds: int = 1
    bug: Recipe = field(default_factory=lambda: Recipe(steps=3000))  # of the lecture's small network, with the bug ...
    bug_shape: tuple = (10, 68)  # ... and without: n_embd, n_hidden, 22,000 parameters
    bug_seeds: int = 1
    names: int | None = None  # only the first so many of the file's shuffled names
    race_turns: int = 20
    side_steps: int = 1000


PLANS = {
    "smoke": Plan(
        shape=Shape(n_embd=4, n_hidden=16), recipe=Recipe(steps=40, batch_size=64, warmup=4), names=400,
        bug=Recipe(steps=10, batch_size=64, warmup=2), bug_shape=(4, 8), race_turns=1, side_steps=100,
    ),
    "default": Plan(),
    "full": Plan(
        recipe=Recipe(steps=20000, weight_decay=1.0), seeds=3, bug=Recipe(steps=8000), bug_seeds=3, race_turns=60
    ),
}  # fmt: skip


def read(path, alphabet, limit=None):
    """The names of a file in three parts; `limit` keeps the first so many, shared out 80/10/10 again."""
    names = load(path, alphabet)
    if limit is None or limit >= len(names.train + names.val + names.test):
        return names
    few = names.train[:limit]
    first, second = int(0.8 * len(few)), int(0.9 * len(few))
    return Names(few[:first], few[first:second], few[second:], names.alphabet)


def bigram(names):
    """Validation loss in nats of a table of pairs, counted on the training names, each count plus 1."""
    (before, after), (val_before, val_after) = (windows(names, part, 1) for part in (names.train, names.val))
    V = names.vocab_size
    counts = torch.bincount(before[:, 0] * V + after, minlength=V * V).view(V, V) + 1.0
    logprobs = (counts / counts.sum(1, keepdim=True)).log()
    return -logprobs[val_before[:, 0], val_after].mean().item()


def train(names, shape, recipe, seed, watch=None):
    """One network; returns (model, curve of [step, mean training loss since the last row, validation loss]).

    watch(step, loss) is called after every step.
    """
    data, val = windows(names, names.train, shape.context), windows(names, names.val, shape.context)
    model, curve, recent = Tree(shape, seed), [], []
    every = max(1, recipe.steps // JUDGED)
    for step, loss in fit(model, data, recipe, seed):
        recent.append(loss)
        if watch:
            watch(step, loss)
        if (step + 1) % every == 0 or step + 1 == recipe.steps:
            curve.append([step + 1, round(mean(recent), 5), round(evaluate(model, val), 5)])
            recent = []
    return model.eval(), curve


def spread(name, values):
    """{name: mean, name_sd: standard deviation}; one value has none."""
    return {name: mean(values), **({f"{name}_sd": stdev(values)} if len(values) > 1 else {})}


def bug_effect(names, plan, seed, watch=None):
    """Validation loss of the smaller network with statistics over rows alone, and over rows and places."""
    found = {}
    for name, over in (("bn_bug", "rows"), ("bn_fixed", "rows and places")):
        n_embd, n_hidden = plan.bug_shape
        shape = Shape(names.vocab_size, plan.shape.context, n_embd, n_hidden, "tanh", over=over)
        runs = [train(names, shape, plan.bug, seed + i, watch) for i in range(plan.bug_seeds)]
        found |= spread(f"{name}_val", [curve[-1][2] for _, curve in runs])
    return found | {"bn_params": parameters(runs[0][0]), "bn_seeds": plan.bug_seeds}


@torch.no_grad()
def invent(model, names, count, seed=0):
    """`count` names, each drawn letter by letter until the border; none is longer than twice the longest known."""
    context, generator = model.shape.context, torch.Generator().manual_seed(seed)
    tokens = torch.zeros(count, context, dtype=torch.long)
    for _ in range(2 * names.longest):
        probabilities = model(tokens[:, -context:])[0].softmax(-1)  # (count, V)
        tokens = torch.cat([tokens, torch.multinomial(probabilities, 1, generator=generator)], dim=1)
    return [names.decode(row) for row in tokens[:, context:]]


def origins(invented, names):
    """Where each invented name is known from: "train", "val or test", or "new"."""
    seen, held_out = set(names.train), {*names.val, *names.test}
    return ["train" if name in seen else "val or test" if name in held_out else "new" for name in invented]


@torch.no_grad()
def both_forms(model, names, repeats=3, length=1000):
    """The two layouts of the same weights: how far apart their logits are, and the time of each.

    Once on the validation names, as windows and as padded rows, and once on four rows of `length` letters.
    """
    dilated, context = Dilated(model.shape), model.shape.context
    dilated.load_state_dict(model.state_dict())
    dilated.eval()
    (tokens, _), (whole, ends) = windows(names, names.val, context), rows(names, names.val)
    there = ends >= 0  # (N, T): the places that a window ends at
    by_tree, tree_s = timed(lambda: model(tokens)[0], repeats)
    by_conv, dilated_s = timed(lambda: dilated(whole)[0][there], repeats)
    text = tokens[:, -1].repeat(1 + 4 * length // len(tokens))[: 4 * length].view(4, length)
    cut = torch.nn.functional.pad(text, (context - 1, 0)).unfold(1, context, 1).reshape(-1, context)
    _, long_tree_s = timed(lambda: model(cut)[0], repeats)
    _, long_dilated_s = timed(lambda: dilated(text)[0], repeats)
    return {
        "tree_vs_dilated_max_diff": (by_tree - by_conv).abs().max().item(),
        "dilated_vs_tree_time_ratio": dilated_s / tree_s,
        "dilated_vs_tree_time_ratio_long": long_dilated_s / long_tree_s,
        "padding_share": 1 - there.float().mean().item(),
        "tree_products": products(model.shape, 7, "tree"),  # for a name of six letters and its end
        "dilated_products": products(model.shape, 7, "dilated"),
        "tree_products_long": products(model.shape, length, "tree"),
        "dilated_products_long": products(model.shape, length, "dilated"),
    }


def timed(run, repeats):
    """(result, seconds of the fastest of some runs)."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = run()
        times.append(time.perf_counter() - start)
    return result, min(times)


def measure(names, plan, seed, weights, watch=None):
    """Everything about one file of names: (metrics, the first seed's model).

    That model's weights go to the file `weights` as soon as it is trained, so that who stops the others keeps it.
    """
    models, curves = [], []
    for i in range(plan.seeds):
        model, curve = train(names, plan.shape, plan.recipe, seed + i, watch)
        models.append(model)
        curves.append(curve)
        if i == 0:
            save_weights(weights, model, names)
    context = plan.shape.context
    loss = lambda part: [evaluate(model, windows(names, part, context)) for model in models]
    invented = invent(models[0], names, 1000, seed)
    known = origins(invented, names)
    metrics = {
        **spread("wavenet_val", loss(names.val)),
        **spread("wavenet_test", loss(names.test)),
        "wavenet_train": mean(loss(names.train)),
        "wavenet_params": parameters(models[0]),
        "wavenet_seeds": plan.seeds,
        "wavenet_steps": plan.recipe.steps,
        "uniform_loss": math.log(names.vocab_size),
        "bigram_val": bigram(names),
        "names": len(names.train + names.val + names.test),
        "new_share": known.count("new") / len(invented),
        "wavenet_samples": [[name, where] for name, where in zip(invented[:20], known)],
        "wavenet_curve": curves[0],
    }
    return metrics, models[0]


# --- weights ----------------------------------------------------------------------------------------------------------


def save_weights(path, model, names):
    """A safetensors file that also says what network it belongs to and which letters it knows."""
    about = {"shape": json.dumps(asdict(model.shape)), "alphabet": names.alphabet}
    atomic_write(path, save({k: v.contiguous() for k, v in model.state_dict().items()}, metadata=about))


def load_weights(path):
    """(model in evaluation mode, alphabet) from a file of save_weights. Raises ValueError for any other file."""
    try:
        with safe_open(Path(path), framework="pt") as file:
            about = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}
        model = Tree(Shape(**json.loads(about["shape"])))
        model.load_state_dict(tensors)
        return model.eval(), about["alphabet"]
    except (SafetensorError, KeyError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} holds no network of this week ({reason}); train one: make week06") from None
