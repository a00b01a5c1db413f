"""Small classification tasks as rows of prompt and response, for learning task after task.

`task` gives train.jsonl and test.jsonl, an object a line: {"prompt": instruction, blank line, text, "response":
one of the labels that the instruction lists}. Up to 1,000 and 400 rows, shuffled by hash, and dealt out so that the
first 100 or 200 are as even over the labels as the data allow. A text is in one of the two files and in it once,
whatever its case, punctuation and white space, and test has no near copy of a training text. A text that a source's
file gives two labels is left out.
"""

import html
import json
from collections import Counter
from pathlib import PurePosixPath

from shared.errors import Mistake
from shared.text import END

from .text import decode, fraction, squeezed, tidy

TRAIN, TEST = 1000, 400  # rows at most
SHARE = 0.2  # of the texts go to test where the source has no split of its own
NEAR = 0.8  # of the words in common: spam is sent again with another number, and would be its own answer


def task(name, instruction, labels, rows, test=None):
    """{train.jsonl, test.jsonl} from (text, label) rows; without `test`, the hash of a text decides where it goes."""
    train = distinct(rows)
    if test is None:
        test = {key: row for key, row in train.items() if fraction(f"{name} split", key) < SHARE}
    else:
        test = distinct(test)
    train = {key: row for key, row in train.items() if key not in test}
    train_keys = evenly(train, name)[:TRAIN]
    test = without_near(test, train_keys)
    files = {}
    for file, part, keys in (("train.jsonl", train, train_keys), ("test.jsonl", test, evenly(test, name)[:TEST])):
        found = {label for _, label in part.values()}
        if found != set(labels):
            raise Mistake(
                f"{name}: the labels of {file} are {', '.join(sorted(found)) or 'none'}, not {', '.join(labels)}, "
                "so the source is cut short or not the one that data.toml means"
            )
        objects = [{"prompt": f"{instruction}\n\n{part[key][0]}", "response": part[key][1]} for key in keys]
        files[file] = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in objects)
    return files


def json_lines(text):
    """(number, line, value) of each line that is not blank; the value of a line that is no JSON is None."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield number, line, json.loads(line)
            except ValueError:
                yield number, line, None


def distinct(rows):
    """{key: (text, label)}: each text once, cleaned; none without a letter, with two labels or a lost character.

    Nor one that holds what ends a document. The key has no case, punctuation or white space: `OK...` and `ok` are one.
    """
    kept, seen = {}, {}
    for text, label in rows:
        text = clean(text)
        if (key := squeezed(text)) and "\ufffd" not in text and END not in text:
            kept.setdefault(key, (text, label))
            seen.setdefault(key, set()).add(label)
    return {key: row for key, row in kept.items() if len(seen[key]) == 1}


# Characters that a Windows program wrote and that were then read as Latin-1: quotation marks, dashes, "(TM)".
WINDOWS = {code: bytes([code]).decode("cp1252", errors="ignore") for code in range(0x80, 0xA0)}


def clean(text):
    """One line of text: HTML entities and Windows punctuation as the characters they mean, single blanks."""
    return " ".join(tidy(html.unescape(text).translate(WINDOWS)).split())


def without_near(part, others):
    """Those of {key: row} that share less than NEAR of their words (both texts together) with each of `others`."""
    others = [set(key.split()) for key in others]

    def near(key):
        words = set(key.split())
        shared = ((len(words & other), len(other)) for other in others)
        return any(common >= NEAR * (len(words) + size - common) for common, size in shared)

    return {key: row for key, row in part.items() if not near(key)}


def evenly(part, seed):
    """The keys of {key: (text, label)} in an order fixed by hash: label after label, in rounds.

    In round k the k-th row of each label comes, in mixed order; a label that has none left drops out. So in the first n
    rows no label is behind another by more than one, unless all of its rows are among them.
    """
    taken, dealt = Counter(), []
    for u, key in sorted((fraction(f"{seed} order", key), key) for key in part):
        label = part[key][1]
        dealt.append((taken[label], u, key))
        taken[label] += 1
    return [key for _, _, key in sorted(dealt)]


def named(files, name):
    """(name, text) of the file of that name, in whatever folder the source has it."""
    for path, content in files.items():
        if PurePosixPath(path).name == name:
            return name, decode(name, content)
    raise Mistake(f"the source holds no {name} but {', '.join(files)}; correct its `members` in data.toml")


def broken(name, number, line, expected, unit="line"):
    """The Mistake for a row that cannot be read."""
    return Mistake(f"{name}, {unit} {number}: {line[:60]!r} is not {expected}, so the file is not the one of data.toml")
