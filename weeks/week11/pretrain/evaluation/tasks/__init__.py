"""The exams that need no network: a task is a file in this folder, and a row in TASKS.

Each is made from the project's own data, from texts that no training set holds; what chance would get stands beside
every score. They are small, and built to tell a model that learned something from one that did not. No score here
compares with a published one: for that there is HellaSwag, a file that `of_file` takes.
Left out: tasks whose answer must be written (week 14).
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..choice import ask, chance, choice, cloze, read_items
from . import fables, grammar, news, shakespeare


@dataclass(frozen=True)
class Task:
    """One exam."""

    about: str
    items: Callable[[Path], list]  # the folder data/ -> [Item]
    marked: Callable = choice  # (items, marks, seed) -> {name: Score}
    delimiter: str = " "  # what stands between a context and a choice


TASKS = {
    "grammar": Task("which of two sentences is English; they differ in one word", grammar.items, delimiter=""),
    "next-line": Task("which line follows in a play of Shakespeare's", shakespeare.items, delimiter="\n"),
    "moral": Task("which moral a fable tells", fables.morals),
    "last-word": Task("the last word of a fable, which the fable has said before", fables.last_words, cloze),
    "news-topic": Task("what a news story is about, one of 8", news.items),
}


def of_file(path):
    """The Task of any file in HellaSwag's format."""
    return Task(f"the endings of {path.name}", lambda folder: read_items(path))


def examine(subject, tasks, folder, *, most=None, seed=0):
    """{"<task>_<score>": Score, "<task>_chance": float, "<task>_cut": int} of a subject.

    `tasks` is {name: Task}, `folder` is data/. Where a task has more than `most` items, so many are drawn, the same for
    every subject. A name's "-" becomes "_", as in every results file; `interval.metrics` makes one's rows of this.
    """
    found = {}
    for name, task in tasks.items():
        key, items = name.replace("-", "_"), task.items(folder)
        if most is not None and len(items) > most:
            items = random.Random(name).sample(items, most)
        marks = ask(subject, items, delimiter=task.delimiter, label=name)
        found |= {f"{key}_{score}": value for score, value in task.marked(items, marks, seed).items()}
        if task.marked is choice:
            found[f"{key}_chance"] = chance(items)
        found[f"{key}_cut"] = marks.cut
    return found
