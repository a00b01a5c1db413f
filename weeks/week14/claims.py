"""Week 14: what eight papers claim of the ingredients of a modern model, asked of the small model of ingredients.py.

    python weeks/week14/claims.py rope-relative rope-decay rope-learned rope-length
    python weeks/week14/claims.py gqa-close gqa-cache gqa-pool gqa-order
    python weeks/week14/claims.py rms-scaling rms-quality rms-time swiglu-better swiglu-bilinear
    python weeks/week14/claims.py qk-logits qk-rate qk-loss qk-saturation muon-half muon-entropy muon-flat
    python weeks/week14/claims.py reread-overfit reread-decay reread-gain

The pages are in papers/, one for each paper; the predictions are in papers/claims.toml. What is trained lies in the
cells of kitchen.py, which ingredients.py reads and writes too: neither trains what the other has. Losses are in bits
per byte of held-out text.
"""

import copy
import math
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import fmean

import torch
import torch.nn.functional as F
from kitchen import MODEL, SIZES, TRAINING, Kitchen, changes_of
from nanogpt.model import MLP, RMSNorm, rope_tables, rotate
from nanogpt.optimizers import ROUNDS, is_inner
from nanogpt.vendor.gpt.cache import KVCache
from nanogpt.vendor.scaling.optimizers.muon import orthogonal
from nanogpt.vendor.shared import claims
from nanogpt.vendor.shared.errors import Mistake, entry
from nanogpt.vendor.shared.results import models_folder
from torch.overrides import TorchFunctionMode

DATA = Path(__file__).resolve().parents[2] / "data" / "bible"
HIGH = 8  # times AdamW's rate of the table: a rate at which training becomes unstable
RATES = (0.003, 0.012)  # of AdamW, beside the table's 0.006
SHORTER = (50, 75, 100)  # steps of Muon, beside the table's 150
UPTRAINED = 0.05  # share of the steps that a converted model is trained on
READ = 32  # rows of the exam in which attention is looked at
PART, FEW, MANY = 120_000, 3, 12  # characters of a text that is read again and again, and passes over them
USUAL, STRONG = (0.1,), (1.0, 3.0)  # weight decays


@cache
def kitchen(quick, **other):
    """The one that ingredients.py has, or with `other` sizes. In a trial it is tiny, and nothing is kept."""
    size = SIZES["smoke" if quick else "default"]._replace(**other)
    return Kitchen(DATA, size, None if quick else models_folder(__file__) / "cells")


@claims.once
def trained(run, name, seed):
    return kitchen(run.quick).trained(name, seed)


def loss(run, name, seed, steps=None, **more):
    """Bits per byte of a cell."""
    return kitchen(run.quick).cell(name, seed, steps, **more)["bpb"]


def differ(run, seed, one, other):
    """Bits per byte of the row `one` less that of the row `other`."""
    first, second = loss(run, one, seed), loss(run, other, seed)
    return {"value": first - second, "one": first, "other": second}


class Watch(TorchFunctionMode):
    """Within it, `logits` gathers what each call of attention computes: (B, H, T, T), one a block."""

    def __init__(self):
        super().__init__()
        self.logits = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is F.scaled_dot_product_attention:
            q, k = args[:2]
            self.logits.append(q @ k.mT / math.sqrt(q.shape[-1]))
        return function(*args, **(kwargs or {}))


