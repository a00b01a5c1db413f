"""Where to compute, in which precision, and with memory that stays."""

import ctypes
import re
import sys
from contextlib import nullcontext

import torch

from .vendor.shared.errors import Mistake
from .vendor.shared.results import fast_in_bf16

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
    """ "float32" or "bfloat16"; auto means bfloat16 only where it is faster."""
    if precision not in PRECISIONS:
        raise Mistake(f"--precision is {precision!r}; choose {', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    return "bfloat16" if device.type == "cpu" and fast_in_bf16() else "float32"


def autocast_for(precision, device):
    """A function that makes the context for a forward pass, and the name of what it computes in."""
    precision = pick_precision(precision, device)
    if precision == "float32":
        return nullcontext, precision
    return lambda: torch.autocast(device.type, torch.bfloat16), precision


def keep_memory():
    """Let this process keep what it frees, for the next step asks for as much again. True where that can be said.

    By default glibc hands large blocks back to the system at once, and each step then waits for fresh pages, which come
    one by one and filled with zeros: 27,000 of them in a step of the main job with replay, a quarter of its time.
    Numbers: M_MMAP_MAX and M_TRIM_THRESHOLD of malloc.h.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    return bool(mallopt and mallopt(-4, 0) and mallopt(-1, 2**31 - 1))
