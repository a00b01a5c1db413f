"""Two exams on fables that no training set holds: the moral, and the last word.

The moral is chosen among five, as the source asks it (data/fable-morals; evals, parable-to-moral-match). The last word
is a cloze in the way of LAMBADA (Paperno et al. 2016): asked only where the fable has used the word before, so that
whoever read it can know it. Left out: people judging which blanks can be filled; LAMBADA asked them.
"""

import re

from ...vendor.shared.files import need
from ...vendor.shared.text import documents, read_text
from ..choice import Item, read_items

SENTENCE_END = re.compile(r'^(.*[^\s])\s+([a-z]{4,})[.!?]["\']?$', re.DOTALL)


def morals(folder):
    """The items of data/fable-morals; "The moral:" stands between a story and the morals to choose from."""
    path = need(folder / "fable-morals", "make data/fable-morals") / "test.jsonl"
    return [Item(f"{item.context}\n\nThe moral:", item.choices, item.gold) for item in read_items(path)]


def last_words(folder):
    """The fables of val and test whose last word, of four small letters or more, occurs earlier in the fable."""
    home, found = need(folder / "fables", "make data/fables"), []
    for story in [text for part in ("val", "test") for text in documents(read_text(home / f"{part}.txt"))]:
        match = SENTENCE_END.match(story.strip())
        if match and re.search(rf"\b{match[2]}\b", match[1].lower()):
            found.append(Item(match[1], (match[2],), 0))
    return found
