"""A tiny chat model, published the way real ones are: a Hugging Face folder with a ChatML template."""

import importlib.util
import json
import sys
from pathlib import Path

import torch
from nanogpt import checkpoint, cli
from nanogpt.formats import hf_folder
from nanogpt.formats.published import Published
from nanogpt.model import GPT, GPTConfig
from nanogpt.sources import open_model
from nanogpt.vendor.bpe.fast import Tokenizer
from nanogpt.vendor.shared.errors import entry

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
WORDS = "is this message good or bad? user assistant system great awful lovely nice red blue colour of the sky sea "


def earlier(room, package, module):
    """A module of an earlier week's reference, to compare with: under a name of its own, so that a learner's unfinished
    package is never taken for it."""
    name, folder = f"earlier_{package}", Path(__file__).resolve().parents[2] / room / package
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return importlib.import_module(f"{name}.{module}")


def tiny_model(seed=0, block_size=96, **changes):
    """(model, tokenizer): two layers, grouped queries, weights large enough that logits differ."""
    tokenizer = Tokenizer.train(WORDS * 4, 320, special_tokens=SPECIAL)
    torch.manual_seed(seed)
    shape = {"n_layer": 2, "n_head": 4, "n_kv_head": 2, "n_embd": 32} | changes
    model = GPT(GPTConfig(tokenizer.vocab_size, block_size=block_size, **shape)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(3)
    return model, tokenizer


def publish(folder, seed=0, template=CHATML, **changes):
    """Write such a model to `folder` and return the folder."""
    model, tokenizer = tiny_model(seed, **changes)
    published = Published(model.config, checkpoint.weights(model), tokenizer, template, "<|im_start|>", "<|im_end|>")
    hf_folder.write(folder, published)
    return folder


def run(*argv):
    """Exit status of `nanogpt argv`, as the console script computes it."""
    try:
        return entry(cli.main, [str(a) for a in argv])
    except SystemExit as stop:
        return stop.code


SIZES = "--vocab-size 280 --block-size 16 --n-layer 2 --n-head 2 --n-kv-head 1 --n-embd 16".split()
QUICK = "--steps 6 --batch-size 4 --lr 5e-3 --warmup 2 --precision float32".split()
TEXTS = {"cats": "The cat sat on the mat and looked at the moon.\n", "dogs": "A dog ran over the hill, barking.\n"}


def furnish(folder):
    """In `folder`: two texts and a model m of the first; rows, a published model hf, and one that learned rows."""
    for name, line in TEXTS.items():
        (folder / f"{name}.txt").write_text(line * 120)
    for name, answer in (("mood", "good"), ("colour", "blue")):
        rows = [{"prompt": f"is this {name} {i}", "response": answer} for i in range(20)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    publish(folder / "hf")
    assert run("train", folder / "cats.txt", "--out", folder / "m", *SIZES, *QUICK, "--keep-rows", 8) == 0
    assert run("learn", folder / "mood.jsonl", "--model", folder / "hf", "--out", folder / "rows", *QUICK) == 0
    return folder


def record(folder):
    return checkpoint.read_index(folder)["record"]


def same_weights(a, b):
    one, two = (open_model(folder).model.state_dict() for folder in (a, b))
    return all(torch.equal(one[name], two[name]) for name in one)


def interrupt(*args, **options):
    raise KeyboardInterrupt
