"""Week 13: tasks one after another, every method beside the same bounds; each run a cell that is kept as it comes.

python weeks/week13/train.py                        # domains: what `make week13` runs
python weeks/week13/train.py domains                # Shakespeare, Bible, recipes, code: a byte-level GPT, bits per byte
python weeks/week13/train.py labels                 # five classifications on a small base, label likelihood
python weeks/week13/train.py instructions           # SmolLM2-135M with LoRA; also --ssr FOLDER or --trace FOLDER
python weeks/week13/train.py growth                 # what one task more costs after 5, 10 and 20
python weeks/week13/train.py costs                  # a step of each method beside a naive one, in turns
python weeks/week13/train.py compare                # the whole comparison, from the cells that are there
python weeks/week13/train.py --tasks a.jsonl b.jsonl --method replay    # your own tasks, one file each
python weeks/week13/train.py labels --methods ewc ewc:strength=1000 --orders forward reverse --seeds 3
python weeks/week13/train.py domains --help         # the options of a job

A table that was stopped goes on with the same command: it measures only the cells that are missing.
"""

import argparse
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

import torch
from continual import METHODS
from continual.tiers import costs, domains, growth, instructions, labels, own, report
from continual.tiers.scenario import ORDERS
from continual.tiers.table import Table, method, parse, read_cells, took
from continual.vendor.shared.errors import Mistake, entry
from continual.vendor.shared.jobs import perform
from continual.vendor.shared.results import (
    Stopwatch,
    fast_in_bf16,
    models_folder,
    parser,
    results_folder,
    save_run,
    thread_count,
)

WEEK = Path(__file__).resolve().parent
DATA = WEEK.parents[1] / "data"
OPENER, MODEL = "nanogpt.sources:open_model", "smollm2-135m"
LEARNER, GENERATE = "nanogpt.answers:AnswerLearner", "nanogpt.infer.batch:generate_batch"


@dataclass(frozen=True)
class Preset:
    """`settings` are those of the scenario, the same for every method; `methods` the rows beside the five of always."""

    settings: dict
    methods: tuple = ("replay",)
    seeds: int = 1
    orders: tuple = ("forward",)
    tasks: tuple = ()  # () takes all


# budget: rows that replay may keep, of all old tasks together; replay_rows: how many join each batch.
# Joint training gets as many rows a step as replay: else the bound would have seen less than what it bounds.
GPT = dict(n_layer=3, n_head=4, n_embd=128)
TINY = dict(n_layer=1, n_head=2, n_embd=16)
TEXT = dict(**GPT, length=64, batch_size=16, steps=180, lr=3e-3, train_rows=8000, valid_rows=200, budget=800,
            replay_rows=8)  # fmt: skip
LABELS = dict(**GPT, vocab_size=2048, length=64, batch_size=8, steps=120, lr=1e-3, train_rows=400, test_rows=100,
              valid_rows=100, budget=100, replay_rows=4, base_steps=120, base_batch=16, base_lr=3e-3,
              base_rows=20_000)  # fmt: skip
WORDS = dict(rank=8, alpha=16, length=96, answer=8, batch_size=4, steps=40, lr=1e-3, train_rows=200, test_rows=20,
             budget=40, replay_rows=2, generate=True, generic_rows=8, weight_decay=0.0)  # fmt: skip
MADE_UP = dict(**GPT, length=64, batch_size=16, steps=40, lr=3e-3, train_rows=200, valid_rows=8, budget=80,
               replay_rows=8)  # fmt: skip
