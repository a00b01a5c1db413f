"""What the small projects share: where a week's package comes from, and where a user's files go."""

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / "runs"  # git ignores it: all that a project writes by itself lies below it


def mine(argv=None):
    """Was the learner's own code asked for?"""
    return "--mine" in (sys.argv[1:] if argv is None else argv)


def week(name, argv=None, root=ROOT):
    """The folder to import a week's package from: weeks/<name>, or with --mine projects/<name>, the learner's own.

    It is asked for before a package is imported, so the script's arguments are looked at here already.
    """
    if not mine(argv):
        return str(root / "weeks" / name)
    folder = root / "projects" / name
    if not any(folder.glob("*/__init__.py")):
        number = name.removeprefix("week").split("-")[0]
        sys.exit(
            f"error: --mine takes your own code, but {folder} holds no package; run: make start WEEK={number}, "
            "or leave out --mine"
        )
    return str(folder)


def run(entry, main, argv=None):
    """The exit status of main(argv); a piece of the learner's that is still to be written is a sentence."""
    try:
        return entry(main, argv)
    except NotImplementedError as todo:
        if not mine(argv):
            raise
        print(f"error: a piece of your code is still to be written: {todo}; or leave out --mine", file=sys.stderr)
        return 1


def add_mine(parser):
    parser.add_argument("--mine", action="store_true", help="use your own code in projects/week*/, not the reference")


def whole(text, least=1):
    """An option's number, `least` or more."""
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of {least} or more")
    return int(text)


def free_path(path):
    """`path` if nothing is there, else the same name with -2, -3, ...: no file of a user's is overwritten."""
    number, free = 1, Path(path)
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


def save_figure(figure, path):
    """Write a matplotlib figure as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None}, bbox_inches="tight")
