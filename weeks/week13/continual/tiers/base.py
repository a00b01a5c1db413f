"""A base that has read something: a small GPT, trained once on Wikipedia leads and kept for every later run.

Its vocabulary is week 9's, learned from the same text: in as many tokens it reads four times as much as bytes would.
"""

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ..learner import Learner
from ..loop import learn
from ..pairs import Format
from ..rows import windows
from ..strategy import Strategy
from ..task import Task
from ..text import spread
from ..vendor.bpe.fast import ENDOFTEXT, Tokenizer
from ..vendor.gpt.model import GPT, GPTConfig
from ..vendor.makemore.schedules import cosine
from ..vendor.shared.files import atomic_write, need
from ..vendor.shared.progress import bar
from ..vendor.shared.text import documents, read_text
from .domains import SHAPE

READS = "wiki-leads"
ENDS = 0  # the byte that no text holds closes an answer
ASKS = "\n=> "  # what stands between a question and its answer
LEARN = 2_000_000  # characters that the vocabulary is learned from
KEYS = (*SHAPE, "length", "vocab_size", "base_steps", "base_batch", "base_lr", "base_rows")


def vocabulary(data, size):
    """A tokenizer of `size` ids, from the beginning of the text that the base reads."""
    text = read_text(need(Path(data) / READS, f"make data/{READS}") / "train.txt")
    return Tokenizer.train(documents(text[:LEARN]), size)


def read(data, tokenizer, settings):
    """The text that the base reads, as a task: `train` to learn, `valid` to tell later what else was lost."""
    parts = {}
    for part, n in (("train", settings["base_rows"]), ("val", settings["valid_rows"])):
        text = read_text(need(Path(data) / READS, f"make data/{READS}") / f"{part}.txt")
        end = tokenizer.special_tokens[ENDOFTEXT]
        ids = [i for document in map(tokenizer.encode_ordinary, documents(text)) for i in (*document, end)]
        parts[part] = spread(windows(torch.tensor(ids), settings["length"]), n)
    return Task(READS, parts["train"], parts["val"])


def pretrained(task, settings, folder):
    """The base's weights by name: from `folder`, or trained now and kept there. The seed is always 0."""
    text = json.dumps([{key: settings[key] for key in KEYS}, task.train.digest()], sort_keys=True)
    path = Path(folder) / f"base-{hashlib.sha256(text.encode()).hexdigest()[:12]}.safetensors"
    try:
        return load_file(path)
    except (FileNotFoundError, SafetensorError):  # absent, or of a run that was cut off
        pass
    model, steps = small_gpt(settings), settings["base_steps"]
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
    model = small_gpt(settings)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(tensors[name])
    return Learner(model, text=text)


def small_gpt(settings):
    """An untrained GPT over the base's vocabulary; its first weights are the same for every seed."""
    torch.manual_seed(0)
    return GPT(GPTConfig(settings["vocab_size"], settings["length"], *(settings[key] for key in SHAPE)))


def words_format(tokenizer, length):
    """Pairs in the base's vocabulary: the question, `=>`, the answer, the end of the text."""
    encode = tokenizer.encode_ordinary
    ask = lambda prompt: encode(prompt + ASKS)
    return Format(encode, tokenizer.decode, ask, tokenizer.special_tokens[ENDOFTEXT], length)


def byte_format(length):
    """The same in bytes: for a model that has no vocabulary."""
    decode = lambda ids: bytes(ids).decode("utf-8", errors="replace")
    return Format(lambda s: list(s.encode()), decode, lambda s: list((s + ASKS).encode()), ENDS, length)
