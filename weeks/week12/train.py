"""Week 12: who learns and who forgets, with all weights or with an adapter; and SmolLM2 adapted to a file of yours.

python weeks/week12/train.py                    # frontier: what `make week12` runs
python weeks/week12/train.py adapt FILE         # SmolLM2-135M learns FILE: a text, or JSONL rows of prompt and response
python weeks/week12/train.py adapt --help       # the options of a job

frontier: one base model (a byte-level GPT) is trained on Shakespeare. Copies of it then read the Bible for the same
number of steps on the same batches, with full fine-tuning and with LoRA at several ranks. Judged in bits per byte of
unseen text: of the Bible (what was learned) and of Shakespeare (what was forgotten).
"""

import argparse
import copy
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev

import torch
from lora import detach, load, merge, save, unmerge, using
from lora.adapt import Adaptation, Settings
from lora.lab import NEW, OLD, bits, finite, learn, plain, pupil, read, tried
from lora.vendor.gpt.loop import Recipe
from lora.vendor.gpt.model import GPT, GPTConfig
from lora.vendor.shared.errors import Mistake, entry
from lora.vendor.shared.files import LOCK, locked
from lora.vendor.shared.jobs import perform
from lora.vendor.shared.kept import Kept
from lora.vendor.shared.progress import bar
from lora.vendor.shared.results import (
    Stopwatch,
    command_line,
    machine,
    models_folder,
    parser,
    run_folder,
    save_run,
    seed_number,
    thread_count,
)

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[1] / "data"


@dataclass(frozen=True)
class Preset:
    shape: dict
    base: Recipe
    tune: Recipe  # lr comes from `rates`
    ranks: tuple
    rates: dict  # learning rates to try, for "full", "lora" or one rank ("r32"); the best on new validation text counts
    seeds: int = 1
    points: int = 4  # judgements on the way, for the curve
    judged: int = 32_768  # bytes of each test text


SMALL = {"vocab_size": 256, "block_size": 128, "n_layer": 4, "n_head": 4, "n_embd": 128}
PRESETS = {
    "smoke": Preset(
        shape={**SMALL, "block_size": 32, "n_layer": 2, "n_embd": 32},
        base=Recipe(steps=60, batch_size=16, lr=3e-3, min_lr=3e-4, warmup=5),
        tune=Recipe(steps=30, batch_size=16, warmup=3, weight_decay=0.0),
        ranks=(2, 8),
        rates={"full": (1e-3,), "lora": (1e-2,)},
        points=2,
        judged=2_048,
    ),
    "default": Preset(
        shape=SMALL,
        base=Recipe(steps=400, batch_size=32, lr=3e-3, min_lr=3e-4, warmup=40),
        tune=Recipe(steps=120, batch_size=32, warmup=12, weight_decay=0.0),
        ranks=(2, 8, 32),
        rates={"full": (4e-3,), "lora": (2e-2,), "r32": (1e-2,)},  # those that the full preset found
        judged=16_384,
    ),
}
PRESETS["full"] = replace(  # the same training, with rates searched and three seeds, so that differences mean something
    PRESETS["default"],
    rates={"full": (5e-4, 1e-3, 2e-3, 4e-3, 8e-3), "lora": (5e-3, 1e-2, 2e-2, 4e-2)},
    seeds=3,
    judged=65_536,
)


