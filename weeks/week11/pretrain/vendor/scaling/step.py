# vendored from weeks/week10/scaling/step.py, sha256 eea73affa7840fcc9f07cbe9654f707538eb0c5c5cadd990bc5432676cf63a3f; edit there, then run: make vendor
"""One step of an optimizer, however the batch is cut: accumulation, clipping, bf16, a growing batch, a compiler.

    batch of B rows -> micro-batches of b rows -> forward, backward each -> one gradient -> clip -> optimizer.step()

The loss of a step is ONE mean, over all judged targets of all its micro-batches, on all machines. A mean of the
micro-batches' means is another number as soon as they judge unequally many targets, and it trains on another loss.

Left out: gradient scaling (bf16 has float32's range, so nothing underflows; float16 would need it), the choice of
rows, and several processes, which come in as a `world`.
"""

import importlib.util
import math
import os
import shutil
from contextlib import nullcontext
from typing import NamedTuple

import torch

from ..gpt.model import IGNORE


class Done(NamedTuple):
    """What a step says of itself."""

    loss: float  # nats per judged target: before the step, over all processes
    norm: float  # of the whole gradient, before clipping
    judged: int  # targets that were judged, over all processes


class Alone:
    """The world of one process; parallel.py has the one of several. `step` asks it three things."""

    size = 1  # processes; each gives its gradient, and their mean is what the optimizer sees

    def total(self, numbers):
        """Sum of a tensor over all processes; here there is one."""
        return numbers

    def quiet(self, model):
        """A context in which a backward tells the other processes nothing: for all micro-batches but the last."""
        return nullcontext()


def autocast(device, half: str):
    """A fresh context for a forward: "float32", or "bf16" (matmuls in bf16; weights and sums stay float32).

    Source: Micikevicius et al. 2018, arXiv:1710.03740, section 3, with bf16 for float16.
    """
    if half not in ("float32", "bf16"):
        raise ValueError(f"there is no precision {half!r}; choose float32 or bf16")
    return torch.autocast(torch.device(device).type, torch.bfloat16) if half == "bf16" else nullcontext()


def cut(inputs, targets, rows: int):
    """(B, T) inputs and targets -> a list of pairs of at most `rows` rows: the micro-batches of one step."""
    if rows < 1:
        raise ValueError(f"a micro-batch of {rows} rows holds nothing; give 1 or more")
    return list(zip(inputs.split(rows), targets.split(rows)))


def step(model, optimizer, batches, *, clip=1.0, half="float32", world=None) -> Done:
    """One update from `batches`, a list of (inputs (b, T), targets (b, T)) pairs that need memory one at a time.

    A target of -100 is not judged. `clip` bounds the norm of the gradient (None: only measured). Every process of the
    world calls this with as many pairs as the others. Raises, before any weight has moved, and with no gradient left:
    - ValueError: "none of the targets of this step is judged: all of them are -100; give other rows"
    - ValueError: "a step of no batches learns nothing; give one or more"
    - ValueError: "clip is -1, but it bounds a norm; give a number above 0, or None"
    - FloatingPointError: "the loss is nan at a learning rate of 0.25; the weights are those of the step before. ...",
      and the same of "the norm of the gradient"
    """
    if not batches:
        raise ValueError("a step of no batches learns nothing; give one or more")
    if clip is not None and not clip > 0:
        raise ValueError(f"clip is {clip}, but it bounds a norm; give a number above 0, or None")
    world = world or Alone()
    optimizer.zero_grad(set_to_none=True)
    device = batches[0][0].device
    counts = torch.stack([(targets != IGNORE).sum() for _, targets in batches])
    judged = int(world.total(counts.sum()))
    if not judged:
        raise ValueError(f"none of the targets of this step is judged: all of them are {IGNORE}; give other rows")
    total = torch.zeros((), device=device)
    for i, ((inputs, targets), count) in enumerate(zip(batches, counts.tolist())):
        with world.quiet(model) if i + 1 < len(batches) else nullcontext():
            with autocast(device, half):
                logits, loss = model(inputs, targets)
            if not count:  # the mean of nothing is nan; 0 leaves the gradient alone, and the other processes served
                loss = logits.float().sum() * 0.0
            del logits  # (b, T, V) is the largest tensor of all: gone before the next forward
            loss = loss * (count / judged)
            (loss * world.size).backward()  # the world takes a mean over processes, where a sum is wanted
        total += loss.detach()
    bound = math.inf if clip is None else clip  # infinity scales by exactly 1
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), bound)
    norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # of shards: summed up over all of them
    done = Done(world.total(total).item(), norm.item(), judged)  # the same on all processes, so that all stop or none
    for value, what in ((done.loss, "loss"), (done.norm, "norm of the gradient")):
        if not math.isfinite(value):
            optimizer.zero_grad(set_to_none=True)  # nothing of the bad step may reach a later one
            rates = ", ".join(sorted({f"{group['lr']:.2g}" for group in optimizer.param_groups}))
            raise FloatingPointError(
                f"the {what} is {value} at a learning rate of {rates}; the weights are those of the step before. "
                "Lower the learning rate or lengthen the warm-up"
            )
    optimizer.step()
    return done


def set_rate(optimizer, share: float):
    """Set each group to `share` (a row of SCHEDULES, at this step) of its own peak, which is kept as "initial_lr"."""
    for group in optimizer.param_groups:
        group["lr"] = group.setdefault("initial_lr", group["lr"]) * share


def ramp(step: int, *, first: int, last: int, steps: int, multiple: int = 1) -> int:
    """Rows in the batch of a step: from `first` up to `last` in a line over `steps` steps, a multiple of `multiple`.

    Early on the gradient is so large that few rows find its direction. Brown et al. 2020, arXiv:2005.14165, appendix B.
    ValueError unless 1 <= first <= last, both multiples: "a batch cannot grow from 8 to 60 rows in multiples of 8; give
    ..."; or for counts below 0: "step -1 of a ramp of 10 steps cannot be counted; give 0 or more of both"
    """
    if not 1 <= first <= last or multiple < 1 or first % multiple or last % multiple:
        raise ValueError(
            f"a batch cannot grow from {first} to {last} rows in multiples of {multiple}; "
            f"give 1 <= first <= last, both multiples of {multiple}"
        )
    if step < 0 or steps < 0:
        raise ValueError(f"step {step} of a ramp of {steps} steps cannot be counted; give 0 or more of both")
    if step >= steps:
        return last
    return first + (last - first) * step // steps // multiple * multiple


def compiler(device="cpu") -> str | None:
    """The name of what torch.compile needs on this device, or None where it is not there: a C++ compiler, or Triton."""
    if torch.device(device).type == "cuda":
        return "triton" if importlib.util.find_spec("triton") else None
    names = (os.environ.get("CXX"), "g++", "clang++", "c++")
    return next((name for name in names if name and shutil.which(name)), None)


def compiled(model, **options):
    """The same model, its forward and backward compiled at the first call; names and state dict stay as they are.

    Raises ValueError where there is no compiler. It pays for long runs: the first call may take a minute.
    """
    device = next(model.parameters()).device
    if compiler(device) is None:
        lacks = "Triton; install it" if device.type == "cuda" else "a C++ compiler; install g++ or set CXX"
        raise ValueError(f"torch.compile needs {lacks}, or train without it, which gives the same numbers more slowly")
    model.compile(**options)
    return model
