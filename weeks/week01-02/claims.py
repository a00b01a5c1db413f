"""Weeks 1 and 2: small experiments on what the papers behind these weeks claim.

    python weeks/week01-02/claims.py                        # all of them, three seeds each
    python weeks/week01-02/claims.py mirror-weights         # one of them
    python weeks/week01-02/claims.py --quick                # only: does it run?

The pages are papers/rumelhart1986_backpropagation.md, kingma2014_adam.md and loshchilov2017_adamw.md; the predictions,
written before the first run, are in papers/claims.toml.
"""

import itertools
import json
import math
import sys
from collections import Counter
from pathlib import Path
from statistics import fmean, median

import numpy as np
from autograd import nn
from autograd.data import Loader, mnist
from autograd.functional import cross_entropy
from autograd.optim import SGD, Adam, AdamW
from autograd.training import probabilities, train
from autograd.vendor.shared import claims
from autograd.vendor.shared.claims import once
from autograd.vendor.shared.errors import entry
from autograd.vendor.shared.files import need

DATA = Path(__file__).resolve().parents[2] / "data"

# --- Rumelhart, Hinton and Williams 1986: is a row of six bits its own mirror image? ----------------------------------

BITS = 6
STARTS = 6  # networks a seed, each from its own random weights: one start alone may be a lucky one
SWEEPS = 6_000  # over all 64 rows, at most; the paper's network needed 1,425
RATES = (0.1, 0.3, 1.0, 3.0)


def symmetry():
    """(rows (64, 6) of 0 and 1, (64, 1): 1 where a row reads the same from both ends); 8 of the rows do."""
    rows = np.array(list(itertools.product((0, 1), repeat=BITS)), np.float32)
    return rows, (rows == rows[:, ::-1]).all(1, keepdims=True).astype(np.float32)


def starts(seed):
    """The seeds of a seed's networks."""
    return range(seed * STARTS, (seed + 1) * STARTS)


def sigmoid(x):
    return x.sigmoid()


def network(hidden, seed):
    """Six inputs, `hidden` sigmoid units (or none), one sigmoid output; weights from -0.3 to 0.3 as in the paper."""
    rng = np.random.default_rng(seed)
    start = lambda rng, shape: rng.uniform(-0.3, 0.3, shape).astype(np.float32)
    layers = [nn.Linear(BITS, hidden, rng, start), sigmoid] if hidden else []
    return nn.Sequential(*layers, nn.Linear(hidden or BITS, 1, rng, start), sigmoid)


def sweep(model, rate, momentum, run, label, to_the_end=False):
    """Gradient descent on half the summed squared error of all rows, until every output is on its side of 0.5.

    Returns (how many sweeps it took, share of right answers with both kinds of rows counted alike).
    """
    (rows, wanted), sweeps = symmetry(), run.steps(SWEEPS)
    optimizer = SGD(model.parameters(), rate, momentum)
    for step in run.bar(range(sweeps), sweeps, label):
        out = model(rows)
        if not to_the_end and ((out.data > 0.5) == (wanted > 0.5)).all():
            return step, 1.0
        optimizer.zero_grad()
        (((out - wanted) ** 2).sum() * 0.5).backward()
        optimizer.step()
    right = (model(rows).data > 0.5) == (wanted > 0.5)
    return sweeps, float(fmean(right[wanted == kind].mean() for kind in (0, 1)))


def hidden_units(seed, run):
    """Right answers with two hidden units, less those without any."""
    shares = {}
    for hidden in (0, 2):
        done = [sweep(network(hidden, start), 0.1, 0.9, run, f"{hidden} hidden") for start in starts(seed)]
        shares[hidden] = fmean(share for _, share in done)
    return {"value": shares[2] - shares[0], "without": shares[0], "two": shares[2]}


