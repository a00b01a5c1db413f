"""Questions and what kind of answer they ask for, from lines `LOC:city Which city ... ?`."""

import re

from ..rows import broken, named, task

KINDS = {  # of answers, in the source's words and in ours
    "ABBR": "abbreviation", "DESC": "description", "ENTY": "entity", "HUM": "human", "LOC": "location", "NUM": "number",
}  # fmt: skip


def recipe(files):
    name, text = named(files, "question_labels.txt")
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            fields = re.fullmatch(r"(\w+):\w+ (.+)", line)
            if not fields or fields[1] not in KINDS:
                raise broken(name, number, line, f"KIND:detail QUESTION with a KIND of {', '.join(KINDS)}")
            rows.append((fields[2], KINDS[fields[1]]))
    labels = tuple(KINDS.values())
    return task("trec-6", f"What does this question ask for? Answer with one of: {', '.join(labels)}.", labels, rows)