FOUR = domains.DOMAINS[:4]
ALL = ("all",)
PRESETS = {
    "domains": {
        "smoke": Preset(TINY | dict(length=16, batch_size=8, steps=4, lr=1e-2, train_rows=64, valid_rows=8, budget=8,
                                    replay_rows=4), tasks=FOUR),
        "default": Preset(TEXT, tasks=FOUR),
        "full": Preset(TEXT, ALL, 3, tuple(ORDERS)),
    },
    "labels": {
        "smoke": Preset(LABELS | TINY | dict(vocab_size=300, length=48, batch_size=4, steps=3, train_rows=24,
                                             test_rows=8, valid_rows=4, budget=8, replay_rows=2, base_steps=3,
                                             base_batch=4, base_rows=50),
                        tasks=tuple(labels.SETS)[2:4]),
        "default": Preset(LABELS | dict(steps=60), tasks=tuple(labels.SETS)[:4]),
        "full": Preset(LABELS | dict(base_steps=1000, steps=200, train_rows=800), ALL, 3, tuple(ORDERS)),
    },
    "instructions": {
        "smoke": Preset(WORDS | dict(rank=2, length=160, steps=2, train_rows=8, test_rows=2, answer=8, budget=4,
                                     generic_rows=2)),
        "default": Preset(WORDS),
        "full": Preset(WORDS | dict(length=192, answer=48, batch_size=8, steps=100, train_rows=200, test_rows=100,
                                    budget=80, replay_rows=4, generic_rows=32), ALL, 3),
    },
    "growth": {
        "smoke": Preset(MADE_UP | TINY | dict(length=16, batch_size=4, steps=2, train_rows=8, valid_rows=2, budget=8),
                        tasks=(2, 4)),
        "default": Preset(MADE_UP, ("naive", "replay", "shared-replay", "ewc", "experts"), tasks=(5, 10, 20)),
        "full": Preset(MADE_UP | dict(steps=80), ALL, tasks=(5, 10, 20)),
    },
}  # fmt: skip
LEFT_OUT = "{} pairs are left out: their answers are longer than {} tokens"
TIERS = ("domains", "labels", *instructions.SOURCES)  # tables that `compare` looks for


@dataclass
class Job:
    """What every job is given: its name, its arguments, and where its things lie."""

    name: str
    args: argparse.Namespace
    argv: list
    clock: Stopwatch = field(default_factory=Stopwatch)
    seconds: float | None = None  # of a table what all its cells took, whichever command measured them

    @property
    def preset(self):
        return PRESETS[self.name][self.args.preset]

    @property
    def results(self):
        return results_folder(__file__, self.args.out)

    @property
    def models(self):
        return models_folder(__file__, self.args.out)

    def cells(self, tier):
        return self.results / "cells" / tier / self.args.preset

    def methods(self):
        """The rows that were asked for; `all` is every method with its default settings."""
        asked = self.args.methods or self.preset.methods
        return [spec for each in asked for spec in (METHODS if each == "all" else [each])]

    def record(self, metrics, name=None):
        """Write the results file, say where it lies, and return the metrics."""
        print(f"results: {self.save(metrics, name)}")
        return metrics

    def save(self, metrics, name=None):
        """Write the results file. That of the domains is the week's: it has no name but its preset."""
        name = name or self.name
        stem = f"{'' if name == 'domains' else f'{name}-'}{self.args.preset}"
        argv, threads = [self.name, *self.argv], torch.get_num_threads()
        seconds = self.clock.seconds if self.seconds is None else self.seconds
        return save_run(__file__, self.args, argv, metrics, name=stem, seconds=seconds, threads=threads)


def table(job, scenario):
    """Fill the table of a scenario, print it, and return its metrics."""
    preset, args = job.preset, job.args
    orders, seeds = args.orders or preset.orders, range(args.seed, args.seed + (args.seeds or preset.seeds))
    cells = Table(scenario, job.cells(scenario.tier))
    print(f"{' > '.join(task.name for task in scenario.tasks)}; {scenario.settings['steps']} steps each, rate "
          f"{scenario.settings['lr']}; {len(seeds)} seed(s), {', '.join(orders)}; {torch.get_num_threads()} threads; "
          f"cells: {cells.folder}", flush=True)  # fmt: skip
    records = cells.fill(job.methods(), orders, seeds)
    job.seconds, metrics = sum(map(took, records)), report.summarise(records)
    metrics["settings"] = scenario.settings
    print(report.lines(metrics))
    return metrics


