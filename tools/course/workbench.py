"""The learner's folder, projects/<room>: made from the reference, brought up to date, never overwritten unasked.

Beside the package lie two hidden things: `.starter/`, the starter as it was last made (the common ancestor when the
repository changes), and `.progress.json`, with the days that passed and the hints that were shown. Copies of what
`reset`, or a merge, replaced lie in `.kept/`.
"""

import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from shared.errors import Mistake
from shared.files import atomic_write

from course import exercises as ex

SCRIPTS = ("train.py",)  # so that a finished package can be trained: python projects/week05/train.py


class Bench(NamedTuple):
    """One room of the course and the learner's folder for it."""

    room: str
    root: Path = ex.ROOT

    @property
    def reference(self):
        return self.root / "weeks" / self.room

    @property
    def mine(self):
        return self.root / "projects" / self.room

    @property
    def begun(self):
        return (self.mine / ex.package_of(self.room, self.root)).is_dir()

    def exercises(self, day=None):
        """Those of the room, or of one day; Mistake where exercises.toml is not sound."""
        return [e for e in ex.load(self.room, self.root) if day in (None, e["day"])]

    def shown(self, path):
        """A path as it is typed at the root of the repository."""
        return Path(path).relative_to(self.root).as_posix()


# --- the starter ------------------------------------------------------------------------------------------------------


def starter(bench, first_day):
    """{file below the room: bytes} of a starter in which the days before `first_day` are solved."""

    def source_of(file):
        return (bench.reference / file).read_text(encoding="utf-8")

    package = bench.reference / ex.package_of(bench.room, bench.root)
    files = {p.relative_to(bench.reference).as_posix(): p.read_bytes() for p in sorted(package.rglob("*"))
             if p.is_file() and "__pycache__" not in p.parts}  # fmt: skip
    files |= {name: (bench.reference / name).read_bytes() for name in SCRIPTS if (bench.reference / name).is_file()}
    texts = ex.solved(bench.exercises(), first_day - 1, source_of)
    return files | {file: text.encode() for file, text in texts.items()}


def begin(bench, first_day):
    """Write the learner's folder. Returns the number of exercises that are left to do."""
    files = starter(bench, first_day)
    for file, content in files.items():
        atomic_write(bench.mine / ".starter" / file, content)
        if not (bench.mine / file).exists():
            atomic_write(bench.mine / file, content)
    state = read_state(bench)
    write_state(bench, state | {"first_day": first_day})
    return sum(e["day"] >= first_day for e in bench.exercises())


def update(bench):
    """Bring a learner's folder up to a changed reference. Returns sentences about what was done.

    A three-way merge: what the learner did not touch follows the reference, what they wrote stays. Where both changed
    the same lines, the learner's file stays as it is and the new starter lies beside it.
    """
    said, base = [], bench.mine / ".starter"
    for file, new in starter(bench, read_state(bench).get("first_day", 1)).items():
        mine, old = bench.mine / file, base / file
        before = old.read_bytes() if old.exists() else None
        if before == new and mine.exists():
            continue
        if not mine.exists() or mine.read_bytes() == before:
            atomic_write(mine, new)
            said.append(f"{bench.shown(mine)} was brought up to date")
        elif mine.read_bytes() != new:
            said.append(merged(bench, file, new, before))
        atomic_write(old, new)
    return said


def merged(bench, file, new, before):
    """Merge one file that both changed; returns a sentence."""
    mine, other = bench.mine / file, bench.mine / f"{file}.new"
    if before is not None:
        before, own = docstrings_followed(bench, file, before, mine.read_bytes(), new)
        with tempfile.TemporaryDirectory() as folder:
            names = [Path(folder) / name for name in ("mine", "ancestor", "theirs")]
            for name, content in zip(names, (own, before, new)):
                name.write_bytes(content)
            done = subprocess.run(["git", "merge-file", "-p", "-q", *map(str, names)], capture_output=True)
        if done.returncode == 0:
            keep(bench, file)
            atomic_write(mine, done.stdout)
            return f"{bench.shown(mine)} was brought up to date; what you wrote stayed"
    atomic_write(other, new)
    return (f"{bench.shown(mine)} stayed as you have it, but its starter has changed in lines that you changed too; "
            f"compare it with {bench.shown(other)}")  # fmt: skip


