"""Can this machine run the repository, and how fast? One line a finding: [OK], [WARN] or [FAIL].

    python tools/doctor.py

Status 1 if anything is [FAIL]. Only the standard library is needed, so that it can say what is missing.
"""

import os
import shutil
import sys
import time
from pathlib import Path

from shared.errors import entry
from shared.results import cpu_count, cpu_name

ROOT = Path(__file__).resolve().parent.parent
GIB = 2**30
NEEDED_MEMORY, NEEDED_DISK = 2 * GIB, 2 * GIB
INSTALL = "run: make week14 (it installs what is missing)"


def python_line(version=sys.version_info):
    found = ".".join(map(str, version[:3]))
    if version < (3, 11):
        return "FAIL", f"Python {found}: too old, 3.11 is needed; delete .venv, then: make week14 PYTHON=python3.12"
    return "OK", f"Python {found} ({sys.executable})"


def torch_line():
    try:
        import torch
    except ImportError as error:
        return "FAIL", f"torch cannot be imported ({error}); {INSTALL}"
    devices = [name for name, part in (("cuda", torch.cuda), ("mps", torch.backends.mps)) if part.is_available()]
    return "OK", f"torch {torch.__version__}, {'with ' + ', '.join(devices) if devices else 'CPU only'}"


def thread_line(count=None):
    count = cpu_count() if count is None else count
    if count < 2:
        return "WARN", "1 thread: everything runs, but the runtimes in the READMEs are for more"
    return "OK", f"{count} threads: {cpu_name()}"


def available_memory():
    """Bytes that can still be taken, or None where the system does not tell."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def memory_line(available):
    if available is None:
        return "WARN", f"memory: this system does not tell; {NEEDED_MEMORY / GIB:.0f} GiB are needed"
    if available < NEEDED_MEMORY:
        return "FAIL", f"memory: {available / GIB:.1f} GiB free, {NEEDED_MEMORY / GIB:.0f} needed; close other programs"
    return "OK", f"memory: {available / GIB:.1f} GiB free"


def disk_line(free):
    if free < NEEDED_DISK:
        return "FAIL", f"disk: {free / GIB:.1f} GiB free of {NEEDED_DISK / GIB:.0f} needed; make room, then try again"
    return "OK", f"disk: {free / GIB:.1f} GiB free"


def matmul_rate(dtype, seconds, size=1024):
    """Floating point operations per second of a square matrix product, over about `seconds`."""
    import torch

    left = torch.randn(size, size).to(dtype)
    right = torch.randn(size, size).to(dtype)
    left @ right  # the first product pays for setting up
    start, products = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds or not products:
        left @ right
        products += 1
    return 2 * size**3 * products / elapsed


def speed_lines(seconds):
    """The matrix rate, what it allows at best, and whether bf16 is worth using here."""
    try:
        import torch
    except ImportError:
        return [("FAIL", f"matrix products: not measured without torch; {INSTALL}")]
    torch.set_num_threads(cpu_count())
    full = matmul_rate(torch.float32, seconds / 2)
    half = matmul_rate(torch.bfloat16, seconds / 2)
    # Training costs about 6 operations per parameter and token, 2 forward and 4 backward (Kaplan et al. 2020, 2.1).
    ceiling = full / (6 * 1e6)
    lines = [
        (
            "OK" if full > 2e10 else "WARN",
            f"matrix products: {full / 1e9:.0f} GFLOP/s in float32; a model of a million parameters can see at most "
            f"{ceiling:,.0f} tokens a second in training, in practice a part of that",
        )
    ]
    advice = "mixed precision pays" if half > 1.2 * full else "stay with float32"
    lines.append(("OK", f"bf16: {half / 1e9:.0f} GFLOP/s, {half / full:.1f} times float32, so {advice} ({flags()})"))
    return lines


def flags():
    name = cpu_name()
    return name[name.rindex("(") + 1 : -1] if "BF16" in name else "no bf16 instructions reported"


def findings(seconds=2.0):
    yield python_line()
    yield torch_line()
    yield thread_line()
    yield memory_line(available_memory())
    yield disk_line(shutil.disk_usage(ROOT).free)
    yield from speed_lines(seconds)


def main(argv=None):
    if argv:
        print(f"error: doctor takes no arguments, but was given {argv[0]!r}; run: make doctor", file=sys.stderr)
        raise SystemExit(2)
    worst = 0
    for verdict, sentence in findings():
        print(f"{f'[{verdict}]':7}{sentence}", flush=True)
        worst = max(worst, verdict == "FAIL")
    if worst:
        raise SystemExit(1)


if __name__ == "__main__":
    sys.exit(entry(main))
