"""Speed questions of weeks 7 and 8, each asked as pairs of runs that take turns.

python weeks/week07-08/bench.py              # all four jobs
python weeks/week07-08/bench.py parts        # cache or none, fused attention or masked, bf16 or float32
python weeks/week07-08/bench.py engines      # scalar GPT or a program like microgpt (minutes); NumPy GPT or torch's
python weeks/week07-08/bench.py throughput   # our step of training or nanoGPT's, in plain torch, at its two shapes
python weeks/week07-08/bench.py profile      # where the time of these two steps goes
"""

import statistics
import sys
import time
from pathlib import Path
from typing import NamedTuple

import microgpt
import torch
from bench_engines import numpy_beside_torch, scalar_beside_microgpt
from bench_profile import profiles
from gpt.attention import attention_fused, attention_masked
from gpt.generate import generate
from gpt.loop import Recipe, train
from gpt.model import GPT, GPTConfig
from gpt.plain_step import PlainGPT, plain_optimizer, plain_step
from gpt.vendor.shared.errors import entry
from gpt.vendor.shared.files import need
from gpt.vendor.shared.jobs import perform
from gpt.vendor.shared.results import (
    Stopwatch,
    command_line,
    cpu_name,
    parser,
    results_folder,
    thread_count,
    write_results,
)

PAIRS = 5
NAMES = Path(__file__).resolve().parents[2] / "data" / "names" / "names.txt"
ENGINE_STEPS = {"smoke": 5, "default": 1_000, "full": 1_000}  # of one name each


def seconds(f):
    start = time.perf_counter()
    f()
    return time.perf_counter() - start


def compare(name, slow, fast, metrics):
    """Time slow and fast in turns, so that whatever else the machine does meets both; medians, and their ratio."""
    slow(), fast()  # first calls allocate
    times = [(seconds(slow), seconds(fast)) for _ in range(PAIRS)]
    (label_a, a), (label_b, b) = (
        (label, statistics.median(column)) for label, column in zip(name.split("_vs_"), zip(*times))
    )
    metrics |= {f"{label_a}_seconds": a, f"{label_b}_seconds": b, f"{name}_time_ratio": a / b}
    print(f"{label_a} {a:.3f} s, {label_b} {b:.3f} s: ratio {a / b:.2f}")


def training(config, half, steps=2):
    """A function that trains a fresh optimizer for a few steps on made-up tokens."""
    torch.manual_seed(0)
    model, tokens = GPT(config), torch.randint(config.vocab_size, (10_000,))
    return lambda: [None for _ in train(model, tokens, Recipe(steps=steps, batch_size=16), seed=0, half=half)]


class Shape(NamedTuple):
    """A setting of nanoGPT for characters (V = 65), from its README (on a CPU) and config/train_shakespeare_char.py."""

    n_layer: int
    n_head: int
    n_embd: int
    block_size: int
    batch_size: int
    dropout: float
    steps: int  # a burst: steps of one of the two, before it is the other's turn


SHAPES = {"0.8m": Shape(4, 4, 128, 64, 12, 0.0, steps=20), "10.6m": Shape(6, 6, 384, 256, 16, 0.2, steps=1)}


def both_steps(shape, most, vocab_size=65):
    """(a step of our training, a plain step, our precision): two functions; ours may be called `most` times.

    Same shapes, same kind of optimizer. Ours computes in bf16 where the processor multiplies in it and the model is
    wide enough to gain by that (the README's "What went wrong"); the plain step in float32, as nanoGPT's on a CPU.
    """
    tokens = torch.randint(vocab_size, (100_000,))
    half = "bf16" if "BF16" in cpu_name() and shape.n_embd >= 256 else "float32"
    config = GPTConfig(vocab_size, shape.block_size, *shape[:3], dropout=shape.dropout, bias=False)
    ours = train(GPT(config), tokens, Recipe(steps=most, batch_size=shape.batch_size), seed=0, half=half)
    plain = PlainGPT(vocab_size, shape.block_size, *shape[:3], dropout=shape.dropout)
    optimizer = plain_optimizer(plain)
    theirs = lambda: plain_step(plain, optimizer, tokens, shape.batch_size, shape.block_size)
    return lambda: next(ours), theirs, half


