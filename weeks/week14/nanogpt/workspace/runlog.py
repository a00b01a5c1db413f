"""The log of a long script in its work folder, so that the same command again goes on where it was stopped.

It notes what the training of each task gave, and how the script left each part (a model's folder). Only what is still
exactly that is ever deleted.
"""

import hashlib
import json
import shutil
import time
from contextlib import contextmanager

from ..vendor.shared.errors import Mistake
from ..vendor.shared.files import atomic_write
from .learn import learn

FILE = "run.json"


def begin(work, setting, parts, fresh=False):
    """The log of a stopped run with these settings, to go on with; else a new one, and no `parts` in its way."""
    log = read(work)
    there = [name for name in parts if any((work / name).glob("*"))]
    if log is None and there:
        raise Mistake(f"{work / there[0]} is there already, but no run of this script left it; give another --work")
    go_on = log is not None and not fresh and not log["done"] and log["setting"] == setting
    for name in there:
        noted = log.get("left", {}).get(name)
        if noted != state(work / name) and not (noted is None and go_on):
            numbers = (n for n in range(1, 10**6) if not (work / f"{name}-kept-{n}").exists())
            aside = (work / name).rename(work / f"{name}-kept-{next(numbers)}")
            print(f"{work / name} is not as this script left it; it was moved to {aside}, and starts over", flush=True)
        elif not go_on:
            shutil.rmtree(work / name)
    if go_on:
        print(f"going on with the run that was stopped after {log['elapsed']:.0f} s (--fresh starts over)", flush=True)
    log = {"losses": {}, "step_seconds": {}} | (log if go_on else {"setting": setting, "elapsed": 0.0, "done": False})
    log |= {"parts": parts, "left": {}}  # until it ends: a run that is killed notes nothing
    write(work, log)
    return log


def read(work):
    """The log of a script of ours in `work`, or None."""
    try:
        log = json.loads((work / FILE).read_text())
    except (OSError, ValueError):
        return None
    return log if isinstance(log, dict) and {"setting", "elapsed", "done"} <= log.keys() else None


def state(folder):
    """sha256 of a model's index (which holds those of its tensors) and of the names of all files beside it."""
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


def teach(log, label, course, task, config, *, autocast, folder, save_every):
    """Learn one task of the script; its losses and the mean seconds of a step go to the log under `label`.

    The steps before a stop are not timed, nor is the first one, which is a slow one: None where that leaves none.
    """
    times = []
    log["losses"][label], _ = learn(
        course, task, config, autocast=autocast, folder=folder, save_every=save_every, label=label,
        again="the same command", on_step=lambda step, info: times.append(time.perf_counter()),
    )  # fmt: skip
    log["step_seconds"][label] = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else None