def mirrored(weights):
    """How far the weights of mirrored inputs are from equal and opposite: 0 exactly so, ln 2 for random ones.

    weights (6, hidden). The mean of |a + b| / (|a| + |b|) over the pairs of mirrored inputs a, b.
    """
    a, b = weights[: BITS // 2], weights[::-1][: BITS // 2]
    return float((abs(a + b) / (abs(a) + abs(b))).mean())


def mirror_weights(seed, run):
    """How far learnt weights of mirrored inputs are from equal and opposite (0: exactly so)."""
    distances, ratios, before = [], [], []
    for start in starts(seed):
        model = network(2, start)
        before.append(mirrored(model.state()["0.weight"]))
        _, share = sweep(model, 0.1, 0.9, run, "2 hidden", to_the_end=True)
        if share == 1 or run.quick:  # only where the task was learned is there something that the weights show
            weights = model.state()["0.weight"]
            distances.append(mirrored(weights))
            sizes = np.sort(abs(weights[: BITS // 2]), axis=0)
            ratios.append(float(fmean((sizes[1:] / sizes[:-1]).reshape(-1).tolist())))
    if not distances:
        raise FloatingPointError("no network learned the task, so there are no learnt weights; raise SWEEPS")
    return {"value": fmean(distances), "before": fmean(before), "learned": len(distances) / STARTS,
            "ratio": median(ratios)}  # fmt: skip


def fastest(seed, run, grids):
    """For each momentum of grids {momentum: rates}: the sweeps at its best rate; the number compares the two."""
    best, rates = {}, {}
    for momentum, tried in grids.items():
        typical = {}
        for rate in tried:
            label = f"momentum {momentum}, rate {rate}"
            typical[rate] = median(sweep(network(2, one), rate, momentum, run, label)[0] for one in starts(seed))
        rates[momentum] = min(typical, key=typical.get)
        best[momentum] = max(1.0, typical[rates[momentum]])
    return {"value": best[0.0] / best[0.9], "plain": best[0.0], "with": best[0.9],
            "plain_rate": rates[0.0], "with_rate": rates[0.9]}  # fmt: skip


def momentum_speed(seed, run):
    """Sweeps without momentum over sweeps with momentum 0.9, each at its own best of four learning rates."""
    return fastest(seed, run, {0.0: RATES, 0.9: RATES})


def momentum_slow(seed, run):
    """The same with smaller rates for momentum, whose best rate was the smallest of the four."""
    return fastest(seed, run, {0.0: (1.0,), 0.9: (0.01, 0.03, 0.1)})


# --- Kingma and Ba 2014 -----------------------------------------------------------------------------------------------

NESTEROV = lambda parameters, lr: SGD(parameters, lr, momentum=0.9, nesterov=True)


class Uncorrected(Adam):
    """Adam without bias correction: it counts each step as a late one, where the correction is 1."""

    def direction(self, g, t, m, v, room):
        return super().direction(g, 10**9, m, v, room)


def descend(run, model, optimizer, arrays, steps, seed, drop=0.0, falling=True, label=""):
    """Mean batch loss over the last tenth of the steps; the worst possible, 100, where it stops being a number.

    falling: the rate of step t is lr / sqrt(t), as in the paper's section 6.1. drop: share of inputs set to 0.
    """
    rng, lr, losses = np.random.default_rng(seed), optimizer.lr, []
    for step in run.bar(range(steps), steps, label):
        optimizer.lr = lr / math.sqrt(step + 1) if falling else lr
        rows = rng.integers(len(arrays[0]), size=128)
        x = arrays[0][rows]
        if drop:
            x = x * (rng.random(x.shape, dtype=np.float32) >= drop) / np.float32(1 - drop)
        loss = cross_entropy(model(x), arrays[1][rows])
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            return 100.0
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return min(100.0, float(np.mean(losses[-max(1, steps // 10) :])))


def best(losses):
    """(loss, rate) of the best rate."""
    return min((loss, rate) for rate, loss in losses.items())


@once
def logistic_race(run, name, seed):
    """{method: (loss, rate)} of one linear layer, each method at its best rate."""
    x, y = {"stories": stories, "digits": digits}[name](run)
    steps, drop = (240, 0.5) if name == "stories" else (800, 0.0)
    rates = {"sgd": (NESTEROV, 0.003, 8), "adam": (Adam, 0.0003, 7)}  # first rate, how many, half a decade apart
    found = {}
    for method, (build, first, count) in rates.items():
        losses = {}
        for rate in (first * 10 ** (i / 2) for i in range(count)):
            model = nn.Linear(x.shape[1], int(y.max()) + 1, np.random.default_rng(seed), start=zeros)
            optimizer = build(model.parameters(), rate)
            losses[rate] = descend(run, model, optimizer, (x, y), run.steps(steps), seed, drop, label=method)
        found[method] = best(losses)
    return found


def zeros(rng, shape):
    return np.zeros(shape, np.float32)


@once
def digits(run):
    images, labels = mnist(need(DATA / "mnist", "make data/mnist"))["train"]
    return images[:20_000].reshape(-1, 784), labels[:20_000]


@once
def stories(run):
    """News stories as bags of words: (stories, words) of 0 and 1, and the topics as numbers."""
    lines = need(DATA / "reuters-r8" / "train.jsonl", "make data/reuters-r8").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    texts = [set(record["prompt"].split("\n\n", 1)[1].split()) for record in records]
    count = Counter(word for words in texts for word in words)
    words = {word: i for i, word in enumerate(sorted(word for word, n in count.items() if n > 1))}
    topics = {topic: i for i, topic in enumerate(sorted({record["response"] for record in records}))}
    x = np.zeros((len(texts), len(words)), np.float32)
    for row, text in enumerate(texts):
        x[row, [words[word] for word in text if word in words]] = 1
    return x, np.array([topics[record["response"]] for record in records])


def race_claim(name, seed, run):
    found = logistic_race(run, name, seed)
    (sgd, sgd_rate), (adam, adam_rate) = found["sgd"], found["adam"]
    return {"value": sgd / adam, "sgd": sgd, "adam": adam, "sgd_rate": sgd_rate, "adam_rate": adam_rate}


def adam_sparse(seed, run):
    """loss of SGD with Nesterov momentum over Adam's on bags of words, each at its best rate"""
    return race_claim("stories", seed, run)


def adam_dense(seed, run):
    """loss of SGD with Nesterov momentum over Adam's on pixels, each at its best rate"""
    return race_claim("digits", seed, run)


def adam_bias(seed, run):
    """powers of ten by which the largest rate that still works is lower without bias correction (beta2 = 0.9999)"""
    arrays, losses = digits(run), {}
    rates = [10 ** (-4 + i / 4) for i in range(13)]  # 0.0001 to 0.1
    for build in (Adam, Uncorrected):
        for rate in rates:
            rng = np.random.default_rng(seed)
            model = nn.Sequential(nn.Linear(784, 100, rng), nn.relu, nn.Linear(100, 10, rng))
            optimizer = build(model.parameters(), rate, betas=(0.9, 0.9999))
            label = f"{build.__name__}, rate {rate:.1e}"
            loss = descend(run, model, optimizer, arrays, run.steps(300), seed, falling=False, label=label)
            losses[build, rate] = loss
    limit = 1.5 * min(losses[Adam, rate] for rate in rates)
    top = {}
    for build in (Adam, Uncorrected):
        top[build] = max((rate for rate in rates if losses[build, rate] <= limit), default=rates[0])
    lowest = {build: min(losses[build, rate] for rate in rates) for build in (Adam, Uncorrected)}
    return {
        "value": math.log10(top[Adam] / top[Uncorrected]), "top_with": top[Adam], "top_without": top[Uncorrected],
        "best_with": lowest[Adam], "best_without": lowest[Uncorrected],
        "usual_with": losses[Adam, rates[4]], "usual_without": losses[Uncorrected, rates[4]],
    }  # fmt: skip


# --- Loshchilov and Hutter 2017 ---------------------------------------------------------------------------------------

RATES = [5e-4, 5e-4 * 10**0.5, 5e-3]
# decay: what joins the gradient for Adam (L2); for AdamW the share of a weight that a step takes away, before the
# schedule. The paper's algorithm 2 counts it so; ours and torch's multiply it by the rate, hence the division below.
DECAYS = {"l2": [10 ** (-5 + i / 2) for i in range(7)], "decoupled": [10 ** (-4 + i / 2) for i in range(7)]}
# Where the best decay is looked for, both grids have the same ends, and decay pays at both rates: below, none is best.
PAYING, WIDE = RATES[1], dict.fromkeys(DECAYS, [10 ** (-5 + i / 2) for i in range(9)])


def decayed(run, kind, rate, decay, seed, watch=None):
    """An MLP trained on 1,000 digits for 40 walks through them, with one kind of weight decay."""
    images, labels = digits(run)
    rng = np.random.default_rng(seed)
    start = 1_000 * seed
    model = nn.Sequential(nn.Linear(784, 128, rng), nn.relu, nn.Linear(128, 10, rng))
    loader = Loader(images[start : start + 1_000], labels[start : start + 1_000], batch_size=100, rng=rng)
    if kind == "l2":
        optimizer = Adam(model.parameters(), rate, weight_decay=decay)
    else:
        optimizer = AdamW(model.parameters(), rate, weight_decay=decay / rate)
    train(model, optimizer, loader, run.steps(40), watch and (lambda _: watch(model)))
    return model


def decay_table(run, seed, rates, decays):
    """{(kind, rate, decay): (val loss, val error, test error)}."""
    parts = mnist(need(DATA / "mnist", "make data/mnist"))
    found = {}
    grid = [(kind, rate, decay) for kind in decays for rate in rates for decay in decays[kind]]
    for kind, rate, decay in run.bar(grid, len(grid), "rates and decays"):
        model = decayed(run, kind, rate, decay, seed)
        loss, errors = {}, {}
        for part in ("val", "test"):
            images, labels = parts[part]
            p = probabilities(model, images.reshape(-1, 784))
            loss[part] = float(-np.log(p[np.arange(len(labels)), labels] + 1e-12).mean())
            errors[part] = float((p.argmax(1) != labels).mean())
        found[kind, rate, decay] = loss["val"], errors["val"], errors["test"]
    return found


def best_decay(table, kind, rate, decays):
    """log10 of the decay with the lowest val loss, between the grid's points by a parabola through three of them."""
    losses = [table[kind, rate, decay][0] for decay in decays]
    i = int(np.argmin(losses))
    place = math.log10(decays[i])
    if 0 < i < len(losses) - 1:
        a, b, c = losses[i - 1 : i + 2]
        place += 0.5 * 0.5 * (a - c) / (a - 2 * b + c)
    return place


def adamw_separate(seed, run):
    """powers of ten that the best decay moves when the rate grows tenfold, L2 less decoupled"""
    table = decay_table(run, seed, (PAYING, 10 * PAYING), WIDE)
    place = {(kind, i): best_decay(table, kind, rate, WIDE[kind])
             for kind in WIDE for i, rate in enumerate((PAYING, 10 * PAYING))}  # fmt: skip
    move = {kind: place[kind, 1] - place[kind, 0] for kind in WIDE}
    edges = sum(place[key] in (-5.0, -1.0) for key in place)  # a best decay at an end of the grid may lie beyond it
    return {
        "value": abs(move["l2"]) - abs(move["decoupled"]), **move, "edges": edges,
        "times_rate": move["decoupled"] - 1,  # where a step takes away rate x decay, as in torch and in our AdamW
    }  # fmt: skip


def adamw_better(seed, run):
    """test error with L2 over that with decoupled decay, each at the rate and decay that val chose"""
    table, chosen = decay_table(run, seed, RATES, DECAYS), {}
    for kind in DECAYS:
        _, chosen[kind] = min((errors[1], errors[2]) for (other, *_), errors in table.items() if other == kind)
    return {"value": chosen["l2"] / chosen["decoupled"], "l2": chosen["l2"], "decoupled": chosen["decoupled"]}


def adamw_spares(seed, run):
    """how much larger L2 leaves weights with large gradients than decoupled decay does, beside those with small ones"""
    rate, sizes = RATES[1], {}
    for kind, decay in (("none", 0.0), ("l2", 1e-3), ("decoupled", 10**-2.5)):
        total = np.zeros((784, 128))

        def watch(model, total=total):
            total += model.layers[0].weight.grad ** 2

        model = decayed(run, "l2" if kind == "none" else kind, rate, decay, seed, watch)
        live = digits(run)[0][1_000 * seed : 1_000 * seed + 1_000].mean(0) > 0.1  # pixels that are often inked
        size, slope = np.abs(model.layers[0].weight.data[live]).ravel(), total[live].ravel()
        low, high = np.quantile(slope, [0.25, 0.75])
        sizes[kind] = float(size[slope >= high].mean() / size[slope <= low].mean())
    return {"value": sizes["l2"] / sizes["decoupled"], **sizes}


CLAIMS = {
    "hidden-units": hidden_units,
    "mirror-weights": mirror_weights,
    "momentum-speed": momentum_speed,
    "momentum-slow": momentum_slow,
    "adam-sparse": adam_sparse,
    "adam-dense": adam_dense,
    "adam-bias": adam_bias,
    "adamw-separate": adamw_separate,
    "adamw-better": adamw_better,
    "adamw-spares": adamw_spares,
}


def main(argv=None):
    return claims.main(__file__, CLAIMS, __doc__, argv)


if __name__ == "__main__":
    sys.exit(entry(main))