def told(metrics):
    """What a table showed, in one sentence."""
    naive, name = metrics["naive"], report.best(metrics)
    said = f"What it showed: naive training ends at {naive['acc']:.3f} {metrics['unit']}"
    said += f", joint at {metrics['joint']['acc']:.3f}"
    return said + (f"; {name} recovers {metrics[name]['recovery_pct']:.0f} % of the way." if name else ".")


def domains_of(job):
    preset = PRESETS["domains"][job.args.preset]
    return domains.scenario(job.args.data, preset.settings, preset.tasks or domains.DOMAINS)


def labels_of(job):
    preset = PRESETS["labels"][job.args.preset]
    return labels.scenario(job.args.data, preset.settings, job.models, preset.tasks or tuple(labels.SETS))


SMALL = {"domains": domains_of, "labels": labels_of}  # whose steps are quick enough to be measured in turns


def run_domains(job):
    """Five kinds of text, a byte-level GPT from scratch, bits per byte."""
    scenario = domains_of(job)
    metrics = table(job, scenario)
    floor = {task.name: round(scenario.floor(task)["bits"], 4) for task in scenario.tasks}
    share = 100 * scenario.settings["budget"] / sum(len(task.train) for task in scenario.tasks)
    metrics |= {"domains": metrics["tasks"], "unigram_floor": floor, "unigram_acc": mean(floor.values())}
    metrics |= {"uniform_floor": 8.0, "memory_share_pct": share}
    if "forgetting_cut_pct" in metrics.get("replay", {}):
        metrics["forgetting_cut_pct"] = metrics["replay"]["forgetting_cut_pct"]
    print(told(metrics))
    print("To try next, a smaller memory: python weeks/week13/train.py domains --methods replay:keep_rows=80")
    return job.record(metrics)


def run_labels(job):
    """Five classifications on a small base, the likeliest label."""
    metrics = table(job, labels_of(job))
    print(told(metrics))
    return job.record(metrics)


def run_instructions(job):
    """SmolLM2-135M with LoRA: what it writes beside what it would choose."""
    args = job.args
    tier = next((name for name in instructions.SOURCES if getattr(args, name, None)), "instructions")
    source = instructions.SOURCES[tier]
    settings = job.preset.settings | source.settings.get(args.preset, {})
    base = base_of(args, settings)
    generic = instructions.generic_rows(args.data, base.text, settings["generic_rows"])
    names = source.tasks.get(args.preset, source.tasks["full"])
    parts = source.read(getattr(args, tier, None) or args.data, settings, names)
    parts, left = instructions.fitting(parts, base.text, settings)
    if left:
        print(LEFT_OUT.format(left, settings["answer"]))
    settings = {**settings, "model": str(args.model), "half": args.half}
    known = {"labelled": source.labelled, "reads": args.data / "wiki-leads" / "train.txt"}
    scenario = instructions.scenario(tier, base, parts, settings, main=source.score, generic=generic, **known)
    metrics = table(job, scenario)
    print(told(metrics))
    return job.record(metrics, tier)


def base_of(args, settings):
    """The model that --model and --open name; smoke takes a tiny one that has read nothing."""
    args.model = args.model or (instructions.BYTES if args.preset == "smoke" else MODEL)
    tiny = args.model == instructions.BYTES
    args.half = "float32" if tiny else args.half or ("bf16" if fast_in_bf16() else "float32")
    return instructions.opened(args.model, args.open, settings["length"], args.learner, args.generate, args.half)


