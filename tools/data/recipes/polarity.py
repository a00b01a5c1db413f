"""Sentences of film reviews, praise or blame, from lines of number, mean rating from -4 to 4, and text, with tabs.

A sentence rated between -1 and 1 says neither clearly, and is left out.
"""

from ..rows import broken, named, task

CLEAR = 1.0


def recipe(files):
    name, text = named(files, "movieReviewSnippets_GroundTruth.txt")
    head, *lines = text.split("\n")
    if head.split("\t") != ["id", "sentiment", "text"]:
        raise broken(name, 1, head, "the columns id, sentiment and text")
    rows = []
    for number, line in enumerate(lines, 2):
        if line.strip():
            fields = line.split("\t")
            try:
                rating = float(fields[1])
            except (IndexError, ValueError):
                rating = None
            if len(fields) != 3 or rating is None or not -4 <= rating <= 4:
                raise broken(name, number, line, "NUMBER, RATING from -4 to 4 and TEXT, with tabs between")
            if abs(rating) >= CLEAR:
                rows.append((fields[2], "positive" if rating > 0 else "negative"))
    labels = ("negative", "positive")
    return task("polarity", f"Is this film praised? Answer with one of: {', '.join(labels)}.", labels, rows)
