"""GPT-2's own size on two cores: what makes a step of 124 million weights fast, and how near it comes to the limit.

A run is trained to its middle, thrown away, built again and resumed from its checkpoint; so the resuming is part of
what was measured. The limit is the rate of the matmuls that the model consists of, measured in the same minutes:

    model FLOPs utilisation = FLOPs a token (GPT.flops_per_token) x tokens / s / matmul FLOPs / s

Source of the measure: PaLM, Chowdhery et al. 2022, arXiv:2204.02311, appendix B. Left out: evaluation.
"""

import gc
import json
import os
import resource
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .corpus import SETS, fingerprint
from .distributed import checkpoint
from .distributed.run import Job, train
from .loss import LeanGPT
from .parallel import Team, named
from .step import compiler
from .sweep import cost
from .vendor.bpe import vocabularies
from .vendor.gpt.loop import Recipe
from .vendor.gpt.model import GPTConfig
from .vendor.shared.errors import Mistake
from .vendor.shared.files import atomic_write, locked
from .vendor.shared.progress import bar
from .vendor.shared.text import documents, read_text

VOCAB = 50257  # GPT-2's
PRESETS = {
    "tiny": GPTConfig(VOCAB, 16, 1, 2, 8),  # for tests and a smoke run
    "gpt2-50m": GPTConfig(VOCAB, 1024, 8, 8, 512),  # 51,475,968 weights, half of them in wte
    "gpt2-124m": GPTConfig(VOCAB, 1024, 12, 12, 768),  # 124,439,808: GPT-2 small
}
LETTERS = 5_000_000  # of the corpus: about a million tokens, where 100 steps of 1,024 read a tenth of that
CURVE = "curve.json"


@dataclass(frozen=True)
class Rate:
    """Multiplications and additions per second of the fastest matmul, and every shape that was tried."""

    best: float
    rows: list  # [m, k, n, FLOP/s]


def preset(name: str) -> GPTConfig:
    """A row of PRESETS."""
    if name not in PRESETS:
        raise Mistake(f"there is no model {name!r}; choose from {', '.join(PRESETS)}")
    return PRESETS[name]


# --- text -------------------------------------------------------------------------------------------------------------


def tokens(data, cache, letters: int = LETTERS) -> torch.Tensor:
    """(N,) int64: GPT-2's ids of about `letters` letters of training text, equally many of each set of corpus.SETS.

    `data` is the folder data/; what was encoded once lies in `cache`. A Mistake names a set that is missing.
    """
    data = Path(data)
    path = Path(cache) / f"gpt2-{fingerprint(data, VOCAB)}-{letters}.npy"
    if not path.exists():
        tokenizer, ids = vocabularies.gpt2(data / "gpt2"), []
        for name in bar(SETS, "tokens", unit="set"):
            room = letters // len(SETS)
            for text in documents(read_text(data / name / "train.txt")):
                ids += [*tokenizer.encode_ordinary(text[:room]), tokenizer.special_tokens["<|endoftext|>"]]
                room -= len(text)
                if room <= 0:
                    break
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.stem}.{os.getpid()}.part.npy")
        np.save(part, np.array(ids, dtype=np.uint16))  # 50,257 ids fit into 16 bits
        os.replace(part, path)
    try:
        return torch.from_numpy(np.load(path).astype(np.int64))
    except (OSError, ValueError, EOFError) as error:
        raise Mistake(f"{path} holds a broken copy of the corpus ({error}); delete it and start again") from None


# --- speed ------------------------------------------------------------------------------------------------------------


def matmul_rate(config: GPTConfig, square: int = 2048, repeats: int = 3) -> Rate:
    """The best float32 rate of this machine, now, over one square product and those of the model's own shapes."""
    rows, C, V = config.block_size, config.n_embd, config.vocab_size
    shapes = [(square, square, square), (rows, C, 3 * C), (rows, C, 4 * C), (rows, 4 * C, C), (rows, C, V)]
    found = []
    for m, k, n in shapes:
        a, b = torch.randn(m, k), torch.randn(n, k).T  # b as a Linear keeps it
        out = torch.empty(m, n)
        torch.mm(a, b, out=out)  # the first is slower: memory is touched, threads wake up
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            torch.mm(a, b, out=out)
            seconds.append(time.perf_counter() - start)
        found.append([m, k, n, 2 * m * k * n / min(seconds)])
    return Rate(max(row[-1] for row in found), found)


def compilable(compile: bool):
    """A Mistake where something is to be compiled and there is nothing to compile with: told before any work."""
    if compile and compiler() is None:
        raise Mistake("there is no C++ compiler to compile with; install g++, or train without --compile")


