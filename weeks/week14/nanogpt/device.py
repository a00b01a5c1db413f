"""Where to compute, and in which precision."""

import re
from contextlib import nullcontext

import torch

from .vendor.shared.errors import Mistake
from .vendor.shared.results import cpu_name

PRECISIONS = ("auto", "float32", "bfloat16")


def pick_device(name="auto"):
    """A torch.device; auto takes CUDA, then Apple's MPS, then the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", name):
            raise RuntimeError("it is none of auto, cpu, mps, cuda, cuda:1")
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise Mistake(
            f"device {name[:40]!r} cannot be used here ({str(error).splitlines()[0]}); try --device cpu"
        ) from error
    return torch.device(name)


def pick_precision(precision, device):
    """ "float32" or "bfloat16"; auto means bfloat16 only where it is faster.

    A CPU's flags decide, not a stopwatch, so that a run that is continued computes as it did before. AMX multiplies
    bfloat16 almost four times as fast as float32, AMD's AVX512-BF16 twice as fast (a step of training: 1.06 times at
    width 128, 1.2 at 160, 1.6 at 256); Intel's AVX512-BF16 alone is no faster at large products and slower at small
    ones. All measured.
    """
    if precision not in PRECISIONS:
        raise Mistake(f"--precision is {precision!r}; choose {', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    name = cpu_name() if device.type == "cpu" else ""
    fast = "AMX-BF16" in name or ("AMD" in name and "AVX512-BF16" in name)
    return "bfloat16" if fast else "float32"


def autocast_for(precision, device):
    """A function that makes the context for a forward pass, and the name of what it computes in."""
    precision = pick_precision(precision, device)
    if precision == "float32":
        return nullcontext, precision
    return lambda: torch.autocast(device.type, torch.bfloat16), precision
