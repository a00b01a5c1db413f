"""Short simple stories: TinyStories as five files hold them, and two books of Aesop; a document is a story.

Each kind of file is a row of READERS. Left out: the true capitals of lower-cased copies, files without a story mark.
"""

import hashlib
import html
import json
import re
import sys
from array import array
from pathlib import PurePosixPath

from shared.errors import Mistake
from shared.text import END

from ..documents import split
from ..text import decode, tidy

VOCABULARY = "encoder.json"  # of GPT-2: {token: id}
SHORTEST = 100  # characters; what is shorter in these files is a fragment


def recipe(files):
    named = {PurePosixPath(path).name: content for path, content in files.items()}
    documents = []
    for name, content in sorted(named.items()):
        if name == VOCABULARY:
            continue
        stories = [plain(story) for story in reader(name)(name, content, named)]
        whole = [story for story in stories if is_whole(story)]
        if not whole:
            raise Mistake(f"{name} holds no whole story, so it is not the file that data.toml means")
        documents += [(opening(story), story) for story in whole]
    return split(documents, seed="stories")


def opening(story):
    """A hash of the first 80 characters: stories that begin alike are of one side, and the order is a mixed one."""
    return hashlib.sha256(story[:80].encode()).hexdigest()


# ---- reading: the stories of a file ----------------------------------------------------------------------------------


def from_ids(name, content, named):
    """GPT-2's ids, two bytes each, the lower first, END between stories. The first and the last may be cut: dropped."""
    if len(content) % 2:
        raise Mistake(f"{name} has {len(content)} bytes, an odd number, so it is cut short; ids have two bytes each")
    if VOCABULARY not in named:
        raise Mistake(f"{name} holds ids of GPT-2 but the source has no {VOCABULARY}; add it to `files` in data.toml")
    ids = array("H", content)
    if sys.byteorder == "big":
        ids.byteswap()
    tokens = token_bytes(json.loads(decode(VOCABULARY, named[VOCABULARY])))
    if unknown := set(ids) - set(tokens):
        raise Mistake(f"{name} holds the id {min(unknown)}, which {VOCABULARY} does not know: other ids than GPT-2's")
    return decode(name, b"".join(map(tokens.get, ids))).split(END)[1:-1]


def token_bytes(vocabulary):
    """{id: bytes} from {token: id}. GPT-2 writes a byte as a character: itself where it prints, else 256 + its rank.

    After `bytes_to_unicode` of openai/gpt-2, src/encoder.py.
    """
    printed = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in printed]
    value = {chr(byte): byte for byte in printed} | {chr(256 + rank): byte for rank, byte in enumerate(hidden)}
    return {number: bytes(value[c] for c in token) for token, number in vocabulary.items()}


def from_text(name, content, named):
    """Text with END between stories; the last may be cut: dropped."""
    return decode(name, content).split(END)[:-1]


def from_json(name, content, named):
    """A list of stories, or of objects whose `fable` is one."""
    rows = json.loads(decode(name, content))
    return [row["fable"] if isinstance(row, dict) else row for row in rows]


def from_page(name, content, named):
    """A page of Standard Ebooks: a story is an <article>, a paragraph a <p>."""
    articles = re.findall(r"<article\b.*?</article>", decode(name, content), re.S)
    return ["\n".join(paragraph(p) for p in re.findall(r"<p\b[^>]*>(.*?)</p>", a, re.S)) for a in articles]


def paragraph(markup):
    """One line of text: <br/> is a blank, other tags go, entities are the characters they mean."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", re.sub(r"<br\s*/>", " ", markup))).split())


READERS = {".bin": from_ids, ".txt": from_text, ".json": from_json, ".xhtml": from_page}


def reader(name):
    if (kind := PurePosixPath(name).suffix) not in READERS:
        raise Mistake(f"{name} is of no kind that stories are read from; there are: {', '.join(READERS)}")
    return READERS[kind]


# ---- cleaning --------------------------------------------------------------------------------------------------------

# A small model gains nothing from two ways to write a quotation mark. U+2060 joins a dash to its word in the books.
ASCII = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "–": "-", "—": "-", "…": "...", "\u2060": ""})


def plain(story):
    """ASCII punctuation, single blanks, one newline between paragraphs, none around."""
    lines = (" ".join(line.split()) for line in tidy(story.translate(ASCII)).split("\n"))
    return "\n".join(line for line in lines if line)


# Ends a sentence; begins one; and what tells of a text read wrongly, of markup or of an address.
END_OF_STORY = re.compile(r"[.!?][\"')]*$")
START_OF_STORY = re.compile(r"[\"'(]*[A-Z]")
FOREIGN = re.compile(r"[^\x00-\x7f\u00c0-\u024f]|[ÂÃ]|https?:|www\.|<[a-z/|]|[{}|\\]")


def is_whole(story):
    """Whether a story is long enough, begins and ends as a sentence does, and holds nothing that is not English."""
    fits = len(story) >= SHORTEST and START_OF_STORY.match(story) and END_OF_STORY.search(story)
    return bool(fits and not FOREIGN.search(story))
