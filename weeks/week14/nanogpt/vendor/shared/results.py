# vendored from tools/shared/results.py, sha256 1501fbae3a23b249aee03cd8b792858388debba0e546c78dd2ea52830d755bf6; edit there, then run: make vendor
"""What every train script shares: its options, its threads, its results file.

Left out on purpose: logging frameworks, configuration files, anything that a script can say itself.
"""

import argparse
import datetime
import functools
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

from .errors import Mistake
from .files import atomic_write

PRESETS = ("smoke", "default", "full")
MOST_THREADS = 1024  # OpenMP ends the process, without a word from Python, where it cannot start what it is asked for


def seed_number(text):
    """A seed as every library takes it: a whole number from 0, in 63 bits."""
    try:
        seed = int(text)
    except ValueError:
        seed = -1
    if not 0 <= seed < 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} is no seed; give a whole number from 0 to {2**63 - 1}")
    return seed


def folder_to_fill(text):
    """A folder, there or not, in which files can be made: told at once, and not when hours have been measured."""
    path = Path(text)
    try:
        inside = next(place for place in (path, *path.resolve().parents) if place.exists())
    except OSError as error:  # a name that is too long, or goes round in circles
        raise argparse.ArgumentTypeError(f"{text}: {error.strerror.lower()}; give another folder") from None
    if not inside.is_dir():
        raise argparse.ArgumentTypeError(f"{inside} is no folder; give another path")
    if not os.access(inside, os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(f"nothing can be written in {inside}; give another folder")
    return path


def parser(description, *, data=None, epilog=None):
    """The options that every train script takes; `data` is the default of --data."""
    p = argparse.ArgumentParser(
        description=description, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--preset", choices=PRESETS, default="default", help="how long to run (default: %(default)s)")
    p.add_argument("--seed", type=seed_number, default=0, help="seed of everything random (default: %(default)s)")
    p.add_argument("--data", type=Path, default=data, help="folder or file to read (default: %(default)s)")
    p.add_argument("--out", type=folder_to_fill, help="folder for results (default: runs/<week>/results)")
    p.add_argument("--threads", type=int, default=None, help="CPU threads (default: all that this process may use)")
    return p


def run_folder(script):
    """runs/<week>, which git ignores: below it lies whatever a user's own run of `script` writes."""
    week = Path(script).resolve().parent
    root = week.parents[1] if week.parent.name == "weeks" else Path.cwd()
    return root / "runs" / week.name


def results_folder(script, out=None):
    """Where a run of `script` writes its results: `out` if it was given, else runs/<week>/results.

    The committed results beside a script change only when they are asked for: `make results`, or --out.
    """
    return run_folder(script) / "results" if out is None else Path(out)


def models_folder(script, out=None):
    """Where a run keeps what it trained: `out`/models, but never among committed results: then runs/<week>/models."""
    ours = (None, Path(script).resolve().parent / "results", run_folder(script) / "results")
    return run_folder(script) / "models" if out is None or Path(out).resolve() in ours else Path(out) / "models"


def drawing_parser(description, script, preset="default"):
    """The options of every figure script. `preset` is what the pages show: without options, their figures are drawn."""
    week = Path(script).resolve().parent
    p = argparse.ArgumentParser(
        description=description,
        epilog=f"Without options: the pages' figures. For a run of your own: --results runs/{week.name}/results "
        f"--out runs/{week.name}/figures",
    )
    p.add_argument("--preset", choices=PRESETS, default=preset, help="whose results to draw (default: %(default)s)")
    p.add_argument("--results", type=Path, default=week / "results", help="folder to read (default: committed)")
    figures = week / "figures"
    p.add_argument("--out", type=folder_to_fill, default=figures, help="folder for figures (default: committed)")
    return p


def read_metrics(path, command):
    """The metrics of a results file, for a figure; a Mistake where it is absent or not one. `command` writes it."""
    again = f"run: {command} --out {path.parent}"
    if not path.exists():
        raise Mistake(f"{path} does not exist, so there is nothing to draw; {again}")
    try:
        return json.loads(path.read_text(encoding="utf-8"))["metrics"]
    except (ValueError, KeyError, TypeError) as error:
        raise Mistake(f"{path} is not a results file ({error!r}); {again}") from None


def cpu_count():
    """Processors that this process may use: fewer than the machine has where it is confined."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def thread_count(asked, otherwise=None):
    """The threads to use: those of --threads, or else `otherwise` (default: all that this process may use)."""
    if asked is None:
        return otherwise or cpu_count()
    if asked < 1:
        raise Mistake(f"--threads {asked} leaves nobody to compute; give 1 or more")
    if asked > MOST_THREADS:
        raise Mistake(f"--threads {asked} is more than a machine can start; give {MOST_THREADS} at most")
    return asked


def cpu_name():
    """The processor's name, with the bf16 instructions that decide how fast half precision is."""
    name, flags = platform.processor() or platform.machine(), ""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
            elif line.startswith("flags"):
                flags = line
                break
    except OSError:
        pass
    extra = [label for flag, label in (("avx512_bf16", "AVX512-BF16"), ("amx_bf16", "AMX-BF16")) if flag in flags]
    return f"{name} ({', '.join(extra)})" if extra else name


def fast_in_bf16():
    """Whether this processor trains faster in bfloat16 than in float32.

    Its flags decide, not a stopwatch, so that a run that is continued computes as it did before. AMX multiplies
    bfloat16 almost four times as fast as float32, AMD's AVX512-BF16 twice as fast (a step of training: 1.06 times at
    width 128, 1.2 at 160, 1.6 at 256); Intel's AVX512-BF16 alone is no faster at large products and slower at small
    ones. All measured.
    """
    name = cpu_name()
    return "AMX-BF16" in name or ("AMD" in name and "AVX512-BF16" in name)


def machine(threads):
    """Where a number was measured."""
    here = {"cpu": cpu_name(), "threads": threads, "python": platform.python_version()}
    for package in ("torch", "numpy"):
        try:
            here[package] = metadata.version(package).split("+")[0]
        except metadata.PackageNotFoundError:
            pass
    return here


@functools.cache  # as it was before this command wrote its first file: what it wrote itself is no change of the code
def commit(folder):
    """Short hash of the checkout that holds `folder`; "unknown" outside git.

    It ends in `-dirty` where a tracked file was changed that is no result: a table is measured by many commands, and
    each writes what the next one finds changed.
    """

    def git(*words):
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        changed = git("diff", "--name-only", "HEAD", "--", ":(top)", ":(top,exclude,glob)**/results/**")
        return git("describe", "--always", "--exclude=*") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def to_json(value, pad=""):
    """Indented JSON whose innermost lists stand on one line each; NaN and infinity raise ValueError."""
    inner = f"{pad}  "
    if isinstance(value, dict) and value:
        rows = [f"{json.dumps(str(key))}: {to_json(item, inner)}" for key, item in value.items()]
        begin, end = "{}"
    elif isinstance(value, list | tuple) and any(isinstance(item, dict | list | tuple) for item in value):
        rows = [to_json(item, inner) for item in value]
        begin, end = "[]"
    else:
        return json.dumps(value, allow_nan=False)
    return f"{begin}\n{inner}" + f",\n{inner}".join(rows) + f"\n{pad}{end}"


def write_results(path, *, command, preset, seed, seconds, metrics, threads):
    """Write one results file in the shape that all weeks share, and return its path.

    `metrics` maps a name to a number, string or nested list; NaN and infinity raise ValueError, for JSON has neither.
    """
    path = Path(path)
    record = {
        "command": on_record(command),
        "preset": preset,
        "seed": seed,
        "commit": commit(Path(__file__).parent),
        "date": datetime.date.today().isoformat(),
        "machine": machine(threads),
        "seconds": round(seconds, 1),
        "metrics": metrics,
    }
    atomic_write(path, to_json(record) + "\n")
    return path


def command_line(script, argv):
    """The command that repeats this run, as it would be typed at the repository's root; a learner's copy's too."""
    parts = Path(script).resolve().parts
    tops = [at for at, part in enumerate(parts) if part in ("weeks", "projects")] or [-1]
    return shlex.join(["python", "/".join(parts[tops[-1] :]), *argv])


def on_record(command):
    """A command as a results file has it: a path that begins at the machine's root stands by its name alone.

    What lies where is different on every machine.
    """
    words, short = shlex.split(command), []
    for word in words:
        option, equals, value = word.rpartition("=")
        short.append(option + equals + (Path(value).name if Path(value).is_absolute() else value))
    return command if short == words else shlex.join(short)


def save_run(script, args, argv, metrics, *, seconds, threads, name=None, preset=None, folder=None):
    """Write what a run of `script` measured to <folder>/<name>.json, and return the path.

    `args` are those of `parser`; `argv` is what the script's main was given, with a job's name before it where the
    script has jobs (None: what was typed). Without `name` the preset is the file's name, without `preset` it is
    `args.preset`, and without `folder` the file lies in the results folder of --out.
    """
    preset = args.preset if preset is None else preset
    return write_results(
        (results_folder(script, args.out) if folder is None else Path(folder)) / f"{name or preset}.json",
        command=command_line(script, sys.argv[1:] if argv is None else argv),
        preset=preset,
        seed=args.seed,
        seconds=seconds,
        metrics=metrics,
        threads=threads,
    )


def finish(script, args, argv, metrics, **about):
    """The end of a script: save the run, print where it lies, and return the metrics; `about` is as in `save_run`.

    A script with more to say saves first, and speaks then: a slip in a sentence must not lose the numbers of an hour.
    """
    print(f"results: {save_run(script, args, argv, metrics, **about)}")
    return metrics


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self):
        self.start = time.perf_counter()

    @property
    def seconds(self):
        return time.perf_counter() - self.start
