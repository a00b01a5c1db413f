"""Week 10: a step of Muon beside one of AdamW, and a training step of ours beside nanoGPT's, each in pairs.

python weeks/week10/bench.py --peer ~/nanoGPT      # your own checkout of karpathy/nanoGPT
"""

import importlib
import statistics
import sys
from pathlib import Path

import torch
from scaling.distributed.run import Job
from scaling.large import PRESETS, build, compilable, fused_adamw, preset
from scaling.race import Setting, train
from scaling.step import step as take
from scaling.vendor.gpt.loop import Recipe
from scaling.vendor.gpt.model import GPTConfig
from scaling.vendor.shared.errors import Mistake, entry
from scaling.vendor.shared.results import Stopwatch, finish, parser, thread_count

SHAPES, STEPS = ((32, 8), (128, 2), (128, 16), (256, 16)), 6  # (width, windows of 128 tokens); steps of one timing
ADDRESS = "https://github.com/karpathy/nanoGPT"


def peer_module(checkout):
    """nanoGPT's model.py, or None, having said how to get it."""
    if checkout is None or not (checkout / "model.py").is_file():
        print(f"no nanoGPT at {checkout}, so nothing is compared; to compare: git clone {ADDRESS}, --peer FOLDER")
        return None
    sys.path.insert(0, str(checkout))
    try:
        return importlib.import_module("model")
    finally:
        sys.path.remove(str(checkout))


def our_step(config, batch, compile):
    """f() -> loss: one whole step of large.run, on one batch."""
    model = build(config, compile=compile)
    optimizer = fused_adamw(model, Job(Recipe(100, batch.shape[0], lr=6e-4, betas=(0.9, 0.95))))
    pairs = [(batch[:, :-1], batch[:, 1:])]
    return lambda: take(model, optimizer, pairs).loss


def their_step(peer, config, batch):
    """f() -> loss: nanoGPT's step as its train.py takes it on a CPU: eager, float32, no fused optimizer."""
    sizes = {name: getattr(config, name) for name in ("block_size", "vocab_size", "n_layer", "n_head", "n_embd")}
    torch.manual_seed(0)
    model = peer.GPT(peer.GPTConfig(**sizes, dropout=0.0, bias=True))
    optimizer = model.configure_optimizers(0.1, 6e-4, (0.9, 0.95), "cpu")
    inputs, targets = batch[:, :-1].contiguous(), batch[:, 1:].contiguous()

    def step():
        _, loss = model(inputs, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def compare(ours, theirs, pairs):
    """Seconds of each step, [[ours, theirs], ...], in turn; one of each before that is not timed (it compiles)."""
    ours(), theirs()
    rows = []
    for _ in range(pairs):
        row = []
        for step in (ours, theirs):
            watch = Stopwatch()
            step()
            row.append(watch.seconds)
        rows.append(row)
    return rows


def main(argv=None) -> dict:
    p = parser(__doc__.splitlines()[0], epilog=__doc__.split("\n", 2)[2])
    p.add_argument("--peer", type=Path, help="your checkout of nanoGPT; without it nothing is compared")
    p.add_argument("--model", default="gpt2-124m", help=f"{', '.join(PRESETS)} (default: %(default)s)")
    p.add_argument("--batch", type=int, default=1, help="rows of a step (default: %(default)s)")
    p.add_argument("--compile", action="store_true", help="compile our blocks first; needs a C++ compiler, and minutes")
    p.add_argument("--pairs", type=int, default=5, help="how often both are timed (default: %(default)s)")
    args = p.parse_args(argv)
    for name in ("batch", "pairs"):
        if getattr(args, name) < 1:
            raise Mistake(f"--{name} {getattr(args, name)} measures nothing; give 1 or more")
    compilable(args.compile)
    watch, threads, config = Stopwatch(), thread_count(args.threads), preset(args.model)
    torch.set_num_threads(threads)
    peer = peer_module(args.peer)
    metrics = step_ratios(args.pairs)
    metrics |= {} if peer is None else beside(peer, args, config)
    for name, value in metrics.items():
        print(f"{name:>32}  {value:.4g}" if isinstance(value, float) else f"{name:>32}  {value}")
    return finish(__file__, args, argv, metrics, preset="bench", seconds=watch.seconds, threads=threads)


def step_ratios(pairs):
    """Seconds of a step of Muon over one of AdamW, at four widths and batches: the median of `pairs` pairs each."""
    found, settings = {}, (Setting("muon", 0.01, rest=0.004), Setting("adamw", 0.004))
    noise = torch.randint(80, (5000,), generator=torch.Generator().manual_seed(0))
    for width, rows in SHAPES:
        config = GPTConfig(80, 128, 4, width // 32, width)
        once = lambda setting, config=config, rows=rows: (
            train(config, noise, noise[:2], setting, STEPS, batch_size=rows, points=1, shown=False).seconds
        )
        once(settings[0]), once(settings[1])  # the first calls allocate
        rows_of = [[once(setting) for setting in settings] for _ in range(pairs)]
        found[f"step_ratio_{width}_{rows * 128}"] = statistics.median(muon / adamw for muon, adamw in rows_of)
    return found


def beside(peer, args, config):
    """Whole steps of large.run beside nanoGPT's, at one shape."""
    drawn = torch.Generator().manual_seed(args.seed)
    batch = torch.randint(config.vocab_size, (args.batch, config.block_size + 1), generator=drawn)
    rows = compare(our_step(config, batch, args.compile), their_step(peer, config, batch), args.pairs)
    count = args.batch * config.block_size
    ours, theirs = (statistics.median(column) for column in zip(*rows))
    ratio = statistics.median(b / a for a, b in rows)
    return {
        "model": args.model, "batch_tokens": count, "compiled": args.compile, "seconds": rows,
        "tokens_per_second": count / ours, "nanogpt_tokens_per_second": count / theirs, "pairs": args.pairs,
        "throughput_vs_nanogpt_ratio": ratio,
        **({"throughput_vs_nanogpt_ratio_124m": ratio} if args.model == "gpt2-124m" else {}),
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(entry(main))