def run(model, text, recipe, seed, name, judge=None, points=0):
    """Train in place. Returns seconds, bytes read a second, and judge(model) at `points` even steps."""
    curve, watch, judging = [], Stopwatch(), 0.0
    read_a_step = recipe.batch_size * model.config.block_size

    def tell(steps):
        nonlocal judging
        with bar(total=recipe.steps, label=f"{name:>14}", unit="step") as line:
            for step, loss in steps:
                rate = (step + 1) * read_a_step / (watch.seconds - judging)
                line.set_postfix_str(f"loss {loss:.3f}, {rate:,.0f} tokens/s", refresh=False)
                line.update()
                if judge and (step + 1) % max(1, recipe.steps // points) == 0:
                    pause = Stopwatch()
                    curve.append([step + 1, *judge(model)])
                    judging += pause.seconds
                yield step, loss

    learn(model, text, recipe, seed, tell)
    seconds = watch.seconds - judging
    return seconds, recipe.steps * read_a_step / seconds, curve


def size(folder):
    return sum(path.stat().st_size for path in Path(folder).iterdir())


def tune(base, config, rate, preset, texts, seed, name):
    """One copy of `base` taught the new text; config None is full fine-tuning. Returns its record and the model."""
    model, own, recipe = pupil(base, config, preset.tune, rate, seed)
    judge = lambda m: (bits(m, texts[NEW, "test"]), bits(m, texts[OLD, "test"]))  # noqa: E731
    seconds, _, curve = run(model, texts[NEW, "train"], recipe, seed, f"{name}, {rate:g}", judge, preset.points)
    scores = finite({"new": curve[-1][1], "old": curve[-1][2], "val": bits(model, texts[NEW, "val"])})
    record = scores | {"rate": rate, "seconds": seconds, "parameters": sum(p.numel() for p in own), "curve": curve}
    return record, model


def roundtrip(base, model, text):
    """What the adapter costs on disk, and how far reloading and merging move its bits per byte (should be rounding)."""
    here = bits(model, text)
    with tempfile.TemporaryDirectory() as folder:
        save(model, NEW, folder)
        fresh = copy.deepcopy(base)
        load(fresh, folder, NEW)
        reloaded, cost = bits(fresh, text), size(folder)
    merge(model, NEW)
    merged = bits(model, text)
    unmerge(model)
    return cost, abs(reloaded - here), abs(merged - here)


@torch.no_grad()
def write_on(model, prompt, names, n, seed, temperature=0.8):
    """Continue one prompt once for each name, all rows in one batch: the base model and the adapter side by side."""
    g = torch.Generator().manual_seed(seed)
    tokens = torch.tensor([list(prompt.encode())] * len(names))
    with using(model.eval(), names):
        for _ in range(n):
            logits = model(tokens[:, -model.config.block_size :])[0][:, -1]  # (rows, 256)
            new = torch.multinomial((logits / temperature).softmax(-1), 1, generator=g)
            tokens = torch.cat([tokens, new], dim=1)
    return [bytes(row.tolist()).decode(errors="replace").replace("\0", "\n") for row in tokens]


def pretrain(preset, texts, seed):
    """The base model that has read the old text, and its record."""
    torch.manual_seed(seed)
    base = GPT(GPTConfig(**preset.shape))
    seconds, speed, _ = run(base, texts[OLD, "train"], preset.base, seed, f"base, seed {seed}")
    total = sum(p.numel() for p in base.parameters())
    return base, {
        "new": bits(base, texts[NEW, "test"]), "old": bits(base, texts[OLD, "test"]), "seconds": seconds,
        "tokens_per_second": speed, "parameters": total, "bytes": 4 * total,
    }  # fmt: skip


def teach(base, start, rank, rates, preset, texts, seed):
    """One method at all `rates`: its best record or None, [[rate, learned, forgot]], and the rates that diverged."""
    config, name = (None, "full") if rank is None else (plain(rank), f"rank {rank}")
    found, lost = tried(rates, lambda rate: tune(base, config, rate, preset, texts, seed, name), print)
    for record, _ in found:
        record["learned"], record["forgot"] = start["new"] - record["new"], record["old"] - start["old"]
    points = [[record["rate"], record["learned"], record["forgot"]] for record, _ in found]
    if not found:
        return None, points, lost
    record, model = min(found, key=lambda pair: pair[0]["val"])
    record["bytes"] = start["bytes"]
    if rank is not None:
        record["bytes"], record["reload_gap"], record["merge_gap"] = roundtrip(base, model, texts[NEW, "test"])
        if rank == 8:
            record["base_sample"], record["sample"] = write_on(model, "And he said, ", ["__base__", NEW], 160, seed)
        detach(model, NEW)
        pairs = zip(base.state_dict().values(), model.state_dict().values())
        record["base_tensors_changed"] = sum(not torch.equal(a, b) for a, b in pairs)
    return record, points, lost


def one_seed(preset, texts, seed, found, kept):
    """Pre-train, then teach with every method: {method: record}; a method all of whose rates diverged is left out.

    `found` gets, by method: "rates", chosen on the first seed's validation text; "tried", what each rate gave there:
    (rate, learned, forgot); "diverged", (seed, rate). What is in `kept` is not trained again.
    """
    methods, base = {"full": None} | {f"r{rank}": rank for rank in preset.ranks}, None
    if not all(f"{seed} {name}" in kept for name in ("base", *methods)):
        base, record = pretrain(preset, texts, seed)
        kept.setdefault(f"{seed} base", record)
    out = {"base": dict(kept[f"{seed} base"])}
    print(f"base: {out['base']['old']:.3f} bits a byte of {OLD}, {out['base']['new']:.3f} of {NEW}")
    for name, rank in methods.items():
        rates = found["rates"].get(name) or preset.rates.get(name) or preset.rates["lora"]
        key = f"{seed} {name}"
        if key not in kept:
            kept[key] = teach(base, out["base"], rank, rates, preset, texts, seed)
        record, points, lost = kept[key]
        if lost:
            found["diverged"].setdefault(name, []).extend([seed, rate] for rate in lost)
        if name not in found["rates"]:
            found["tried"].setdefault(name, []).extend(points)
        if record is None:
            print(f"{name:>4}: every learning rate diverged; give lower ones in PRESETS of {Path(__file__).name}")
            continue
        found["rates"][name] = (record["rate"],)
        out[name] = {key: value for key, value in record.items() if key != "base_sample"}
        if "base_sample" in record:
            out["base"]["sample"] = record["base_sample"]
        print(
            f"{name:>4}: {record['new']:.3f} of {NEW} (learned {record['learned']:.3f}), {record['old']:.3f} of {OLD} "
            f"(forgot {record['forgot']:.3f}), {record['parameters']:,} parameters, {record['seconds']:.1f} s"
        )
    return out


def gather(runs):
    """[{method: {key: value}}] of the seeds -> means; standard deviations of learned and forgot beside them."""
    out = {}
    for name in dict.fromkeys(name for r in runs for name in r):
        rows = [r[name] for r in runs if name in r]  # a seed may lack a method: its rates diverged
        first = rows[0]
        out[name] = {k: average([row[k] for row in rows if k in row]) for k, v in first.items()}
        for key in ("learned", "forgot"):
            if key in first and len(rows) > 1:
                out[name][f"{key}_sd"] = stdev(row[key] for row in rows)
    return out


def average(values):
    if isinstance(values[0], (int, str)):
        return max(values) if isinstance(values[0], int) else values[0]
    if isinstance(values[0], list):
        return [average(list(column)) for column in zip(*values)]
    return mean(values)


def main(argv=None):
    argv = sys.argv[1:] if argv is None else list(argv)
    return perform(argv, __doc__, JOBS, ("frontier",), lambda name, options: JOBS[name](options))


def adapting(argv):
    """The job `adapt`: SmolLM2-135M and a file."""
    p = argparse.ArgumentParser(prog="train.py adapt", description="Adapt a published model to a file of your own.")
    p.add_argument("file", type=Path, help='a text, or a .jsonl of rows {"prompt": "...", "response": "..."}')
    p.add_argument("--model", default="smollm2-135m", help="name or path of the model (default: %(default)s)")
    p.add_argument("--exam", type=Path, help="what judges it (default: a tenth of FILE is held out)")
    p.add_argument("--rank", type=int, default=8, help="rank of the adapter (default: %(default)s)")
    p.add_argument("--lr", type=float, default=1e-3, help="highest learning rate (default: %(default)s)")
    p.add_argument("--steps", type=int, help="optimizer steps (default: two passes; of a text at most 80)")
    p.add_argument("--seed", type=seed_number, default=0, help="seed of all that is random (default: %(default)s)")
    p.add_argument("--out", type=Path, help="new folder for the adapter (default: runs/week12/adapters/FILE's name)")
    p.add_argument("--threads", type=int, help="CPU threads (default: all that this process may use)")
    args = p.parse_args(argv)
    here = args.file.resolve()
    folder = args.out or run_folder(__file__) / "adapters" / (here.parent.name if here.stem == "train" else here.stem)
    new(folder)  # before the lock, which would leave a file in a folder that is not ours
    with locked(folder):
        new(folder)  # and again, for another run may have ended in it meanwhile
        return adapt(args, ["adapt", *argv], folder)


def new(folder):
    """A Mistake where there is something in `folder`."""
    if folder.is_dir() and any(inside.name != LOCK for inside in folder.iterdir()):
        raise Mistake(f"{folder} already holds files, which are not overwritten; give another --out, or move them away")


def adapt(args, argv, folder):
    """Judge, learn, judge again, and save all of it in `folder`."""
    watch, threads = Stopwatch(), thread_count(args.threads)
    torch.set_num_threads(threads)
    settings = Settings(args.model, args.exam, args.rank, args.lr, args.steps, args.seed)
    work = Adaptation(args.file, settings)
    print(
        f"{args.model} learns {args.file}: {len(work.rows)} rows of up to {work.length} tokens, {work.recipe.steps} "
        f"steps, {work.parameters:,} numbers trained, {work.precision}, {threads} threads"
    )
    if work.note:
        print(f"note: {work.note}")
    before = work.judge()
    losses = work.learn(folder)
    try:
        after = work.judge()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"the adapter is in {folder}, but was not judged") from None
    for name, m in (("before", before), ("after", after)):
        loss = f", loss {m['loss']:.3f}" if "loss" in m else ""
        print(f"{name}: {m['told']}{loss}; a sample: {m['sample']!r}")
    metrics = {
        "before": before, "after": after, "losses": losses, "rows": len(work.rows), "steps": work.recipe.steps,
        "parameters": work.parameters, "bytes": size(folder), "precision": work.precision,
    }  # fmt: skip
    save_run(
        __file__, args, argv, metrics, name="results", preset="default", folder=folder,
        seconds=watch.seconds, threads=threads,
    )  # fmt: skip
    print(f"saved in {folder}: PEFT loads it onto the published model, and here: nanogpt chat --model {folder}")
    return metrics


