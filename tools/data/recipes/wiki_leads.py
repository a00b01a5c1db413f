"""The first paragraphs of encyclopedia articles, from JSON: a document is an article, its title first."""

import json

from ..documents import split
from ..text import decode, tidy

SHORTEST = 200  # characters: what is shorter is a stub, or a list that was cut off


def recipe(files):
    ((name, content),) = files.items()
    documents = []
    for key, article in json.loads(decode(name, content)).items():
        text = article["extract"]
        if len(text) >= SHORTEST and text.rstrip().endswith((".", '."', "!", "?", ".)")):
            documents.append((key, tidy(f"{article['title']}\n\n{text}")))
    return split(documents, seed="wiki-leads")
