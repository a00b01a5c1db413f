"""Does notes/glossary.md have a line for each public name of the packages, with a link to a page that explains it?

    python tools/glossary.py check                       say what is missing; status 1 if anything
    python tools/glossary.py check --out tools/results   also write glossary.json, which the pages quote

A public name is what a package offers at its front door, read without importing anything:

    bpe                  a name in `__all__` of a package's __init__.py
    continual.METHODS    a key of a table (an upper-case dict) in an __init__.py: methods, commands, formats
    gpt/                 a file of the package; eight of the eleven packages are used file by file

The glossary has a heading for each of these places, and below it a table whose first column holds the names.
Words that are no names stand below "Words". Each table is sorted, so that a reader finds a line.
Whether the links hold is asked by docs.py, as of every page.
Left out: names inside a file. The file's line says what it is for, and its docstrings say the rest.
"""

import argparse
import ast
import re
import sys
from pathlib import Path

from shared.errors import Mistake, entry
from shared.results import Stopwatch, folder_to_fill, write_results

ROOT = Path(__file__).resolve().parent.parent
PAGE = "notes/glossary.md"
WORDS = "Words"
ROW = re.compile(r"^\| (?P<name>[^|]+?) \| (?P<meaning>[^|]*?) \| (?P<page>.*) \|$")
LINK = re.compile(r"\]\([^)\s]+\)")


# --- the names in the code --------------------------------------------------------------------------------------------


def packages(root):
    """The folder of each week's package: weeks/week09/bpe."""
    return sorted(init.parent for init in root.glob("weeks/week*/*/__init__.py") if init.parent.name != "tests")


def assigned(init):
    """(name, node of its value) for each plain assignment at the top of a file."""
    for line in ast.parse(init.read_text(encoding="utf-8")).body:
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
            yield line.targets[0].id, line.value


def is_text(node):
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def public_names(root):
    """{(place, name)} of everything that the packages offer, as the module's docstring describes it."""
    found = set()
    for package in packages(root):
        for file in sorted(package.rglob("*.py")):
            inside = file.relative_to(package)
            if "vendor" in inside.parts or "__pycache__" in inside.parts:
                continue
            if file.name != "__init__.py":
                if not file.name.startswith("_"):
                    found.add((f"{package.name}/", inside.as_posix()))
                continue
            place = ".".join((package.name, *inside.parts[:-1]))
            for name, value in assigned(file):
                if name == "__all__":
                    found |= {(place, item) for item in ast.literal_eval(value)}
                elif name.isupper() and isinstance(value, ast.Dict) and all(is_text(key) for key in value.keys):
                    found |= {(f"{place.removesuffix('.' + name.lower())}.{name}", key.value) for key in value.keys}
    return found


# --- the page ---------------------------------------------------------------------------------------------------------


def lines_of(text):
    """(line number, place, name, meaning, page) for each row of a table. The place is the last heading's text."""
    place, rows = None, []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("#"):
            place = line.lstrip("#").strip().strip("`")
        elif (row := ROW.match(line)) and not line.startswith(("|---", "| word |", "| name |")):
            rows.append((number, place, row["name"].strip("`"), row["meaning"], row["page"]))
    return rows


def problems(root):
    """A sentence for each name without a line, line without a name, meaning or link, and table out of order."""
    names, rows = public_names(root), lines_of((root / PAGE).read_text(encoding="utf-8"))
    written = {(place, name) for _, place, name, _, _ in rows}
    for place, name in sorted(names - written):
        yield f"{PAGE}: {name!r} of {place} has no line; add one below the heading {place}"
    before = {}
    for number, place, name, meaning, where in rows:
        at = f"{PAGE}:{number}: {name!r}"
        if place != WORDS and (place, name) not in names:
            yield f"{at} is not a public name of {place}; correct the name or remove the line"
        if name.lower() <= before.get(place, ""):
            yield f"{at} stands after {before[place]!r}; sort the table (a name has one line)"
        before[place] = name.lower()
        if not meaning.strip():
            yield f"{at} has no meaning; write one plain line"
        if not LINK.search(where):
            yield f"{at} has no link; name the page that explains it"


def coverage(root):
    """{metric: value}: how many of the public names have a line that says what they are."""
    names = public_names(root)
    rows = lines_of((root / PAGE).read_text(encoding="utf-8"))
    with_line = {(place, name) for _, place, name, meaning, _ in rows if meaning.strip()} & names
    words = sum(place == WORDS for _, place, *_ in rows)
    covered = len(with_line) / len(names) if names else 0.0
    return {"glossary_names": len(names), "glossary_words": words, "glossary_coverage": covered}


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="tools/glossary.py"
    )
    parser.add_argument("action", choices=("check",))
    parser.add_argument("--out", type=folder_to_fill, help="folder for glossary.json (default: none is written)")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (default: this one)")
    args = parser.parse_args(argv)
    watch, root = Stopwatch(), args.root.resolve()
    found = list(problems(root))
    for sentence in found:
        print(sentence, file=sys.stderr)
    if found:
        raise Mistake(f"{len(found)} places in {PAGE} do not hold (see above)")
    metrics = coverage(root)
    if args.out:
        command = "python tools/glossary.py check --out tools/results"
        write_results(args.out / "glossary.json", command=command, preset="full", seed=0, seconds=watch.seconds,
                      metrics=metrics, threads=1)  # fmt: skip
    print(f"{metrics['glossary_names']} public names and {metrics['glossary_words']} words: each has its line and page")


if __name__ == "__main__":
    sys.exit(entry(main))
