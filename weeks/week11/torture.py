"""Week 11: kill -9 at random moments, go on, and compare the weights with those of a run that nobody disturbed.

    python weeks/week11/torture.py                 # 50 trials, 2 minutes of one core: what `make torture` runs
    python weeks/week11/torture.py --trials 5

One small run (pretrain/trainer/rehearsal.py: dropout, a spike, validation, a checkpoint every fourth step) comes to its
end undisturbed. Each trial starts the same run in a process of its own, kills it, and lets it go on to its end. Then
all tensors of its last checkpoint must equal the undisturbed ones, bit for bit, and so must the rows of its log, but
for the seconds. The kinds of trial take turns:

    any       a kill at any moment
    writing   a kill while a checkpoint is being written
    twice     a kill at any moment, and another one while the run goes on from its checkpoint

A row is written after each trial: [trial, kind, kills, deaths that left half a checkpoint, identical, seconds]. So
Ctrl-C loses one trial, and the same command goes on.
"""

import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from pretrain.trainer import checkpoint
from pretrain.trainer.log import read_rows
from pretrain.trainer.rehearsal import trainer
from pretrain.vendor.shared.errors import Mistake, entry
from pretrain.vendor.shared.progress import bar
from pretrain.vendor.shared.results import (
    Stopwatch,
    command_line,
    commit,
    parser,
    results_folder,
    write_results,
)
from safetensors.torch import load_file

PRESETS = {"smoke": (3, 42), "default": (50, 60), "full": (500, 60)}  # trials, steps of each run
KINDS = ("any", "writing", "twice")
EVERY = 4  # steps between two checkpoints of the rehearsal
WRITING = 0.004  # seconds, about as long as a checkpoint is being written
DRAWS = 20  # a kill may come too late, when the run has ended; then another moment is drawn
PREPARED = ("torch._dynamo", "torch.distributed.tensor")  # what the first step would import
PATIENCE = 60  # seconds to wait for a checkpoint


# --- one life ---------------------------------------------------------------------------------------------------------


def live(folder, steps: int, until=None) -> bool:
    """One life of the run in `folder`, in a process of its own, killed when `until()` returns; True if it was killed.

    A fork of a process that has imported everything: importing takes as long as the whole run, and half of the kills
    would come before its first step. This process itself never trains.
    """
    sys.stdout.flush()
    child = os.fork()
    if not child:
        _run(folder, steps)
    try:
        if until:
            until()
            os.kill(child, signal.SIGKILL)
        _, ended = os.waitpid(child, 0)
    except BaseException:  # Ctrl-C: no child stays behind
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    if os.WIFSIGNALED(ended):
        return True
    if os.WEXITSTATUS(ended):
        raise Mistake(f"the run in {folder} failed, and what it said stands above; read it there, then run it again")
    return False


def _run(folder, steps: int):
    """In the child: train to the end, and never return."""
    status = 1
    try:
        for _ in trainer(folder, steps=steps, save_every=EVERY).events():
            pass
        status = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(status)


def writes(folder, step: int, then: float):
    """A moment: the checkpoint of `step` has been begun, `then` seconds ago."""
    final = checkpoint.place(folder, step)
    part, watch = final.with_name(f".{final.name}.part"), Stopwatch()
    while not part.exists() and not final.exists() and watch.seconds < PATIENCE:
        time.sleep(0.0002)
    time.sleep(then)


