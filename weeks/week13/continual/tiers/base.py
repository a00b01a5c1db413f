"""A base that has read something: a byte-level GPT, trained once on Wikipedia leads and kept for every later run."""

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ..learner import Learner
from ..loop import learn
from ..pairs import Format
from ..strategy import Strategy
from ..text import load_domain
from ..vendor.makemore.schedules import cosine
from ..vendor.shared.files import atomic_write, need
from ..vendor.shared.progress import bar
from .domains import SHAPE, byte_gpt

READS = "wiki-leads"
ENDS = 0  # the byte that no text holds closes an answer
ASKS = "\n=> "  # what stands between a question and its answer
KEYS = (*SHAPE, "length", "base_steps", "base_batch", "base_lr", "base_rows")


def read(data, settings):
    """The text that the base reads, as a task: `train` to learn, `valid` to tell later what else was lost."""
    sizes = dict(length=settings["length"], train_rows=settings["base_rows"], valid_rows=settings["valid_rows"])
    return load_domain(need(Path(data) / READS, f"make data/{READS}"), READS, **sizes)


def pretrained(task, settings, folder):
    """The base's weights by name: from `folder`, or trained now and kept there. The seed is always 0."""
    text = json.dumps([{key: settings[key] for key in KEYS}, task.train.digest()], sort_keys=True)
    path = Path(folder) / f"base-{hashlib.sha256(text.encode()).hexdigest()[:12]}.safetensors"
    try:
        return load_file(path)
    except (FileNotFoundError, SafetensorError):  # absent, or of a run that was cut off
        pass
    model, steps = byte_gpt(settings, seed=0), settings["base_steps"]
    with bar(total=steps, label="the base reads", unit="step") as line:

        def on_step(step, info):
            line.set_postfix(loss=f"{info['loss']:.3f}", refresh=False)
            line.update()

        learn(
            Learner(model), Strategy(), task, steps=steps, batch_size=settings["base_batch"], on_step=on_step,
            schedule=lambda step: cosine(step, steps, warmup=steps // 20, floor=0.1),
            make_optimizer=lambda named: torch.optim.AdamW(named.values(), lr=settings["base_lr"], betas=(0.9, 0.95)),
        )  # fmt: skip
    tensors = {name: p.detach().clone() for name, p in model.named_parameters()}  # a tied head stands under one name
    atomic_write(path, save(tensors))
    return tensors


def on_base(tensors, settings, text):
    """A learner that starts from the base's weights."""
    model = byte_gpt(settings, seed=0)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(tensors[name])
    return Learner(model, text=text)


def byte_format(length):
    """Pairs as bytes: the question, `=>`, the answer, byte 0."""
    decode = lambda ids: bytes(ids).decode("utf-8", errors="replace")
    return Format(lambda s: list(s.encode()), decode, lambda s: list((s + ASKS).encode()), ENDS, length)
