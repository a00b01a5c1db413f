"""Week 13: one byte-level GPT learns Shakespeare, the Bible, recipes and code, in this order, and is asked all along
what it still knows. Once naively, once with replay of a few old rows, once (the upper bound) with everything at once.
"""

import sys
from pathlib import Path
from statistics import mean, stdev

import torch
from continual import Learner, learn_sequence, make
from continual.metrics import forgetting_cut, recovery
from continual.text import bits_per_byte, load_domain, unigram_bits
from continual.vendor.gpt.model import GPT, GPTConfig
from continual.vendor.makemore.schedules import linear
from continual.vendor.shared.errors import Mistake, entry
from continual.vendor.shared.files import need
from continual.vendor.shared.progress import bar
from continual.vendor.shared.results import Stopwatch, command_line, parser, results_folder, thread_count, write_results

HERE = Path(__file__).resolve().parent
DOMAINS = ("shakespeare", "bible", "recipes", "code")

# budget: rows that replay may keep, of all old domains together; replay_rows: how many join each batch of `batch` rows.
# Joint training gets batch + replay_rows rows a step, as many as replay: else the bound would have seen less text.
SIZE = dict(n_layer=3, n_head=4, n_embd=128, length=64, batch=16, steps=180, lr=3e-3, train_rows=8000, valid_rows=200,
            budget=800, replay_rows=8, seeds=1)  # fmt: skip
PRESETS = {
    "smoke": dict(n_layer=1, n_head=2, n_embd=16, length=16, batch=8, steps=4, lr=1e-2, train_rows=64, valid_rows=8,
                  budget=8, replay_rows=4, seeds=1),
    "default": SIZE,
    "full": SIZE | dict(seeds=3),  # the same run with three seeds: mean and standard deviation
}  # fmt: skip


def build(method, tasks, size, seed):
    """The strategies of this run. Only their arguments differ: model, data order and steps are the same for all."""
    config = {"keep_rows": size["budget"], "replay_rows": size["replay_rows"]} if method == "replay" else {}
    return make(method, config, seed=seed, tasks=tasks if method == "joint" else ())


