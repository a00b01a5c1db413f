"""Measures, on this machine, that a run does not depend on the processes that share it: `prove(folder)` -> metrics.

It trains a tiny GPT alone, then has torchrun start this same file in two processes (python -m scaling.distributed.proof
is not for typing: `prove` starts it), and compares the weights. One of the runs kills a process in the middle.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from ..parallel import Team, join, leave, share, wrap
from ..step import step as take
from ..vendor.gpt.loop import Recipe
from ..vendor.gpt.model import GPT, IGNORE, GPTConfig
from ..vendor.shared.errors import Mistake
from . import checkpoint
from .run import Job, make_optimizer, train, write_weights

STEPS, HALFWAY, ROWS = 20, 10, 8
KILLED_AT, KEPT_EVERY = 13, 5  # the last checkpoint before the kill is that of step 10: three steps are done again
SIZES = {"vocab_size": 31, "block_size": 16, "n_layer": 2, "n_head": 2, "n_embd": 20}
PROCESSES = 2


def model(bias: bool = False) -> GPT:
    """A tiny GPT, the same in every process. 31 and 20 leave processes shares of unequal size; 20 * 1 some none.

    Without biases, for one of them has no part in the comparison: what is added to all keys cancels in the softmax, so
    the gradient of the keys' bias is 0 but for rounding, and AdamW makes steps of full size from that rounding.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return GPT(GPTConfig(**SIZES, bias=bias))


def tokens() -> torch.Tensor:
    """(2000,) int64: noise will do, for only the arithmetic is compared."""
    return torch.randint(SIZES["vocab_size"], (2000,), generator=torch.Generator().manual_seed(1))


def job(way="ddp", optimizer="adamw", every=HALFWAY, steps=STEPS, **changed) -> Job:
    recipe = Recipe(steps=steps, batch_size=ROWS, warmup=3, optimizer=optimizer)
    return Job(recipe, way=way, every=every, **changed)


def finish(the_job: Job, team: Team, folder, bias=False) -> list[float]:
    """Train to the end in `folder`, from its newest checkpoint; the losses of its steps."""
    return [loss for _, loss in train(model(bias), tokens(), the_job, team, folder)]


def masked(team: Team, way: str, path):
    """Three steps on rows of which half the processes have hardly any judged token: one mean over all of them."""
    module = wrap(model(), way, team)
    module.train()
    optimizer, rows = make_optimizer(module, job(way)), share(ROWS, team)
    windows = tokens()[: ROWS * 17].view(ROWS, 17)  # (B, T + 1)
    targets = windows[:, 1:].clone()
    targets[: ROWS // 2, 1:] = IGNORE
    targets[0] = IGNORE
    for _ in range(3):
        take(module, optimizer, [(windows[rows, :-1], targets[rows])], world=team)
    write_weights(path, module, team)


# --- what torchrun starts ---------------------------------------------------------------------------------------------


def runs(team: Team, folder: Path):
    """Everything that two processes are asked to do undisturbed."""
    for way in ("ddp", "fsdp"):
        finish(job(way), team, folder / way)
        finish(job(way, accumulate=2), team, folder / f"{way}-accumulated")
        finish(job(way, "muon", steps=HALFWAY), team, folder / f"{way}-muon")
        finish(job(way), team, folder / f"{way}-from-one")  # where one process left a checkpoint
        masked(team, way, folder / f"{way}-masked.safetensors")
    module = wrap(model(), "fsdp", team)
    checkpoint.load(checkpoint.checkpoints(folder / "fsdp")[0], module, make_optimizer(module, job()), team, {})
    write_weights(folder / "halfway.safetensors", module, team)
    try:
        with team.together():
            if team.rank == 1:
                raise Mistake("the text is not on this machine")
    except Mistake as mistake:
        (folder / f"told-{team.rank}.txt").write_text(f"{mistake}")


def killed(team: Team, folder: Path):
    """The last process is killed in the middle, the first time; torchrun starts all of them again."""
    first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    for step, _ in train(model(), tokens(), job("fsdp", every=KEPT_EVERY), team, folder / "killed"):
        if first and step == KILLED_AT and team.rank == team.size - 1:
            os.kill(os.getpid(), signal.SIGKILL)


def launch(folder, *, seconds: float = 300.0):
    """torchrun with two processes of this machine, one thread each; a Mistake with its last words where it fails."""
    week = Path(__file__).resolve().parents[2]
    paths = os.pathsep.join([str(week), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    if sys.platform == "linux":  # else gloo asks a name server for this machine's address
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={PROCESSES}"]
    command += ["--max-restarts=1", "-m", "scaling.distributed.proof", str(folder)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise Mistake(f"{PROCESSES} processes were not done after {seconds:g} seconds; try again") from None
    if done.returncode:
        raise Mistake(f"torchrun ended with status {done.returncode}: ...{done.stderr[-3000:]}")
    return done


# --- the measurement --------------------------------------------------------------------------------------------------


def difference(a, b) -> float:
    """The largest difference of any weight of two files (absolute); weights here are of the order of 0.1."""
    a, b = load_file(a), load_file(b)
    assert a.keys() == b.keys(), "the files are of different models"
    return max((a[name] - b[name]).abs().max().item() for name in a)


def prove(folder) -> dict:
    """Run all of it in `folder` (empty) and return the largest differences of weights, and the kills survived."""
    folder, alone = Path(folder), Team()
    finish(job(), alone, folder / "alone")
    finish(job("ddp", "muon", steps=HALFWAY), alone, folder / "alone-muon")
    masked(alone, "ddp", folder / "alone-masked.safetensors")
    halfway = checkpoint.checkpoints(folder / "alone")[0]
    for way in ("ddp", "fsdp"):
        _copy(halfway, folder / f"{way}-from-one")
    done = launch(folder)
    found = {}
    for way in ("ddp", "fsdp"):
        _copy(checkpoint.checkpoints(folder / way)[0], folder / f"{way}-to-one")
        finish(job(), alone, folder / f"{way}-to-one")

        def apart(kind, one="alone", way=way):
            return difference(folder / one / "model.safetensors", folder / f"{way}{kind}" / "model.safetensors")

        found[f"{way}_max_diff"] = apart("")
        found[f"{way}_accumulated_max_diff"] = apart("-accumulated")
        found[f"{way}_muon_max_diff"] = apart("-muon", "alone-muon")
        found[f"{way}_1_to_2_max_diff"] = apart("-from-one")
        found[f"{way}_2_to_1_max_diff"] = apart("-to-one")
        pair = folder / "alone-masked.safetensors", folder / f"{way}-masked.safetensors"
        found[f"{way}_masked_max_diff"] = difference(*pair)
    found["killed_max_diff"] = difference(folder / "fsdp/model.safetensors", folder / "killed/model.safetensors")
    found["worker_kills_survived"] = int("exitcode: -9" in done.stderr and found["killed_max_diff"] == 0)
    return found


def _copy(source: Path, folder: Path):
    """A checkpoint of another run as the newest of `folder`."""
    target = folder / source.name
    target.mkdir(parents=True)
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())


if __name__ == "__main__":
    torch.set_num_threads(1)
    with join(60.0) as us:
        killed(us, Path(sys.argv[1]))  # first: only then is little done twice
        runs(us, Path(sys.argv[1]))
    leave(0)