def docstrings_followed(bench, file, before, mine, new):
    """(before, mine) with the docstrings of `new` where the learner left them as they were.

    A docstring and the body below it are neighbours: git calls it a conflict when the repository changes the one and
    the learner has written the other.
    """
    try:
        texts = [content.decode() for content in (before, mine, new)]
        for exercise in (e for e in bench.exercises() if e["file"] == file):
            old, own, now = (ex.docstring(text, exercise["function"]) for text in texts)
            if old and now and own == old != now:
                texts[:2] = (ex.docstring(text, exercise["function"], now) for text in texts[:2])
    except (SyntaxError, UnicodeDecodeError):  # half a line of the learner's
        return before, mine
    return texts[0].encode(), texts[1].encode()


# --- single functions -------------------------------------------------------------------------------------------------


def source_of(bench, file):
    """What the learner has in a file; Mistake where it is missing or no Python."""
    path = bench.mine / file
    if not path.is_file():
        raise Mistake(f"{bench.shown(path)} does not exist; make start WEEK={number_of(bench)} brings it back")
    source = path.read_text(encoding="utf-8")
    try:
        compile(source, str(path), "exec")
    except SyntaxError as error:
        raise Mistake(f"{bench.shown(path)}, line {error.lineno}: {error.msg}; mend this line first") from None
    return source


def number_of(bench):
    return f"{ex.weeks_of_room(bench.room)[0]:02d}"


def todo(bench, exercise):
    """Is the exercise still as the starter has it, or gone?"""
    path = bench.mine / exercise["file"]
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return ex.stub(exercise["day"], exercise["function"]) in text


def put(bench, chosen, text_of):
    """Exchange the functions of some exercises in the learner's files; Mistake where a file has no such function."""
    new = {}
    for exercise in chosen:
        file, function = exercise["file"], exercise["function"]
        source = new.get(file) or source_of(bench, file)
        if ex.span(source, function) is None:
            raise Mistake(f"{bench.shown(bench.mine / file)} has no {function}; write its `def` line again, "
                          f"or copy it from {bench.shown(bench.mine / '.starter' / file)}")  # fmt: skip
        new[file] = ex.exchanged(source, function, text_of(exercise))
    for file, source in new.items():
        keep(bench, file)
        atomic_write(bench.mine / file, source)


def reference_piece(bench, exercise):
    source = (bench.reference / exercise["file"]).read_text(encoding="utf-8")
    return ex.piece(source, exercise["function"])


def starter_piece(bench, exercise):
    source = (bench.reference / exercise["file"]).read_text(encoding="utf-8")
    return ex.piece(ex.left_out(source, exercise["function"], exercise["day"]), exercise["function"])


def keep(bench, file):
    """Copy a file of the learner's before it changes; returns the copy's path."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    copy = bench.mine / ".kept" / stamp / file
    copy.parent.mkdir(parents=True, exist_ok=True)
    if not copy.exists():
        shutil.copy2(bench.mine / file, copy)
    return copy


# --- what is remembered -----------------------------------------------------------------------------------------------


def read_state(bench):
    """{"first_day": 1, "passed": {"3": "2026-11-25"}, "hints": {"Value.exp": 1}}; empty where there is none."""
    path = bench.mine / ".progress.json"
    empty = {"passed": {}, "hints": {}, "failing": {}}
    try:
        return empty | json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return empty
    except ValueError:  # half a file: all in it can be found again by checking
        path.replace(path.with_suffix(".broken.json"))
        return empty


def write_state(bench, state):
    atomic_write(bench.mine / ".progress.json", json.dumps(state, indent=1) + "\n")
