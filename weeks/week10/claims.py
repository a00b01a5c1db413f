"""Week 10: what three papers claim about Muon and about scaling laws, asked of this week's own runs.

    python weeks/week10/claims.py muon-steps muon-time muon-overhead      # three seeds, from results/race-full.json
    python weeks/week10/claims.py law-a --seeds 20                        # twenty draws of the sweep's runs
    python weeks/week10/claims.py kaplan-shape                            # trains: nine small models, minutes

The pages are papers/jordan2024_muon.md, papers/hoffmann2022_chinchilla.md and papers/kaplan2020_scaling.md; the
predictions are in papers/claims.toml. Hours of training are not repeated here. The claims on Muon read each seed of the
race. The claims on laws read the rows of the sweep, and a "seed" is one draw of them with replacement (bootstrap): its
spread says how far the number depends on single runs. It does not say how a run changes with its random start.
"""

import json
import math
import sys
from functools import cache
from pathlib import Path

from scaling import law, sweep
from scaling.corpus import load
from scaling.vendor.shared import claims
from scaling.vendor.shared.errors import Mistake, entry
from scaling.vendor.shared.files import need

WEEK = Path(__file__).resolve().parent
ROOT = WEEK.parents[1]
RESULTS = WEEK / "results"


# --- Jordan 2024: Muon ------------------------------------------------------------------------------------------------


def measured(name):
    """The metrics of one of the week's committed full runs."""
    path = need(RESULTS / f"{name}-full.json", "make results WEEK=10 PRESET=full")
    return json.loads(path.read_text(encoding="utf-8"))["metrics"]


def of_race(key, change=lambda ratio: ratio):
    """An experiment that gives what the full race measured with each seed."""

    def ask(seed, run):
        races = measured("race")["races"]
        if seed >= len(races):
            raise Mistake(f"the race has {len(races)} seeds, so there is no seed {seed}; give fewer --seeds")
        return change(races[seed][key])

    ask.__doc__ = f"{key} of the race in results/race-full.json."
    return ask


# --- Hoffmann et al. 2022 and Kaplan et al. 2020: laws ----------------------------------------------------------------


@cache
def runs():
    """(rows of the sweep, what its two tables hold for each channel)."""
    found = measured("law")
    return found["rows"], found["vocab_size"] + sweep.BLOCK


@cache
def drawn(seed, embeddings=True):
    """The law of one draw of the sweep's rows. Without embeddings, N is what Kaplan et al. count (section 2.1)."""
    rows, _ = runs()
    return law.bootstrap([(size(row, embeddings), row["tokens"], row["loss"]) for row in rows], count=1, seed=seed)[0]


def size(row, embeddings=True):
    """Parameters of a run's model, with its two tables or without them."""
    return row["params"] - (0 if embeddings else runs()[1] * row["width"])


def exponent(fitted):
    """a of N ~ C^a along the frontier: Hoffmann et al. 2022, equation 4."""
    return fitted.beta / (fitted.alpha + fitted.beta)


def law_a(seed, run):
    """Exponent of the compute-optimal size in compute, all parameters counted."""
    fitted = drawn(seed)
    return {"value": exponent(fitted), "alpha": fitted.alpha, "beta": fitted.beta, "e": fitted.E}


def law_tokens(seed, run):
    """Tokens a parameter at the best size for the largest budget of the sweep."""
    n, d = drawn(seed).best(max(row["params"] * row["tokens"] for row in runs()[0]))
    return {"value": d / n, "params": n, "tokens": d}


def law_predicts(seed, run):
    """Error in percent of the law on the held-out run with 4 times the largest compute of the sweep."""
    row = measured("predict")["run"]
    said = drawn(seed).loss(row["params"], row["tokens"])
    return {"value": 100 * (said / row["loss"] - 1), "said": said, "measured": row["loss"]}


def middle(values):
    """The geometric mean."""
    return math.exp(sum(map(math.log, values)) / len(values))


def kaplan_n(seed, run):
    """-d log L / d log N of the law at unlimited tokens, in the middle of the sizes; embeddings are not counted."""
    fitted = drawn(seed, embeddings=False)
    term = fitted.A / middle([size(row, embeddings=False) for row in runs()[0]]) ** fitted.alpha
    return fitted.alpha * term / (fitted.E + term)


def kaplan_d(seed, run):
    """-d log L / d log D of the law at unlimited parameters, in the middle of the numbers of tokens."""
    fitted = drawn(seed, embeddings=False)
    term = fitted.B / middle([row["tokens"] for row in runs()[0]]) ** fitted.beta
    return fitted.beta * term / (fitted.E + term)


def kaplan_a(seed, run):
    """Exponent of the compute-optimal size in compute, embeddings not counted."""
    return exponent(drawn(seed, embeddings=False))


SAME_SIZE = ((2, 176), (5, 112), (10, 80))  # layers, width: 0.86, 0.83 and 0.83 million parameters
SHAPE_STEPS = 600


def kaplan_shape(seed, run):
    """Three shapes of one size and equal tokens: percent that the worst loss lies above the best. Trains."""
    corpus = load(ROOT / "data", ROOT / "runs/week10")
    losses = {}
    for layers, width in SAME_SIZE:
        config = sweep.Trial(layers, width, 1.0).config(corpus.tokenizer.vocab_size)
        budget = sweep.cost(config) * sweep.BLOCK * sweep.BATCH * run.steps(SHAPE_STEPS)
        losses[f"layers{layers}"] = sweep.run(sweep.Trial(layers, width, budget), corpus, seed)["loss"]
    return {"value": 100 * (max(losses.values()) / min(losses.values()) - 1), **losses}


CLAIMS = {
    "muon-steps": of_race("steps_ratio"), "muon-time": of_race("time_ratio"),
    "muon-overhead": of_race("step_seconds_ratio", lambda ratio: 100 * (ratio - 1)),
    "law-a": law_a, "law-tokens": law_tokens, "law-predicts": law_predicts,
    "kaplan-n": kaplan_n, "kaplan-d": kaplan_d, "kaplan-a": kaplan_a, "kaplan-shape": kaplan_shape,
}  # fmt: skip


def main(argv=None):
    return claims.main(__file__, CLAIMS, __doc__, argv)


if __name__ == "__main__":
    sys.exit(entry(main))
