# vendored from tools/shared/text.py, sha256 e89f37f8ae4cf9785204ff237c21948a4a9c15ad7701153b307e2f752f15e0e9; edit there, then run: make vendor
"""Text files: read one, find its documents, hold some of it out. Every week that reads text reads it here.

Documents are separated by a line that holds only <|endoftext|>; a file without one is one document.
"""

import re
import shlex
from pathlib import Path

from .errors import Mistake

END = "<|endoftext|>"
SEPARATOR = f"\n{END}\n"
LINE = re.compile(rf"^{re.escape(END)}$", re.MULTILINE)


def read_text(path):
    """The text of a file, without byte order mark and with plain newlines.

    A Mistake for a file that is missing, empty, binary, not UTF-8, or that holds separators alone.
    """
    path = Path(path)
    if path.is_dir():
        raise Mistake(f"{path} is a folder; give a text file in it")
    if path.is_char_device() or path.is_block_device():  # /dev/zero has no end
        raise Mistake(f"{path} is a device; give a text file")
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise Mistake(f"{path} does not exist; check the path, or make a data set with `make data/NAME`") from error
    if b"\0" in content:
        raise Mistake(f"{path} is not text: byte {content.index(0)} is zero; give a plain text file in UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Mistake(
            f"{path} is not UTF-8: byte {error.start} is 0x{content[error.start]:02x}; convert it first, "
            f"for example: iconv -f latin1 -t utf-8 {shlex.quote(str(path))} > utf8.txt"
        ) from error
    text = text.replace("\r\n", "\n")
    if not text.strip():
        raise Mistake(f"{path} is empty; give a file with text in it")
    if not documents(text):
        raise Mistake(f"{path} holds nothing but {END} lines; give a file with text between them")
    return text


def documents(text):
    """The documents of a text, without the separator lines and without empty ones."""
    return [part.strip("\n") for part in LINE.split(text) if part.strip()]


def hold_out(text, fraction=0.1, most=200_000):
    """`(train, exam)`: about the last `fraction` of the text, at most `most` characters, as the exam.

    Whole documents where they fit. Where they would leave the exam below half its size, the end of the document before
    them joins it, cut between two lines, else between two words. A Mistake where one of the two would be empty.
    """
    train, exam = documents(text), []
    room = min(int(sum(map(len, train)) * fraction), most)
    wanted = room
    while len(train) > 1 and len(train[-1]) <= room:
        room -= len(train[-1])
        exam.insert(0, train.pop())
    if train and room > wanted / 2:
        cut = _place_to_cut(train[-1], room)
        exam.insert(0, train[-1][cut:].strip("\n"))
        train[-1] = train[-1][:cut].strip("\n")
    if not "".join(train).strip() or not "".join(exam).strip():
        raise Mistake("the text is too short to hold some of it out; give more text, or a held-out file with --exam")
    return SEPARATOR.join(train), SEPARATOR.join(exam)


def _place_to_cut(document, share):
    """Where the last `share` characters begin, moved by at most half of that to the start of a line, or of a word."""
    least, best = len(document) - share - share // 2, len(document) - share
    for blank in ("\n", " "):
        place = document.rfind(blank, max(0, least), best)
        place = document.find(blank, best, len(document) - share // 2) if place < 0 else place
        if place >= 0:
            return place + 1
    return best
