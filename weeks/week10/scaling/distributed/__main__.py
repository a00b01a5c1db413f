"""Train a GPT on the bytes of a text, in as many processes as torchrun starts, from the newest checkpoint on.

    cd weeks/week10
    torchrun --standalone --nproc-per-node 2 --max-restarts 3 -m scaling.distributed --way fsdp --out /tmp/run

The same line again goes on where the last checkpoint stands, with another number of processes too. Without torchrun
(python -m scaling.distributed) there is one process. launch/README.md has the lines for many machines.
"""

import argparse
import os
import sys
from contextlib import ExitStack
from pathlib import Path

import torch

from ..parallel import WAYS, Team, join, leave
from ..vendor.gpt.loop import Recipe
from ..vendor.gpt.model import GPT, GPTConfig
from ..vendor.shared.errors import Mistake, entry
from ..vendor.shared.files import locked, need
from ..vendor.shared.results import seed_number, thread_count
from . import checkpoint
from .run import Job, train

HERE = Path(__file__).resolve().parents[2]
ROOT = HERE.parents[1]


def options(argv):
    parser = argparse.ArgumentParser(
        prog="python -m scaling.distributed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, default=ROOT / "data/shakespeare/train.txt", help="a text file, on every machine")
    add("--out", type=Path, default=ROOT / "runs/week10/distributed", help="a folder that all machines share")
    add("--way", choices=WAYS, default="ddp", help="how processes share the model")
    add("--steps", type=int, default=100)
    add("--batch", type=int, default=8, help="rows of a step, of all processes together")
    add("--accumulate", type=int, default=1, help="micro-batches that a process cuts its rows into")
    add("--every", type=int, default=20, help="steps from a checkpoint to the next")
    add("--optimizer", default="adamw")
    add("--lr", type=float, default=1e-3)
    add("--warmup", type=int, default=10)
    add("--half", choices=("float32", "bf16"), default="float32")
    add("--context", type=int, default=64)
    add("--layers", type=int, default=2)
    add("--heads", type=int, default=2)
    add("--width", type=int, default=32)
    add("--seed", type=seed_number, default=0)
    add("--threads", type=int, default=1, help="of each process; torchrun's processes share the processor")
    return parser.parse_args(argv)


def prepare(given, team: Team):
    """(model, tokens (N,) int64, Job) from the options; a Mistake for what cannot be used."""
    for name in ("steps", "batch", "accumulate", "every"):
        if getattr(given, name) < 1:
            raise Mistake(f"--{name} is {getattr(given, name)}; give 1 or more")
    torch.set_num_threads(thread_count(given.threads))
    text = need(given.data, "make data/shakespeare").read_bytes() or b"\n"
    tokens = torch.frombuffer(bytearray(text), dtype=torch.uint8).long()
    try:
        config = GPTConfig(256, given.context, given.layers, given.heads, given.width)
        lr = {"lr": given.lr, "min_lr": given.lr / 10, "warmup": given.warmup}
        recipe = Recipe(steps=given.steps, batch_size=given.batch, optimizer=given.optimizer, **lr)
        torch.manual_seed(given.seed)
        return GPT(config), tokens, Job(recipe, given.seed, given.way, given.accumulate, given.every, given.half)
    except ValueError as error:
        raise Mistake(f"{error}") from None


def run(given, team: Team):
    """The whole run, from the newest checkpoint to the last step; the leader prints. Returns the last loss."""
    with team.together():
        model, tokens, job = prepare(given, team)
    say = print if team.leads else lambda *_, **__: None
    newest, restarts = checkpoint.latest(given.out), int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))
    begin = f"from {newest.name}" if newest else "from the start"
    again = f", restart {restarts}" if restarts else ""
    share = job.way if team.size > 1 else "alone"
    say(f"{model.n_params():,} parameters, {team.size} processes ({share}) on {team.device.type}, {begin}{again}")
    loss = None
    try:
        for step, loss in train(model, tokens, job, team, given.out):
            if (step + 1) % max(1, job.recipe.steps // 10) == 0:
                say(f"step {step + 1:6d}: loss {loss:.4f}", flush=True)
    except (FloatingPointError, ValueError) as error:  # the same in every process
        raise Mistake(f"{error}") from None
    say(f"checkpoints and model.safetensors lie in {given.out}")
    return loss


def main(argv=None):
    given = options(argv)
    with join() as team:
        try:
            with ExitStack() as held:
                with team.together():
                    if team.leads:
                        held.enter_context(locked(given.out))
                return run(given, team)
        except Mistake:
            if team.leads:
                raise
            sys.exit(1)  # the leader tells the sentence, once


if __name__ == "__main__":
    leave(entry(main))
