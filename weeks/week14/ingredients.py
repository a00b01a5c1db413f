"""What each ingredient buys: the same small model with one of them switched, at equal tokens and at equal seconds.

python weeks/week14/ingredients.py                       # every ingredient, three seeds
python weeks/week14/ingredients.py tie position=none     # these alone, by the name of their row, beside the default

An ingredient of the model is a field of its config, one of the training a field of TrainConfig: a row of SWITCHES says
which, and a further one needs nothing else (kitchen.py). First every row reads the same number of tokens: in the same
steps, or in more of them where the first ones read fewer rows. Its processor seconds a step then say how many steps it
can take in the seconds that the default took, and it is trained once more for so many.
Processor seconds, on one thread, for other work on the machine moves them less than the clock on the wall.

What was trained is kept, so the same command goes on after Ctrl-C.
"""

import statistics
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def main(argv=None):
    import torch
    from kitchen import SIZES, SWITCHES, Kitchen
    from nanogpt.vendor.shared.errors import Mistake
    from nanogpt.vendor.shared.progress import bar
    from nanogpt.vendor.shared.results import models_folder, parser, save_run, thread_count

    p = parser(__doc__.splitlines()[0], data=ROOT / "data" / "bible", epilog=__doc__.split("\n", 2)[2])
    p.add_argument("rows", nargs="*", metavar="ROW", help=f"of: {', '.join(SWITCHES)} (default: all)")
    p.add_argument("--seeds", type=int, help="runs of each row (default: by the preset)")
    args = p.parse_args(argv)
    if args.seeds is not None and args.seeds < 1:
        p.error(f"argument --seeds: {args.seeds} trains nothing; give a whole number from 1")
    if unknown := [row for row in args.rows if row not in SWITCHES]:
        raise Mistake(f"there is no ingredient {unknown[0]!r}; choose from: {', '.join(SWITCHES)}")
    threads = thread_count(args.threads, otherwise=1)
    torch.set_num_threads(threads)
    size, began = SIZES[args.preset], time.perf_counter()
    kitchen = Kitchen(args.data, size, models_folder(__file__, args.out) / "cells")
    rows = ["default", *(args.rows or SWITCHES)]
    seeds = range(args.seed, args.seed + (args.seeds or size.seeds))
    found = {row: [] for row in rows}
    for seed in seeds:
        for row in bar(rows, f"seed {seed}", total=len(rows)):
            found[row].append(both(kitchen, row, seed))
    table_rows = {row.replace(" ", "_"): priced(runs) for row, runs in found.items()}  # a page's marker has no blanks
    metrics = {"steps": size.steps, "seeds": len(seeds), "rows": table_rows}
    name, seconds = f"ingredients-{args.preset}", time.perf_counter() - began
    path = save_run(__file__, args, argv, metrics, name=name, seconds=seconds, threads=threads)
    print(table(metrics["rows"]))
    print(f"results: {path}")
    return metrics


def both(kitchen, row, seed):
    """A row's cell at equal tokens, and what it gives in the default's seconds."""
    base, cell = kitchen.cell("default", seed), kitchen.cell(row, seed)
    more = max(1, round(kitchen.size.steps * base["step_seconds"] / cell["step_seconds"]))
    steps = kitchen.steps(row, {})
    same = row == "default" or abs(more - steps) < 0.02 * steps
    return {**cell, "equal_seconds": cell["bpb"] if same else kitchen.cell(row, seed, more)["bpb"]}


def priced(runs):
    """Means over the seeds, and standard deviations of the two losses."""
    out = {name: statistics.mean(run[name] for run in runs) for name in runs[0]}
    for name in ("bpb", "equal_seconds"):
        out[f"{name}_sd"] = statistics.stdev([run[name] for run in runs]) if len(runs) > 1 else None
    return {**out, "n_params": runs[0]["n_params"], "cache_bytes_per_token": runs[0]["cache_bytes_per_token"]}


def table(rows):
    """The rows as text, the best at equal seconds first."""
    lines = [f"{'':22}{'equal tokens':>18}{'equal seconds':>18}{'tokens/s':>10}{'parameters':>12}{'cache B/token':>15}"]
    for name, row in sorted(rows.items(), key=lambda item: item[1]["equal_seconds"]):
        losses = "".join(
            f"{row[key]:.3f}{'' if row[f'{key}_sd'] is None else ' ± {:.3f}'.format(row[f'{key}_sd'])}".rjust(18)
            for key in ("bpb", "equal_seconds")
        )
        lines.append(
            f"{name:22}{losses}{row['tokens_per_second']:10,.0f}{row['n_params']:12,}{row['cache_bytes_per_token']:15,}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    from nanogpt.vendor.shared.errors import entry

    sys.exit(entry(main))
