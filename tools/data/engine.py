"""Make the data sets of tools/data.toml: fetch, check, clean, split, and put them into data/ whole or not at all.

    python tools/data list                      every set: size, licence, state
    python tools/data make shakespeare bible    make these sets (what `make data/shakespeare` runs)
    python tools/data verify                    hash every file of every set that was made

A set is built in a hidden folder beside its place and renamed into it at the end, so what is there is complete.
Its ORIGIN.json says where it came from, under which licence, and what every file hashes to.
CHASE_DATA=DIR names a folder of sets that are already made: DIR/shakespeare/train.txt and so on. What is found there is
copied and checked; the network is then left alone, for whoever sets it either has none or does not want it used.
"""

import argparse
import errno
import hashlib
import json
import os
import secrets
import shutil
import sys
import tomllib
from contextlib import contextmanager
from pathlib import Path

from shared.errors import Mistake
from shared.files import atomic_write
from shared.text import END

from . import recipes, sources

ROOT = Path(__file__).resolve().parents[2]
CATALOGUE = ROOT / "tools/data.toml"
ORIGIN = "ORIGIN.json"


def load_catalogue(path=CATALOGUE):
    """{name: entry of data.toml}."""
    return tomllib.loads(Path(path).read_text(encoding="utf-8"))


def pins(item):
    """{file name: sha256, or None where the bytes depend on the machine}."""
    return item["output"] if isinstance(item["output"], dict) else dict.fromkeys(item["output"])


# ---- what is there -------------------------------------------------------------------------------------------------


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def read_origin(folder):
    """What ORIGIN.json says, or None where there is none that can be read."""
    try:
        origin = json.loads((folder / ORIGIN).read_text(encoding="utf-8"))
        return origin if isinstance(origin["files"], dict) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def inspect(item, folder, thorough=False):
    """(state, why) of a set: made, not made, changed (by hand), outdated (data.toml moved on), unknown (who made it?).

    A file is hashed only if its size is right and it is younger than ORIGIN.json, which is written last; `thorough`
    hashes all of them.
    """
    if not folder.is_dir() or not any(folder.iterdir()):
        return "not made", f"{folder} is not there"
    origin = read_origin(folder)
    if origin is None:
        return "unknown", f"{folder} holds files but no {ORIGIN}, so it was not made here"
    written = (folder / ORIGIN).stat().st_mtime_ns
    for name, known in origin["files"].items():
        path = folder / name
        if not path.is_file():
            return "changed", f"{path} is missing"
        doubtful = thorough or path.stat().st_mtime_ns > written
        if path.stat().st_size != known["bytes"] or (doubtful and sha256(path) != known["sha256"]):
            return "changed", f"{path} is not the file that was made"
    wanted, made = pins(item), {name: known["sha256"] for name, known in origin["files"].items()}
    if set(wanted) != set(made) or any(pin not in (None, made[name]) for name, pin in wanted.items()):
        return "outdated", f"tools/data.toml asks for other files than {folder} holds"
    if origin.get("edition", 1) != item.get("edition", 1):
        return "outdated", f"the recipe is newer than {folder}"
    return "made", f"{folder} is already made"


# ---- making one set ------------------------------------------------------------------------------------------------


def make(name, item, root):
    """Make root/name unless it is there already; Mistake, and nothing left behind, where that cannot be done."""
    folder = root / name
    state, why = inspect(item, folder)
    if state == "unknown" and hashes_match(item, folder):
        atomic_write(folder / ORIGIN, describe(item, folder, "found in place"))
        state, why = "made", f"{folder} was there, has the right hashes, and is taken as it is"
    if state == "made":
        os.utime(folder / ORIGIN)  # younger than data.toml again, so that make does not ask a second time
        print(why)
        return
    if state in ("changed", "unknown"):
        raise Mistake(f"{why}; nothing was touched: move {folder} away, then run: make data/{name}")
    try:
        with workspace(root, name) as work:
            built = work / name
            built.mkdir()
            source = copy_given(name, item, built) or build(name, item, built, work)
            check_output(name, item, built)
            atomic_write(built / ORIGIN, describe(item, built, source))
            summary = f"made {folder}: {totals(read_origin(built))}, from {source}"
            place(built, folder, item, work)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"nothing of {name} was kept; run it again with: make data/{name}") from None
    except OSError as error:
        raise Mistake(os_reason(error, root)) from None
    print(summary)


@contextmanager
def workspace(root, name):
    """A hidden folder of our own beside the place of the set: same disk, so the last step is a rename."""
    root.mkdir(parents=True, exist_ok=True)
    work = root / f".{name}.{os.getpid()}-{secrets.token_hex(4)}.part"
    work.mkdir()
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def copy_given(name, item, built):
    """Copy the set from CHASE_DATA where it is there; returns the source in words, or None."""
    if not (given := os.environ.get("CHASE_DATA")):
        return None
    if not Path(given).is_dir():
        raise Mistake(f"CHASE_DATA={given} is not a folder; set it to one that holds {name}/, or unset it")
    folder = Path(given) / name
    if not folder.is_dir():
        return None
    for file in pins(item):
        if not (folder / file).is_file():
            raise Mistake(f"CHASE_DATA: {folder} has no {file}; complete it, or unset CHASE_DATA")
        shutil.copyfile(folder / file, built / file)
    return "CHASE_DATA"


def build(name, item, built, work):
    """Fetch from the first source that answers, run the recipe, write its files; returns the source in words."""
    files, source = fetch_first(name, item, work)
    for file, content in recipes.cook(item["recipe"], files).items():
        atomic_write(built / file, content)
    return source


