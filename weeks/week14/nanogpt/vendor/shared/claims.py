# vendored from tools/shared/claims.py, sha256 e9c32e9480996daeb4a362e5cc9ebfde3a4c067cf4b0982a73829a70ec133bbd; edit there, then run: make vendor
"""Run the claims of papers that a week measures: one small experiment for each claim and each seed.

A week's claims.py has a table {name: experiment} and calls `main`. An experiment is called as experiment(seed, run). It
returns one number, or a dict with the number as "value" and other numbers that a page quotes. Finished seeds are kept
after Ctrl-C, and the same command goes on with them while the code is the same.
Left out: what a number means, and verdicts (tools/papers.py).
"""

import argparse
import hashlib
import json
import math
import statistics
import sys
from pathlib import Path

from .errors import Mistake
from .files import atomic_write, locked
from .progress import bar
from .results import Stopwatch, command_line, models_folder, results_folder, thread_count, write_results


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


def code_of(script):
    """A hash of the script and of its week's package: numbers of other code must not be mixed with those of this."""
    week, digest = Path(script).resolve().parent, hashlib.sha256()
    for path in sorted([Path(script).resolve(), *week.glob("*/**/*.py")]):
        if "tests" not in path.relative_to(week).parts:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def read_rows(path, code):
    """{name: {seed: row}} of what an interrupted run had finished with the same code."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return kept["rows"] if kept["code"] == code else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


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
    p.add_argument("--out", type=Path, default=None, help="folder for claims.json (default: runs/<week>/results)")
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
    with locked(unfinished.parent):
        return measure(script, claims, names, args, argv, threads, unfinished)


def measure(script, claims, names, args, argv, threads, unfinished):
    code, watch, found = code_of(script), Stopwatch(), {}
    rows = read_rows(unfinished, code)
    path = results_folder(script, args.out) / "claims.json"
    try:
        for name in names:
            done = rows.setdefault(name, {})
            for seed in range(args.seeds):
                if str(seed) not in done:
                    answer = claims[name](seed, Run(f"{name}, seed {seed}"))
                    done[str(seed)] = row_of(name, seed, answer)
                    atomic_write(unfinished, json.dumps({"code": code, "rows": rows}))
            new = metrics_of(name, [done[str(seed)] for seed in range(args.seeds)])
            found |= new
            mean, spread, *_ = new.values()
            print(f"{name}: {mean:.4g} +- {spread:.2g} over {args.seeds} seeds", flush=True)
            write(
                path, new, command=command_line(script, argv), preset="claims", seed=0, seconds=watch.seconds,
                threads=threads,
            )  # fmt: skip
    except (ValueError, FloatingPointError) as error:
        raise Mistake(f"{name}: {error}") from None
    except KeyboardInterrupt:
        count = sum(map(len, rows.values()))
        said = f"{count} finished seeds are kept in {unfinished}; the same command goes on" if count else ""
        raise KeyboardInterrupt(said) from None
    unfinished.unlink(missing_ok=True)
    print(f"results: {path}\nWhat the pages predicted, and the verdicts: papers/README.md")
    return found
