"""Week 11: what two papers claim about duplicates and memorising, asked of small models and of this week's pipeline.

    python weeks/week11/claims.py lee-copies lee-loss        # two models a seed, with duplicates and without them
    python weeks/week11/claims.py carlini-repeats carlini-size carlini-context
    python weeks/week11/claims.py carlini-many carlini-many-context
    python weeks/week11/claims.py lee-minhash                # trains nothing

The pages are papers/lee2021_dedup.md and papers/carlini2022_memorization.md; the predictions are in papers/claims.toml.
Text is that of short encyclopaedia entries (data/wiki-leads), which have little to do with each other. Claims that
look at the same models share them: name them in one command.
"""

import math
import random
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from pretrain.data import dedup, planted
from pretrain.data.sampler import Sampler
from pretrain.data.shards import Tokens
from pretrain.evaluation.compression import bits_per_byte
from pretrain.evaluation.copying import longest_copy
from pretrain.evaluation.subject import subject
from pretrain.vendor.bpe.fast import Tokenizer
from pretrain.vendor.gpt.generate import generate
from pretrain.vendor.gpt.model import GPT, GPTConfig
from pretrain.vendor.scaling import optimizers
from pretrain.vendor.scaling.parallel import named
from pretrain.vendor.scaling.schedules import SCHEDULES
from pretrain.vendor.scaling.step import set_rate, step
from pretrain.vendor.shared import claims
from pretrain.vendor.shared.errors import entry
from pretrain.vendor.shared.files import need
from pretrain.vendor.shared.text import END, documents, read_text

DATA = Path(__file__).resolve().parents[2] / "data"
VOCAB, BLOCK, BATCH, STEPS = 1024, 128, 8, 400  # 410,000 tokens are seen: about one pass over the text
RATE, WARMUP = 0.02, 20  # of Muon
SHORTEST = 300  # characters of an entry
ENTRIES = 2_000  # entries that are in the text once


# --- text and training ------------------------------------------------------------------------------------------------


@cache
def entries(part):
    """The entries of one side of the split that are long enough."""
    found = documents(read_text(need(DATA / "wiki-leads", "make data/wiki-leads") / f"{part}.txt"))
    return [text for text in found if len(text) >= SHORTEST]


@cache
def tokenizer():
    """One for all models: pieces of the first entries."""
    return Tokenizer.train(entries("train")[:ENTRIES], VOCAB)


def row(documents, end):
    """Documents, each a list of ids, as one row of ids, each closed by `end`: what the sampler asks for."""
    return Tokens([np.array([i for ids in documents for i in [*ids, end]], np.int64)], end)


def trained(run, seed, documents, layers, width, label):
    """A GPT after STEPS steps on documents, each a list of ids. Muon, one rate for all sizes."""
    ids = tokenizer()
    tokens = row(documents, ids.special_tokens[END])
    sampler = Sampler(tokens, block_size=BLOCK, batch_size=BATCH, seed=seed)
    torch.manual_seed(seed)
    model = GPT(GPTConfig(ids.vocab_size, BLOCK, layers, 4, width, bias=False))
    optimizer = optimizers.make("muon", named(model), lr=RATE, rest={"lr": RATE / 5})
    steps = run.steps(STEPS)
    for number in run.bar(range(steps), total=steps, label=label):
        set_rate(optimizer, SCHEDULES["linear"](number, steps, min(WARMUP, steps - 1), 0.01))
        step(model, optimizer, [tuple(torch.from_numpy(part) for part in sampler.batch(number))])
    return model.eval()


# --- Lee et al. 2021: duplicates --------------------------------------------------------------------------------------

REPEATED, COPIES = 24, 40  # entries that are in the text many times, and how often more: a third of all documents
EDITED = 0.01  # share of the words that differ in every second copy
WIDE = (3, 96)  # layers, width
SAMPLES, LENGTH = 24, 100  # texts that a model writes, and their tokens


def with_duplicates(seed):
    """ENTRIES different entries and the copies of some of them, exact ones and edited ones, in random order."""
    draw, rng = random.Random(seed), np.random.default_rng(seed)
    texts = draw.sample(entries("train"), ENTRIES)
    for text in texts[:REPEATED]:
        texts += [planted.edit(text, EDITED * (i % 2), rng) for i in range(COPIES)]
    draw.shuffle(texts)
    return texts


def without_duplicates(texts):
    """What the pipeline keeps of texts: no document whose whole text, or one band of minima, was there before."""
    exact, near = dedup.duplicates(dedup.keys(texts))
    return [text for text, gone in zip(texts, exact | near) if not gone]


def written(model, seed):
    """SAMPLES texts of a model, begun as a document begins."""
    end, generator = tokenizer().special_tokens[END], torch.Generator().manual_seed(seed)
    start = torch.full((SAMPLES, 1), end)
    ids = generate(model, start, LENGTH, top_k=50, generator=generator)[:, 1:].tolist()
    return [tokenizer().decode(row).replace(END, "\n") for row in ids]


def copied(texts, training):
    """Mean over texts of the longest run of bytes that stands in the training text."""
    whole = "\n".join(training).encode()
    return sum(longest_copy(text, [whole]).length for text in texts) / len(texts)


