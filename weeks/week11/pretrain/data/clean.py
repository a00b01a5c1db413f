"""One document made plain: the same text always gets the same bytes, and nothing invisible is left in it.

In order: NFC (Unicode Standard Annex 15: a letter and its accent become one character where there is one), one kind of
newline, no control characters and no halves of surrogate pairs, no blanks at the ends of lines, at most one empty line
in a row, nothing around the whole. What a reader sees does not change. Left out: judging quality, guessing a language.
"""

import re
import unicodedata

from ..vendor.shared.text import END

NEWLINE = re.compile("\r\n?|[\u0085\u2028\u2029]")
# C0 and C1 controls but tab and newline; zero-width and direction marks that only copying brings in; surrogates, which
# JSON can write and UTF-8 cannot. The joiners U+200C and U+200D stay: Persian, Hindi and emoji need them.
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060\ufeff\ud800-\udfff]")
BEFORE_NEWLINE = re.compile("[ \t\u00a0]+(?=\n)")
EMPTY_LINES = re.compile("\n{3,}")


def clean(text):
    """A document -> the same document, plain; "" where nothing is left. clean(clean(x)) == clean(x).

    A written-out <|endoftext|> is removed: it would end the document for whoever reads the text again.
    Each pattern runs only where a quick look says that it may find something; most documents need none of them.

    >>> clean("cafe\\u0301 \\r\\n\\r\\n\\r\\n\\r\\nbar\\x00")
    'café\\n\\nbar'
    """
    if not text.replace("\n", "").isprintable():
        text = UNSEEN.sub("", NEWLINE.sub("\n", text))
    while END in text:  # what stands around one can make another
        text = text.replace(END, "")
    if not text.isascii() and not unicodedata.is_normalized("NFC", text):
        text = unicodedata.normalize("NFC", text)
    if " \n" in text or "\t\n" in text or "\u00a0\n" in text:
        text = BEFORE_NEWLINE.sub("", text)
    if "\n\n\n" in text:
        text = EMPTY_LINES.sub("\n\n", text)
    return text.strip()
