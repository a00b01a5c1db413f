"""Tier 1b: five classifications on a small base; the answer is the likeliest of the labels."""

from pathlib import Path

import torch

from ..pairs import Pair, read_pairs
from ..task import Task
from ..vendor.shared.errors import Mistake
from ..vendor.shared.files import need
from .base import READS, on_base, pretrained, read, vocabulary, words_format
from .scenario import Scenario
from .scores import constant, likeliest

# The data sets in their order, and what asks for a label in few bytes: a row is short.
SETS = {
    "reuters-r8": "topic: ",
    "trec-6": "asks for: ",
    "sms-spam": "spam? ",
    "sarcasm": "sarcastic? ",
    "polarity": "mood: ",
}


def labelled(data, name, train_rows, test_rows):
    """(train, test): the pairs of a data set, so many from the front of each file, as make shuffled them.

    A test row with a label that no training row has is a Mistake: no model could know it.
    """
    folder = need(Path(data) / name, f"make data/{name}")
    train, test = (read_pairs(folder / f"{part}.jsonl")[:n] for part, n in (("train", train_rows), ("test", test_rows)))
    unseen = sorted(set(labels(test)) - set(labels(train)))
    if unseen:
        raise Mistake(
            f"{name}: the test rows hold the label {unseen[0]!r}, which none of the {len(train)} training rows has; "
            "take more of them, or leave its rows out"
        )
    return train, test


def labels(pairs):
    """The labels that occur, in the order of the alphabet."""
    return sorted({pair.response for pair in pairs})


def shortened(pairs, ask):
    """The pairs with `ask` in place of the long instruction, which would fill a short row."""
    return [Pair(ask + pair.prompt.split("\n\n", 1)[-1], pair.response) for pair in pairs]


def scenario(data, settings, folder, names=tuple(SETS)):
    """The classifications `names`; the base is kept in `folder`. Rows of a task are cut at the end of their text."""
    tokenizer = vocabulary(data, settings["vocab_size"])
    text, tasks = words_format(tokenizer, settings["length"]), []
    for name in names:
        train, test = (
            shortened(pairs, SETS[name])
            for pairs in labelled(data, name, settings["train_rows"], settings["test_rows"])
        )
        tasks.append(Task(name, text.rows(train), test=test, instruction=SETS[name]))
    wiki = read(data, tokenizer, settings)
    known = {task.name: labels(text.pairs(task.train)) for task in tasks}
    tensors = []  # the base, once it is needed

    def learner(seed, method):
        tensors or tensors.append(pretrained(wiki, settings, folder))
        torch.manual_seed(seed)  # of dropout and of what a method adds; the base is the same for every seed
        return on_base(tensors[0], settings, text)

    def judge(learner, task):
        room = text.length - max(len(text.encode(label)) for label in known[task.name])
        asked = [text.fit(pair.prompt, room) for pair in task.test]
        chosen = likeliest(learner, asked, known[task.name])
        return {"likelihood": [float(label == pair.response) for label, pair in zip(chosen, task.test)]}

    return Scenario(
        "labels", tasks, learner, judge, floor=lambda task: {"likelihood": constant(text.pairs(task.train), task.test)},
        settings={**settings, "tasks": list(names)}, unit="share of labels right", generic=wiki.valid,
        configs={"generic": {"generic_text": str(Path(data) / READS / "train.txt")}},
    )  # fmt: skip
