"""A verdict of the audit stands as long as all that it depends on: a digest says whether anything has changed.

course.json keeps an entry for each room: the digest of what judged it, and what was found. `audit --recorded` judges
anew each room whose digest is another, and of a room whose entry stands only a sample, for which the digest is the
seed: who changes anything also gets another sample. Without that option all is judged.

Left out: the machine, and the versions that are installed there (constraints.txt counts, which names them); committed
results and shipped models, which some tests read. `make test` tries the reference with all of these, beside the sample.
"""

import hashlib
import json
import random
import tomllib

from course import exercises as ex

RECORD = "tools/results/course.json"
SAMPLE = 6  # wrong answers of a room whose entry stands
# What judges every room, beside pytest's options: how answers are made and judged, with all that this imports from
# tools/ (a test follows the imports), and the versions of the libraries.
JUDGES = (
    *("conftest.py", "constraints.txt", "pytest.ini", "tools/shared/errors.py"),
    *(f"tools/course/{name}.py" for name in ("answers", "exercises", "grader", "records", "verdicts")),
)
# In a room's folder: what nothing is judged by.
PAGES = {".md", ".ipynb"}
MADE = {"results", "figures", "build", "__pycache__"}


def files_of(room, root=ex.ROOT):
    """The files of a room that a verdict depends on: not pages, notebooks, results, figures, or what is compiled."""
    week = root / "weeks" / room

    def counts(path):
        parts = path.relative_to(week).parts
        made = any(part in MADE or part.startswith(".") or part.endswith(".egg-info") for part in parts)
        return path.is_file() and path.suffix not in PAGES and not made

    return [path for path in week.rglob("*") if counts(path)]


def text_of(files):
    """What Python files say, one after the other."""
    return "\n".join(path.read_text(encoding="utf-8") for path in files if path.suffix == ".py")


def earlier_rooms(room, root=ex.ROOT):
    """Other rooms that the room's tests name: they compare with the package there."""
    text = text_of((root / "weeks" / room / "tests").glob("*.py"))
    return [other for other in ex.rooms(root) if other != room and f'"{other}"' in text]


def data_of(files, root=ex.ROOT):
    """The tables of tools/data.toml, with each file's sha256, that these files speak of."""
    path = root / "tools/data.toml"
    tables = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    text = text_of(files)
    return {name: table for name, table in tables.items() if name in text}


def options_of_pytest(root=ex.ROOT):
    """The table of pyproject.toml that steers pytest."""
    path = root / "pyproject.toml"
    tables = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return tables.get("tool", {}).get("pytest", {})


def digest(room, root=ex.ROOT):
    """sha256, in hex, of everything that a verdict on the room depends on: names and contents."""
    files = [path for one in [room, *earlier_rooms(room, root)] for path in files_of(one, root)]
    found = {path.relative_to(root).as_posix(): path.read_bytes() for path in files}
    found |= {name: (root / name).read_bytes() for name in JUDGES if (root / name).exists()}
    tables = {"data": data_of(files, root), "pytest": options_of_pytest(root)}
    found |= {name: json.dumps(table, sort_keys=True).encode() for name, table in tables.items()}
    whole = hashlib.sha256()
    for name, content in sorted(found.items()):
        whole.update(f"{name}\n{hashlib.sha256(content).hexdigest()}\n".encode())
    return whole.hexdigest()


def standing(root=ex.ROOT):
    """{room: its entry in course.json} where the digest is still the room's; what cannot be read does not stand."""
    try:
        entries = json.loads((root / RECORD).read_text(encoding="utf-8"))["metrics"]["rooms"]
    except (OSError, ValueError, KeyError):
        return {}
    return {room: entries[room] for room in ex.rooms(root) if entries.get(room, {}).get("digest") == digest(room, root)}


def sample(found, seed):
    """Up to SAMPLE of the wrong answers among `found`, the same for the same seed, in their order."""
    wrong = [answer for answer in found if answer.kind == "wrong"]
    chosen = set(random.Random(seed).sample(range(len(wrong)), min(SAMPLE, len(wrong))))
    return [answer for number, answer in enumerate(wrong) if number in chosen]