@claims.once
def both(run, seed):
    """{"raw", "clean"}: what a model trained with duplicates, and one trained without them, copies and predicts."""
    raw = with_duplicates(seed)
    clean, held_out, found = without_duplicates(raw), entries("val"), {}
    for name, texts in (("raw", raw), ("clean", clean)):
        model = trained(run, seed, map(tokenizer().encode_ordinary, texts), *WIDE, name)
        found[f"{name}_copy"] = copied(written(model, seed), raw)  # one text for both: that of `clean` is a part of it
        found[f"{name}_bpb"] = bits_per_byte(subject(model, tokenizer()), held_out).value
    people = [text[: LENGTH * 3] for text in held_out[:SAMPLES]]  # a token is about three characters
    return found | {"people_copy": copied(people, raw), "kept": len(clean), "documents": len(raw)}


def lee_copies(seed, run):
    """Longest copy in samples of a model trained with duplicates, over that of one trained without."""
    found = both(run, seed)
    names = ("raw_copy", "clean_copy", "people_copy", "kept", "documents")
    return {"value": found["raw_copy"] / found["clean_copy"], **{name: found[name] for name in names}}


def lee_loss(seed, run):
    """Bits per byte of held-out entries, trained with duplicates less trained without."""
    found = both(run, seed)
    return {"value": found["raw_bpb"] - found["clean_bpb"], "raw": found["raw_bpb"], "clean": found["clean_bpb"]}


def lee_minhash(seed, run):
    """Share of planted near duplicates that are found, less what the formula of the bands expects."""
    texts = random.Random(seed).sample(entries("train"), run.steps(1_000))
    found = planted.measure(texts, seed=seed, least=0.0)
    parts = {"recall": found.recall, "expected": found.expected, "pairs": found.pairs}
    return {"value": found.recall - found.expected, **parts}


# --- Carlini et al. 2022: memorising ----------------------------------------------------------------------------------

LONG, SHORT, ANSWER = 32, 8, 16  # tokens of a prompt, and of what must come after it
SIZES = {"large": (4, 128), "small": (2, 64)}  # 12 * layers * width^2 parameters in the layers: 8 times as many


class Text(NamedTuple):
    """What a model reads: entries once, and `passages` passages for each number of repetitions."""

    repeats: tuple
    passages: int
    entries: int


FEW = Text((1, 4, 16, 64), 12, ENTRIES)
MANY = Text((64, 128, 256, 512), 6, 700)  # as many tokens: two in three are of a repeated passage


def passages(seed, text):
    """(ids of the entries, passages (N, LONG + ANSWER), as many for each number of repetitions; unseen passages)."""
    encode, length, groups = tokenizer().encode_ordinary, LONG + ANSWER, len(text.repeats)
    drawn = random.Random(seed).sample(entries("train"), text.entries + 2 * groups * text.passages)
    drawn = [encode(entry) for entry in drawn]
    long_enough = [ids[:length] for ids in drawn[text.entries :] if len(ids) >= length]
    chosen = torch.tensor(long_enough[: (groups + 1) * text.passages])
    return drawn[: text.entries], chosen[: -text.passages], chosen[-text.passages :]


def extracted(model, ids, prompt):
    """(N,) bool: the model continues the last `prompt` tokens of a passage's first LONG exactly. Greedy."""
    found = generate(model, ids[:, LONG - prompt : LONG], ANSWER, temperature=0.0)
    return (found[:, prompt:] == ids[:, LONG:]).all(dim=1)


@claims.once
def memory(run, seed, size, text=FEW):
    """{"long", "short": shares a number of repetitions, "unseen": share} of what a model of one size gives back."""
    rows, ids, unseen = passages(seed, text)
    rows = rows + [row for i, row in enumerate(ids.tolist()) for _ in range(text.repeats[i // text.passages])]
    random.Random(seed).shuffle(rows)
    model = trained(run, seed, rows, *SIZES[size], size)
    share = lambda prompt: extracted(model, ids, prompt).view(-1, text.passages).double().mean(dim=1).tolist()
    return {"long": share(LONG), "short": share(SHORT), "unseen": extracted(model, unseen, LONG).double().mean().item()}


def growth(text):
    """An experiment: the slope of the share that the large model gives back, in powers of ten of repetitions."""

    def ask(seed, run):
        found = memory(run, seed, "large", text)
        slope = np.polyfit([math.log10(count) for count in text.repeats], found["long"], 1)[0]
        shares = {f"after_{count}": share for count, share in zip(text.repeats, found["long"])}
        return {"value": slope, **shares, "unseen": found["unseen"]}

    ask.__doc__ = f"Slope of the share given back, for ten times more repetitions, of {text.repeats}."
    return ask


def context(text):
    """An experiment: the share that the large model gives back after a long prompt, less that after a short one."""

    def ask(seed, run):
        found = {prompt: float(np.mean(memory(run, seed, "large", text)[prompt])) for prompt in ("long", "short")}
        return {"value": found["long"] - found["short"], **found}

    ask.__doc__ = f"Share given back after a long prompt, less that after a short one; repeated {text.repeats} times."
    return ask


def carlini_size(seed, run):
    """Share of passages that the large model gives back, less that of the small one."""
    found = {size: float(np.mean(memory(run, seed, size)["long"])) for size in SIZES}
    return {"value": found["large"] - found["small"], **found}


CLAIMS = {
    "lee-copies": lee_copies, "lee-loss": lee_loss, "lee-minhash": lee_minhash,
    "carlini-repeats": growth(FEW), "carlini-size": carlini_size, "carlini-context": context(FEW),
    "carlini-many": growth(MANY), "carlini-many-context": context(MANY),
}  # fmt: skip


def main(argv=None):
    return claims.main(__file__, CLAIMS, __doc__, argv)


if __name__ == "__main__":
    sys.exit(entry(main))
