"""A model on disk: safetensors for tensors, JSON for all else, committed by one rename.

    folder/checkpoint.json             the commit: format, settings, and each file's size and sha256
    folder/model-3f2a….safetensors     weights (a tied head is stored once); or, for a model that another one is
    folder/adapter-….safetensors         the base of, what LoRA learned: checkpoint.json then names the base
    folder/training-….safetensors      optimizer, RNG and the like; only where training may go on
    folder/tokenizer-….json, .vocab    the vocabulary, and its twin for human eyes (an adapter uses its base's)
    folder/state-….safetensors         what the method remembers, such as rows kept for replay
    folder/previous.json               the commit before the last task was learned: `undo` goes back to it

A save writes every new file under a name made of its own hash, then replaces checkpoint.json. A crash, a full disk
or Ctrl-C before that last step leaves the previous checkpoint whole. Afterwards files are swept that an index of ours
named and none names any more, and no others; a save that fails takes back the files that it wrote.
"""

import hashlib
import json
import os
import re
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes

from .model import GPTConfig, blank, build
from .upgrades import FORMAT, upgrade_index, upgrade_tensors
from .vendor.bpe.fast import Tokenizer
from .vendor.shared.errors import Mistake
from .vendor.shared.files import atomic_write

INDEX, PREVIOUS, UNDONE = "checkpoint.json", "previous.json", "undone.json"
OURS = re.compile(r"[a-z]+-[0-9a-f]{16}\.(safetensors|json|vocab)")
PART = re.compile(rf"\.({OURS.pattern}|(checkpoint|previous|undone)\.json)\.[0-9]+\.part")  # of atomic_write
DRAWN = ("temperature", "top_k", "top_p")  # what a model may say about how it is drawn from


class Missing(Mistake):
    """A file that an index names is not there: another command may have replaced it between two reads."""


def save(folder, model, tokenizer, record, *, chat=None, sample=None, **parts):
    """Write `model`, `tokenizer`, the JSON-able `record` and any named tensor dicts, all or nothing.

    A part already in the folder and not given now is dropped: what a save does not name does not belong to it.
    `chat` holds the chat template and the texts of bos and eos, where the model has them; `sample` how it is drawn
    from, as far as it says so: {"temperature": 0.5, "top_p": 0.9}.
    """
    index = {"model": model.config.to_dict(), "chat": chat, "sample": sample or {}, "record": record}
    with _no_leftovers(folder):
        _commit(folder, index, {"model": weights(model), **parts}, tokenizer)


def save_adapter(folder, base, adapter, tensors, record, **parts):
    """The same for an adapter: `base` says which model it needs, `adapter` how it is shaped, `tensors` are A and B."""
    with _no_leftovers(folder):
        _commit(folder, {"base": base, "adapter": adapter, "record": record}, {"adapter": tensors, **parts})


@contextmanager
def _no_leftovers(folder):
    """Take away what no later save would: parts of files that a killed save left, and, where this one fails, the files
    that it wrote and that no index names."""
    names = lambda pattern: {path.name for path in Path(folder).glob("*") if pattern.fullmatch(path.name)}
    for name in names(PART):
        (Path(folder) / name).unlink(missing_ok=True)
    before = names(OURS)
    try:
        yield
    except BaseException:
        kept = {Path(name).stem for name in _named(Path(folder))}  # a vocabulary's twin has its stem
        for name in names(OURS) - before:
            if Path(name).stem not in kept:
                (Path(folder) / name).unlink(missing_ok=True)
        raise


