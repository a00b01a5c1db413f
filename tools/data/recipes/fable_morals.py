"""The moral of a fable, one of five, as an exam: of each story that fables.py keeps for val or test, one question.

test.jsonl, an object a line in HellaSwag's format: {"ctx": story, "endings": [five morals], "label": place of the right
one}. Of the stories in train.txt there is none, so that a model trained on them has not read the story it is asked.
"""

import json
import re

from shared.text import documents

from ..rows import broken, json_lines, named
from ..text import tidy
from . import fables

CHOICE = re.compile(r"(?:^| )([A-E])\) ")
ANSWER = re.compile(r"The final answer is: ([A-E])")


def recipe(files):
    name, text = named(files, "parable-to-moral-match-en.jsonl")
    parts = fables.recipe(files)
    held_out = dict.fromkeys(story for part in ("val.txt", "test.txt") for story in documents(parts[part]))
    found = {}
    for number, line, row in json_lines(text):
        match row:
            case {"input": [_, {"content": str(content)}], "ideal": [str(ideal)]} if ANSWER.fullmatch(ideal):
                story, question = fables.QUESTION.split(content, maxsplit=1)
                letters, choices = options(question)
                if letters != list("ABCDE"):
                    raise broken(name, number, line, "five morals to choose from")
                story = tidy(fables.mended(story))
                if story in held_out:
                    row = {"ctx": story, "endings": choices, "label": letters.index(ANSWER.fullmatch(ideal)[1])}
                    found.setdefault(story, row)
            case _:
                raise broken(name, number, line, "a story, the question for its moral and the answer")
    return {"test.jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found.values())}


def options(question):
    """(letters, morals) of the line `A) ... B) ... E) ...` below the question."""
    line = next((line for line in question.split("\n") if CHOICE.match(line)), "")
    _, *parts = CHOICE.split(line)
    return parts[::2], [tidy(moral).strip().removesuffix(" .") for moral in parts[1::2]]
