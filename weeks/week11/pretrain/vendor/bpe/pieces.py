# vendored from weeks/week09/bpe/pieces.py, sha256 9eb7f92e5f36166cd4c801996052e7dc2680dd723914197ec8d082721850a3b6; edit there, then run: make vendor
"""Text -> pieces, by the published patterns: no merge ever crosses a border between two pieces.

The patterns need Unicode's classes of characters, which Python's own `re` does not know. The package `regex` does, at a
third of the speed. So the patterns are written out for `re`, with each class as the list of its characters, as
`regex` has them: for a text of Latin letters and common punctuation alone. Any other text goes through `regex`.
"""

import re
from functools import cache

import regex

# How text is cut into pieces before any merge. These are the published patterns of their vocabularies: a vocabulary
# and its pattern belong together. \p{L} is any letter, \p{N} any digit or number. SmolLM cuts out each \p{N} first
# and takes what lies between as texts of their own: so in its look-ahead a number is an end too.
PATTERNS = {
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "cl100k": r"(?i:'(?:[sdmt]|ll|ve|re))|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "smollm": r"\p{N}|'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?![^\s\p{N}])|\s+",
}
COMMON = [*range(0x250), *range(0x2000, 0x2070)]  # Latin letters with all accents; quotes, dashes, blanks
UNCOMMON = re.compile("[^\u0000-\u024f\u2000-\u206f]")


class Splitter:
    """`split(text)` -> its pieces, in order. ValueError for a pattern that is wrong, or that leaves out characters."""

    def __init__(self, pattern):
        try:
            self.any = regex.compile(pattern)
        except (regex.error, TypeError) as error:
            raise ValueError(f"the pattern {pattern!r} is no regular expression ({error}); correct it") from None
        if self.any.groups:
            raise ValueError(f"the pattern {pattern!r} captures a group; write (?:...) in place of (...)")
        self.common = common(pattern) if pattern in PATTERNS.values() else None

    def split(self, text):
        """The pieces of a text. Together they must be the text, or decode(encode(x)) would not be x."""
        if self.common and (text.isascii() or not UNCOMMON.search(text)):
            return self.common.findall(text)  # every character is in some part of a published pattern
        pieces = self.any.findall(text)
        if sum(map(len, pieces)) != len(text):
            raise ValueError(
                "the pattern leaves out part of the text; end it with |\\s+|. so that it matches all of it"
            )
        return pieces


@cache
def common(pattern):
    """A published pattern for Python's `re`, the same on texts of COMMON characters."""
    named = re.compile(r"\\p\{[LN]\}|\\s")
    bracket = lambda found: named.sub(lambda name: members(name[0]), found[0])
    pattern = re.sub(r"\[[^]]*\]", bracket, pattern).replace(r"\S", "[^" + members(r"\s") + "]")
    return re.compile(named.sub(lambda name: f"[{members(name[0])}]", pattern))


@cache
def members(name):
    r"""The COMMON characters of a class such as \p{L}, as `regex` has them, written for the inside of brackets."""
    return "".join(f"\\u{code:04x}" for code in COMMON if regex.fullmatch(name, chr(code)))


def any_of(specials):
    """A regex that finds any of these, the longest first; its group makes split() keep what it found. None for none."""
    for text in specials:
        if not isinstance(text, str) or not text:
            raise ValueError(f"{text!r} cannot be a special token; give a text of at least one character")
    if len(set(specials)) < len(specials):
        raise ValueError(f"a special token is given twice in {list(specials)}; name each of them once")
    longest_first = sorted(specials, key=len, reverse=True)
    return regex.compile("(" + "|".join(map(regex.escape, longest_first)) + ")") if longest_first else None
