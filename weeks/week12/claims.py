"""Week 12: what three papers claim of low-rank adapters, asked of a small model that has read Shakespeare.

    python weeks/week12/claims.py hu-rank hu-places hu-amplify hu-subspace
    python weeks/week12/claims.py biderman-learns biderman-forgets biderman-tradeoff biderman-rank biderman-modules
    python weeks/week12/claims.py dora-better dora-low-rank

The pages are papers/hu2021_lora.md, papers/biderman2024_lora_forgets.md and papers/liu2024_dora.md; the predictions are
in papers/claims.toml. Every adapter and full fine-tuning have the learning rate of theirs with the lowest loss on
validation text of the Bible. Claims share their runs: name all of them in one command.
"""

import sys
from pathlib import Path
from statistics import fmean

from lora.lab import Setting, best_of, change_of, open_lab, plain, read, record_of, teach
from lora.layers import all_linear
from lora.measures import amplification, directions, forgot_at, overlap, rank_for
from lora.vendor.shared import claims
from lora.vendor.shared.errors import entry

DATA = Path(__file__).resolve().parents[2] / "data"
FULL_RATES = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3)
RATES = (1e-2, 2e-2, 4e-2)  # of adapters
WIDE = (1.25e-3, 2.5e-3, 5e-3, *RATES)  # for a frontier


@claims.once
def lab(run, seed):
    """One base for all claims of a seed. A trial (--quick) makes it of few steps."""
    whole = Setting()
    few = lambda recipe: type(recipe)(**{**vars(recipe), "steps": run.steps(recipe.steps), "warmup": 1})
    setting = Setting(base=few(whole.base), tune=few(whole.tune)) if run.quick else whole
    return open_lab(setting, read(DATA, setting.judged), seed, run.bar)


def learned(run, seed, config):
    return best_of(lab(run, seed), config, RATES, run.bar)["learned"]


def differ(run, seed, one, other):
    """One config's learning less another's, each at the best of RATES."""
    first, second = learned(run, seed, one), learned(run, seed, other)
    return {"value": first - second, "one": first, "other": second}


@claims.once
def changes(run, seed, rank):
    """[(change, weight before)] of every adapted matrix after the run with the best rate; rank None is all weights."""
    here, config, rates = lab(run, seed), plain(rank) if rank else None, RATES if rank else FULL_RATES
    model = teach(here, config, best_of(here, config, rates, run.bar)["rate"], run.bar)[1]
    before = here.model.get_submodule
    return [(change_of(here, model, path), before(path).weight.detach()) for path in all_linear(here.model)]


# --- Hu et al. 2021 ---------------------------------------------------------------------------------------------------


def hu_rank(seed, run):
    """Share of rank 32's learning that rank 4 has."""
    few, many = learned(run, seed, plain(4)), learned(run, seed, plain(32))
    return {"value": few / many, "few": few, "many": many}


def hu_places(seed, run):
    """Learning of rank 4 on q and v less that of rank 8 on q alone: as many parameters."""
    where = {"targets": ("attn.qkv",), "variant": "fused"}
    return differ(run, seed, plain(4, parts="qv", **where), plain(8, parts="q", **where))


def hu_amplify(seed, run):
    """How much a rank 4 change is larger than what the weight does in its directions; mean over matrices."""
    return fmean(amplification(change, weight, 4) for change, weight in changes(run, seed, 4))


def hu_subspace(seed, run):
    """How much the first direction of rank 8's change lies in the first of rank 32's; mean over matrices."""
    pairs = zip(changes(run, seed, 8), changes(run, seed, 32))
    found = [(overlap(a, b, 1, 1), overlap(a, b, 8, 8)) for (a, _), (b, _) in pairs]
    return {"value": fmean(first for first, _ in found), "eight": fmean(eight for _, eight in found)}


# --- Biderman et al. 2024 ---------------------------------------------------------------------------------------------


def both(run, seed, part):
    """{"full", "low"}: learned or forgot of full fine-tuning and of rank 2, each at its best rate."""
    here = lab(run, seed)
    full, low = best_of(here, None, FULL_RATES, run.bar), best_of(here, plain(2), RATES, run.bar)
    return {"value": full[part] - low[part], "full": full[part], "low": low[part]}


def biderman_learns(seed, run):
    """Learning of full fine-tuning less that of rank 2."""
    return both(run, seed, "learned")


def biderman_forgets(seed, run):
    """Forgetting of full fine-tuning less that of rank 2."""
    return both(run, seed, "forgot")


def biderman_tradeoff(seed, run):
    """Forgetting of full fine-tuning less that of rank 8 where both have learned equally much."""
    here, ways = lab(run, seed), {}
    for name, config, rates in (("full", None, FULL_RATES), ("low", plain(8), WIDE)):
        records = [record_of(here, config, rate, run.bar) for rate in rates]
        ways[name] = [(r["learned"], r["forgot"]) for r in records]
    reach = 0.9 * min(max(x for x, _ in points) for points in ways.values())  # a little below the end of both
    found = {name: forgot_at(points, reach) for name, points in ways.items()}
    return {"value": found["full"] - found["low"], "reach": reach, **found}


def biderman_rank(seed, run):
    """Directions that hold 90 % of full fine-tuning's change, over those of rank 8's; means over matrices."""
    full, low = (fmean(directions(change) for change, _ in changes(run, seed, rank)) for rank in (None, 8))
    return {"value": full / low, "full": full, "low": low}


def biderman_modules(seed, run):
    """Learning of the MLP's matrices less that of attention's, at equally many parameters."""
    model, attention, mlp = lab(run, seed).model, ("attn.qkv", "attn.proj"), ("mlp.up", "mlp.down")
    budget = 8 * sum(m.in_features + m.out_features for path, m in model.named_modules()
                     if path.endswith(attention))  # fmt: skip
    rank = rank_for(model, mlp, budget)
    return {**differ(run, seed, plain(rank, targets=mlp), plain(8, targets=attention)), "rank": rank}


# --- Liu et al. 2024 --------------------------------------------------------------------------------------------------


def gap(run, seed, rank):
    return differ(run, seed, plain(rank, variant="dora"), plain(rank))


def dora_better(seed, run):
    """Learning of DoRA less that of LoRA at rank 8."""
    return gap(run, seed, 8)


def dora_low_rank(seed, run):
    """The same difference at rank 2, less that at rank 8."""
    low, high = gap(run, seed, 2)["value"], gap(run, seed, 8)["value"]
    return {"value": low - high, "low": low, "high": high}


CLAIMS = {
    "hu-rank": hu_rank, "hu-places": hu_places, "hu-amplify": hu_amplify, "hu-subspace": hu_subspace,
    "biderman-learns": biderman_learns, "biderman-forgets": biderman_forgets, "biderman-tradeoff": biderman_tradeoff,
    "biderman-rank": biderman_rank, "biderman-modules": biderman_modules,
    "dora-better": dora_better, "dora-low-rank": dora_low_rank,
}  # fmt: skip


def main(argv=None):
    return claims.main(__file__, CLAIMS, __doc__, argv)


if __name__ == "__main__":
    sys.exit(entry(main))
