"""A Bible that comes as Python source: a document is a chapter, its name first, then a verse a line.

The source is a call: its second argument is the text, and the two after it map a verse (the number BBCCCVVV means book,
chapter, verse) to its first and its last character. They count characters of the *source*, where a backslash takes two,
so the text is cut as it stands there, before Python would read it. Nothing is imported or run.
"""

import ast
import re

from ..documents import split
from ..text import decode, tidy


def recipe(files):
    ((name, content),) = files.items()
    source = decode(name, content)
    (call,) = [node.value for node in ast.parse(source).body if isinstance(node, ast.Assign)]
    raw = source.split('"""')[1]
    start, end = ast.literal_eval(call.args[2]), ast.literal_eval(call.args[3])
    books = [ast.literal_eval(value) for value in call.args[5].values]
    chapters = {}
    for verse in sorted(start):
        book, chapter = verse // 10**6, verse // 10**3 % 10**3
        lines = chapters.setdefault((book, chapter), [f"{books[book - 1]} {chapter}", ""])
        lines.append(verse_text(raw[start[verse] : end[verse]]))
    documents = [(f"{b:02}-{c:03}", tidy("\n".join(lines))) for (b, c), lines in chapters.items()]
    return split(documents, seed="bible")


def verse_text(raw):
    """A verse without its marks: a second numbering between backslashes, brackets, asterisks for a gap."""
    text = re.sub(r"\\+(\d+:\d+\\+)?", " ", raw)
    text = re.sub(r"[\[\]+]", "", text).replace("***", "...").replace("`", "'")
    return " ".join(text.split()) if re.search(r"[A-Za-z]", text) else ""