def outcome(folder, steps: int):
    """(tensors, rows of the log without their seconds) of a run that came to its end."""
    tensors = load_file(checkpoint.place(folder, steps) / checkpoint.TENSORS)
    rows = read_rows(Path(folder) / "metrics.jsonl")
    return tensors, [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def same(a, b) -> bool:
    """Bit for bit: all tensors of the last checkpoint, the optimizer's too, and every row."""
    return a[0].keys() == b[0].keys() and all(torch.equal(a[0][name], b[0][name]) for name in a[0]) and a[1] == b[1]


# --- one trial --------------------------------------------------------------------------------------------------------


def trial(number: int, folder, *, seed: int, steps: int, whole: float, wanted) -> list:
    """The row of a trial, whose run lies in `folder` afterwards. whole: seconds of the undisturbed run, `wanted` its
    outcome. A trial's moments depend on seed and number alone, so it does not matter in which session it is made.
    """
    dice, watch, kind = random.Random(f"{seed} {number}"), Stopwatch(), KINDS[number % len(KINDS)]
    last = max(1, (steps - 1) // EVERY)
    for _ in range(DRAWS):
        shutil.rmtree(folder, ignore_errors=True)
        if kind == "writing":
            until = partial(writes, folder, EVERY * dice.randint(1, last), dice.uniform(0, WRITING))
        else:
            until = partial(time.sleep, dice.uniform(0, whole))
        if live(folder, steps, until):
            break
    else:
        raise Mistake(f"{DRAWS} kills of trial {number} came after the run's end; give more --steps")
    kills, halves = 1, _half(folder)
    if kind == "twice":
        if live(folder, steps, partial(time.sleep, dice.uniform(0, whole / 8))):
            kills, halves = kills + 1, halves + _half(folder)
    live(folder, steps)
    return [number, kind, kills, halves, same(outcome(folder, steps), wanted), round(watch.seconds, 2)]


def _half(folder) -> int:
    """1 if the last death left a checkpoint half written or half removed."""
    return int(any(checkpoint.LEFT.fullmatch(path.name) for path in Path(folder).glob(".step-*")))


# --- all of them ------------------------------------------------------------------------------------------------------


def known(path, seed: int, steps: int) -> list:
    """The rows of an earlier session that this one goes on from: same seed, steps and commit; else none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        of = (record["seed"], record["metrics"]["steps"], record["commit"])
        if of == (seed, steps, commit(Path(__file__).parent)):
            return record["metrics"]["rows"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    print(f"{path} is of another seed, number of steps or commit, so all trials are made anew")
    return []


def summary(rows: list, steps: int, spikes: int) -> dict:
    """What the rows say."""
    return {
        "kill_resume_trials": len(rows),
        "kill_resume_identical": sum(row[4] for row in rows),
        "kills": sum(row[2] for row in rows),
        "kills_while_writing_a_checkpoint": sum(row[3] for row in rows),
        "spikes_in_each_run": spikes,
        "steps": steps,
        "seconds_per_trial": round(sum(row[5] for row in rows) / len(rows), 2),
        "rows": rows,
    }


@contextmanager
def scratch():
    """A folder for the runs; it is removed, but for runs that differ, and whole where a run failed."""
    folder, failed = Path(tempfile.mkdtemp(prefix="torture-")), False
    try:
        yield folder
    except Mistake:
        failed = True
        raise
    finally:
        if not failed and not list(folder.glob("trial-*")):
            shutil.rmtree(folder)


def torture(args, argv, path) -> dict:
    """Make the trials that `path` does not hold yet, and write it after each; the metrics."""
    rows = known(path, args.seed, args.steps)[: args.trials]
    with scratch() as folder, bar(total=args.trials, initial=len(rows), label="kills", unit="trial") as shown:
        watch = Stopwatch()
        live(folder / "undisturbed", args.steps)
        whole, wanted = watch.seconds, outcome(folder / "undisturbed", args.steps)
        spikes = sum("skipped" in row for row in wanted[1])
        while len(rows) < args.trials:
            here = folder / f"trial-{len(rows):03d}"
            try:
                row = trial(len(rows), here, seed=args.seed, steps=args.steps, whole=whole, wanted=wanted)
            except KeyboardInterrupt:
                shutil.rmtree(here, ignore_errors=True)
                raise KeyboardInterrupt(
                    f"{len(rows)} of {args.trials} trials are kept; the same command goes on"
                ) from None
            rows.append(row)
            if row[4]:
                shutil.rmtree(here)
            else:
                shown.write(f"trial {row[0]} differs; its run stays in {here}", file=sys.stderr)
            write_results(
                path,
                command=command_line(__file__, argv),
                preset=args.preset,
                seed=args.seed,
                seconds=sum(row[5] for row in rows),
                metrics=summary(rows, args.steps, spikes),
                threads=1,
            )
            shown.update()
    return summary(rows, args.steps, spikes)


def main(argv=None) -> dict:
    argv = list(sys.argv[1:] if argv is None else argv)
    p = parser(__doc__.splitlines()[0], epilog=__doc__.split("\n", 2)[2])
    p.add_argument("--trials", type=int, help="how many (default: the preset's; 50 without one)")
    p.add_argument("--steps", type=int, help="of each run (default: the preset's; 60 without one)")
    args = p.parse_args(argv)
    if args.data is not None or args.threads not in (None, 1):
        raise Mistake("the run makes its own data and takes one thread; leave --data and --threads out")
    usual = PRESETS[args.preset]
    args.trials = usual[0] if args.trials is None else args.trials
    args.steps = usual[1] if args.steps is None else args.steps
    if args.trials < 1 or args.steps <= EVERY:
        raise Mistake(
            f"{args.trials} trials of {args.steps} steps show nothing; give --trials 1 and --steps {EVERY + 1}, or more"
        )
    if not hasattr(os, "fork"):
        raise Mistake("this system cannot fork a process; run it on Linux or macOS")
    torch.set_num_threads(1)  # threads do not survive a fork
    for name in PREPARED:
        importlib.import_module(name)
    path = results_folder(__file__, args.out) / "torture.json"
    metrics = torture(args, argv, path)
    trials, identical = metrics["kill_resume_trials"], metrics["kill_resume_identical"]
    print(
        f"{identical} of {trials} runs that were killed came to the very bits of the undisturbed one "
        f"({metrics['kills']} kills, {metrics['kills_while_writing_a_checkpoint']} of them in half a checkpoint; "
        f"{metrics['seconds_per_trial']} s a trial)"
    )
    print(f"results: {path}")
    if identical < trials:
        raise Mistake(f"{trials - identical} of {trials} runs differ from the undisturbed one; {path} says which")
    return metrics


if __name__ == "__main__":
    sys.exit(entry(main))
