"""The week's experiments need one thing again and again: a base that has read the old text, and copies of it that read
the new one. Judged in bits per byte of unseen text: of the new one (what was learned), of the old one (what was
forgotten).

Smaller than train.py's model, so that dozens of runs take minutes. Left out: what is compared (experiments.py,
claims.py).
"""

import copy
import math
from dataclasses import dataclass, field, replace

import torch

from .adapter import attach, parameters
from .config import LoRAConfig
from .vendor.gpt.loop import Recipe, evaluate, train
from .vendor.gpt.model import GPT, GPTConfig
from .vendor.shared.errors import Mistake
from .vendor.shared.files import need
from .vendor.shared.text import documents, read_text

OLD, NEW = "shakespeare", "bible"


class Diverged(Mistake):
    """A loss is no finite number any more: this learning rate is lost, others are not."""


@dataclass(frozen=True)
class Setting:
    """How large, how long, and how much text is judged. The rate of `tune` is each run's own."""

    shape: dict = field(default_factory=lambda: dict(vocab_size=256, block_size=64, n_layer=3, n_head=4, n_embd=64))
    base: Recipe = Recipe(steps=500, batch_size=16, lr=4e-3, min_lr=4e-4, warmup=40)
    tune: Recipe = Recipe(steps=100, batch_size=16, warmup=10, weight_decay=0.0)
    judged: int = 8_192  # bytes of each text


@dataclass
class Lab:
    """A base model, the texts, and what the base scores on them."""

    setting: Setting
    texts: dict  # (domain, part) -> bytes as int64 (N,)
    seed: int
    model: GPT
    old: float
    new: float
    kept: dict = field(default_factory=dict)  # "seed config rate" -> record, or why it diverged; experiments share it


def read(folder, judged):
    """{(domain, part): bytes as int64 (N,)}: val and test are cut to `judged` bytes."""
    found = {}
    for domain in (OLD, NEW):
        for part in ("train", "val", "test"):
            text = read_text(need(folder / domain / f"{part}.txt", f"make data/{domain}"))
            tokens = bytes_of(documents(text))
            found[domain, part] = tokens if part == "train" else tokens[:judged]
    return found


def bytes_of(texts):
    """All documents as one row of bytes, int64 (N,); a newline and a 0 end each."""
    raw = b"".join(text.encode() + b"\n\0" for text in texts)
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8).long()


def bits(model, text):
    """Bits per byte: a token is a byte."""
    return evaluate(model, text) / torch.log(torch.tensor(2.0)).item()


def learn(model, text, recipe, seed, tell):
    """Train in place; `tell(steps)` wraps the steps (number, loss), as a progress bar does. Raises Diverged."""
    try:
        for _ in tell(train(model, text, recipe, seed=seed)):
            pass
    except FloatingPointError as error:
        raise Diverged(str(error)) from None
    return model


def open_lab(setting, texts, seed, bar=lambda steps, **options: steps):
    """Train a base of its own seed."""
    torch.manual_seed(seed)
    model = GPT(GPTConfig(**setting.shape))
    tell = lambda steps: bar(steps, total=setting.base.steps, label=f"base, seed {seed}")
    learn(model, texts[OLD, "train"], setting.base, seed, tell)
    old, new = (bits(model, texts[domain, "test"]) for domain in (OLD, NEW))
    return Lab(setting, texts, seed, model, old, new)


def judge(lab, model):
    """{"learned", "forgot"}: fall of bits per byte on the new text, rise on the old one, both unseen."""
    new, old = (bits(model, lab.texts[domain, "test"]) for domain in (NEW, OLD))
    return {"learned": lab.new - new, "forgot": old - lab.old}


def pupil(base, config, tune, rate, seed):
    """(copy of `base`, its parameters that learn, its recipe) for one rate; config None is full fine-tuning."""
    model = copy.deepcopy(base)
    if config is not None:
        torch.manual_seed(seed)  # of A
        attach(model, NEW, config)
    own = list(model.parameters() if config is None else parameters(model, NEW).values())
    return model, own, replace(tune, lr=rate, min_lr=rate / 10)


def teach(lab, config, rate, bar=lambda steps, **options: steps):
    """A copy of the base that has read the new text; config None is full fine-tuning. Returns (record, model).

    The record has learned, forgot, val (bits per byte of the new text's validation part) and parameters.
    """
    model, own, recipe = pupil(lab.model, config, lab.setting.tune, rate, lab.seed)
    label = f"{'full' if config is None else f'{config.variant} {config.rank}'}, {rate:g}"
    tell = lambda steps: bar(steps, total=recipe.steps, label=label)
    learn(model, lab.texts[NEW, "train"], recipe, lab.seed, tell)
    found = finite(judge(lab, model) | {"val": bits(model, lab.texts[NEW, "val"])})
    return found | {"rate": rate, "parameters": sum(p.numel() for p in own if p.requires_grad)}, model


def finite(scores):
    """The same {name: number}; Diverged where the last step broke the model, which no later loss has shown."""
    if wrong := [f"{name} {value}" for name, value in scores.items() if not math.isfinite(value)]:
        raise Diverged(f"the last step broke the model ({', '.join(wrong)}); lower the learning rate")
    return scores


def record_of(lab, config, rate, bar=lambda steps, **options: steps):
    """teach's record, made once for each config and rate of a lab; a rate that diverged raises Diverged every time."""
    key = f"{lab.seed} {config} {rate}"
    if key not in lab.kept:
        try:
            lab.kept[key] = teach(lab, config, rate, bar)[0]
        except Diverged as error:
            lab.kept[key] = str(error)  # the error itself would keep the whole model alive
    if isinstance(lab.kept[key], str):
        raise Diverged(lab.kept[key])
    return lab.kept[key]


def tried(rates, attempt, tell=lambda said: None):
    """(what attempt(rate) gave for each rate, the rates that diverged); `tell` gets a sentence of each of these."""
    found, lost = [], []
    for rate in rates:
        try:
            found.append(attempt(rate))
        except Diverged as error:
            lost.append(rate)
            tell(f"rate {rate:g} is lost: {error}")
    return found, lost


def best_of(lab, config, rates, bar=lambda steps, **options: steps):
    """The record of the rate with the lowest loss on the new text's validation part; the old text has no say.

    Rates that diverged are passed over; Diverged where none is left.
    """
    records, _ = tried(rates, lambda rate: record_of(lab, config, rate, bar))
    if not records:
        raise Diverged(f"every learning rate of {config or 'full fine-tuning'} diverged ({rates}); give lower ones")
    return min(records, key=lambda record: record["val"])


def plain(rank, **settings):
    """LoRA with alpha = 2 rank, so that the scale is 2 at every rank."""
    return LoRAConfig(rank=rank, alpha=2 * rank, **settings)


def change_of(lab, model, path):
    """(out, in): what learning changed of one linear layer's weight, by an adapter or without one."""
    layer, before = model.get_submodule(path), lab.model.get_submodule(path).weight
    part = layer.adapters[NEW] if hasattr(layer, "adapters") else None
    return ((layer.weight if part is None else part.weight(layer)) - before).detach()
