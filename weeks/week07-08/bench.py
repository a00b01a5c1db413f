"""Speed questions of weeks 7 and 8, each asked as pairs of runs that take turns.

python weeks/week07-08/bench.py              # all five jobs
python weeks/week07-08/bench.py parts        # cache or none, fused attention or masked, bf16 or float32
python weeks/week07-08/bench.py engines      # scalar GPT or a program like microgpt (minutes); NumPy GPT or torch's
python weeks/week07-08/bench.py attention    # torch's call or our node, forward and backward
python weeks/week07-08/bench.py throughput   # our step of training or nanoGPT's, in plain torch, at its two shapes
python weeks/week07-08/bench.py profile      # where the time of these two steps goes
"""

import statistics
import sys
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import microgpt
import torch
import torch.nn.functional as F
from bench_engines import numpy_beside_torch, scalar_beside_microgpt
from bench_profile import profiles
from gpt.attend import Attend
from gpt.attention import attention_fused, attention_masked
from gpt.generate import generate
from gpt.loop import Recipe, train
from gpt.model import GPT, GPTConfig
from gpt.plain_step import PlainGPT, plain_optimizer, plain_step
from gpt.vendor.shared.errors import entry
from gpt.vendor.shared.files import need
from gpt.vendor.shared.jobs import perform
from gpt.vendor.shared.results import Stopwatch, cpu_name, finish, parser, thread_count

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


def both_steps(shape, most, half, vocab_size=65):
    """(a step of our training, a plain step): two functions of the same shapes; ours may be called `most` times."""
    tokens = torch.randint(vocab_size, (100_000,))
    config = GPTConfig(vocab_size, shape.block_size, *shape[:3], dropout=shape.dropout, bias=False)
    ours = train(GPT(config), tokens, Recipe(steps=most, batch_size=shape.batch_size), seed=0, half=half)
    plain = PlainGPT(vocab_size, shape.block_size, *shape[:3], dropout=shape.dropout)
    optimizer = plain_optimizer(plain)
    return lambda: next(ours), lambda: plain_step(plain, optimizer, tokens, shape.batch_size, shape.block_size, half)


def throughput(name, shape, metrics):
    """Tokens a second of our training loop and of the plain step, in turns; their ratio: above 1, ours is faster.

    Each computes in the precision in which it is the faster one on this processor.
    """
    sides = {}
    for half in ("float32", "bf16") if "BF16" in cpu_name() else ("float32",):
        steps = both_steps(shape, shape.steps * (PAIRS + 1), half)
        sides |= {(whose, half): [step] * shape.steps for whose, step in zip(("ours", "plain"), steps)}
    burst = lambda side: seconds(lambda: [step() for step in sides[side]])
    for side in sides:
        burst(side)  # the first calls allocate
    turns = [{side: burst(side) for side in sides} for _ in range(PAIRS)]
    took = {side: statistics.median(turn[side] for turn in turns) for side in sides}
    ours, plain = (min((side for side in sides if side[0] == whose), key=took.get) for whose in ("ours", "plain"))
    work = shape.steps * shape.batch_size * shape.block_size
    ratio = statistics.median(turn[plain] / turn[ours] for turn in turns)
    metrics |= {f"throughput_{name}": work / took[ours], f"throughput_plain_{name}": work / took[plain]}
    metrics |= {f"throughput_ratio_{name}": ratio, f"throughput_precision_{name}": ours[1]}
    metrics |= {f"throughput_plain_precision_{name}": plain[1]}
    print(f"{name}: {work / took[ours]:,.0f} tokens/s ({ours[1]}), plain step {work / took[plain]:,.0f} ({plain[1]}): "
          f"ratio {ratio:.2f}")  # fmt: skip


# Attention in training: (B, H, T, D), of the small model of weeks 7-8 and of the shapes of `throughput`
ATTENTIONS = {"64": (12, 4, 64, 32), "128": (16, 4, 128, 32), "256": (16, 6, 256, 64)}
KINDS = {"float32": (torch.float32, 0.0), "bf16": (torch.bfloat16, 0.0), "float32_dropout": (torch.float32, 0.2),
         "bf16_dropout": (torch.bfloat16, 0.2)}  # fmt: skip


def both_attentions(shape, dtype, dropout, times=5):
    """Two functions: forward and backward of torch's fused call, and of our node, on the same numbers."""
    B, H, T, D = shape
    q, k, v = (torch.randn(B, T, H, D, dtype=dtype).transpose(1, 2).requires_grad_() for _ in range(3))
    slope = torch.randn_like(q)
    ways = (
        lambda: F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True),
        lambda: Attend.apply(q, k, v, dropout),
    )
    return (partial(lambda way: [torch.autograd.grad(way(), (q, k, v), slope) for _ in range(times)], w) for w in ways)


def attentions() -> dict:
    metrics = {"pairs": PAIRS}
    for length, shape in ATTENTIONS.items():
        for kind, (dtype, dropout) in KINDS.items():
            name = f"torch_{kind}_{length}_vs_node_{kind}_{length}"
            compare(name, *both_attentions(shape, dtype, dropout), metrics)
    return metrics


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
        ours, plain = both_steps(shape, 2 + shape.steps, "float32")
        metrics |= profiles(name, ours, plain, shape.steps)
    return metrics


JOBS = {
    "parts": ("bench", lambda args: parts()),
    "engines": ("bench-engines", lambda args: engines(args.seed, ENGINE_STEPS[args.preset])),
    "throughput": ("bench-throughput", lambda args: throughputs()),
    "attention": ("bench-attention", lambda args: attentions()),
    "profile": ("bench-profile", lambda args: profile_both()),
}


def run(job, argv) -> dict:
    """One job; returns the metrics that it wrote."""
    p = parser(__doc__)
    p.prog = f"bench.py {job}"
    args = p.parse_args(argv)
    threads = thread_count(args.threads)
    torch.set_num_threads(threads)
    torch.manual_seed(args.seed)
    clock, (name, measure) = Stopwatch(), JOBS[job]
    metrics = measure(args)
    return finish(__file__, args, [job, *argv], metrics, seconds=clock.seconds, threads=threads, name=name)


def main(argv=None) -> dict:
    argv = sys.argv[1:] if argv is None else list(argv)
    return perform(argv, __doc__, JOBS, tuple(JOBS), run)


if __name__ == "__main__":
    sys.exit(entry(main))
