"""Options that several commands share, and how each kind of value is read: a wrong one is told before work begins."""

import math
import os
import re
import sys
from pathlib import Path
from types import NoneType
from typing import Annotated, Literal, get_args, get_origin

from tyro.conf import arg
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec

from ..vendor.shared.errors import Mistake
from ..vendor.shared.files import LOCK

MODEL = "checkpoints/week14-default/replay"  # what `make week14` leaves behind
REGISTRY = ConstructorRegistry()
BROKEN = re.compile("[\0\ud800-\udfff]")  # bytes that were no UTF-8 arrive as half of a surrogate pair
MOST = 10**6  # of what is made one by one: more would be a typing mistake


def value(read, metavar):
    """How tyro reads one word: by `read(word)`, whose ValueError says what is wrong and what to give."""
    return PrimitiveConstructorSpec(1, metavar, lambda words: read(words[0]), lambda _: True, lambda v: [str(v)])


def number(kind, wanted, *ranges):
    """Reads a number, int or float, that lies in one of `ranges` (least, most); `wanted` says so in words."""

    def read(word):
        try:
            given = kind(word)
        except ValueError:
            given = math.nan
        if not any(least <= given <= most for least, most in ranges):  # nan lies nowhere
            raise ValueError(f"{word[:40]!r} cannot be used; give {wanted}")
        return given

    return value(read, "INT" if kind is int else "FLOAT")


def words(kind, metavar):
    """Reads a path or a name: anything but nothing."""

    def read(word):
        if not word.strip():
            raise ValueError(f"{word!r} names nothing; give the {metavar}")
        return Path(os.path.expanduser(word)) if kind is Path else kind(word)  # a shell leaves --out=~/mine as it is

    return value(read, metavar)


def choice(*names):
    """Reads one of `names`."""

    def read(word):
        if word not in names:
            raise ValueError(f"{word[:40]!r} is not known; choose {', '.join(names[:-1])} or {names[-1]}")
        return word

    return value(read, f"{{{','.join(names)}}}")


def new_folder(folder):
    """Mistake unless a new folder can be made at `folder`: told before minutes of work, and nothing is overwritten."""
    if folder.exists() and not (folder.is_dir() and {path.name for path in folder.iterdir()} <= {LOCK}):
        raise Mistake(f"{folder} exists and is not an empty folder; give another one, for nothing is overwritten")
    may_write(folder)


def may_write(folder):
    """Mistake unless files can be made in `folder`, which may be still to be made."""
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise Mistake(f"{folder} cannot be written: {nearest} is no folder that you may write to; give another one")


KINDS = {
    int: number(int, "a whole number", (-(2**63), 2**63 - 1)),
    float: number(float, "a number that is not infinite", (-sys.float_info.max, sys.float_info.max)),
    Path: words(Path, "PATH"),
}


@REGISTRY.primitive_rule
def plain(info):
    """What no option says otherwise: numbers, paths, choices, and the same where None stands for "not given"."""
    if get_origin(info.type) is Literal:
        return choice(*get_args(info.type))
    if info.type == tuple[Path, ...]:
        read = KINDS[Path].instance_from_str
        several = lambda words: tuple(read([word]) for word in words)
        return PrimitiveConstructorSpec("*", "PATH", several, lambda _: True, lambda paths: [*map(str, paths)])
    kinds = set(get_args(info.type)) - {NoneType} if NoneType in get_args(info.type) else {info.type}
    return KINDS.get(kinds.pop()) if len(kinds) == 1 else None


AT_LEAST_1 = number(int, f"a whole number from 1 to {MOST:,}", (1, MOST))
SEED = number(int, f"a whole number from 0 to {2**63 - 1}", (0, 2**63 - 1))

Name = Annotated[str, arg(metavar="NAME")]
Folder = Annotated[Path, words(Path, "DIR")]
Model = Annotated[
    str,
    words(str, "MODEL"),
    arg(help="story, smollm2-135m, a folder, or a .gguf file; the default is what `make week14` trained."),
]
Device = Annotated[str, words(str, "NAME"), arg(help="auto, cpu, cuda or mps.")]
Precision = Annotated[
    Literal["auto", "float32", "bfloat16"],
    arg(metavar="NAME", help="float32, bfloat16, or auto: the faster; what was trained here answers in float32."),
]
Threads = Annotated[int | None, arg(help="CPU threads; by default all that this process may use.")]
Count = Annotated[int, AT_LEAST_1]
Seed = Annotated[int, SEED]
AnySeed = Annotated[int | None, SEED, arg(help="By default another one each time.")]
Temperature = Annotated[
    float | None,
    number(float, "0, or a number from 1e-06 to 1e+06", (0, 0), (1e-6, 1e6)),
    arg(help="0 always takes the likeliest token; by default as the model says, else 0.8, or 0.7 in a chat."),
]
TopK = Annotated[int | None, AT_LEAST_1, arg(help="Draw from so many of the likeliest tokens.")]
TopP = Annotated[
    float | None,
    number(float, "a number above 0 and at most 1", (math.ulp(0.0), 1)),
    arg(help="Draw from the likeliest tokens of so much probability; by default as the model says, or 0.95 in a chat."),
]
