"""Fables and short moral stories, from a test that asks for their moral: a document is a story without the question."""

import re

from ..documents import split
from ..rows import broken, json_lines, named
from ..text import tidy

QUESTION = re.compile(r"\s*Which moral (?:is|does) this story", re.IGNORECASE)


def recipe(files):
    name, text = named(files, "parable-to-moral-match-en.jsonl")
    documents = []
    for number, line, row in json_lines(text):
        match row:
            case {"input": [_, {"content": str(content)}]} if QUESTION.search(content):
                story = mended(QUESTION.split(content)[0])
                documents.append((story[:80], tidy(story)))
            case _:
                raise broken(name, number, line, "a story and the question for its moral")
    return split(documents, seed="fables")


def mended(story):
    """Quotations ran into each other without a space, and a new one begins a sentence: `huge feet!""Big, was he!"`."""
    return re.sub(r'([.!?,:;])"(?=["A-Za-z])', r'\1" ', re.sub(r'([:,.!?])"(?=")', r'\1" ', story))
