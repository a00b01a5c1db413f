"""Week 11: kill -9 at random moments, and go on, until the weights can be compared with those of an undisturbed run.

    python weeks/week11/torture.py                 # 50 kills, some minutes: what `make torture` runs
    python weeks/week11/torture.py --trials 5

A small run (pretrain/trainer/rehearsal.py: dropout, a spike, validation, a checkpoint every fourth step) is started
in a process of its own and killed after a random time, again and again until it comes to its end; then the next run
begins, until there were as many kills as asked for. Of every run the weights must equal, bit for bit, those of a run
that nobody disturbed, and the log must have the same rows but for the seconds.
"""

import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import torch
from pretrain.trainer import checkpoint
from pretrain.trainer.log import read_rows
from pretrain.trainer.rehearsal import trainer
from pretrain.vendor.shared.errors import Mistake, entry
from pretrain.vendor.shared.progress import bar
from pretrain.vendor.shared.results import Stopwatch, command_line, parser, results_folder, write_results
from safetensors.torch import load_file

TRIALS = {"smoke": 1, "default": 50, "full": 500}
STEPS = {"smoke": 12, "default": 60, "full": 60}


def live(folder, steps: int, after: float | None) -> bool:
    """One life of the run in `folder`, in a process of its own, killed `after` seconds; True if it was killed.

    A fork, for importing torch anew takes longer than the whole run. This process itself never trains.
    """
    sys.stdout.flush()
    child = os.fork()
    if not child:
        status = 1
        try:
            for _ in trainer(folder, steps=steps).events():
                pass
            status = 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(status)
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    _, ended = os.waitpid(child, 0)
    if os.WIFSIGNALED(ended):
        return True
    if os.WEXITSTATUS(ended):
        raise Mistake(f"the run in {folder} failed (its words are above); it was left there")
    return False


def outcome(folder, steps: int):
    """(weights, rows of the log without their seconds) of a run that came to its end."""
    weights = load_file(checkpoint.place(folder, steps) / checkpoint.TENSORS)
    return weights, [
        {k: v for k, v in row.items() if k != "seconds"} for row in read_rows(Path(folder) / "metrics.jsonl")
    ]


def same(a, b) -> bool:
    """Bit for bit: all tensors of the last checkpoint, the optimizer's too, and every row."""
    return a[0].keys() == b[0].keys() and all(torch.equal(a[0][name], b[0][name]) for name in a[0]) and a[1] == b[1]


def torture(folder, trials: int, steps: int, seed: int) -> dict:
    """Metrics of `trials` kills; `folder` must be empty."""
    folder, dice = Path(folder), random.Random(seed)
    watch = Stopwatch()
    live(folder / "undisturbed", steps, None)
    whole = watch.seconds
    wanted = outcome(folder / "undisturbed", steps)
    kills = runs = equal = halves = 0
    with bar(total=trials, label="kills", unit="kill") as shown:
        while kills < trials:
            here = folder / f"run-{runs:03d}"
            while live(here, steps, dice.uniform(0, whole) if kills < trials else None):
                kills += 1
                halves += any(checkpoint.LEFT.fullmatch(path.name) for path in here.glob(".step-*"))
                shown.update()
            runs += 1
            equal += same(outcome(here, steps), wanted)
    return {
        "kill_resume_trials": kills,
        "kill_resume_identical": int(equal == runs),
        "runs": runs,
        "runs_identical": equal,
        "kills_while_writing_a_checkpoint": halves,
        "spikes_in_each_run": sum("skipped" in row for row in wanted[1]),
    }


def main(argv=None) -> dict:
    argv = sys.argv[1:] if argv is None else list(argv)
    p = parser(__doc__.splitlines()[0], epilog=__doc__.split("\n", 2)[2])
    p.add_argument("--trials", type=int, help="how many kills (default: the preset's, 50)")
    p.add_argument("--steps", type=int, help="of each run (default: the preset's, 60)")
    args = p.parse_args(argv)
    trials, steps = (TRIALS[args.preset] if args.trials is None else args.trials,
                     STEPS[args.preset] if args.steps is None else args.steps)  # fmt: skip
    if trials < 1 or steps < 1:
        raise Mistake(f"{trials} kills of a run of {steps} steps prove nothing; give 1 or more of both")
    if not hasattr(os, "fork"):
        raise Mistake("this system cannot fork a process; run it on Linux or macOS")
    torch.set_num_threads(1)  # threads do not survive a fork
    clock, folder = Stopwatch(), Path(tempfile.mkdtemp(prefix="torture-"))
    print(f"a small GPT, {steps} steps a run; kill -9 at {trials} random moments")
    metrics = torture(folder, trials, steps, args.seed)
    path = write_results(
        results_folder(__file__, args.out) / "torture.json",
        command=command_line(__file__, argv),
        preset=args.preset,
        seed=args.seed,
        seconds=clock.seconds,
        metrics=metrics,
        threads=1,
    )
    print(f"results: {path}")
    if not metrics["kill_resume_identical"]:
        raise Mistake(
            f"{metrics['runs'] - metrics['runs_identical']} runs differ from the undisturbed one; see {folder}"
        )
    print(f"What it showed: {metrics['kill_resume_trials']} kills, {metrics['runs']} runs, every weight the same.")
    shutil.rmtree(folder)
    return metrics


if __name__ == "__main__":
    sys.exit(entry(main))
