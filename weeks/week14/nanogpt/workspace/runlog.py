"""The log of a long script in its work folder, so that the same command again goes on where it was stopped."""

import json
import shutil
import time
from contextlib import contextmanager

from ..vendor.shared.files import atomic_write

FILE = "run.json"


def begin(work, setting, parts, fresh=False):
    """The log of a stopped run with the same settings, to go on with; else a new one, and no old `parts` folders."""
    try:
        log = json.loads((work / FILE).read_text())
        if not fresh and not log["done"] and log["setting"] == setting:
            print(
                f"going on with the run that was stopped after {log['elapsed']:.0f} s (--fresh starts over)", flush=True
            )
            return log
    except (OSError, ValueError, KeyError):
        pass
    for name in parts:
        shutil.rmtree(work / name, ignore_errors=True)
    log = {"setting": setting, "elapsed": 0.0, "done": False}
    write(work, log)
    return log


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
        write(work, log)
