"""A law in a file: what was fitted, to which runs, before anything larger was trained.

Written once, by whoever fits; read by whoever asks for advice. A law in a file cannot follow a later measurement.
"""

import json
import math
from pathlib import Path
from typing import NamedTuple

from .law import Law
from .vendor.shared.errors import Mistake
from .vendor.shared.files import atomic_write, need
from .vendor.shared.results import to_json


class Frozen(NamedTuple):
    """A law, the laws of resampled runs, and what they speak of."""

    law: Law
    laws: list
    vocab_size: int
    flops: float  # the largest compute that it was fitted on
    runs: int  # how many it was fitted to


def write(path, frozen):
    """One JSON file, whole or not at all."""
    about = {"vocab_size": frozen.vocab_size, "flops": frozen.flops, "runs": frozen.runs}
    laws = [list(each) for each in frozen.laws]
    atomic_write(path, to_json({**about, "law": frozen.law._asdict(), "laws": laws}) + "\n")


def read(path, command="python weeks/week10/train.py"):
    """The Frozen law of a file; a Mistake names a file that is missing or that holds no law, and the `command` that
    writes it."""
    path = need(Path(path), command)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        law, laws = Law(**found["law"]), [Law(*each) for each in found["laws"]]
        frozen = Frozen(law, laws, int(found["vocab_size"]), float(found["flops"]), int(found["runs"]))
        if not laws or not all(math.isfinite(x) for each in (law, *laws) for x in each):
            raise ValueError("a number of a law is not finite, or there are no resampled laws")
        if not all(0 < x < math.inf for x in frozen[2:]):
            raise ValueError("vocab_size, flops and runs must be above 0")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Mistake(f"{path} is no file of a law ({error}); run {command}, which writes one") from None
    return frozen
