"""Week 12's experiments around one question: what does the change that a new text needs look like?

python weeks/week12/experiments.py grid         # rank and learning rate: what is learned, what is forgotten
python weeks/week12/experiments.py places       # which matrices to adapt, at equally many parameters
python weeks/week12/experiments.py spectrum     # singular values of what full fine-tuning and LoRA changed
python weeks/week12/experiments.py memory       # bytes of a training step, and of the file; trains nothing
python weeks/week12/experiments.py              # all of them

A base reads Shakespeare, copies of it read the Bible (lora/lab.py). Results: <job>-<preset>.json.
"""

import copy
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import torch
from lora import attach, parameters, quantize, save
from lora.lab import (
    NEW,
    Setting,
    best_of,
    change_of,
    judge,
    open_lab,
    plain,
    read,
    record_of,
    teach,
    tried,
)
from lora.layers import all_linear
from lora.measures import directions, forgot_at, frontier, rank_for, training_bytes
from lora.vendor.gpt.model import GPT, GPTConfig
from lora.vendor.shared.errors import entry
from lora.vendor.shared.jobs import perform
from lora.vendor.shared.kept import Kept
from lora.vendor.shared.progress import bar
from lora.vendor.shared.results import command_line, machine, models_folder, parser, results_folder, thread_count
from lora.vendor.shared.results import write_results as write

DATA = Path(__file__).resolve().parents[2] / "data"


@dataclass(frozen=True)
class Preset:
    setting: Setting
    full_rates: tuple = (1.25e-4, 2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2)  # down to what rank 2 learns
    rates: tuple = (2.5e-3, 5e-3, 1e-2, 2e-2, 4e-2, 8e-2)  # of adapters
    near: tuple = (1e-2, 2e-2, 4e-2)  # those among which an adapter's best lies
    ranks: tuple = (1, 2, 4, 8, 16, 32)
    drawn: tuple = (2, 8, 32)  # ranks that get all rates, for their frontiers
    cuts: tuple = (1, 2, 4, 8, 16, 32, 64)
    budget_rank: int = 4  # on all layers: its parameters are what every choice of places may spend
    medium: dict | None = None  # the shape whose bytes are counted
    seeds: int = 1


SMALL = {"vocab_size": 256, "block_size": 32, "n_layer": 1, "n_head": 2, "n_embd": 16}
MEDIUM = {"vocab_size": 256, "block_size": 128, "n_layer": 6, "n_head": 6, "n_embd": 384}
QUICK = replace(Setting(), shape=SMALL, base=replace(Setting().base, steps=20), judged=512)
PRESETS = {
    "smoke": Preset(
        replace(QUICK, tune=replace(QUICK.tune, steps=6, warmup=2)),
        full_rates=(1e-3, 4e-3), rates=(5e-3, 2e-2), near=(1e-2,), ranks=(1, 4), drawn=(4,), cuts=(1, 16),
        budget_rank=2, medium=SMALL,
    ),
    "default": Preset(Setting(), medium=MEDIUM),
}  # fmt: skip
PRESETS["full"] = replace(PRESETS["default"], setting=replace(Setting(), judged=32_768), seeds=3)

PLACES = {  # name -> (targets, settings of the kind)
    "q": (("attn.qkv",), {"variant": "fused", "parts": "q"}),
    "q and v": (("attn.qkv",), {"variant": "fused", "parts": "qv"}),
    "attention": (("attn.qkv", "attn.proj"), {}),
    "mlp.up": (("mlp.up",), {}),
    "mlp": (("mlp.up", "mlp.down"), {}),
    "all": (("all-linear",), {}),
}


# --- the jobs: (preset, labs) -> metrics ------------------------------------------------------------------------------