def rows_of_exam(run, learner, count=READ):
    """(count, block_size) tokens of the exam, or as many rows as it has."""
    here, length = kitchen(run.quick), learner.model.config.block_size
    tokens = here.tokenizer.encode_ordinary(here.exam)
    count = min(count, len(tokens) // length)
    return torch.tensor(tokens[: count * length]).view(count, length)


@torch.no_grad()
def attention(run, learner):
    """Logits of attention on rows of the exam, (L, B, H, T, T); those above the diagonal mean nothing."""
    tokens = rows_of_exam(run, learner)
    with Watch() as seen:
        learner.model(tokens)
    return torch.stack(seen.logits)


# --- Su et al. 2021: RoPE ---------------------------------------------------------------------------------------------


def rope_relative(seed, run):
    """How far moving query and key together moves their product, over how far another distance does."""
    config = kitchen(run.quick).model({}, seed).config
    cos, sin = rope_tables(config, 2048)
    q, k = torch.randn(2, 64, 1, config.head_dim, generator=torch.Generator().manual_seed(seed))
    begins, distance = torch.tensor([0, 64, 512, 1920]), torch.arange(128)
    turn = lambda x, at: rotate(x, cos[at], sin[at])  # (64, positions, D)
    products = torch.stack([(turn(q, at + distance) * turn(k, at + 0 * distance)).sum(-1) for at in begins])
    return {"value": (products.std(dim=0).mean() / products[0].std(dim=1).mean()).item()}


def drop(run, seed, name):
    """Mean logit of attention at distances 1 to 8 less that at 64 to 127; mean over blocks, heads and rows."""
    logits = attention(run, trained(run, name, seed))
    at = lambda first, last: fmean(logits.diagonal(-d, -2, -1).mean().item() for d in range(first, last + 1))
    return at(1, 8) - at(64, 127)


def rope_decay(seed, run):
    """How much lower logits of attention are far away than nearby, with RoPE less without any positions."""
    with_rope, without = drop(run, seed, "default"), drop(run, seed, "position=none")
    return {"value": with_rope - without, "with": with_rope, "without": without}


def rope_learned(seed, run):
    """Loss with learned positions less that with RoPE."""
    return differ(run, seed, "position=learned", "default")


def rope_length(seed, run):
    """Loss with the context of training less that with twice as much."""
    usual = trained(run, "default", seed)
    longer = copy.deepcopy(usual)
    longer.model.config = replace(longer.model.config, block_size=2 * longer.model.config.block_size)
    one, other = kitchen(run.quick).judge(usual), kitchen(run.quick).judge(longer)
    return {"value": one - other, "usual": one, "twice": other}


# --- Ainslie et al. 2023: GQA -----------------------------------------------------------------------------------------


def gqa_close(seed, run):
    """Loss with two key/value heads for four query heads less that with four."""
    return differ(run, seed, "n_kv_head=2", "n_kv_head=4")


def gqa_cache(seed, run):
    """Bytes of the cache of four key/value heads over those of one, both filled to the end."""
    sizes = {}
    for heads in (4, 1):
        model = kitchen(run.quick).model({"n_kv_head": heads}, seed)
        cache = KVCache.of(model.config)
        with torch.no_grad():
            model(torch.arange(model.config.block_size)[None] % model.config.vocab_size, cache=cache)
        sizes[heads] = cache.nbytes
    return {"value": sizes[4] / sizes[1], "four": sizes[4], "one": sizes[1]}


POOLS = {  # weights of four key or value heads (4, D, C) -> of one (D, C)
    "mean": lambda heads: heads.mean(dim=0),
    "first": lambda heads: heads[0],
    "random": lambda heads: heads.std() * torch.randn(heads.shape[1:]),
}


def converted(here, learner, how, seed):
    """A model of one key/value head whose other weights are the learner's; the head's are POOLS[how] of its heads."""
    model, state = here.model({"n_kv_head": 1}, seed), learner.model.state_dict()
    for name, weight in state.items():
        if name.endswith(("attn.k.weight", "attn.v.weight")):
            state[name] = POOLS[how](weight.view(learner.model.config.n_kv_head, -1, weight.shape[1]))
    model.load_state_dict(state)
    return model


@claims.once
def uptrained(run, seed, how):
    """Bits per byte of a converted model after some more steps, on rows in another order."""
    here = kitchen(run.quick)
    model = converted(here, trained(run, "n_kv_head=4", seed), how, seed)
    steps = max(1, round(UPTRAINED * here.size.steps))
    return here.judge(here.train({}, steps, 1_000 + seed, model).learner)


def gqa_pool(seed, run):
    """Loss of one head that was the first of four less that of one that is their mean, both trained on for 5 %."""
    first, mean = uptrained(run, seed, "first"), uptrained(run, seed, "mean")
    return {"value": first - mean, "first": first, "mean": mean}


def gqa_order(seed, run):
    """The same with a random head less with the first."""
    random, first = uptrained(run, seed, "random"), uptrained(run, seed, "first")
    return {"value": random - first, "random": random, "first": first}


# --- Zhang and Sennrich 2019: RMSNorm ---------------------------------------------------------------------------------


@torch.no_grad()
def rms_scaling(seed, run):
    """How far inputs ten times as large move a norm's output, over how far they move its input; mean over norms."""
    learner, moved = trained(run, "default", seed), []

    def note(norm, inputs, before):
        after = F.rms_norm(10 * inputs[0], norm.weight.shape, norm.weight, norm.eps)
        moved.append(((after - before).norm() / before.norm() / 9).item())

    norms = [module for module in learner.model.modules() if isinstance(module, RMSNorm)]
    handles = [norm.register_forward_hook(note) for norm in norms]
    try:
        learner.model(rows_of_exam(run, learner))
    finally:
        for handle in handles:
            handle.remove()
    return {"value": fmean(moved), "largest": max(moved)}


def rms_quality(seed, run):
    """Loss with LayerNorm less that with RMSNorm."""
    return differ(run, seed, "norm=layernorm", "default")


def rms_time(seed, run):
    """Seconds of a step with LayerNorm over those with RMSNorm."""
    layer, rms = (kitchen(run.quick).cell(name, seed)["step_seconds"] for name in ("norm=layernorm", "default"))
    return {"value": layer / rms, "layernorm": layer, "rmsnorm": rms}


# --- Shazeer 2020: SwiGLU ---------------------------------------------------------------------------------------------


class Bilinear(MLP):
    """A gated MLP without any activation."""

    def forward(self, x):
        return self.down(self.gate(x) * self.up(x))


def swiglu_better(seed, run):
    """Loss with GELU less that with SwiGLU, whose width is two thirds."""
    return differ(run, seed, "mlp=gelu", "mlp=swiglu")


def swiglu_bilinear(seed, run):
    """Loss with GELU less that with a gate that has no activation."""
    here, gelu = kitchen(run.quick), loss(run, "mlp=gelu", seed)
    model = here.model({"mlp": "swiglu"}, seed)
    for block in model.blocks:
        plain = Bilinear(model.config)
        plain.load_state_dict(block.mlp.state_dict())
        block.mlp = plain
    bilinear = here.judge(here.train({}, here.size.steps, seed, model).learner)
    return {"value": gelu - bilinear, "gelu": gelu, "bilinear": bilinear}


# --- Dehghani et al. 2023, Henry et al. 2020: QK-norm -----------------------------------------------------------------


@claims.once
def hurried(run, seed, qk_norm):
    """(last losses, largest logit of attention) of AdamW at a high rate; where training breaks off, a uniform guess's
    loss, and None."""
    here, table = kitchen(run.quick), changes_of("optimizer=adamw")
    try:
        done = here.train({**table, "lr": HIGH * table["lr"], "qk_norm": qk_norm}, here.size.steps, seed)
    except Mistake as why:
        if "training stopped at step" not in str(why):
            raise
        return math.log(here.size.vocab_size), None
    largest = attention(run, done.learner).tril().abs().max().item()
    return fmean(done.losses[-10:]), largest


def qk_logits(seed, run):
    """Largest logit of attention after training at a high rate, without QK-norm over with it."""
    without, bounded = hurried(run, seed, False)[1], hurried(run, seed, True)[1]
    if without is None or bounded is None:
        raise ValueError(f"training at {HIGH} times the rate broke off, so there are no logits to compare; lower HIGH")
    return {"value": without / bounded, "without": without, "with": bounded}


def qk_rate(seed, run):
    """Training loss in nats a token at a high rate, without QK-norm less with it."""
    without, bounded = hurried(run, seed, False)[0], hurried(run, seed, True)[0]
    return {"value": without - bounded, "without": without, "with": bounded}


def qk_loss(seed, run):
    """Loss without QK-norm less that with it."""
    return differ(run, seed, "no qk_norm", "default")


def largest_share(run, seed, name):
    """The largest share that a position gives to one position, mean over all that see 32 others and more."""
    logits = attention(run, trained(run, name, seed))[..., 32:, :]
    later = torch.ones(logits.shape[-2:], dtype=torch.bool).triu(33)
    return logits.masked_fill(later, -math.inf).softmax(dim=-1).amax(dim=-1).mean().item()


def qk_saturation(seed, run):
    """The largest share of attention that one position gets, without QK-norm less with it."""
    without, bounded = largest_share(run, seed, "no qk_norm"), largest_share(run, seed, "default")
    return {"value": without - bounded, "without": without, "with": bounded}


# --- Liu et al. 2025: Muon --------------------------------------------------------------------------------------------


def crossing(curve, goal):
    """The steps at which a curve [(steps, loss)] reaches `goal`: a line in the logarithm of steps between two points,
    or beyond the last two on that side."""
    curve = sorted(curve)
    place = next((i for i, (_, value) in enumerate(curve) if value <= goal), len(curve) - 1)
    (a, high), (b, low) = curve[max(place, 1) - 1 : max(place, 1) + 1]
    return math.exp(math.log(a) + (high - goal) / (high - low) * math.log(b / a))


def muon_half(seed, run):
    """Steps of Muon over steps of AdamW at its best rate, to the same loss; a schedule of its own for each length."""
    steps = kitchen(run.quick).size.steps
    goal = min(loss(run, "optimizer=adamw", seed), *(loss(run, "optimizer=adamw", seed, lr=lr) for lr in RATES))
    shorter = [(max(1, steps * n // 150), n) for n in SHORTER]
    curve = [(n, loss(run, "default", seed, n)) for n, _ in shorter] + [(steps, loss(run, "default", seed))]
    return {"value": crossing(curve, goal) / steps, "goal": goal, "muon": curve[-1][1]}


def entropy(matrix):
    """Of the squares of its singular values, as shares: 1 where all are equal, 0 where there is one."""
    shares = torch.linalg.svdvals(matrix.double()).square()
    shares = shares / shares.sum()
    return (-torch.special.xlogy(shares, shares).sum() / math.log(len(shares))).item()


def muon_entropy(seed, run):
    """Entropy of singular values of the blocks' matrices, trained with Muon less with AdamW."""
    found = {}
    for name in ("default", "optimizer=adamw"):
        inner = [p for part, p in trained(run, name, seed).model.named_parameters() if is_inner(part, p)]
        found[name] = fmean(entropy(p.detach()) for p in inner)
    return {"value": found["default"] - found["optimizer=adamw"], "muon": found["default"],
            "adamw": found["optimizer=adamw"]}  # fmt: skip


def near_one(matrix):
    """Share of its singular values from 0.5 to 1.5."""
    values = torch.linalg.svdvals(matrix)
    return ((values >= 0.5) & (values <= 1.5)).float().mean().item()


def muon_flat(seed, run):
    """Share of a step's singular values from 0.5 to 1.5 less that of the momentum's, whose largest is set to 1."""
    here = kitchen(run.quick)
    done = here.train({}, run.steps(30), seed)
    momenta = [slots["m"] for slots in done.optimizer.state.values() if "m" in slots]
    after, five = (fmean(near_one(orthogonal(m, rounds)) for m in momenta) for rounds in (ROUNDS, 5))
    before = fmean(near_one(m / torch.linalg.matrix_norm(m, 2)) for m in momenta)
    return {"value": after - before, "three": after, "five": five, "before": before}


# --- Kim et al. 2025: a text that is read again and again ------------------------------------------------------------


def reread(about, one, other):
    """An experiment: the loss of `one` less that of `other`. Each is passes over a part of the text, and weight decays,
    of which the better one counts."""

    def best(run, seed, passes, decays):
        here = kitchen(run.quick, train_chars=PART)
        steps = run.steps(passes * len(here.tokens) // (TRAINING["batch_size"] * MODEL["block_size"]))
        return min(here.cell("default", seed, steps, weight_decay=decay)["bpb"] for decay in decays)

    def ask(seed, run):
        first, second = best(run, seed, *one), best(run, seed, *other)
        return {"value": first - second, "one": first, "other": second}

    ask.__doc__ = about
    return ask


CLAIMS = {
    "rope-relative": rope_relative, "rope-decay": rope_decay, "rope-learned": rope_learned, "rope-length": rope_length,
    "gqa-close": gqa_close, "gqa-cache": gqa_cache, "gqa-pool": gqa_pool, "gqa-order": gqa_order,
    "rms-scaling": rms_scaling, "rms-quality": rms_quality, "rms-time": rms_time,
    "swiglu-better": swiglu_better, "swiglu-bilinear": swiglu_bilinear,
    "qk-logits": qk_logits, "qk-rate": qk_rate, "qk-loss": qk_loss, "qk-saturation": qk_saturation,
    "reread-overfit": reread("Loss after many passes less that after few, usual decay.", (MANY, USUAL), (FEW, USUAL)),
    "reread-decay": reread("Loss after many passes, usual decay less a larger one.", (MANY, USUAL), (MANY, STRONG)),
    "reread-gain": reread("Loss after few passes less that after many with more decay.", (FEW, USUAL), (MANY, STRONG)),
    "muon-half": muon_half, "muon-entropy": muon_entropy, "muon-flat": muon_flat,
}  # fmt: skip


def main(argv=None):
    return claims.main(__file__, CLAIMS, __doc__, argv)


if __name__ == "__main__":
    sys.exit(entry(main))
