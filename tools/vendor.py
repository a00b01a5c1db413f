"""Copy the pieces that a week takes from another week, and notice when a copy no longer equals its source.

    python tools/vendor.py sync       write every copy that vendor.toml files ask for
    python tools/vendor.py check      say what drifted; status 1 if anything did

A package lists its pieces in `<package>/vendor.toml` (`from` relative to the repository, `to` relative to the week).
The copy's first line names its source and the source's sha256. That hash is what tells the two kinds of drift apart:
the source moved on, or somebody edited the copy.
"""

import argparse
import hashlib
import re
import sys
import tomllib
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from shared.run import Mistake, atomic_write, entry

ROOT = Path(__file__).resolve().parent.parent
HEADER = re.compile(rb"# vendored from (\S+), sha256 ([0-9a-f]{64}); edit there, then run: make vendor\n")
FIX = "run: make vendor"


class Piece(NamedTuple):
    source: Path
    copy: Path
    origin: str  # the source as vendor.toml names it, and as the copy's first line will


def header(origin, content):
    return (
        f"# vendored from {origin}, sha256 {hashlib.sha256(content).hexdigest()}; edit there, then run: make vendor\n"
    ).encode()


def inside(name):
    """Is `name` a plain relative path, with no way out of the folder that it starts from?"""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name


def misfit(row, package, root):
    """Why one [[piece]] entry cannot be used, or None."""
    if set(row) != {"from", "to"} or not all(isinstance(value, str) for value in row.values()):
        return f"has {sorted(row)}; a piece has exactly the two strings `from` and `to`"
    origin, to = row["from"], row["to"]
    if not (inside(origin) and (root / origin).is_file()):
        return f"from = {origin!r} is not a file of this repository; correct the path"
    if "vendor" in PurePosixPath(origin).parts:
        return f"from = {origin!r} is itself a copy; name the file that it was copied from"
    if not (inside(to) and PurePosixPath(to).parts[:2] == (package, "vendor") and to.endswith(".py")):
        return f"to = {to!r} must be a .py file under {package}/vendor/"
    if to == f"{package}/vendor/__init__.py":
        return f"to = {to!r}: the __init__.py of a vendor folder stays empty; choose another name"
    return None


def read_pieces(root):
    """All usable pieces of all vendor.toml files, and a sentence for every entry that cannot be used."""
    pieces, found, taken = [], [], {}
    for toml in sorted(root.glob("weeks/*/*/vendor.toml")):
        label = toml.relative_to(root)
        try:
            table = tomllib.loads(toml.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            found.append(f"{label} is not valid TOML ({error}); mend it")
            continue
        for key in sorted(set(table) - {"piece"}):
            found.append(f"{label} has {key!r}, but only [[piece]] entries belong there; remove it")
        for number, row in enumerate(table.get("piece", []), 1):
            if why := misfit(row, toml.parent.name, root):
                found.append(f"{label}, piece {number}: {why}")
                continue
            piece = Piece(root / row["from"], toml.parent.parent / row["to"], row["from"])
            if piece.copy in taken:
                found.append(
                    f"{label}, piece {number}: {row['to']} is asked for twice, from {taken[piece.copy]} and from "
                    f"{piece.origin}; give one of them another name"
                )
                continue
            taken[piece.copy] = piece.origin
            pieces.append(piece)
    return pieces, found


def vendor_folders(root, pieces):
    """Every folder of copies, subfolders included: each needs an __init__.py and holds nothing else but copies."""
    tops = {folder for folder in root.glob("weeks/*/*/vendor") if folder.is_dir()}
    tops |= {parent for p in pieces for parent in p.copy.parents if parent.name == "vendor"}
    below = {folder for top in tops if top.is_dir() for folder in top.rglob("*") if folder.is_dir()}
    wanted = {p.copy.parent for p in pieces}
    return sorted(folder for folder in tops | below | wanted if "__pycache__" not in folder.parts)


def drift(piece, root):
    """One sentence if the copy is not what it should be, else None."""
    name = piece.copy.relative_to(root)
    content = piece.source.read_bytes()
    if not piece.copy.is_file():
        return f"{name} is missing, but vendor.toml asks for it; {FIX}"
    copy = piece.copy.read_bytes()
    if copy == header(piece.origin, content) + content:
        return None
    first = HEADER.match(copy)
    if not first:
        return f"{name} does not begin with the line that says where it was vendored from; {FIX}"
    origin, digest, body = first[1].decode(), first[2].decode(), copy[first.end() :]
    if hashlib.sha256(body).hexdigest() != digest:
        return (
            f"{name} was edited, but it is a copy of {origin}; make the change there, then {FIX} "
            "(which overwrites the edit here)"
        )
    if origin != piece.origin:
        return f"{name} is a copy of {origin}, but vendor.toml now names {piece.origin}; {FIX}"
    return f"{name} is behind its source: {origin} has changed since it was copied; {FIX}"


def problems(root):
    """Every way in which copies and vendor.toml files disagree, a sentence each."""
    pieces, found = read_pieces(root)
    found += [sentence for piece in pieces if (sentence := drift(piece, root))]
    copies = {piece.copy for piece in pieces}
    for folder in vendor_folders(root, pieces):
        if not folder.is_dir():  # then its copies are missing, and that was said above
            continue
        if not (folder / "__init__.py").is_file():
            found.append(f"{(folder / '__init__.py').relative_to(root)} is missing; {FIX}")
        for file in sorted(folder.iterdir()):
            if file.is_file() and file.name != "__init__.py" and file not in copies:
                found.append(f"{file.relative_to(root)} is not named in vendor.toml; name it there or delete it")
    return found


def sync(root):
    """Write what is missing or differs, and return the paths written. Files that nobody asked for are left alone."""
    written = []
    pieces, _ = read_pieces(root)
    for piece in pieces:
        content = piece.source.read_bytes()
        wanted = header(piece.origin, content) + content
        if not piece.copy.is_file() or piece.copy.read_bytes() != wanted:
            atomic_write(piece.copy, wanted)
            written.append(piece.copy)
    for folder in vendor_folders(root, pieces):
        if not (folder / "__init__.py").is_file():
            atomic_write(folder / "__init__.py", "")
            written.append(folder / "__init__.py")
    return written


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="tools/vendor.py"
    )
    parser.add_argument("action", choices=("sync", "check"))
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (default: this one)")
    args = parser.parse_args(argv)
    root = args.root.resolve()
    if args.action == "sync":
        written = sync(root)
        for path in written:
            print(f"wrote {path.relative_to(root)}")
        print(f"{len(read_pieces(root)[0])} copies, {len(written)} files written")
    found = problems(root)
    for sentence in found:
        print(sentence, file=sys.stderr)
    if found:
        raise Mistake(f"{len(found)} of the vendored files are not as they should be (see above)")
    if args.action == "check":
        print(f"{len(read_pieces(root)[0])} copies equal their sources")


if __name__ == "__main__":
    sys.exit(entry(main))
