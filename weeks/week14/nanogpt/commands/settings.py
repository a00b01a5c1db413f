"""Options made from a settings class. Each may be left out, and what was given is told from what was not: so a run
that goes on takes the rest from where it is stored, and nothing that was given is ever ignored."""

from dataclasses import field, fields, make_dataclass, replace
from functools import cache
from typing import Annotated

from tyro.conf import arg

from ..vendor.shared.errors import Mistake


@cache
def options_of(settings, *bases, defaults=None, without=()):
    """A dataclass with an option for each field of `settings` that has a help text; None stands for "not given"."""
    made = []
    for f in fields(settings):
        if "help" in f.metadata and f.name not in without:
            hint, kind = f"(default: {getattr(defaults, f.name, f.default)})", {str: "NAME", int: "INT", float: "FLOAT"}
            shown = arg(help=f.metadata["help"], help_behavior_hint=hint, metavar=kind[f.type])
            made.append((f.name, Annotated[f.type | None, shown], field(default=None)))
    return make_dataclass(settings.__name__, made, bases=bases)


def given(options, settings):
    """{name: value} of the options of `settings` that were given."""
    names = [f.name for f in fields(settings) if "help" in f.metadata]
    return {name: value for name in names if (value := getattr(options, name, None)) is not None}


def settle(chosen, stored, where, *, free=(), typed=None):
    """The settings to go on with: the stored ones. What was given must equal them, but for the names in `free`.

    `typed(name, value)` is how a setting is given on the command line, where that is not an option of its own name.
    """
    typed = typed or (lambda name, value: f"{option(name)} {value}")
    changed = {name: value for name, value in chosen.items() if getattr(stored, name) != value and name not in free}
    if changed:
        said = " and ".join(f"{typed(name, getattr(stored, name))}, not {value}" for name, value in changed.items())
        raise Mistake(f"{where} has {said}; leave the option out to go on as before, or start anew in another folder")
    return replace(stored, **{name: value for name, value in chosen.items() if name in free})


def option(name):
    return f"--{name.replace('_', '-')}"
