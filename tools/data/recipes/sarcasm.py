"""Headlines, sarcastic or not, from lines {"input": [{...}, {"content": headline}], "ideal": "1" or "0"}."""

from ..rows import broken, json_lines, named, task


def recipe(files):
    name, text = named(files, "samples.jsonl")
    rows = []
    for number, line, row in json_lines(text):
        match row:
            case {"input": [_, {"content": str(headline)}], "ideal": "0" | "1" as ideal}:
                rows.append((headline, ("no", "yes")[int(ideal)]))
            case _:
                raise broken(name, number, line, "a sample with a system line, a headline and 0 or 1")
    return task("sarcasm", "Is this headline sarcastic? Answer with one of: no, yes.", ("no", "yes"), rows)
