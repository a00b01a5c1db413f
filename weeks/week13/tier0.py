"""Week 13, tier 0: every method on MNIST, beside what others have published for it.

Split MNIST (five tasks of two digits; task-, domain- and class-incremental) follows van de Ven's protocol
(github.com/GMvandeVen/continual-learning): a network 784-400-400-out, Adam at 1e-3, batches of 128, no clipping,
100 kept pictures a class, his strengths. What differs, on purpose and in all rows alike:

- iterations: see PRESETS; his are 2,000 a task;
- a class-incremental loss is over all ten digits from the start, his over the digits seen so far;
- each task gets a new Adam, his keeps its moments;
- replay is one mean over 128 new and 128 old rows, his weighs new and old by 1/t and 1 - 1/t in task t.

The cell that depends most on the number of iterations, and on which digits meet, is naive training where tasks are
told: it forgets more the longer each task is trained. Fewer iterations than his flatter it, and one seed says little.

Permuted MNIST keeps this network and its settings for ten orders of the pixels: what others publish for it is of larger
networks and longer training, so the numbers stand side by side and no more.

Each cell (scenario, method, seed) is saved when it is done: run the same command again, and only the missing ones run.
"""

import json
import sys
from collections import defaultdict
from functools import lru_cache
from pathlib import Path
from statistics import mean, stdev

import torch
from continual import learn_sequence, make
from continual.tiers.pictures import MLP, PictureLearner, accuracy, outputs, permuted_tasks, read_mnist, split_tasks
from continual.vendor.shared.errors import Mistake, entry
from continual.vendor.shared.files import locked
from continual.vendor.shared.progress import bar
from continual.vendor.shared.results import (
    Stopwatch,
    command_line,
    parser,
    results_folder,
    thread_count,
    write_results,
)

HERE = Path(__file__).resolve().parent
SCENARIOS = {  # as --scenarios has it -> as the results have it
    "task": "split_mnist_task",
    "domain": "split_mnist_domain",
    "class": "split_mnist_class",
    "permuted": "permuted_mnist_domain",
}

# method -> scenario -> its settings; "*" are all scenarios not named. A method that must be told the task takes part
# only where the task is told. The strengths are van de Ven's (params/param_values.py), in our terms. EWC: his adds
# lambda / 2 * sum F (w - anchor)^2 to a mean loss as ours does, with an anchor a task, and F the mean over single rows
# of all labels by their probability; where tasks are told ours takes the rows' own labels, for "all" would ask about
# the digits of other tasks. SI: his penalty has no 1/2, so the strength here is twice his c. Memories: his 100 and 10
# pictures a class, as the last task begins.
MEMORY = {"*": dict(keep_rows=800), "permuted": dict(keep_rows=900)}
CONFIGS = {
    "naive": {"*": {}},
    "joint": {"*": {}},
    "cumulative": {"*": {}},
    "l2": {"*": {}},
    "ewc": {
        "task": dict(strength=1e5, anchors="each", fisher_rows=500),
        "domain": dict(strength=1e10, anchors="each", labels="all", fisher_rows=200),
        "class": dict(strength=1e9, anchors="each", labels="all", fisher_rows=200),
        "permuted": dict(strength=100.0, anchors="each", labels="all", fisher_rows=200),
    },
    "si": {
        "task": dict(strength=20.0),
        "domain": dict(strength=1e5),
        "class": dict(strength=1e4),
        "permuted": dict(strength=20.0),
    },
    "mas": {"*": dict(importance_rows=500)},
    "lwf": {"*": {}},
    "finch": {"*": {}},
    "replay": {scenario: memory | dict(replay_rows=128) for scenario, memory in MEMORY.items()},
    "a-gem": {scenario: memory | dict(reference_rows=128) for scenario, memory in MEMORY.items()},
    "der++": {scenario: memory | dict(replay_rows=128) for scenario, memory in MEMORY.items()},
    "gdumb": {"*": dict(keep_rows=1000)},
    "packnet": {"task": dict(prune_step=100)},
    "hat": {"task": dict(units="layers.0>layers.2 layers.2>layers.4")},
    "interpolation": {"*": {}},
    "ema": {"*": {}},
    "ties": {"*": {}},
    "magmax": {"*": {}},
}
KNOWN = list(CONFIGS)