def grid(preset, labs):
    """Every rank, and full fine-tuning, at several rates: the points of the frontiers, and the best of each."""
    methods = {"full": (None, preset.full_rates)}
    for rank in preset.ranks:
        methods[f"r{rank}"] = (plain(rank), preset.rates if rank in preset.drawn else preset.near)
    out = {"ranks": list(preset.ranks), "drawn": [f"r{rank}" for rank in preset.drawn]}
    for name, (config, rates) in methods.items():
        attempt = lambda rate: means([record_of(lab, config, rate, bar) for lab in labs])  # noqa: E731, B023
        points, lost = tried(rates, attempt, lambda said: print(f"{name:>5}: {said}", flush=True))  # noqa: B023
        best = means([best_of(lab, config, rates, bar) for lab in labs])
        out[name] = best | {"points": [[p["rate"], p["learned"], p["forgot"]] for p in points], "diverged": lost}
        print(f"{name:>5}: learned {best['learned']:.3f}, forgot {best['forgot']:.3f} at rate {best['rate']:g}")
    return out | compared({name: [point[1:] for point in out[name]["points"]] for name in ("full", *out["drawn"])})


def compared(ways):
    """{"frontiers", "beside_full"} of {method: points (learned, forgot)}: where a method has learned most, how much it
    has forgotten there, and how much full fine-tuning has where it has learned equally much (-1: it never did)."""
    frontiers, beside = {name: frontier(points) for name, points in ways.items()}, {}
    for name in ways.keys() - {"full"}:
        learned, forgot = frontiers[name][-1]
        full = forgot_at(ways["full"], learned)
        beside[name] = {"learned": learned, "forgot": forgot, "full": -1.0 if full is None else full}
    return {"frontiers": frontiers, "beside_full": dict(sorted(beside.items(), key=lambda item: item[1]["learned"]))}


def places(preset, labs):
    """The same number of parameters, spent on other matrices."""
    shape, out = labs[0].model, {}
    budget = sum(p.numel() for p in adapted(shape, plain(preset.budget_rank)))
    for name, (targets, kind) in PLACES.items():
        rank = rank_of(shape, budget, targets, kind)
        best = means([best_of(lab, plain(rank, targets=targets, **kind), preset.near, bar) for lab in labs])
        out[name] = best | {"rank": rank}
        print(f"{name:>10}: rank {rank:>3}, {best['parameters']:,} parameters, learned {best['learned']:.3f}")
    return {"places": out, "budget": budget}


def adapted(model, config):
    model = copy.deepcopy(model)
    attach(model, "a", config)
    return parameters(model, "a").values()


def rank_of(model, budget, targets, kind):
    """The rank that spends the budget: a fused layer's parts have outputs of a third, and an A each."""
    if not kind:
        return rank_for(model, targets, budget)
    return max(1, round(budget / sum(p.numel() for p in adapted(model, plain(1, targets=targets, **kind)))))


def spectrum(preset, labs):
    """Singular values of the changes, how many hold 90 % of them, and what is left of full's when it is cut."""
    methods = {"full": (None, preset.full_rates)} | {f"r{r}": (plain(r), preset.near) for r in preset.drawn}
    out = {"matrices": 0, "smallest_side": 0}
    for name, (config, rates) in methods.items():
        rows, cuts = [], []
        for lab in labs:
            rate = best_of(lab, config, rates, bar)["rate"]
            _, model = teach(lab, config, rate, bar)
            changes = {path: change_of(lab, model, path) for path in all_linear(lab.model)}
            rows += [(directions(change), torch.linalg.svdvals(change)) for change in changes.values()]
            if config is None:
                cuts.append([cut_to(lab, changes, rank) for rank in preset.cuts])
        values = torch.stack([(s / s.norm())[: min(len(s) for _, s in rows)] for _, s in rows]).mean(0)
        out[name] = {"directions": fmean(n for n, _ in rows), "values": [round(v, 6) for v in values.tolist()]}
        out |= {"matrices": len(changes), "smallest_side": len(values)}
        if cuts:
            out["cuts"] = [[r, *map(fmean, zip(*per))] for r, per in zip(preset.cuts, zip(*cuts))]
        print(f"{name:>5}: {out[name]['directions']:.1f} of {len(values)} directions hold 90 % of the change")
    return out


@torch.no_grad()
def cut_to(lab, changes, rank):
    """(learned, forgot) of the base plus the best approximation of that rank of each change. Only of these matrices:
    embeddings, norms and biases stay the base's."""
    model = copy.deepcopy(lab.model)
    for path, change in changes.items():
        U, S, Vh = torch.linalg.svd(change, full_matrices=False)
        model.get_submodule(path).weight += U[:, :rank] * S[:rank] @ Vh[:rank]
    found = judge(lab, model)
    return found["learned"], found["forgot"]