def run_growth(job):
    """Seconds and bytes of the last tasks over those of the first, for 5, 10 and 20 tasks."""
    metrics, specs = {"counts": list(job.preset.tasks)}, job.methods()
    if alone := [spec for spec in specs if parse(spec)[0] not in METHODS]:
        raise Mistake(f"{alone[0]} learns no tasks one after another, so nothing of it can grow; leave this row out")
    for count in job.preset.tasks:
        cells = Table(growth.scenario(job.preset.settings, count), job.cells("growth") / str(count))
        cells.check(specs)
        for spec in specs:
            record = cells.part(spec, "forward", job.args.seed)
            if record is None:
                continue
            seconds, kept = growth.growth(record)
            metrics.setdefault(spec, {})[str(count)] = {"time": seconds, "bytes": kept}
            print(f"{spec:>12}, {count:>2} tasks: the last ones take {seconds:.2f} times the seconds of the first"
                  + (f", and {kept:.2f} times the bytes" if kept else ""))  # fmt: skip
    last = str(max(job.preset.tasks))
    shown = {spec: of[last]["time"] for spec, of in metrics.items() if isinstance(of, dict) and last in of}
    if not shown:
        raise Mistake("no row took part, for the reasons above; choose other --methods")
    metrics["cost_per_task_growth"] = shown.get("replay", mean(shown.values()))
    return job.record(metrics)


def run_costs(job):
    """A task's seconds with each method whose cells are there, over those of naive training, step by step in turns."""
    metrics = noted_costs(job)
    rows = {tier: {r["method"] for r in read_cells(job.cells(tier))} - {"floor", "base", "separate"} for tier in SMALL}
    if not any(rows.values()):
        raise Mistake(f"{job.results / 'cells'} holds no table yet; run: python weeks/week13/train.py domains")
    for tier, known in rows.items():
        noted = metrics.get(tier, {})
        made = SMALL[tier](job) if known - noted.keys() else None
        for spec in sorted(known - noted.keys()):
            noted[spec] = costs.cost(made, spec, job.args.seed)
            metrics[tier] = dict(sorted(noted.items()))
            job.save(metrics)  # a row takes minutes, and the next one may fail
        for spec, of in sorted(noted.items()):
            print(f"{spec:>60} {of['time_ratio']:6.2f}", flush=True)
    return job.record(metrics)


def noted_costs(job):
    """{tier: {row: its costs}} that were measured before."""
    path = job.results / f"costs-{job.args.preset}.json"
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))["metrics"]
    except (ValueError, KeyError, TypeError) as error:
        raise Mistake(
            f"{path} is not a results file ({error!r}); move it away, and run: python weeks/week13/train.py costs"
        ) from None


def run_compare(job):
    """Every table whose cells are there, one below the other, and the numbers that the goal speaks of."""
    metrics, noted = {"methods": len(METHODS)}, noted_costs(job)
    for tier in TIERS:
        records = read_cells(job.cells(tier))
        if not {r["method"] for r in records} >= {"base", "naive", "joint"}:
            continue
        found = report.summarise(records, {spec: of["time_ratio"] for spec, of in noted.get(tier, {}).items()})
        print(f"\n{tier}: {' > '.join(found['tasks'])}; {report.lines(found)}\n{told(found)}")
        metrics[tier] = found
        for kind, name in (("best", report.best(found)), ("rowless", report.best(found, without_rows=True))):
            if name:
                metrics[f"{tier}_{kind}"] = name
                for column in ("acc", "bwt", "intransigence", "recovery_pct", "time_ratio", "generic_rise"):
                    metrics[f"{tier}_{column}_{kind}"] = found[name].get(column)
    if len(metrics) == 1:
        raise Mistake(f"{job.results / 'cells'} holds no table yet; run: python weeks/week13/train.py domains")
    print("To see it: python weeks/week13/figures.py")
    return job.record(metrics)


