"""Text messages, spam or not, from a CSV file: number, 1 for spam, text.

Where a message has an odd number of quotation marks, whoever made the file read on to the next one, so a few rows hold
many messages, each but the first with its label before it. They are taken apart again.
"""

import csv
import io
import re

from shared.errors import Mistake

from ..rows import broken, named, task


def recipe(files):
    name, text = named(files, "sms-spam.csv")
    try:
        header, *table = csv.reader(io.StringIO(text, newline=""), strict=True)
    except (csv.Error, ValueError) as error:  # ValueError: not even a header
        raise Mistake(f"{name} is not a whole CSV file ({error}), so it is not what data.toml means") from None
    if header != ["", "spam", "text"]:
        raise Mistake(f"{name} has the columns {header}, not '', 'spam' and 'text', so it is not used")
    rows = []
    for number, fields in enumerate(table, 1):
        if len(fields) != 3 or fields[1] not in ("0", "1"):
            raise broken(name, number, ",".join(fields), "NUMBER,0 or 1,TEXT", unit="row")
        parts = re.split(r"\n(ham|spam)\t", fields[2])
        rows += zip(parts[::2], [("ham", "spam")[int(fields[1])], *parts[1::2]])
    return task("sms-spam", "Is this text message spam? Answer with one of: ham, spam.", ("ham", "spam"), rows)
