"""The forms in which models are published: a file in this folder, and a row in FORMATS.

A row is a module (its name, so that it is loaded when it is asked) or an object, with
    ABOUT                         what it looks like on a disk, in a few words
    probe(path) -> bool           whether a path looks like one
    read(path) -> Published       a Mistake says what is wrong
    files(path) -> [path]         the files that hold its weights
    settings(path) -> bytes       only where something besides config and tokenizer says how the weights are used
    write(path, published)        all or nothing; or, in its place, a sentence why it cannot be written
"""

import importlib

from ..vendor.shared.errors import Mistake

# Asked in this order: as for transformers, a folder with adapter_config.json is an adapter, whatever else is in it.
FORMATS = {"peft": "peft", "huggingface": "hf_folder", "gguf": "gguf"}


def row(name):
    """The row of that name, its module loaded."""
    if name not in FORMATS:
        raise Mistake(f"there is no format {name!r}; choose one of: {', '.join(FORMATS)}")
    entry = FORMATS[name]
    return importlib.import_module(f".{entry}", __package__) if isinstance(entry, str) else entry


def row_of(path):
    """The first row whose model `path` looks like, or None."""
    return next((entry for entry in map(row, FORMATS) if entry.probe(path)), None)


def read(path):
    """The Published model at `path`, whatever its format."""
    if entry := row_of(path):
        return entry.read(path)
    known = "; ".join(["its own: a folder with checkpoint.json", *(f"{name}: {row(name).ABOUT}" for name in FORMATS)])
    raise Mistake(
        f"{path} {'is' if path.exists() else 'does not exist, and would be'} none of the models that are "
        f"read here ({known}); check the path"
    )


def write(name, path, published):
    """Write a Published model in the format `name`."""
    entry = row(name)
    if isinstance(entry.write, str):
        raise Mistake(f"{name} cannot be written: {entry.write}")
    entry.write(path, published)
