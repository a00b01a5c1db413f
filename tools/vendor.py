"""Copy the pieces that a week takes from another week, and notice when a copy no longer equals its source.

    python tools/vendor.py sync       write every copy that vendor.toml files ask for
    python tools/vendor.py check      say what drifted; status 1 if anything did

A package's vendor.toml names sets: `bpe = ["fast"]` is the file fast.py of the package bpe, `shared = [...]` files of
tools/shared; "methods/*" is every file in a folder, those to come included. A copy lies in vendor/<set>/ under the path
that it has at home, so its place tells where it is from. Its first line names its source, and the sha256 of what stands
below. The one thing in it that may differ from the source is the beginning of a relative import: what the source
vendored itself (`from .vendor.shared.errors import Mistake`) is taken from the sets of the package that it now lies in
(`from ..shared.errors import Mistake`), so that a process has one Mistake and not one for each week.
"""

import argparse
import ast
import hashlib
import re
import sys
import tomllib
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from shared.errors import Mistake, entry
from shared.files import atomic_write

ROOT = Path(__file__).resolve().parent.parent
HEADER = re.compile(rb"# vendored from (\S+), sha256 ([0-9a-f]{64}); edit there, then run: make vendor\n")
OWN = re.compile(rb"^(\s*from \.+)vendor(?:\.|(?= import))", re.MULTILINE)  # what a source vendored itself
FIX = "run: make vendor"


class Piece(NamedTuple):
    source: Path
    copy: Path
    origin: str  # the source's path in the repository, as the copy's first line has it


def copied(piece):
    """The bytes that the copy should have."""
    body = OWN.sub(rb"\1.", piece.source.read_bytes())
    digest = hashlib.sha256(body).hexdigest()
    return f"# vendored from {piece.origin}, sha256 {digest}; edit there, then run: make vendor\n".encode() + body


def homes(root):
    """{name of a set: folder of its sources}: tools/shared, and every package of every week."""
    found = {p.parent.name: p.parent for p in sorted(root.glob("weeks/*/*/__init__.py")) if p.parent.name != "tests"}
    return {"shared": root / "tools/shared", **found}


def files_of(home, name):
    """The files that `name` asks for, relative to `home`, or a sentence that says why there are none."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        return f"{name!r} leads out of {home.name}; name a file in it, without .py"
    if "vendor" in path.parts:
        return f"{name!r} is itself a copy; take it from the package that it was copied from"
    if name in ("__init__", "*"):
        return f"{name!r} would take {home.name}/__init__.py, which names all of the package; name the files you need"
    found = sorted(f.relative_to(home) for f in home.glob(f"{name}.py") if f.is_file())
    return found or f"{name!r} is no file of {home.name}; correct the name (without .py), or remove it"


def read_pieces(root):
    """All usable pieces of all vendor.toml files, and a sentence for every entry that cannot be used."""
    pieces, found, known = {}, [], homes(root)
    for toml in sorted(root.glob("weeks/*/*/vendor.toml")):
        label, package = toml.relative_to(root), toml.parent
        try:
            table = tomllib.loads(toml.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            found.append(f"{label} is not valid TOML ({error}); mend it")
            continue
        for set_name, names in table.items():
            home = known.get(set_name)
            if home is None or home == package:
                found.append(f"{label}: there is no package {set_name!r} to take from; there are {', '.join(known)}")
                continue
            if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
                found.append(f"{label}: {set_name} is {names!r}; give a list of file names, without .py")
                continue
            for name in names:
                files = files_of(home, name)
                if isinstance(files, str):
                    found.append(f"{label}, {set_name}: {files}")
                    continue
                for file in files:
                    copy = package / "vendor" / set_name / file
                    pieces[copy] = Piece(home / file, copy, (home / file).relative_to(root).as_posix())
    return list(pieces.values()), found


def lacking(piece, root):
    """Sentences about relative imports of a copy that lead to no file."""
    top = next(parent for parent in piece.copy.parents if parent.name == "vendor")
    for node in ast.walk(ast.parse(copied(piece))):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = piece.copy.parents[node.level - 1]
        if node.module:
            targets = [base.joinpath(*node.module.split("."))]
        else:
            targets = [base / alias.name for alias in node.names]
        for target in targets:
            if not target.with_suffix(".py").is_file() and not (target / "__init__.py").is_file():
                name = target.relative_to(top).as_posix() if top in target.parents else target.relative_to(root)
                yield (
                    f"{piece.copy.relative_to(root)} imports {name}, which is not there; "
                    f"name it in {(top.parent / 'vendor.toml').relative_to(root)}, then {FIX}"
                )


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
    if not piece.copy.is_file():
        return f"{name} is missing, but vendor.toml asks for it; {FIX}"
    copy = piece.copy.read_bytes()
    if copy == copied(piece):
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
        return f"{name} is a copy of {origin}, but it should be one of {piece.origin}; {FIX}"
    return f"{name} is behind its source: {origin} has changed since it was copied; {FIX}"


def problems(root):
    """Every way in which copies and vendor.toml files disagree, a sentence each."""
    pieces, found = read_pieces(root)
    found += [sentence for piece in pieces if (sentence := drift(piece, root))]
    copies = {piece.copy for piece in pieces}
    found += [sentence for piece in pieces if piece.copy.is_file() for sentence in lacking(piece, root)]
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
        wanted = copied(piece)
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