def fetch_first(name, item, work):
    """({path: bytes}, source in words) of the first source that works; Mistake with all reasons if none does."""
    reasons = []
    for number, source in enumerate(item["sources"]):
        folder = work / f"source{number}"
        folder.mkdir()
        try:
            return sources.fetch(source, folder), sources.described(source)
        except Mistake as error:
            reasons.append(str(error))
            if number + 1 < len(item["sources"]):
                print(f"{error}; trying {sources.described(item['sources'][number + 1])}", file=sys.stderr)
    raise Mistake(
        f"{name} could not be made: {'; '.join(reasons)}; connect to a network and run it again, "
        f"or set CHASE_DATA=DIR to a folder that holds {name}/{{{','.join(pins(item))}}}"
    )


def check_output(name, item, built):
    """Mistake unless the files are those that data.toml names, not empty, with the hashes that it pins."""
    wanted, there = pins(item), {path.name for path in built.iterdir()}
    if set(wanted) != there:
        raise Mistake(f"{name}: the files are {sorted(there)}, tools/data.toml says {sorted(wanted)}; correct `output`")
    if empty := [file for file in wanted if not (built / file).stat().st_size]:
        raise Mistake(f"{name}: {', '.join(empty)} came out empty, so nothing was kept; look at its recipe")
    actual = {file: sha256(built / file) for file in wanted}
    if wrong := [file for file, pin in wanted.items() if pin not in (None, actual[file])]:
        hashes = ", ".join(f"{file} has the sha256 {actual[file]}" for file in wrong)
        raise Mistake(f"{name}: {hashes}, which is not what tools/data.toml pins, so nothing was kept")


def hashes_match(item, folder):
    """Whether every file of the set is in `folder`, with the hash that data.toml pins."""
    return all(pin and (folder / file).is_file() and sha256(folder / file) == pin for file, pin in pins(item).items())


def describe(item, folder, source):
    """The text of ORIGIN.json: where the files came from, what one may do with them, what they are."""
    files = {}
    for file in pins(item):
        content = (folder / file).read_bytes()
        files[file] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        if file.endswith(".txt"):
            text = content.decode()
            documents = text.split("\n").count(END)
            files[file] |= {"characters": len(text), "documents": documents}
    known = {key: item[key] for key in ("about", "origin", "licence", "recipe")}
    record = {**known, "edition": item.get("edition", 1), "source": source, "files": files}
    return json.dumps(record, indent=2, ensure_ascii=False) + "\n"


def totals(origin):
    """A set's size in words."""
    files = origin["files"].values()
    size = f"{sum(file['bytes'] for file in files) / 1e6:.2f} MB"
    documents = sum(file.get("documents", 0) for file in files)
    return f"{documents} documents, {size}" if documents else size


def place(built, folder, item, work):
    """Rename `built` to `folder`. Of two processes that make the same set the later one drops its own copy."""
    for attempt in range(10):
        try:
            os.rename(built, folder)
            return
        except OSError:
            if not folder.is_dir():
                raise
        if inspect(item, folder)[0] == "made":
            return
        try:  # an outdated one: out of the way, into the folder that is deleted at the end
            os.rename(folder, work / f"old{attempt}")
        except FileNotFoundError:
            pass
    raise Mistake(f"{folder} changes all the time; is another program at work there?")


def os_reason(error, root):
    """An OSError as a sentence that says what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space left for {root}; free some and run it again (nothing half-made was kept)"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{error.filename or root} cannot be written ({error.strerror}); make it writable, or use --root DIR"
    return f"{error}; nothing half-made was kept"


# ---- the command ---------------------------------------------------------------------------------------------------


def table(catalogue, root):
    """The lines of `list`."""
    rows = [("set", "size", "state", "licence", "what it is")]
    for name, item in catalogue.items():
        state, _ = inspect(item, root / name)
        origin = read_origin(root / name)
        size = totals(origin).split(", ")[-1] if origin else f"{item['megabytes']:.2f} MB"
        rows.append((name, size, state, item["licence"], item["about"]))
    widths = [max(len(row[k]) for row in rows) for k in range(4)]
    return ["  ".join([*(cell.ljust(w) for cell, w in zip(row, widths)), row[4]]) for row in rows]


def verify(catalogue, names, root):
    """Hash every file of the sets that are there, or of those that were named; Mistake if one is not as it was made."""
    wrong = []
    for name in names or catalogue:
        state, why = inspect(catalogue[name], root / name, thorough=True)
        if state == "made" or (state == "not made" and not names):
            print(f"{name}: {'every hash is right' if state == 'made' else state}")
        else:
            wrong.append(why)
    if wrong:
        raise Mistake(f"{'; '.join(wrong)}; move it away, then run: make data/NAME")


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="tools/data", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("list", "make", "verify"))
    parser.add_argument("sets", nargs="*", metavar="SET", help="names from tools/data.toml")
    parser.add_argument("--root", type=Path, default=ROOT / "data", help="folder of the sets (default: %(default)s)")
    args = parser.parse_args(argv)
    catalogue = load_catalogue()
    if unknown := [name for name in args.sets if name not in catalogue]:
        parser.error(f"no data set is called {', '.join(unknown)}; there are: {', '.join(catalogue)}")
    if args.action == "list":
        print("\n".join(table(catalogue, args.root)))
    elif args.action == "verify":
        verify(catalogue, args.sets, args.root)
    elif not args.sets:
        parser.error(f"make needs the name of a data set; there are: {', '.join(catalogue)}")
    else:
        for name in args.sets:
            make(name, catalogue[name], args.root)