def build(config: GPTConfig, seed: int = 0, compile: bool = False) -> LeanGPT:
    """A fresh model; with compile, its blocks are one compiled piece each, and the loss stays as it is."""
    torch.manual_seed(seed)
    model = LeanGPT(config)
    if compile:
        for block in model.blocks:  # all alike: the compiler works once
            block.compile()
    return model


def fused_adamw(module, job: Job):
    """torch's AdamW in one pass over memory, for the groups and settings that the recipe asks for.

    The same equation as optimizers/adamw.py, which a test holds to it; that one reads and writes every weight, moment
    and gradient several times, which tells where a step has few tokens for its 124 million weights.
    """
    recipe, parameters = job.recipe, named(module).values()
    if recipe.optimizer != "adamw":
        raise Mistake(f"there is no fused {recipe.optimizer!r}; choose adamw")
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=recipe.betas, eps=1e-8, fused=True)


def peak_bytes() -> int:
    """The most memory that this process has held so far."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024  # Linux counts in KiB


# --- the run ----------------------------------------------------------------------------------------------------------


def run(name, ids, folder, *, steps=100, batch=1, seed=0, compile=False, square=2048) -> dict:
    """Train the model `name` on ids (N,) for `steps` steps of `batch` rows; stop in the middle and resume. -> metrics

    `folder` keeps checkpoints, model.safetensors and the curve: a run that was interrupted goes on from there.
    compile: as `step.compiled`, for the blocks. The seconds of a row are those of its step, and of what comes with it:
    loading and compiling with the first, a checkpoint with the middle one.
    """
    config = preset(name)
    if steps < 2:
        raise Mistake(f"a run of {steps} steps has no middle to stop in; give 2 or more")
    if batch < 1:
        raise Mistake(f"a batch of {batch} rows holds nothing; give 1 or more")
    compilable(compile)
    folder, middle = Path(folder), steps // 2
    recipe = Recipe(steps, batch, lr=6e-4, min_lr=6e-5, warmup=min(20, steps // 5), betas=(0.9, 0.95))
    job = Job(recipe, seed=seed, accumulate=batch, every=max(1, middle))  # micro-batches of one row: least memory
    with locked(folder):
        begun = checkpoint.latest(folder)
        done = checkpoint.read_manifest(begun)["step"] if begun else 0
        if done >= steps:
            raise Mistake(f"{folder} holds a run of {done} steps that has ended; give another folder (--out)")
        curve = read_curve(folder / CURVE)[:done]
        if len(curve) < done:
            raise Mistake(f"{folder / CURVE} lacks steps before {done}; give another folder (--out) to begin again")
        rates = [matmul_rate(config, square=square)]
        starts = 0  # of this call: each builds the model anew
        for end in (middle, steps):
            if len(curve) < end:
                starts += 1
                # the weights of a resumed run are read, not drawn: another seed would show it if they were not
                model = build(config, seed if not curve else seed + 1, compile)
                advance(model, ids, job, folder, curve, end)
                del model
                gc.collect()  # before the next one is built, so that memory never holds both
                rates.append(matmul_rate(config, square=square))
    best = max(rates, key=lambda rate: rate.best)
    seconds = statistics.median(row[2] for row in curve[1:])  # the first compiles
    speed, flops = batch * config.block_size / seconds, cost(config)
    return {
        "model": name,
        "steps": len(curve),
        "batch_tokens": batch * config.block_size,
        "resumed_at": middle,
        "starts": starts,
        "compiled": compile,
        "curve": curve,
        "tokens_per_second": speed,
        "flops_per_token": flops,
        "matmul_flops_per_second": best.best,
        "matmuls": best.rows,
        "mfu": flops * speed / best.best,
        "peak_bytes": peak_bytes(),
    }


def advance(model, ids, job: Job, folder, curve: list, end: int):
    """Go on from the newest checkpoint until `end` steps are done; each adds [step, loss, seconds] to the curve."""
    start = time.perf_counter()
    walk = train(model, ids, job, Team(), folder, fused_adamw)
    for step, loss in bar(walk, "steps", total=job.recipe.steps, initial=len(curve)):
        curve.append([step, loss, time.perf_counter() - start])
        atomic_write(folder / CURVE, json.dumps(curve))
        if step + 1 == end < job.recipe.steps:
            return
        start = time.perf_counter()


def read_curve(path) -> list:
    """[[step, loss, seconds], ...] as far as a run has come; none where there is no file."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return []
    except ValueError:
        raise Mistake(f"{path} is damaged; give another folder (--out) to begin again") from None
