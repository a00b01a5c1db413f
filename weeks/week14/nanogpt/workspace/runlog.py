"""The log of a long script in its work folder, so that the same command again goes on where it was stopped.

The log notes how the script left each of its parts (the models' folders). Only what is still exactly that is ever
deleted: anything else may be what a user taught.
"""

import hashlib
import json
import shutil
import time
from contextlib import contextmanager

from ..vendor.shared.errors import Mistake
from ..vendor.shared.files import atomic_write

FILE = "run.json"


def begin(work, setting, parts, fresh=False):
    """The log of a stopped run with the same settings, to go on with; else a new one, and no `parts` in its way."""
    log = read(work)
    there = [name for name in parts if (work / name).is_dir() and any((work / name).iterdir())]
    if log is None and there:
        raise Mistake(
            f"{work / there[0]} is there already, but no run of this script left it; give another folder with --work"
        )
    go_on = log is not None and not fresh and not log["done"] and log["setting"] == setting
    for name in there:
        noted = (log.get("left") or {}).get(name)
        if (noted is None and go_on) or noted == state(work / name):
            if not go_on:
                shutil.rmtree(work / name)
            continue
        numbers = (n for n in range(1, 10**6) if not (work / f"{name}-kept-{n}").exists())
        aside = (work / name).rename(work / f"{name}-kept-{next(numbers)}")
        print(f"{work / name} is not as this script left it, so it was moved to {aside} and starts over", flush=True)
    if go_on:
        print(f"going on with the run that was stopped after {log['elapsed']:.0f} s (--fresh starts over)", flush=True)
    else:
        log = {"setting": setting, "elapsed": 0.0, "done": False}
    log |= {"parts": list(parts), "left": {}}  # until it ends: a run that is killed notes nothing
    write(work, log)
    return log


def read(work):
    """The log of a script of ours in `work`, or None."""
    try:
        log = json.loads((work / FILE).read_text())
        return log if {"setting", "elapsed", "done"} <= log.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


def state(folder):
    """sha256 of a model's index, which names the sha256 of its tensors, and of the names of the files beside it."""
    index, names = folder / "checkpoint.json", sorted(f.name for f in folder.iterdir() if not f.name.startswith("."))
    return hashlib.sha256((index.read_bytes() if index.is_file() else b"") + "/".join(names).encode()).hexdigest()


def write(work, log):
    atomic_write(work / FILE, json.dumps(log) + "\n")


@contextmanager
def clocked(work, log):
    """Add the seconds of the block to the log, and write it whatever happens; Ctrl-C says how to go on."""
    started = time.perf_counter() - log["elapsed"]
    try:
        yield log
    except KeyboardInterrupt as stop:
        said = f"{stop}; " if str(stop) else ""
        raise KeyboardInterrupt(f"{said}the same command again goes on from the last saved step") from None
    else:
        log["done"] = True
    finally:
        log["elapsed"] = time.perf_counter() - started
        log["left"] = {name: state(work / name) for name in log["parts"] if (work / name).is_dir()}
        write(work, log)
