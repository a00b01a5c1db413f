# vendored from tools/shared/run.py, sha256 0b3b332adc4e3862aed996653f993a13ee7875f46803c4b1ed9bc1a4d5db993f; edit there, then run: make vendor
"""What every train script shares: its options, its exit status, its results file.

Copied by `make vendor` into the weeks that use it, so that a week still stands alone.
Left out on purpose: logging frameworks, configuration files, anything that a script can say itself.
"""

import argparse
import datetime
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

PRESETS = ("smoke", "default", "full")


class Mistake(Exception):
    """An expected failure, as one sentence: what was given, why it cannot be used, what to do."""


def seed_number(text):
    """A seed as every library takes it: a whole number from 0, in 63 bits."""
    try:
        seed = int(text)
    except ValueError:
        seed = -1
    if not 0 <= seed < 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} is no seed; give a whole number from 0 to {2**63 - 1}")
    return seed


def parser(description, *, data=None, epilog=None):
    """The options that every train script takes; `data` is the default of --data."""
    p = argparse.ArgumentParser(
        description=description, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--preset", choices=PRESETS, default="default", help="how long to run (default: %(default)s)")
    p.add_argument("--seed", type=seed_number, default=0, help="seed of everything random (default: %(default)s)")
    p.add_argument("--data", type=Path, default=data, help="folder or file to read (default: %(default)s)")
    p.add_argument(
        "--out", type=Path, default=None, help="folder for the results file (default: results/ beside train.py)"
    )
    p.add_argument("--threads", type=int, default=None, help="CPU threads (default: all that this process may use)")
    return p


def cpu_count():
    """Processors that this process may use: fewer than the machine has where it is confined."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def thread_count(asked, otherwise=None):
    """The threads to use: those of --threads, or else `otherwise` (default: all that this process may use)."""
    if asked is None:
        return otherwise or cpu_count()
    if asked < 1:
        raise Mistake(f"--threads {asked} leaves nobody to compute; give 1 or more")
    return asked


def need(path, made_by):
    """`path` if it exists; else a Mistake that names the make target which writes it."""
    path = Path(path)
    if not path.exists():
        raise Mistake(f"{path} does not exist; run: {made_by}")
    return path


def atomic_write(path, content):
    """Write text or bytes so that `path` holds either the old content or all of the new, never a part."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb") as f:
            f.write(content.encode() if isinstance(content, str) else content)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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


def machine(threads):
    """Where a number was measured."""
    here = {"cpu": cpu_name(), "threads": threads, "python": platform.python_version()}
    for package in ("torch", "numpy"):
        try:
            here[package] = metadata.version(package).split("+")[0]
        except metadata.PackageNotFoundError:
            pass
    return here


def commit(folder):
    """Short hash of the checkout that holds `folder`, with `-dirty` where it was changed; "unknown" outside git."""
    try:
        command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def write_results(path, *, command, preset, seed, seconds, metrics, threads):
    """Write one results file in the shape that all weeks share, and return its path.

    `metrics` maps a name to a number, string or nested list; NaN and infinity raise ValueError, for JSON has neither.
    """
    path = Path(path)
    record = {
        "command": command,
        "preset": preset,
        "seed": seed,
        "commit": commit(Path(__file__).parent),
        "date": datetime.date.today().isoformat(),
        "machine": machine(threads),
        "seconds": round(seconds, 1),
        "metrics": metrics,
    }
    atomic_write(path, json.dumps(record, indent=2, allow_nan=False) + "\n")
    return path


def command_line(script, argv):
    """The command that repeats this run, as it would be typed at the repository's root."""
    parts = Path(script).resolve().parts
    script = "/".join(parts[parts.index("weeks") :]) if "weeks" in parts else Path(script).name
    return shlex.join(["python", script, *argv])


def entry(main, argv=None):
    """Run `main(argv)` as a script: status 0 done, 1 failed, 2 wrong use, 130 interrupted.

    A Mistake or an OSError prints one sentence; CHASE_DEBUG=1 shows the traceback as well.
    """
    try:
        main(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt as stop:
        print(f"\ninterrupted{': ' + str(stop) if str(stop) else ''}", file=sys.stderr)
        return 130
    except (Mistake, OSError) as error:
        if os.environ.get("CHASE_DEBUG"):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self):
        self.start = time.perf_counter()

    @property
    def seconds(self):
        return time.perf_counter() - self.start
