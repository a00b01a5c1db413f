"""A checkpoint is a folder that is whole or absent, and that says when it is damaged.

    FOLDER/step-00000100/state.safetensors   all tensors
    FOLDER/step-00000100/checkpoint.json     everything else, with the sha256 of the tensors and of itself

It is written beside its place, flushed to the disk, and renamed: whoever dies in between leaves a `.part`, which
nobody reads. Removing goes the other way round: first it gets a name that nobody reads, then it goes.
"""

import hashlib
import json
import re
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes

from ..vendor.shared.errors import Mistake
from .disk import Disk
from .state import pack, unpack

FORMAT = 1
NAME = re.compile(r"step-(\d{8})")
LEFT = re.compile(r"\.step-\d{8}\.(part|gone)")  # of a process that died while it wrote or removed
TENSORS, MANIFEST = "state.safetensors", "checkpoint.json"


class Damaged(Mistake):
    """A checkpoint whose bytes are not those that were saved."""


def place(folder, step: int) -> Path:
    return Path(folder) / f"step-{step:08d}"


def checkpoints(folder) -> list[tuple[int, Path]]:
    """(step, path) of the checkpoints in `folder`, damaged ones too, the newest last."""
    found = [path for path in Path(folder).glob("step-*") if NAME.fullmatch(path.name) and path.is_dir()]
    return sorted((int(path.name[5:]), path) for path in found)


def write(folder, step: int, state: dict, *, run: str, settings: dict, disk: Disk) -> Path:
    """Write the checkpoint of `step` steps and return where it lies. `state` is nested, as state.pack takes it.

    run: a name of the run, so that it never removes another's. settings (JSON): what a resumed run must agree on.
    An OSError leaves what was there as it was.
    """
    final = place(folder, step)
    part = final.with_name(f".{final.name}.part")
    if part.exists():
        disk.remove(part)
    tensors, tree = pack(state)
    body = to_bytes(tensors)
    about = {"format": FORMAT, "step": step, "run": run, "settings": settings, "tree": tree}
    about["tensors"] = hashlib.sha256(body).hexdigest()
    disk.make(part)
    for name, content in ((TENSORS, body), (MANIFEST, _signed(about))):
        disk.write(part / name, content)
        disk.flush(part / name)
    disk.settle(part)
    disk.rename(part, final)
    disk.settle(folder)
    return final


def _signed(about: dict) -> bytes:
    """The manifest: what it says on one line, and below it the sha256 of that line."""
    line = json.dumps(about, allow_nan=False).encode()
    return line + b"\n" + hashlib.sha256(line).hexdigest().encode() + b"\n"


def manifest(path) -> dict:
    """What a checkpoint says of itself; Damaged where it cannot be believed."""
    try:
        line, digest = (Path(path) / MANIFEST).read_bytes().split(b"\n")[:2]
    except (FileNotFoundError, NotADirectoryError):
        raise Damaged(f"{path} holds no {MANIFEST}") from None
    except ValueError:
        raise Damaged(f"{path}/{MANIFEST} is cut off") from None
    if hashlib.sha256(line).hexdigest().encode() != digest:
        raise Damaged(f"{path}/{MANIFEST} is not what was written: its checksum differs")
    about = json.loads(line)
    if about["format"] != FORMAT:
        raise Mistake(
            f"{path} has format {about['format']!r}, and this version reads format {FORMAT}; "
            "take the version that wrote it"
        )
    return about


def read(path) -> tuple[dict, dict]:
    """(manifest, state) of a checkpoint; Damaged where any byte is not what was written."""
    about = manifest(path)
    try:
        body = (Path(path) / TENSORS).read_bytes()
    except FileNotFoundError:
        raise Damaged(f"{path} holds no {TENSORS}") from None
    if hashlib.sha256(body).hexdigest() != about["tensors"]:
        raise Damaged(f"{path}/{TENSORS} is not what was written: its checksum differs")
    try:
        return about, unpack(from_bytes(body), about["tree"])
    except (SafetensorError, KeyError) as error:  # the checksums are right, so this was never a checkpoint of ours
        raise Damaged(f"{path} cannot be read ({error})") from None


def remove(path, disk: Disk):
    """Remove a checkpoint, so that no half of it is ever taken for a whole one."""
    gone = path.with_name(f".{path.name}.gone")
    if gone.exists():
        disk.remove(gone)
    disk.rename(path, gone)
    disk.settle(path.parent)
    disk.remove(gone)


def tidy(folder, disk: Disk):
    """Remove what processes that died left half written or half removed."""
    for path in sorted(Path(folder).glob(".step-*")):
        if LEFT.fullmatch(path.name):
            disk.remove(path)
