"""Checkpoints that every process writes its own share of, and that another number of processes can load.

    DIR/step-00000010/shard-00001-model-00001-of-00001.safetensors   one a process: its part of each tensor
    DIR/step-00000010/checkpoint.json   step, settings, sha256 of each shard; written last

torch.distributed.checkpoint decides who writes and reads which part. By default it writes pickles (`.metadata`, and
each tensor by torch.save), and a pickle can run code when it is opened. So its safetensors storage is used
(HuggingFaceStorageWriter with save_distributed=True): a shard's header says where in the whole tensor its part lies,
and the reader rebuilds the plan from the headers. That storage takes tensors only, so everything else is JSON.
(While saving, torch sends the plan between the processes of this one run as pickles. None of it reaches a file.)

All processes must see the same DIR. A checkpoint is whole or absent: shards go to a `.part` folder, which is renamed
only when every shard is on the disk. Without checkpoint.json a lost shard would go unnoticed: the reader takes whatever
shards there are, and leaves the rest of a tensor as it was.
"""

import hashlib
import json
import os
import re
import shutil
import warnings
from pathlib import Path

import torch

from ..parallel import Team, bare, named
from ..vendor.shared.errors import Mistake
from ..vendor.shared.files import atomic_write

FORMAT = 1
NAME = re.compile(r"step-(\d{8})")
MANIFEST = "checkpoint.json"
SHOWN = 5  # of a long list of tensors that do not fit


def checkpoints(folder) -> list[Path]:
    """The whole checkpoints in `folder`, the newest last."""
    found = Path(folder).glob("step-*")
    return sorted(path for path in found if NAME.fullmatch(path.name) and (path / MANIFEST).is_file())


def latest(folder) -> Path | None:
    """The newest whole checkpoint, or None."""
    return next(iter(reversed(checkpoints(folder))), None)


def storage():
    """torch.distributed.checkpoint, imported here, for its import sets a warning filter; a Mistake in an old torch."""
    import torch.distributed.checkpoint as dcp

    if not hasattr(dcp, "HuggingFaceStorageWriter"):
        raise Mistake(
            f"torch {torch.__version__} cannot write checkpoints in shards without pickles; install torch 2.13"
        )
    return dcp


# --- what is kept -----------------------------------------------------------------------------------------------------


def tensors(module, optimizer) -> dict[str, torch.Tensor]:
    """{"model.wte.weight": ..., "optimizer.wte.weight.exp_avg": ...}: what this process holds, without copying it."""
    parameters = named(module)
    kept = {f"model.{name}": p.detach() for name, p in parameters.items()}
    kept |= {f"model.{name}": buffer for name, buffer in bare(module).named_buffers()}
    for name, p in parameters.items():
        for key, value in optimizer.state.get(p, {}).items():
            if isinstance(value, torch.Tensor):
                kept[f"optimizer.{name}.{key}"] = value
    return kept


def numbers(module, optimizer) -> dict[str, dict]:
    """{"wte.weight": {"step": 10}}: what an optimizer remembers of a parameter besides tensors."""
    kept = {}
    for name, p in named(module).items():
        for key, value in optimizer.state.get(p, {}).items():
            if isinstance(value, torch.Tensor):
                continue
            assert isinstance(value, bool | int | float), f"the state {key} of {name} is neither tensor nor number"
            kept.setdefault(name, {})[key] = value
    return kept


# --- save -------------------------------------------------------------------------------------------------------------


