"""Cuts -> something to look at: coloured tokens for a terminal, and one HTML page with a slider over the merges."""

import json
import unicodedata
from pathlib import Path

from .cuts import Cuts

TEMPLATE = Path(__file__).with_name("page.html")
SHADES = (153, 223, 158, 225, 254)  # light backgrounds of the 256-colour table; neighbours differ in lightness too
BLACK, RESET = 16, "\x1b[0m"


def shown(token: bytes) -> str:
    r"""A token as it is printed: bytes that are no text, and characters that steer a terminal, as \x.. or \u...."""
    text = token.decode("utf-8", errors="backslashreplace")
    escape = lambda char: f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{ord(char):04x}"
    steers = lambda char: unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp")
    return "".join({"\n": "\\n", "\t": "\\t"}.get(c) or (escape(c) if steers(c) else c) for c in text)


def coloured(tokens, colour=True) -> str:
    """Tokens side by side: a background each, or bars between them where there is no colour. Lines end as theirs do."""
    parts = []
    for i, token in enumerate(tokens):
        text = f"\x1b[38;5;{BLACK};48;5;{SHADES[i % len(SHADES)]}m{shown(token)}{RESET}" if colour else shown(token)
        parts.append(text + ("\n" if token.endswith(b"\n") else "" if colour else "|"))
    return "".join(parts).rstrip("\n").removesuffix("|")


def html(cuts: Cuts, tokenizer, title: str) -> str:
    """One page with everything in it: the bytes, when each border goes, the merges, and the ids of all tokens seen.

    Bytes travel as Latin-1, one character each, for JSON has no bytes.
    """
    seen = {part for _, left, right in cuts.steps for part in (left, right, left + right)}
    seen |= {*cuts.tokens(), *cuts.tokens(0)}
    ids = {**tokenizer.ranks, **{text.encode("utf-8"): i for text, i in tokenizer.special_tokens.items()}}
    data = {
        "title": title,
        "content": cuts.content.decode("latin-1"),
        "gone": cuts.gone,
        "steps": [[i, left.decode("latin-1"), right.decode("latin-1")] for i, left, right in cuts.steps],
        "ids": {token.decode("latin-1"): ids[token] for token in sorted(seen) if token in ids},
    }
    # a text may hold "</script>", which would end the page's program: no "<" of it is written as such
    written = json.dumps(data, ensure_ascii=True).replace("<", "\\u003c")
    return TEMPLATE.read_text(encoding="utf-8").replace("{{DATA}}", written)