# Percent, read off the author's figure to within one point (figures/splitMNIST_results_tutorial.png); 20 seeds.
PUBLISHED = {
    "task": {"naive": 84, "ewc": 99, "si": 99, "lwf": 99, "replay": 99, "joint": 99.7},
    "domain": {"naive": 60, "ewc": 62, "si": 68, "lwf": 72, "replay": 94, "joint": 98.5},
    "class": {"naive": 20, "ewc": 20, "si": 21, "lwf": 22, "replay": 89, "joint": 98},
    # github.com/ContinualAI/continual-learning-baselines, README: another network, other iterations
    "permuted": {"ewc": 83, "si": 83, "a-gem": 81},
}

# orders, judged: of permuted MNIST, how many tasks, and on how many pictures each is judged; most_rows: no method keeps
# or looks at more rows than these.
SIZE = dict(hidden=400, batch=128, lr=1e-3, orders=10, judged=2000, most_rows=1000)
PRESETS = {
    "smoke": SIZE | dict(hidden=16, batch=8, orders=2, most_rows=8, iterations=4, seeds=1, methods=KNOWN,
                         scenarios=[*SCENARIOS]),
    "default": SIZE | dict(iterations=100, seeds=1, methods=["naive", "ewc", "si", "lwf", "replay", "joint"],
                           scenarios=["task", "domain", "class"]),
    "full": SIZE | dict(iterations=500, seeds=3, methods=KNOWN, scenarios=[*SCENARIOS]),
}  # fmt: skip


def config_of(method, scenario, most_rows):
    """The settings of a method in a scenario; None where it does not take part."""
    config = CONFIGS[method].get(scenario, CONFIGS[method].get("*"))
    if config is None:
        return None
    return {name: min(value, most_rows) if name.endswith("rows") else value for name, value in config.items()}


def tasks_of(parts, scenario, size, seed):
    if scenario == "permuted":
        return permuted_tasks(parts, size["orders"], seed, test_rows=size["judged"])
    return split_tasks(parts, scenario, seed)


def run(tasks, scenario, method, size, seed, on_step):
    """One cell: learn all tasks with one method from the first weights of this seed. Returns what the results hold."""
    torch.manual_seed(seed)
    model = MLP(tasks[0].train.pixels.shape[1], size["hidden"], outputs(scenario))
    config = config_of(method, scenario, size["most_rows"])
    strategy = make(method, config, seed=seed, tasks=tasks if method == "joint" else ())
    watch = Stopwatch()
    matrix = learn_sequence(
        PictureLearner(model), strategy, tasks, evaluate=accuracy, on_step=on_step,
        steps=size["iterations"], batch_size=size["batch"], clip=None, seed=seed,
        make_optimizer=lambda named: torch.optim.Adam(named.values(), lr=size["lr"], fused=True),
    )  # fmt: skip
    kept = sum(t.nbytes for t in strategy.state().values() if torch.is_tensor(t))
    numbers = {name: value if value is None else round(value, 2) for name, value in matrix.summary().items()}
    rows = [[round(score, 2) for score in row] for row in matrix.rows]
    seconds = round(watch.seconds, 1)
    return {"config": config, **numbers, "matrix": rows, "memory_mb": round(kept / 1e6, 2), "seconds": seconds}


def summarise(cells):
    """{scenario: {method: {seed: cell}}} -> for each scenario and method means, spread and distance to the published.

    `points` is ours minus the published value; a method that nobody published for this setting has neither.
    """
    out = defaultdict(dict)
    for scenario, methods in cells.items():
        for method, seeds in methods.items():
            row = out[SCENARIOS[scenario]][method] = {"seeds": len(seeds)}
            for name in ("acc", "learning_accuracy", "bwt", "forgetting", "memory_mb", "seconds"):
                row[name] = round(mean(cell[name] for cell in seeds.values()), 2)
            if len(seeds) > 1:
                row["acc_sd"] = round(stdev(cell["acc"] for cell in seeds.values()), 2)
            published = PUBLISHED[scenario].get(method)
            if published is not None:
                row |= {"published": published, "points": round(row["acc"] - published, 2)}
    return dict(out)


def table(summary):
    """The summary for people: a block a scenario, a line a method."""
    lines = []
    for scenario, methods in summary.items():
        lines.append(
            f"\n{scenario:<24}{'accuracy':>12}{'published':>11}{'points':>8}{'learned':>9}{'BWT':>8}{'seconds':>9}"
        )
        for method, row in methods.items():
            ours = f"{row['acc']:.1f}" + (f" ±{row['acc_sd']:.1f}" if "acc_sd" in row else "")
            theirs = f"{row['published']:>11}{row['points']:>+8.1f}" if "published" in row else f"{'-':>11}{'-':>8}"
            learned = f"{row['learning_accuracy']:>9.1f}{row['bwt']:>+8.1f}{row['seconds']:>9.0f}"
            lines.append(f"  {method:<22}{ours:>12}{theirs}{learned}")
    return "\n".join(lines)


