"""Python source: a document is a module. Tests, tables and what an interpreter may lack are left out."""

from pathlib import PurePosixPath

from shared.errors import Mistake
from shared.text import END

from ..documents import split
from ..text import decode, fraction, tidy

SKIPPED = set(
    "test tests idlelib lib2to3 turtledemo tkinter encodings pydoc_data distutils ensurepip msilib __phello__".split()
)
LARGEST_MODULE, LARGEST_CODE = 100_000, 6_000_000  # characters: no table fills the set, and every Python gives as much


def recipe(files):
    modules = []
    for name, content in files.items():
        path = PurePosixPath(name)
        if SKIPPED & set(path.parts) or path.name.startswith("_sysconfigdata") or len(content) > LARGEST_MODULE:
            continue
        try:
            text = tidy(decode(name, content), blank=2)
        except Mistake:  # another encoding, declared in its first lines: a handful of modules
            continue
        if END not in text:
            modules.append((name, text))
    modules.sort(key=lambda module: fraction("order", module[0]))
    kept, total = [], 0
    for name, text in modules:
        if total + len(text) <= LARGEST_CODE:
            kept.append((name, text))
            total += len(text)
    return split(kept, seed="code")
