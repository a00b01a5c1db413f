"""The log of a long script in its work folder, so that the same command again goes on where it was stopped.

It notes what the training of each task gave, and how the script left each part (a model's folder). Only what is still
exactly that, and comes out of the same command again, is ever deleted; all else is moved aside.
"""

import hashlib
import json
import os
import shutil
import time
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from ..vendor.shared.errors import Mistake
from ..vendor.shared.files import atomic_write, locked
from .learn import learn

FILE = "run.json"


def begin(work, setting, parts, fresh=False, keep=False):
    """The log of a stopped run with these settings, to go on with; else a new one, and no `parts` in its way.

    With `keep` a finished run of these settings is gone on with too: what it trained is not trained again.
    """
    ours(work, parts)  # before the lock, which leaves a file in the folder
    with locked(work):
        log, there = ours(work, parts)
        same = log is not None and log["setting"] == setting
        go_on = same and not fresh and (keep or not log["done"])
        make_room(work, log, there, same, go_on)
        if go_on and log["done"]:
            print(f"this run is finished: what it trained in {work} is used again (--fresh starts over)", flush=True)
        elif go_on:
            said = f"going on with the run that was stopped after {log['elapsed']:.0f} s"
            print(f"{said} (--fresh starts over)", flush=True)
        log = {"losses": {}, "step_seconds": {}} | (log if go_on else {"setting": setting, "elapsed": 0.0})
        # `left` is empty until it ends: a run that is killed notes nothing
        log |= {"done": False, "parts": parts, "left": {}, "id": os.urandom(8).hex()}
        write(work, log)
    return log


def ours(work, parts):
    """(the log of an earlier run or None, those of `parts` that are there); a Mistake where no run of ours was."""
    log, there = read(work), [name for name in parts if any((work / name).glob("*"))]
    if there and log is None:
        raise Mistake(f"{work / there[0]} is there already, but no run of this script left it; give another --work")
    return log, there


def make_room(work, log, there, same, go_on):
    """Move aside what a run that begins must not touch; delete what a finished one left that it only does again."""
    others = []
    for name in there:
        noted = log.get("left", {}).get(name)
        if noted != state(work / name) and (noted is not None or log["done"]):
            (aside,) = move_aside(work, [name])
            print(f"{work / name} is not as this script left it; it was moved to {aside}, and starts over", flush=True)
        elif not go_on and same and log["done"]:
            shutil.rmtree(work / name)
        elif not go_on:
            others.append(name)
    if others:
        why = "was stopped before its end" if same else "has other settings"
        aside = ", ".join(map(str, move_aside(work, [*others, FILE])))
        print(f"the run in {work} {why}; it was moved, and lies in {aside}", flush=True)


def move_aside(work, names):
    """Give what is called so in `work` names that end in -kept-N, with one N that is free for all; the new paths."""
    new = lambda name, n: work / f"{Path(name).stem}-kept-{n}{Path(name).suffix}"
    n = next(n for n in count(1) if not any(new(name, n).exists() for name in names))
    return [(work / name).rename(new(name, n)) for name in names]


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
    """Add the seconds of the block to the log, and write it whatever happens; Ctrl-C says how to go on.

    No other command may write to `work` meanwhile.
    """
    with locked(work):
        if (read(work) or {}).get("id") != log["id"]:  # between `begin` and here the folder was nobody's
            raise Mistake(f"another command began in {work}; wait until it has ended, or give another folder")
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
