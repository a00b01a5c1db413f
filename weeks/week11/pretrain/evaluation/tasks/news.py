"""The topic of a news story, one of eight, asked as a continuation: "This story is about ...".

Reuters-21578's eight largest topics (data/reuters-r8/test.jsonl). Its labels are a newsroom's short forms; a model
that has read English is asked for words of English. Left out: tuning the wording, which would fit the exam to a model.
"""

import json

from ...vendor.shared.errors import Mistake
from ...vendor.shared.files import need
from ...vendor.shared.text import read_text
from ..choice import Item

WORDS = {  # Reuters' label -> how it is asked
    "acq": "one company buying another",
    "crude": "oil",
    "earn": "the earnings of a company",
    "grain": "grain",
    "interest": "interest rates",
    "money-fx": "currencies",
    "ship": "ships",
    "trade": "trade between countries",
}


def items(folder):
    """One item a story, in the file's order, which deals the topics out evenly."""
    path, found = need(folder / "reuters-r8", "make data/reuters-r8") / "test.jsonl", []
    labels = list(WORDS)
    for number, line in enumerate(read_text(path).splitlines(), 1):
        try:
            row = json.loads(line)
            story, gold = row["prompt"].split("\n\n", 1)[1], labels.index(row["response"])
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            raise Mistake(f"{path}, line {number} is no story with its topic; run: make data/reuters-r8") from None
        found.append(Item(f"{story}\n\nThis story is about", tuple(WORDS.values()), gold))
    return found
