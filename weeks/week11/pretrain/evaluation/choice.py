"""Multiple choice ranked by likelihood, and cloze: questions that a model answers without writing a word.

A model that only continues text cannot be asked "A, B, C or D?". It can be asked which ending it finds likelier:

    acc         argmax of log p(choice | context)                    favours short choices
    acc_norm    argmax of log p(choice | context) / characters       the usual one for HellaSwag
    acc_bytes   argmax of log p(choice | context) / UTF-8 bytes      the same where all is ASCII
    cloze       is each token of the one answer the likeliest? and its perplexity (LAMBADA, Paperno et al. 2016)

The three are those of lm-evaluation-harness 0.4.13 (`ConfigurableTask.process_results`): its acc_norm divides by
characters; the length is that of the choice alone, without the delimiter before it; among equals the first wins. Left
out: few-shot examples, mutual information.
"""

import bz2
import json
import math
import re
from dataclasses import dataclass

from ..vendor.shared.errors import Mistake
from .interval import bootstrap
from .scorer import encode_pair, loglik

LENGTHS = {"acc": lambda text: 1, "acc_norm": len, "acc_bytes": lambda text: len(text.encode("utf-8"))}
FIELDS = '{"ctx": "...", "endings": ["...", "..."], "label": 0}'
PARTS = ("activity_label", "ctx_a", "ctx_b")  # of a context in HellaSwag's own file


@dataclass(frozen=True)
class Item:
    """One question. A ValueError where nothing could be chosen, or the answer is not among the choices."""

    context: str
    choices: tuple[str, ...]
    gold: int  # place of the right choice

    def __post_init__(self):
        shown = f"the question {self.context[:40]!r}"
        if not self.choices:
            raise ValueError(f"{shown} has no choices; give one or more")
        for i, choice in enumerate(self.choices):
            if not isinstance(choice, str) or not choice.strip():
                raise ValueError(f"choice {i} of {shown} is {choice!r}; give a text that is not empty")
        if type(self.gold) is not int or not 0 <= self.gold < len(self.choices):
            raise ValueError(
                f"{shown} has {len(self.choices)} choices, and its answer is number {self.gold!r}; "
                f"give 0 to {len(self.choices) - 1}"
            )


@dataclass(frozen=True)
class Marks:
    """What a subject did with a list of items. `logs` has one row an item: log-likelihoods of its choices, in nats."""

    logs: list[list[float]]
    greedy: list[list[bool]]
    cut: int  # choices whose context lost tokens to fit into the model

    def accuracy(self, items, length):
        """[0 or 1] for each item: was the choice with the highest log-likelihood a unit of length the right one?"""
        marks = []
        for item, logs in zip(items, self.logs, strict=True):
            each = [log / length(choice) for log, choice in zip(logs, item.choices)]
            marks.append(int(each.index(max(each)) == item.gold))
        return marks


def ask(subject, items, *, delimiter=" ", label=None):
    """The Marks of a subject: the log-likelihood of delimiter + choice after the context, for each choice."""
    pairs = [encode_pair(subject, item.context, delimiter + choice) for item in items for choice in item.choices]
    found = iter(loglik(subject, pairs, label=label))
    rows = [[next(found) for _ in item.choices] for item in items]
    logs = [[each.total for each in row] for row in rows]
    greedy = [[each.greedy for each in row] for row in rows]
    return Marks(logs, greedy, sum(each.cut > 0 for row in rows for each in row))


def choice(items, marks, seed=0):
    """{name: Score} of multiple choice."""
    return {name: bootstrap(marks.accuracy(items, length), seed=seed) for name, length in LENGTHS.items()}


def cloze(items, marks, seed=0):
    """{name: Score} of items with one answer each: acc, the share said word for word, and ppl, exp(nats an answer)."""
    nats = [-row[item.gold] for item, row in zip(items, marks.logs, strict=True)]
    right = [int(row[item.gold]) for item, row in zip(items, marks.greedy, strict=True)]
    return {"acc": bootstrap(right, seed=seed), "ppl": bootstrap(nats, transform=math.exp, seed=seed)}


def chance(items):
    """The share of right answers that a blind guess is expected to get."""
    return sum(1 / len(item.choices) for item in items) / len(items)


# --- HellaSwag's format -----------------------------------------------------------------------------------------------


def read_items(path):
    """The Items of a JSONL file in HellaSwag's format, or of its plain text of six lines an item (.bz2 or not).

    A line of HellaSwag's own file (Zellers et al. 2019) has activity_label, ctx_a and ctx_b: its context is put
    together as lm-evaluation-harness does it. Any other line is taken as it is: ctx, endings, label. A Mistake names
    the line.
    """
    if not path.is_file():
        raise Mistake(f"{path} is no file; give the path of a JSONL file with lines like {FIELDS}")
    raw = path.read_bytes()
    try:
        text = (bz2.decompress(raw) if path.suffix == ".bz2" else raw).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise Mistake(f"{path} cannot be read as text ({error}); give a JSONL file with lines like {FIELDS}") from None
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    plain = bool(lines) and not lines[0][1].startswith("{")
    rows = six_lines(lines, path) if plain else ((number, parsed(line)) for number, line in lines)
    items = []
    for number, row in rows:
        try:
            items.append(item_of(row))
        except (ValueError, TypeError, KeyError) as error:
            why = f"it has no {error}" if isinstance(error, KeyError) else error
            raise Mistake(f"{path}, line {number}: {why}; expected {FIELDS}") from None
    if not items:
        raise Mistake(f"{path} has no questions; each line should be one like {FIELDS}")
    return items


def parsed(line):
    """A line as a dict, or what it is instead: `item_of` says what is wrong with it."""
    try:
        return json.loads(line)
    except ValueError as error:
        return error


def six_lines(lines, path):
    """(line number, row) of a file in which a context, a label and four endings stand on a line each."""
    if len(lines) % 6:
        raise Mistake(f"{path} has {len(lines)} lines, and a question takes 6; it is cut short: download it again")
    for i in range(0, len(lines), 6):
        (number, context), (_, label), *endings = lines[i : i + 6]
        yield number, {"ctx": context, "endings": [text for _, text in endings], "label": label}


def item_of(row):
    """The Item of one row; ValueError, TypeError or KeyError for a row of another shape."""
    if not isinstance(row, dict):
        raise ValueError(f"it is no JSON object ({row})")
    endings, label = row["endings"], row["label"]
    if not isinstance(endings, list) or len(endings) < 2 or not all(isinstance(text, str) for text in endings):
        raise ValueError(f"endings is {json.dumps(endings)[:40]}, not a list of two texts or more")
    if type(label) not in (int, str):
        raise ValueError(f"label is {json.dumps(label)[:40]}, not the number of an ending")
    raw = row.keys() >= set(PARTS)
    for name in PARTS if raw else ("ctx",):
        if not isinstance(row[name], str):
            raise ValueError(f"{name} is {json.dumps(row[name])[:40]}, no text")
    if raw:
        context = tidy(f"{row['activity_label']}: {row['ctx_a']} {row['ctx_b'].capitalize()}")
        return Item(context, tuple(map(tidy, endings)), int(label))
    return Item(row["ctx"], tuple(endings), int(label))


def tidy(text):
    """HellaSwag's text without the marks that WikiHow's pages left in it (lm-evaluation-harness, tasks/hellaswag)."""
    return re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". ")).replace("  ", " ")