def run(method, tasks, size, seed):
    """Learn the whole sequence with one method, from the same first weights. Returns its matrix and seconds."""
    torch.manual_seed(seed)
    shape = {key: size[key] for key in ("n_layer", "n_head", "n_embd")}
    model = GPT(GPTConfig(vocab_size=256, block_size=size["length"], **shape))
    strategy = build(method, tasks, size, seed)
    watch = Stopwatch()
    learner = Learner(model)

    def rate(step):  # up in a line, then down in a line, anew for each task (re-warm, re-decay)
        return linear(step, size["steps"], warmup=size["steps"] // 10)

    total = size["steps"] * len(tasks)
    batch = size["batch"] + (size["replay_rows"] if method == "joint" else 0)
    with bar(total=total, label=f"{method:>6} seed {seed}", unit="step") as line:

        def on_step(step, info):
            rate = line.n * batch * size["length"] / max(watch.seconds, 1e-9)
            line.set_postfix(loss=f"{info['loss']:.3f}", new_tok_s=f"{rate:,.0f}", refresh=False)
            line.update()

        def on_task(i, row):
            name = tasks[i].name if i >= 0 else "nothing"
            line.write(f"  {method:>6}  after {name:<12}" + "".join(f"{score:>12.3f}" for score in row))

        matrix = learn_sequence(
            learner, strategy, tasks, evaluate=bits_per_byte, higher_is_better=False, on_step=on_step, on_task=on_task,
            steps=size["steps"], batch_size=batch, schedule=rate, clip=1.0, seed=seed,
            make_optimizer=lambda named: torch.optim.AdamW(named.values(), lr=size["lr"], betas=(0.9, 0.95)),
        )  # fmt: skip
    return matrix, watch.seconds


def average(values):
    """Mean over seeds of numbers, or cell by cell of lists of them."""
    return [average(column) for column in zip(*values)] if isinstance(values[0], list) else mean(values)


def with_spread(per_seed):
    """[{name: number}, ...] of the seeds -> {name: mean, name_sd: standard deviation where there are two or more}."""
    out = {}
    for name in per_seed[0]:
        values = [numbers[name] for numbers in per_seed]
        if None in values:
            continue  # undefined for this run, e.g. recovery where naive equals joint
        out[name] = round(mean(values), 4)
        if len(values) > 1:
            out[f"{name}_sd"] = round(stdev(values), 4)
    return out


def summarise(runs, tasks):
    """runs: {method: [(matrix, seconds) of each seed]} -> the metrics that the results file holds."""
    seeds = range(len(runs["naive"]))
    numbers = {method: [matrix.summary() for matrix, _ in of_seeds] for method, of_seeds in runs.items()}
    metrics = {"domains": [task.name for task in tasks], "seeds": len(seeds)}
    for method, of_seeds in runs.items():
        for s in seeds:
            n = numbers[method][s]
            share = recovery(n["acc"], numbers["naive"][s]["acc"], numbers["joint"][s]["acc"])
            cut = forgetting_cut(n["rise"], numbers["naive"][s]["rise"])
            n["recovery_pct"] = None if share is None else 100 * share
            n["forgetting_cut_pct"] = None if cut is None else 100 * cut
            n["seconds"] = of_seeds[s][1]
        metrics[method] = {
            "matrix": average([matrix.rows for matrix, _ in of_seeds]),
            "baseline": average([matrix.baseline for matrix, _ in of_seeds]),
            **with_spread(numbers[method]),
        }
    if "forgetting_cut_pct" in metrics["replay"]:
        metrics["forgetting_cut_pct"] = metrics["replay"]["forgetting_cut_pct"]
    return metrics


def table(metrics):
    """What was measured, for people: one line a method."""
    names = ("acc", "learning_accuracy", "rise", "forgetting", "bwt", "fwt", "recovery_pct", "forgetting_cut_pct")
    lines = [f"{'':>8}" + "".join(f"{name.replace('learning_accuracy', 'learned'):>20}" for name in names)]
    for method in ("naive", "replay", "joint"):
        row = metrics[method]
        lines.append(f"{method:>8}" + "".join(f"{row[n]:>20.3f}" if n in row else f"{'-':>20}" for n in names))
    return "\n".join(lines)


def main(argv=None):
    argv = sys.argv[1:] if argv is None else list(argv)
    p = parser(__doc__, data=HERE.parents[1] / "data", epilog="example: python weeks/week13/train.py --preset smoke")
    p.add_argument("--budget", type=int, default=None, help="rows that replay may keep (default: the preset's)")
    args = p.parse_args(argv)
    threads = thread_count(args.threads)
    torch.set_num_threads(threads)
    size = dict(PRESETS[args.preset])
    if args.budget is not None:
        size["budget"] = args.budget
    watch = Stopwatch()
    try:
        sizes = {key: size[key] for key in ("length", "train_rows", "valid_rows")}
        tasks = [load_domain(need(args.data / name, f"make data/{name}"), name, **sizes) for name in DOMAINS]
        build("replay", tasks, size, args.seed)  # a budget that cannot be is told before any training
    except ValueError as error:
        raise Mistake(str(error)) from None
    print(f"GPT {size['n_layer']} layers x {size['n_embd']}, bytes, {size['length']} of context; "
          f"{' > '.join(DOMAINS)}, {size['steps']} steps each; {size['seeds']} seed(s); "
          f"cpu, {threads} threads, float32")  # fmt: skip
    floor = {task.name: round(unigram_bits(task), 4) for task in tasks}
    print("bits per byte of validation text:      " + "".join(f"{name:>12}" for name in DOMAINS))
    print("  floor   byte frequencies alone " + "".join(f"{floor[name]:>12.3f}" for name in DOMAINS))
    runs = {
        method: [run(method, tasks, size, args.seed + s) for s in range(size["seeds"])]
        for method in ("naive", "replay", "joint")
    }
    metrics = summarise(runs, tasks)
    share = 100 * size["budget"] / sum(len(task.train) for task in tasks)
    metrics.update(uniform_floor=8.0, unigram_floor=floor, unigram_acc=mean(floor.values()), settings=size,
                   memory_share_pct=share)  # fmt: skip
    print(table(metrics))
    path = write_results(
        results_folder(__file__, args.out) / f"{args.preset}.json",
        command=command_line(__file__, argv),
        preset=args.preset,
        seed=args.seed,
        seconds=watch.seconds,
        metrics=metrics,
        threads=threads,
    )
    print(said(metrics, path, args.preset))
    return metrics


def said(metrics, path, preset):
    """The last lines, for people: what was shown, where it lies, what to try next."""
    naive, replay, budget = metrics["naive"]["rise"], metrics["replay"]["rise"], metrics["settings"]["budget"]
    cut = metrics.get("forgetting_cut_pct")
    spared = "" if cut is None else f", {cut:.0f} % less"
    return (
        f"What it showed: while {', '.join(DOMAINS[1:])} were learned, older text rose by {naive:+.3f} bits per byte "
        f"on average\nwith naive training, and by {replay:+.3f} with replay of {budget} kept rows{spared}.\n"
        f"To try next, a smaller memory: python weeks/week13/train.py --preset {preset} --budget {budget // 10}\n"
        f"results: {path}"
    )


if __name__ == "__main__":
    sys.exit(entry(main))