def memory(preset, labs):
    """Bytes of one step of AdamW, and of what is kept afterwards, counted on a model that is never trained."""
    shape, out = preset.medium, {}
    ids = torch.Generator().manual_seed(0)
    tokens = torch.randint(shape["vocab_size"], (4, shape["block_size"] + 1), generator=ids)
    kinds = {"full": None} | {f"r{rank}": plain(rank) for rank in (1, 8, 32)}
    kinds |= {kind: plain(8, variant=kind) for kind in ("lora_fa", "dora")} | {"int8": plain(8)}
    for name, config in kinds.items():
        torch.manual_seed(0)
        model = GPT(GPTConfig(**shape))
        if name == "int8":
            quantize(model)
        own, kept = list(model.parameters()), 0
        if config is not None:
            attach(model, NEW, config)
            own = [p for p in parameters(model, NEW).values() if p.requires_grad]
        optimizer = torch.optim.AdamW(own, lr=1e-4)
        found = training_bytes(model, optimizer, tokens[:, :-1], tokens[:, 1:])
        if config is None:
            kept = found["weights"]
        else:
            with tempfile.TemporaryDirectory() as folder:
                kept = sum(path.stat().st_size for path in save(model, NEW, folder).iterdir())
        out[name] = found | {"file": kept, "parameters": sum(p.numel() for p in own)}
        print(f"{name:>8}: " + ", ".join(f"{key} {value / 1e6:.2f} MB" for key, value in found.items()))
    full, r8 = out["full"], out["r8"]
    return {"bytes": out, "shape": shape, "optimizer_ratio": full["optimizer"] / r8["optimizer"],
            "gradient_ratio": full["gradients"] / r8["gradients"], "file_ratio": full["file"] / r8["file"]}  # fmt: skip


JOBS = {"grid": grid, "places": places, "spectrum": spectrum, "memory": memory}


# --- running them -----------------------------------------------------------------------------------------------------


def means(records):
    """One record of the seeds' records: means; the rate is the first seed's."""
    return {key: fmean(r[key] for r in records) for key in records[0]} | {
        key: records[0][key] for key in ("rate", "parameters")
    }


def run(job, argv):
    """Make one job, write its results file, return its metrics."""
    p = parser(JOBS[job].__doc__, data=DATA)
    p.prog = f"experiments.py {job}"
    args = p.parse_args(argv)
    preset, threads = PRESETS[args.preset], thread_count(args.threads)
    torch.set_num_threads(threads)
    texts = {} if job == "memory" else read(args.data, preset.setting.judged)
    part = models_folder(__file__, args.out) / f"{job}-{args.preset}-{args.seed}.part"
    with Kept(part, __file__, preset, args.data.resolve(), threads) as kept:
        labs = laboratories(args.data, texts, preset, args.seed, kept) if texts else []
        print(f"week12 {job}, {args.preset}: {machine(threads)['cpu']}, {threads} threads", flush=True)
        metrics = JOBS[job](preset, labs) | {"seeds": preset.seeds}
        if labs:
            metrics |= {"base": {"old": fmean(lab.old for lab in labs), "new": fmean(lab.new for lab in labs)}}
        path = results_folder(__file__, args.out) / f"{job}-{args.preset}.json"
        write(path, command=command_line(__file__, [job, *argv]), preset=args.preset, seed=args.seed,
              seconds=kept.seconds, metrics=metrics, threads=threads)  # fmt: skip
    print(f"results: {path}")
    return metrics


OPEN = {}  # (data, preset's setting, seed) -> laboratory: several jobs of one process share their runs


def laboratories(data, texts, preset, seed, kept):
    """A laboratory for each seed; what they measure goes into `kept`, beside what they measured for an earlier job."""
    found = []
    for number in range(seed, seed + preset.seeds):
        key = (str(data), str(preset.setting), number)
        if key not in OPEN:
            OPEN[key] = open_lab(preset.setting, texts, number, bar)
        found.append(OPEN[key])
        kept.data |= found[-1].kept
        found[-1].kept = kept
    return found


def main(argv=None):
    argv = sys.argv[1:] if argv is None else list(argv)
    return perform(argv, __doc__, tuple(JOBS), tuple(JOBS), run)


if __name__ == "__main__":
    sys.exit(entry(main))