def save(folder, module, optimizer, step: int, team: Team, settings: dict) -> Path:
    """Write the checkpoint of `step` optimizer steps; every process must call it. Returns where it lies.

    `settings` (JSON) is what a resumed run must agree on. A Mistake where that step's checkpoint is there already.
    """
    folder = Path(folder)
    final, part = folder / f"step-{step:08d}", folder / f".step-{step:08d}.part"
    with team.together():
        if team.leads:
            if final.exists():
                raise Mistake(f"{final} is there already and is not overwritten; move it away, or write elsewhere")
            shutil.rmtree(part, ignore_errors=True)  # of a run that was killed while it saved
            part.mkdir(parents=True)
    dcp = storage()
    writer = dcp.HuggingFaceStorageWriter(str(part), save_distributed=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # one process: that is meant
        dcp.save(tensors(module, optimizer), storage_writer=writer, no_dist=team.size == 1)
    mine = {path.name: digest(path) for path in part.glob(f"shard-{team.rank + 1:05d}-*.safetensors")}
    files = {name: sha for shards in team.gather(mine) for name, sha in shards.items()}
    with team.together():
        if team.leads:
            about = {"format": FORMAT, "step": step, "processes": team.size, "settings": settings}
            about |= {"numbers": numbers(module, optimizer), "files": files}
            atomic_write(part / MANIFEST, json.dumps(about, indent=1) + "\n")
            os.replace(part, final)
    return final


def digest(path) -> str:
    """sha256 of a file, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- load -------------------------------------------------------------------------------------------------------------


def read_manifest(path) -> dict:
    """checkpoint.json of the checkpoint `path`, or a Mistake."""
    path = Path(path)
    if not (path / MANIFEST).is_file():
        raise Mistake(f"{path} holds no {MANIFEST}, so it is no whole checkpoint; give a folder named step-...")
    try:
        about = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        known = about["format"] == FORMAT
        kinds = {"step": int, "settings": dict, "files": dict, "numbers": dict}
        if not all(isinstance(about[key], kind) for key, kind in kinds.items()):
            raise TypeError("a value of another kind")
    except (ValueError, KeyError, TypeError):
        raise Mistake(f"{path / MANIFEST} is damaged; {_instead(path)}") from None
    if not known:
        raise Mistake(
            f"{path} has format {about['format']!r}, and this version reads format {FORMAT}; "
            f"take the version that wrote it"
        )
    return about


def _instead(path) -> str:
    """What to do where the checkpoint `path` cannot be used."""
    older = [other for other in checkpoints(path.parent) if other.name < path.name]
    if older:
        return f"to go on from {older[-1].name}, move {path.name} out of {path.parent}"
    return f"there is no older one in {path.parent}, so begin again in another folder"


def verify(path, about: dict, team: Team):
    """Every shard is there and is what was written; the processes share the reading."""
    with team.together():
        for name in sorted(about["files"])[team.rank :: team.size]:
            if not (path / name).is_file():
                raise Mistake(f"{path / name} is missing, so the checkpoint is not whole; {_instead(path)}")
            if digest(path / name) != about["files"][name]:
                raise Mistake(f"{path / name} is damaged: its bytes are not those that were saved; {_instead(path)}")
        strangers = {file.name for file in path.glob("*.safetensors")} - set(about["files"])
        if strangers:
            raise Mistake(f"{path / min(strangers)} does not belong to the checkpoint; move it elsewhere")


def load(path, module, optimizer, team: Team, settings: dict) -> int:
    """Fill the weights and the optimizer's state from a checkpoint, whatever number of processes wrote it, by whatever
    way; returns its step. Every process must call it. Nothing is changed where a Mistake is raised.

    Another model, another setting, a damaged shard: a Mistake that names it.
    """
    path = Path(path)
    with team.together():
        about = read_manifest(path)
        differ = [name for name, value in settings.items() if about["settings"].get(name) != value]
        if differ:
            name = differ[0]
            raise Mistake(
                f"{path} was saved with {name} = {about['settings'].get(name)!r}, and this run has {name} = "
                f"{settings[name]!r}; give the same, or begin again in another folder"
            )
    verify(path, about, team)
    dcp = storage()
    reader = dcp.HuggingFaceStorageReader(str(path))
    stored = reader.read_metadata().state_dict_metadata
    here = {name: t for name, t in tensors(module, optimizer).items() if name.startswith("model.")}
    with team.together():
        complain(path, {name: tuple(entry.size) for name, entry in stored.items()}, here)
    state = fresh_state(module, stored)
    targets = here | {f"optimizer.{name}.{key}": t for name, row in state.items() for key, t in row.items()}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        dcp.load(targets, storage_reader=reader, no_dist=team.size == 1)
    for name, p in named(module).items():
        optimizer.state[p] = {**about["numbers"].get(name, {}), **state.get(name, {})}
    return about["step"]


def complain(path, stored: dict, here: dict):
    """A Mistake that lists every tensor of the model that is lacking, is too many, or has another shape."""
    lines = [
        f"{name.removeprefix('model.')} has the shape {tuple(t.shape)} here, {stored[name]} there"
        if name in stored
        else f"{name.removeprefix('model.')} is lacking there"
        for name, t in here.items()
        if stored.get(name) != tuple(t.shape)
    ]
    extra = [name for name in stored if name.startswith("model.") and name not in here]
    lines += [f"{name.removeprefix('model.')} is not in this model" for name in extra]
    if lines:
        more = f"; and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
        raise Mistake(
            f"{path} is of another model: {'; '.join(lines[:SHOWN])}{more}. "
            f"Give the sizes that it was trained with, or begin again in another folder"
        )


def fresh_state(module, stored) -> dict[str, dict[str, torch.Tensor]]:
    """Empty tensors for the optimizer's state that is stored: shared as the parameter where it has its shape."""
    state, parameters = {}, named(module)
    for full, entry in stored.items():
        if not full.startswith("optimizer."):
            continue
        name, _, key = full.removeprefix("optimizer.").rpartition(".")
        p, size, dtype = parameters[name], tuple(entry.size), entry.properties.dtype
        alike = size == tuple(p.shape)
        empty = torch.zeros_like(p.detach(), dtype=dtype) if alike else torch.zeros(size, dtype=dtype)
        state.setdefault(name, {})[key] = empty
    return state
