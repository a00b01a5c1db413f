"""First names in lower case, one a line, as in makemore's names.txt: those of girls, then of boys, by frequency.

The source is the table of all years (Parquet) or the list of one year (lines `Emma,F,19738`); both hold the names that
the US Social Security Administration counted five times or more. No newline closes the last line.
"""

import io
import re

from shared.errors import Mistake

from ..text import decode

YEAR = 2017  # the last year of the table


def recipe(files):
    ((name, content),) = files.items()
    rows = parquet_names(name, content) if name.endswith(".parquet") else listed_names(name, decode(name, content))
    ordered = [row[2] for row in sorted((sex, -count, first) for sex, first, count in rows)]
    if not ordered:
        raise Mistake(f"{name} holds no name of {YEAR}, so it is not what data.toml means")
    if odd := next((first for first in ordered if not (first.isascii() and first.isalpha())), None):
        raise Mistake(f"{name} holds the name {odd!r}, but names of letters a to z alone were expected")
    return {"names.txt": "\n".join(ordered).lower()}


def parquet_names(name, content):
    """(sex, name, count) of YEAR from the columns year, sex, name and n of a Parquet table."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise Mistake(f"{name} is a Parquet table, which needs pyarrow; run: python -m pip install pyarrow") from None
    try:
        only = [("year", "==", YEAR)]
        table = parquet.read_table(io.BytesIO(content), columns=["sex", "name", "n"], filters=only)
    except (pyarrow.ArrowException, OSError) as error:  # OSError: a page that cannot be unpacked
        reason = str(error).partition("\n")[0]
        raise Mistake(f"{name} is not the table year, sex, name, n that data.toml means ({reason})") from None
    return zip(*(table[column].to_pylist() for column in ("sex", "name", "n")))


def listed_names(name, text):
    """(sex, name, count) from lines `Emma,F,19738`."""
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if not (fields := re.fullmatch(r"([^,]+),([FM]),(\d+)", line)):
            raise Mistake(f"{name}, line {number}: {line[:60]!r} is not NAME,SEX,COUNT; data.toml means another file")
        rows.append((fields[2], fields[1], int(fields[3])))
    return rows