def throughput(name, shape, metrics):
    """Tokens a second of our training loop and of the plain step, in turns; their ratio: above 1, ours is faster."""
    steps = shape.steps
    ours, plain, half = both_steps(shape, steps * (PAIRS + 1))

    def our_burst():
        for _ in range(steps):
            ours()

    def plain_burst():
        for _ in range(steps):
            plain()

    plain_burst(), our_burst()  # first calls allocate
    pairs = [(seconds(plain_burst), seconds(our_burst)) for _ in range(PAIRS)]
    work = steps * shape.batch_size * shape.block_size
    plain_speed, our_speed = (work / statistics.median(column) for column in zip(*pairs))
    ratio = statistics.median(theirs / mine for theirs, mine in pairs)
    metrics |= {f"throughput_{name}": our_speed, f"throughput_plain_{name}": plain_speed}
    metrics |= {f"throughput_ratio_{name}": ratio, f"throughput_precision_{name}": half}
    print(f"{name}: {our_speed:,.0f} tokens/s ({half}), plain step {plain_speed:,.0f}: ratio {ratio:.2f}")


def parts() -> dict:
    metrics = {"pairs": PAIRS}
    model, prompt = GPT(GPTConfig(84, 128, 4, 4, 128)), torch.zeros(1, 1, dtype=torch.int64)
    compare("uncached_vs_cached", lambda: generate(model, prompt, 127, cached=False),
            lambda: generate(model, prompt, 127), metrics)  # fmt: skip

    q, k, v = torch.randn(3, 4, 4, 1024, 32)
    compare("masked_vs_fused", lambda: attention_masked(q, k, v), lambda: attention_fused(q, k, v), metrics)

    for width in (128, 256):
        config = GPTConfig(84, 128, 4, 4, width)
        name = f"float32_{width}_vs_bf16_{width}"
        compare(name, training(config, "float32"), training(config, "bf16"), metrics)
    return metrics


def engines(seed, steps) -> dict:
    metrics = numpy_beside_torch(4 * PAIRS, seed)
    metrics |= scalar_beside_microgpt(microgpt, need(NAMES, "make data/names"), steps, seed)
    for name in ("numpy_gpt_vs_torch_time_ratio", "scalar_gpt_vs_microgpt_time_ratio"):
        print(f"{name} {metrics[name]:.2f}")
    return metrics


def throughputs() -> dict:
    metrics = {"pairs": PAIRS}
    for name, shape in SHAPES.items():
        throughput(name, shape, metrics)
    return metrics


def profile_both() -> dict:
    metrics = {}
    for name, shape in SHAPES.items():
        ours, plain, _ = both_steps(shape, 2 + shape.steps)
        metrics |= profiles(name, ours, plain, shape.steps)
    return metrics


JOBS = {
    "parts": ("bench.json", lambda args: parts()),
    "engines": ("bench-engines.json", lambda args: engines(args.seed, ENGINE_STEPS[args.preset])),
    "throughput": ("bench-throughput.json", lambda args: throughputs()),
    "profile": ("bench-profile.json", lambda args: profile_both()),
}


def run(job, argv) -> dict:
    """One job; returns the metrics that it wrote."""
    p = parser(__doc__)
    p.prog = f"bench.py {job}"
    args = p.parse_args(argv)
    threads = thread_count(args.threads)
    torch.set_num_threads(threads)
    torch.manual_seed(args.seed)
    clock, (file, measure) = Stopwatch(), JOBS[job]
    metrics = measure(args)
    path = write_results(
        results_folder(__file__, args.out) / file,
        command=command_line(__file__, [job, *argv]),
        preset=args.preset,
        seed=args.seed,
        seconds=clock.seconds,
        metrics=metrics,
        threads=threads,
    )
    print(f"results: {path}")
    return metrics


def main(argv=None) -> dict:
    argv = sys.argv[1:] if argv is None else list(argv)
    return perform(argv, __doc__, JOBS, tuple(JOBS), run)


if __name__ == "__main__":
    sys.exit(entry(main))
