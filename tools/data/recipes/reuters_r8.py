"""News stories of 1987 and their topic; the source's own split. The text: its first 100 words."""

from shared.errors import Mistake

from ..rows import broken, named, task


def recipe(files):
    labels = ("acq", "crude", "earn", "grain", "interest", "money-fx", "ship", "trade")
    ask = f"Which topic is this news story about? Answer with one of: {', '.join(labels)}."
    train, test = (stories(*named(files, f"reuters-r8-{part}.tab")) for part in ("train", "test"))
    return task("reuters-r8", ask, labels, train, test)


def stories(name, text):
    """(text, label) from a table with three lines of header (columns, types, roles): topic, tab, story."""
    lines = text.split("\n")
    if lines[:2] != ["Category\tText", "d\tstring"]:
        raise Mistake(f"{name} begins with {lines[0][:60]!r}, not with the columns Category and Text; it is not used")
    for number, line in enumerate(lines[3:], 4):
        if line.strip():
            label, *story = line.split("\t")
            if len(story) != 1:
                raise broken(name, number, line, "TOPIC, tab, STORY")
            words = story[0].split()
            yield " ".join(words[: -1 if words[-1:] == ["reuter"] else None][:100]), label  # the agency closes with it
