"""Weeks 1 and 2: small experiments on what the papers behind these weeks claim.

    python weeks/week01-02/claims.py                        # all of them, three seeds each
    python weeks/week01-02/claims.py mirror-weights         # one of them
    python weeks/week01-02/claims.py --quick                # only: does it run?

The pages are papers/rumelhart1986_backpropagation.md and those that its claims stand beside; the predictions, written
before the first run, are in papers/claims.toml.
"""

import itertools
import sys
from statistics import fmean, median

import numpy as np
from autograd import nn
from autograd.optim import SGD
from autograd.vendor.shared import claims
from autograd.vendor.shared.errors import entry

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


def momentum_speed(seed, run):
    """Sweeps without momentum over sweeps with momentum 0.9, each at its own best learning rate."""
    best, rates = {}, {}
    for momentum in (0.0, 0.9):
        typical = {}
        for rate in RATES:
            label = f"momentum {momentum}, rate {rate}"
            typical[rate] = median(sweep(network(2, one), rate, momentum, run, label)[0] for one in starts(seed))
        rates[momentum] = min(typical, key=typical.get)
        best[momentum] = max(1.0, typical[rates[momentum]])
    return {"value": best[0.0] / best[0.9], "plain": best[0.0], "with": best[0.9],
            "plain_rate": rates[0.0], "with_rate": rates[0.9]}  # fmt: skip


CLAIMS = {"hidden-units": hidden_units, "mirror-weights": mirror_weights, "momentum-speed": momentum_speed}


def main(argv=None):
    return claims.main(__file__, CLAIMS, __doc__, argv)


if __name__ == "__main__":
    sys.exit(entry(main))