def saved(path, size):
    """The cells that an earlier run left in `path`, if it ran at this size."""
    if not path.exists():
        return {}
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))["metrics"]
        settings, cells = metrics["settings"], metrics["cells"]
    except (ValueError, KeyError, TypeError) as error:
        raise Mistake(f"{path} is not a results file ({error!r}); move it away, and its cells run again") from None
    if settings != size:
        raise Mistake(
            f"{path} holds cells of {settings}, which would not compare with those of {size}; "
            "move it away, or give another --out"
        )
    return cells


def arguments(argv):
    p = parser(__doc__.splitlines()[0], data=HERE.parents[1] / "data" / "mnist",
               epilog="example: python weeks/week13/tier0.py --methods naive replay --scenarios class")  # fmt: skip
    p.add_argument("--methods", nargs="+", choices=KNOWN, metavar="M", help=f"any of {', '.join(KNOWN)}")
    p.add_argument("--scenarios", nargs="+", choices=SCENARIOS, metavar="S", help=f"any of {', '.join(SCENARIOS)}")
    p.add_argument("--seeds", type=int, help="how many, from --seed on (default: the preset's)")
    p.add_argument("--iterations", type=int, help="steps a task (default: the preset's); has its own results file")
    args = p.parse_args(argv)
    for name in ("seeds", "iterations"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            p.error(f"argument --{name}: {getattr(args, name)} trains nothing; give 1 or more")
    return args


def main(argv=None):
    argv = sys.argv[1:] if argv is None else list(argv)
    args = arguments(argv)
    preset = PRESETS[args.preset]
    asked = {key: getattr(args, key) or preset[key] for key in ("methods", "scenarios", "seeds")}
    size = {key: preset[key] for key in (*SIZE, "iterations")}
    name = args.preset
    if args.iterations:
        size["iterations"], name = args.iterations, f"{args.preset}-{args.iterations}"
    threads = thread_count(args.threads, otherwise=1)  # a batch of 128 is too small for two
    torch.set_num_threads(threads)
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # the first one imports for seconds, which are no cell's
    parts = read_mnist(args.data)
    path = results_folder(__file__, args.out) / f"tier0-{name}.json"
    tasks = lru_cache(1)(lambda scenario, seed: tasks_of(parts, scenario, size, seed))  # one: they are large
    with locked(path.parent):
        cells = saved(path, size)
        todo = [
            (scenario, seed, method)
            for scenario in asked["scenarios"]
            for seed in range(args.seed, args.seed + asked["seeds"])
            for method in asked["methods"]
            # neither done with these settings already nor (None, both) without a part in this scenario
            if cell_of(cells, scenario, method, seed).get("config") != config_of(method, scenario, size["most_rows"])
        ]
        print(f"MLP {size['hidden']} x {size['hidden']}; {len(todo)} cells of {size['iterations']} iterations a task; "
              f"cpu, {threads} thread(s), float32")  # fmt: skip
        steps = sum(size["iterations"] * (size["orders"] if scenario == "permuted" else 5) for scenario, *_ in todo)
        metrics = report(cells, size)
        with bar(total=steps, label="tier 0", unit="step") as line:
            for scenario, seed, method in todo:
                line.set_description(f"{scenario} {method} seed {seed}", refresh=False)
                cell = run(tasks(scenario, seed), scenario, method, size, seed, lambda i, info: line.update())
                cells.setdefault(scenario, {}).setdefault(method, {})[str(seed)] = cell
                line.write(f"  {scenario:<9}{method:<14}seed {seed}  {cell['acc']:6.2f} %  {cell['seconds']:6.1f} s")
                metrics = report(cells, size)
                write_results(path, command=command_line(__file__, argv), preset=args.preset, seed=args.seed,
                              seconds=seconds(cells), metrics=metrics, threads=threads)  # fmt: skip
    print(table(summarise(cells)))
    print("\naccuracy: percent on the test pictures of all tasks, after the last one; learned: right after each task"
          f"\nresults: {path}")  # fmt: skip
    return metrics


def cell_of(cells, scenario, method, seed):
    return cells.get(scenario, {}).get(method, {}).get(str(seed), {})


def report(cells, size):
    """The metrics of the results file: what it was run at, the summary by scenario, and every cell."""
    return {"settings": size, **summarise(cells), "cells": cells}


def seconds(cells):
    """What all cells took together, over all runs that filled the table."""
    return sum(cell["seconds"] for methods in cells.values() for seeds in methods.values() for cell in seeds.values())


if __name__ == "__main__":
    sys.exit(entry(main))
