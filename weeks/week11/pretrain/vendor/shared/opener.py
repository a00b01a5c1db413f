# vendored from tools/shared/opener.py, sha256 841ac68f26737c401557372bed6644be3f445b09c6c3e458a628d8ff9985b8b1; edit there, then run: make vendor
"""What opens a model of another package: a function found by a name that is typed, such as nanogpt.sources:open_model.

So a week can work with a model that a later week opens, and imports nothing of it.
"""

import importlib

from .errors import Mistake

OURS = {"nanogpt": "-e weeks/week14"}  # the package of this repository: pip would fetch another one of that name


def optional(module, package):
    """A module that the core does not need; a Mistake says what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise Mistake(f"{module} cannot be imported ({error}); run: pip install {package}") from None


def named(opener):
    """The function that "package.module:function" names."""
    package, colon, function = opener.partition(":")
    if not colon:
        raise Mistake(f"--open {opener!r} names no way to open a model; give package:function")
    name = package.split(".")[0]
    found = getattr(optional(package, OURS.get(name, name)), function, None)
    if found is None:
        raise Mistake(f"{package} has no {function}; check the name after the colon of --open {opener}")
    return found