def run_own(job):
    """Your own files: before, naive, and with a method, on rows that were held out."""
    args, settings = job.args, PRESETS["instructions"][job.args.preset].settings
    spec, (name, config) = args.method, parse(args.method)
    base = base_of(args, settings)
    parts, said = own.parts(args.tasks, settings["train_rows"], settings["test_rows"])
    print(*said, sep="\n", end="\n" * bool(said))
    room = own.room(parts, base.text, settings)
    settings = {**settings, "answer": room, "model": str(args.model), "half": args.half}
    parts, left = instructions.fitting(parts, base.text, settings)
    if left:
        print(LEFT_OUT.format(left, room))
    scenario = instructions.scenario("own", base, parts, settings)
    if name in METHODS:
        method(scenario, name, config)  # what cannot be is told before any training
    cells = Table(scenario, job.cells("own") / scenario.digest())  # each set of tasks has a folder of its own
    records = cells.fill([spec], ["forward"], [args.seed])
    metrics = report.summarise(records)
    if spec not in metrics:
        raise Mistake(f"{spec} took no part, for the reason above; choose another --method, or other settings")
    print(report.lines(metrics))
    for name in ("base", "naive", spec):
        final = metrics[name].get("final") or metrics[name]["matrix"][-1]
        print(f"{name:>12}: " + "".join(f"{task} {score:.2f}   " for task, score in zip(metrics["tasks"], final)))
    return job.record(metrics)


# --- the command ------------------------------------------------------------------------------------------------------

JOBS = {"domains": run_domains, "labels": run_labels, "instructions": run_instructions, "growth": run_growth,
        "costs": run_costs, "compare": run_compare, "own": run_own}  # fmt: skip
ROUND = ("domains",)  # without a job


def options(name):
    p = parser(JOBS[name].__doc__, data=DATA)
    p.prog = f"train.py {name}"
    if name in PRESETS:
        p.add_argument("--methods", nargs="+", help="rows of the table, e.g. ewc ewc:strength=1000, or all")
    if name in PRESETS and name != "growth":  # which is measured with one order and one seed
        p.add_argument("--orders", nargs="+", choices=ORDERS, help="orders of the tasks (default: the preset's)")
        p.add_argument("--seeds", type=int, help="so many seeds, from --seed on (default: the preset's)")
    if name in ("instructions", "own"):
        p.add_argument("--model", help=f"what --open opens (default: {MODEL})")
        p.add_argument("--open", default=OPENER, help="who opens it, as package:function (default: %(default)s)")
        p.add_argument("--learner", default=LEARNER, help="who trains it (default: %(default)s)")
        p.add_argument("--generate", default=GENERATE, help="who writes its answers (default: %(default)s)")
        known = ("float32", "bf16")
        p.add_argument("--half", choices=known, help="what products are computed in (default: what is faster here)")
    if name == "instructions":
        one = p.add_mutually_exclusive_group()
        for tier, source in instructions.SOURCES.items():
            if source.folder:
                one.add_argument(f"--{tier}", type=Path, help=source.folder)
    if name == "own":
        p.add_argument("--tasks", type=Path, nargs="+", required=True, help="JSONL files, one a task, in their order")
        p.add_argument("--method", default="replay", help="beside naive training (default: %(default)s)")
    return p


def main(argv=None):
    argv = sys.argv[1:] if argv is None else list(argv)
    if "--tasks" in argv and argv[0] not in JOBS:
        return run("own", argv)
    return perform(argv, __doc__, JOBS, ROUND, run)


def run(name, argv):
    """One job; what goes wrong with numbers is told in a sentence."""
    p = options(name)
    args = p.parse_args(argv)
    if getattr(args, "seeds", None) is not None and args.seeds < 1:
        p.error(f"argument --seeds: {args.seeds} trains nothing; give 1 or more")
    torch.set_num_threads(thread_count(args.threads))
    try:
        return JOBS[name](Job(name, args, list(argv)))
    except (FloatingPointError, ValueError) as error:
        raise Mistake(f"{name}: {error}") from None


if __name__ == "__main__":
    sys.exit(entry(main))
