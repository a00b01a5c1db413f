"""From what a source holds to the files of a data set: a recipe is a file here, and data.toml names it.

Its function `recipe` takes {path in the source: bytes} and returns {file name: text or bytes}. It is deterministic: the
same input gives the same bytes on every machine and every Python, so the sha256 of the result can stand in data.toml.
"""

from importlib import import_module
from pathlib import Path

from shared.errors import Mistake


def known():
    """The names of all recipes."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem != "__init__")


def cook(name, files):
    """{file name: text or bytes} by the recipe of that name; a Mistake where the files are not what it reads."""
    if name not in known():
        raise Mistake(f"there is no recipe {name!r}; give `recipe` in tools/data.toml one of {', '.join(known())}")
    try:
        return import_module(f".{name}", __name__).recipe(files)
    except (Mistake, OSError):
        raise
    except Exception as error:  # whatever a parser raises at a file that is not the one meant
        raise Mistake(
            f"the recipe {name} cannot read {', '.join(files) or 'nothing'} ({type(error).__name__}: {error}), "
            "so the source is not the one that data.toml means"
        ) from error
