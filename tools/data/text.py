"""What every text and every row goes through: decoding, tidying, a key for copies, a number that decides by hash."""

import hashlib
import re
import unicodedata

from shared.errors import Mistake


def decode(name, content):
    """The UTF-8 text of a file, without byte order mark and with plain newlines."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Mistake(f"{name} is not UTF-8 (at byte {error.start}), so it is not what data.toml means") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def tidy(text, blank=1):
    """Composed characters, none that is invisible, no blanks at a line's end, at most `blank` empty lines in a row."""
    text = unicodedata.normalize("NFC", text)
    invisible = [c for c in set(text) if unicodedata.category(c) in ("Cc", "Cf", "Co", "Cs") and c not in "\n\t"]
    text = text.translate(dict.fromkeys(map(ord, invisible)))
    text = re.sub(r"[^\S\n]+$", "", text, flags=re.M)
    return re.sub("\n" * (blank + 1) + "+", "\n" * (blank + 1), text).strip("\n")


def fraction(seed, title):
    """A number in [0, 1) that depends on nothing but `seed` and `title`."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{title}".encode()).digest()[:8], "big") / 2**64


def squeezed(text):
    """Words alone, in lower case, one blank apart: what two copies share however they were laid out."""
    return re.sub(r"[\W_]+", " ", text.lower()).strip()
