"""Run the claims of papers that a week measures: one small experiment for each claim and each seed.

A week's claims.py has a table {name: experiment} and calls `main`. An experiment is called as experiment(seed, run). It
returns one number, or a dict with the number as "value" and other numbers that a page quotes. Finished seeds are kept
after Ctrl-C, and the same command goes on with them while the code is the same.
Left out: what a number means, and verdicts (tools/papers.py).
"""

import argparse
import json
import math
import statistics
import sys

from .errors import Mistake
from .files import locked
from .kept import Kept
from .progress import bar
from .results import command_line, folder_to_fill, models_folder, results_folder, thread_count, write_results


class Run:
    """What an experiment may ask: how many steps to take, and a progress bar."""

    def __init__(self, title="", quick=False):
        self.title, self.quick = title, quick

    def steps(self, count):
        """`count`, or a fiftieth of it in a trial that only shows that the code runs."""
        return max(2, count // 50) if self.quick else count

    def bar(self, steps, total, label=""):
        """The same steps, with a progress bar on the terminal."""
        return bar(steps, f"{self.title} {label}".strip(), total=total, unit="step")


def once(work):
    """work(run, *key) is done once for each key: claims that compare the same trained network share it."""
    kept = {}

    def ask(run, *key):
        if (run.quick, *key) not in kept:
            kept[run.quick, *key] = work(run, *key)
        return kept[run.quick, *key]

    return ask


def row_of(name, seed, answer):
    """What an experiment returned, as a dict with finite numbers and with "value"."""
    row = dict(answer) if isinstance(answer, dict) else {"value": answer}
    row = {part: float(number) for part, number in row.items()}
    bad = [part for part, number in row.items() if not math.isfinite(number)]
    if "value" not in row or bad:
        raise Mistake(f"{name}, seed {seed}: {bad or 'the value'} is no finite number; mend the experiment")
    return row


def metrics_of(name, rows):
    """The metrics of one claim over its seeds: mean, standard deviation, how many, each seed's, means of the parts."""
    key, values = name.replace("-", "_"), [row["value"] for row in rows]
    parts = {f"{key}_{part}": statistics.fmean(row[part] for row in rows) for part in rows[0] if part != "value"}
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    found = {key: statistics.fmean(values), f"{key}_sd": spread, f"{key}_seeds": len(rows), f"{key}_values": values}
    return found | parts


def write(path, new, **about):
    """Put the new metrics into the results file; those of other claims in it stay."""
    try:
        old = json.loads(path.read_text(encoding="utf-8"))["metrics"] if path.exists() else {}
    except (ValueError, KeyError, TypeError):
        raise Mistake(f"{path} is not a results file; move it away, or give another folder with --out") from None
    return write_results(path, metrics=dict(sorted((old | new).items())), **about)


def parser(claims, about):
    p = argparse.ArgumentParser(
        description=about.splitlines()[0],
        epilog="claims:\n" + "\n".join(f"  {name:18} {(made.__doc__ or '').strip()}" for name, made in claims.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("names", nargs="*", metavar="NAME", help="claims to measure (default: all)")
    p.add_argument("--seeds", type=int, default=3, help="how many seeds, from 0 (default: %(default)s)")
    p.add_argument("--threads", type=int, default=1, help="CPU threads of torch (default: %(default)s)")
    p.add_argument("--out", type=folder_to_fill, help="folder for claims.json (default: runs/<week>/results)")
    p.add_argument("--quick", action="store_true", help="a fiftieth of the steps: shows that it runs, writes nothing")
    return p


def main(script, claims, about, argv=None):
    """Measure the claims that were named, write claims.json, return its metrics. `about`: the script's docstring."""
    argv = list(sys.argv[1:] if argv is None else argv)
    args = parser(claims, about).parse_args(argv)
    unknown = [name for name in args.names if name not in claims]
    if unknown:
        raise Mistake(f"there is no claim {unknown[0]!r} in this week; name some of {', '.join(claims)}")
    if args.seeds < 1:
        raise Mistake(f"--seeds {args.seeds} measures nothing; give 1 or more")
    threads, names = thread_count(args.threads), list(dict.fromkeys(args.names)) or list(claims)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)
    if args.quick:
        for name in names:
            print(f"{name}: {claims[name](0, Run(name, quick=True))} (a trial: the number means nothing)", flush=True)
        return {}
    unfinished = models_folder(script, args.out) / "claims-unfinished.json"
    with locked(unfinished.parent), Kept(unfinished, script) as kept:
        return measure(script, claims, names, args, argv, threads, kept)


def measure(script, claims, names, args, argv, threads, kept):
    """The metrics of the claims in `names`; what is in `kept` is not measured again."""
    path, found = results_folder(script, args.out) / "claims.json", {}
    try:
        for name in names:
            keys = [f"{name} {seed}" for seed in range(args.seeds)]
            for seed, key in enumerate(keys):
                if key not in kept:
                    kept[key] = row_of(name, seed, claims[name](seed, Run(f"{name}, seed {seed}")))
            new = metrics_of(name, [kept[key] for key in keys])
            found |= new
            mean, spread, *_ = new.values()
            print(f"{name}: {mean:.4g} +- {spread:.2g} over {args.seeds} seeds", flush=True)
            write(
                path, new, command=command_line(script, argv), preset="claims", seed=0, seconds=kept.seconds,
                threads=threads,
            )  # fmt: skip
    except (ValueError, FloatingPointError) as error:
        raise Mistake(f"{name}: {error}") from None
    print(f"results: {path}\nWhat the pages predicted, and the verdicts: papers/README.md")
    return found