def _commit(folder, index, parts, tokenizer=None):
    """Write `parts` ({name: tensors}) and the tokenizer, then the index with their names; then sweep."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    if tokenizer is not None:
        name = f"tokenizer-{_sha256(json.dumps(tokenizer.to_dict(), sort_keys=True).encode())[:16]}.json"
        tokenizer.save(folder / name)
        content = (folder / name).read_bytes()
        files["tokenizer"] = {"name": name, "bytes": len(content), "sha256": _sha256(content)}
    for part, tensors in parts.items():
        content = tensors_to_bytes({name: t.detach().cpu().contiguous() for name, t in tensors.items()})
        digest = _sha256(content)
        name = f"{part}-{digest[:16]}.safetensors"
        if not (folder / name).is_file() or _sha256((folder / name).read_bytes()) != digest:
            atomic_write(folder / name, content)
        files[part] = {"name": name, "bytes": len(content), "sha256": digest}
    before = _named(folder)
    current = folder / INDEX
    if _finished(current):
        atomic_write(folder / PREVIOUS, current.read_bytes())  # saves on the way to the next one keep it
    index = {"format": FORMAT, **index, "files": files}
    atomic_write(current, json.dumps(index, indent=2, allow_nan=False) + "\n")
    _sweep(folder, before)


def _sweep(folder, names):
    """Delete those of the files `names` that no index in the folder names, a vocabulary with its twin."""
    for name in names - _named(folder):
        (folder / name).unlink(missing_ok=True)
        if name.startswith("tokenizer-"):
            (folder / name).with_suffix(".vocab").unlink(missing_ok=True)


def _finished(path):
    """Whether the index at `path` is of a whole state, and not of a task on the way. Damage is neither."""
    try:
        return not json.loads(path.read_text(encoding="utf-8"))["record"].get("progress")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def _named(folder):
    """Names of the files that the indexes in `folder` stand for."""
    found = set()
    for index in (INDEX, PREVIOUS):
        try:
            found |= {entry["name"] for entry in json.loads((folder / index).read_text())["files"].values()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            pass  # what cannot be read names nothing, so nothing of it is swept
    return {name for name in found if Path(name).name == name}


def clear(folder):
    """Take a whole commit away: its index first, then the files that it names. What else lies there stays."""
    folder = Path(folder)
    names = _named(folder)
    (folder / INDEX).unlink(missing_ok=True)
    _sweep(folder, names)


def undo(folder):
    """Go back to the commit before; a second time, forward again. Each step is one rename or one atomic write, and what
    was killed between the two renames is finished. A commit that is damaged is a Mistake, and nothing changes."""
    folder = Path(folder)
    read_index(folder)
    if (folder / PREVIOUS).is_file():
        older = read_index(folder, PREVIOUS)
        for part in older["files"]:
            _read_checked(folder, older, part)
        atomic_write(folder / UNDONE, (folder / INDEX).read_bytes())
        os.replace(folder / PREVIOUS, folder / INDEX)
    elif not (folder / UNDONE).is_file():
        raise Mistake(f"{folder} holds nothing older to go back to: use it as it is, or teach it something first")
    os.replace(folder / UNDONE, folder / PREVIOUS)


def steady(folder, read):
    """`read(index)`, again where another command replaced the index meanwhile: a reader never sees a half state."""
    for _ in range(10):
        index = read_index(folder)
        try:
            return read(index)
        except Missing:
            if read_index(folder) == index:
                raise
    raise Mistake(f"{folder} changes all the time; wait until the command that writes there has ended")


def load(folder, device="cpu", index=None):
    """`(model, tokenizer, record)` from a folder that `save` wrote; a Mistake says what is wrong and what to do."""
    index = index or read_index(folder)
    if "base" in index:
        raise Mistake(f"{folder} holds an adapter of {index['base']['model']}, not a whole model")
    try:
        config = GPTConfig.from_dict(index["model"])
    except (ValueError, TypeError) as error:
        raise Mistake(f"{Path(folder) / INDEX}: {error}") from error
    tensors = load_part(folder, "model", index)
    fit(blank(config), tensors, Path(folder) / index["files"]["model"]["name"])
    # A shipped model is stored in half of the bytes, and opened for learning as any other.
    model = build(config, {name: tensor.to(device, torch.float32) for name, tensor in tensors.items()})
    _read_checked(folder, index, "tokenizer")
    try:
        tokenizer = Tokenizer.load(Path(folder) / index["files"]["tokenizer"]["name"])
    except ValueError as error:
        raise Mistake(str(error)) from error
    if tokenizer.vocab_size > config.vocab_size:
        raise Mistake(
            f"{folder}: the tokenizer has {tokenizer.vocab_size} tokens and the model only {config.vocab_size}; "
            "they do not belong together"
        )
    begin = (index.get("chat") or {}).get("begin")
    if begin and begin not in tokenizer.special_tokens:
        raise Mistake(
            f"{Path(folder) / INDEX} is damaged: a text would begin with {begin[:40]!r}, which is no special token of "
            "its vocabulary; restore the folder from a copy"
        )
    return model, tokenizer, index["record"]


def load_part(folder, part, index=None):
    """The tensors saved under `part`, checked by size and sha256; {} where there is no such part."""
    index = index or read_index(folder)
    if part not in index["files"]:
        return {}
    content = _read_checked(folder, index, part)
    try:
        return upgrade_tensors(index, part, tensors_from_bytes(content))
    except SafetensorError as error:
        raise Mistake(f"{Path(folder) / index['files'][part]['name']} is not a safetensors file: {error}") from error


def exists(folder):
    return (Path(folder) / INDEX).is_file()


def read_index(folder, name=INDEX):
    """checkpoint.json (or another index) as a dict, checked for being one of ours and not from the future."""
    path = Path(folder) / name
    if not path.is_file():
        if Path(folder).exists():
            raise Mistake(f"no model at {folder}: it holds no {name}; give a folder that holds one")
        raise Mistake(
            f"no model at {folder}: there is no such folder; use the model that ships, --model story, or make one: "
            "`make week14`, or `nanogpt train TEXT --out FOLDER`, and give that FOLDER"
        )
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        number = index["format"]
        if type(number) is not int or number < 1:
            raise ValueError(f"format is {number!r}")
        if number > FORMAT:
            raise Mistake(f"{path} has format {number} and this nanogpt reads up to {FORMAT}; install a newer nanogpt")
        index = upgrade_index(index)
        index["record"].items()
        for name, value in index.setdefault("sample", {}).items():  # older folders do not say it
            if name not in DRAWN or not isinstance(value, int | float):
                raise ValueError(f"sample has {name} {value!r}")
        for name, value in (index.get("chat") or {}).items():
            if not isinstance(value, str | None):
                raise ValueError(f"chat has {name} {value!r}")
        for part in ("adapter",) if "base" in index else ("model", "tokenizer"):
            index["files"][part]
        for file in index["files"].values():
            if Path(file["name"]).name != file["name"] or not file["name"] or len(file["sha256"]) != 64:
                raise ValueError(f"{file['name']!r} is no file of this folder")
            file["bytes"] + 0
        if "base" in index:
            index["base"]["model"].strip(), index["base"]["digest"].items(), index["adapter"].items()
        else:
            index["model"].items()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Mistake(
            f"{path} is damaged ({type(error).__name__}: {error}); restore the folder from a copy, or train again"
        ) from error
    return index


def weights(model):
    """The state dict without the second name of a tied head, which safetensors would refuse."""
    state = model.state_dict()
    if model.config.tie:
        del state["head.weight"]
    return state


def fit(wanted, tensors, source):
    """Mistake unless `tensors` has exactly the names and shapes of `wanted`; it names all that does not fit."""
    wrong = [f"{name} is missing" for name in wanted if name not in tensors]
    wrong += [f"{name} is unknown" for name in tensors if name not in wanted]
    wrong += [
        f"{name} has shape {tuple(tensors[name].shape)}, not {tuple(t.shape)}"
        for name, t in wanted.items()
        if name in tensors and tensors[name].shape != t.shape
    ]
    if wrong:
        more = f" and {len(wrong) - 8} more" if len(wrong) > 8 else ""
        raise Mistake(f"{source} does not fit its model: {'; '.join(wrong[:8])}{more}; restore it from a copy")


def _sha256(content):
    return hashlib.sha256(content).hexdigest()


def _read_checked(folder, index, part):
    """A file's bytes, once its size and sha256 are those that checkpoint.json names."""
    entry = index["files"][part]
    path = Path(folder) / entry["name"]
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise Missing(f"{path} is missing, though {INDEX} names it; restore it from a copy, or train again") from error
    if len(content) != entry["bytes"]:
        raise Mistake(
            f"{path} has {len(content)} bytes, not {entry['bytes']}: it was cut short or replaced; "
            "restore it from a copy, or train again"
        )
    if _sha256(content) != entry["sha256"]:
        raise Mistake(f"{path} is damaged: its sha256 is not the one recorded; restore it from a copy, or train again")
    return content