def taught(preset, texts, seed, kept, n):
    """The metrics of all seeds; `n` is how many parameters the base has."""
    found = {"rates": {}, "tried": {}, "diverged": {}}
    metrics = gather([one_seed(preset, texts, seed + i, found, kept) for i in range(preset.seeds)])
    ranks = [rank for rank in preset.ranks if f"r{rank}" in metrics]
    metrics |= {
        "seeds": preset.seeds, "ranks": ranks, "tune_steps": preset.tune.steps, "base_steps": preset.base.steps,
        "old": OLD, "new": NEW, "tried": found["tried"], "diverged": found["diverged"],
    }  # fmt: skip
    for rank in ranks if "full" in metrics else ():
        m = metrics[f"r{rank}"]
        m["parameters_pct"] = 100 * m["parameters"] / n
        m["learned_vs_full_pct"] = 100 * m["learned"] / metrics["full"]["learned"]
        m["forgot_vs_full_pct"] = 100 * m["forgot"] / metrics["full"]["forgot"]
        m["checkpoint_over_adapter_bytes"] = metrics["full"]["bytes"] / m["bytes"]
    return metrics


def frontier(argv):
    """The job `frontier`: full fine-tuning and LoRA of several ranks, learned against forgotten."""
    p = parser(
        __doc__, data=DATA, epilog="--data holds the folders shakespeare and bible, each with train, val, test.txt"
    )
    args = p.parse_args(argv)
    preset = PRESETS[args.preset]
    threads = thread_count(args.threads)
    torch.set_num_threads(threads)
    texts = read(args.data, preset.judged)
    for (domain, part), text in texts.items():
        if len(text) <= preset.shape["block_size"]:
            raise Mistake(f"{args.data / domain / part}.txt is shorter than one window; give more text")
    n = sum(p.numel() for p in GPT(GPTConfig(**preset.shape)).parameters())
    print(
        f"week12 {args.preset}: GPT of {n:,} parameters, {OLD} then {NEW}, {machine(threads)['cpu']}, {threads} threads"
    )
    part = models_folder(__file__, args.out) / f"frontier-{args.preset}-{args.seed}.part"
    with Kept(part, __file__, preset, args.data.resolve(), threads) as kept:
        metrics = taught(preset, texts, args.seed, kept, n)
        path = save_run(__file__, args, argv, metrics, seconds=kept.seconds, threads=threads)
    ranks = metrics["ranks"]
    if ranks and "full" in metrics:
        m = metrics[f"r{max(ranks)}"]
        print(
            f"What it showed: with {m['parameters_pct']:.0f} % of the parameters, LoRA of rank {max(ranks)} learns "
            f"{m['learned_vs_full_pct']:.0f} % of what full fine-tuning learns, and forgets "
            f"{m['forgot_vs_full_pct']:.0f} % of what that forgets."
        )
    again = ["--preset", args.preset, "--seed", str(args.seed + preset.seeds)]
    print(f"To try next, whether other seeds say the same: {command_line(__file__, again)}")
    print(f"results: {path}")
    return metrics


JOBS = {"frontier": frontier, "adapt": adapting}


if __name__ == "__main__":
    sys.exit(entry(main))
