"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

from tyro.conf import arg

MODEL = "checkpoints/week14-default/replay"  # what `make week14` leaves behind
Name = Annotated[str, arg(metavar="NAME")]
Folder = Annotated[Path, arg(metavar="DIR")]
Model = Annotated[
    str,
    arg(metavar="MODEL", help="smollm2-135m, a folder, or a .gguf file; the default is what `make week14` trained."),
]
Precision = Annotated[
    str, arg(metavar="{auto,float32,bfloat16}", help="auto is bfloat16 where this processor is faster with it.")
]
