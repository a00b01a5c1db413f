"""A model on disk: safetensors for tensors, JSON for all else, committed by one rename.

    folder/checkpoint.json             the commit: format, settings, and each file's size and sha256
    folder/model-3f2a….safetensors     weights (a tied head is stored once); or, for a model that another one is
    folder/adapter-….safetensors         the base of, what LoRA learned: checkpoint.json then names the base
    folder/training-….safetensors      optimizer, RNG and the like; only where training may go on
    folder/memory-….safetensors        rows kept for replay
    folder/tokenizer-….json, .vocab    the vocabulary, and its twin for human eyes (an adapter uses its base's)

A save writes every new file under a name made of its own hash, then replaces checkpoint.json. A crash, a full disk
or Ctrl-C before that last step leaves the previous checkpoint whole; files nobody names are swept afterwards.
"""

import hashlib
import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes

from .model import GPTConfig, blank, build
from .vendor.bpe.fast import Tokenizer
from .vendor.shared.errors import Mistake
from .vendor.shared.files import atomic_write

FORMAT = 2  # 1 knew no base and no chat template
INDEX = "checkpoint.json"


def save(folder, model, tokenizer, record, *, chat=None, **parts):
    """Write `model`, `tokenizer`, the JSON-able `record` and any named tensor dicts, all or nothing.

    A part already in the folder and not given now is dropped: what a save does not name does not belong to it.
    `chat` holds the chat template and the texts of bos and eos, where the model has them.
    """
    index = {"model": model.config.to_dict(), "chat": chat, "record": record}
    _commit(folder, index, {"model": weights(model), **parts}, tokenizer)


def save_adapter(folder, base, adapter, tensors, record, **parts):
    """The same for an adapter: `base` says which model it needs, `adapter` how it is shaped, `tensors` are A and B."""
    _commit(folder, {"base": base, "adapter": adapter, "record": record}, {"adapter": tensors, **parts})


def _commit(folder, index, parts, tokenizer=None):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    if tokenizer is not None:
        name = f"tokenizer-{_sha256(json.dumps(tokenizer.to_dict(), sort_keys=True).encode())[:16]}.json"
        if not (folder / name).exists():
            tokenizer.save(folder / name)
        content = (folder / name).read_bytes()
        files["tokenizer"] = {"name": name, "bytes": len(content), "sha256": _sha256(content)}
    for part, tensors in parts.items():
        content = tensors_to_bytes({name: t.detach().cpu().contiguous() for name, t in tensors.items()})
        name = f"{part}-{_sha256(content)[:16]}.safetensors"
        if not (folder / name).exists() or (folder / name).stat().st_size != len(content):
            atomic_write(folder / name, content)
        files[part] = {"name": name, "bytes": len(content), "sha256": _sha256(content)}
    index = {"format": FORMAT, **index, "files": files}
    atomic_write(folder / INDEX, json.dumps(index, indent=2, allow_nan=False) + "\n")
    kept = {Path(entry["name"]).stem for entry in files.values()}
    for stale in folder.glob("*-" + "[0-9a-f]" * 16 + ".*"):
        if stale.stem not in kept and stale.suffix in (".safetensors", ".json", ".vocab"):
            stale.unlink(missing_ok=True)


def load(folder, device="cpu"):
    """`(model, tokenizer, record)` from a folder that `save` wrote; a Mistake says what is wrong and what to do."""
    index = read_index(folder)
    if "base" in index:
        raise Mistake(f"{folder} holds an adapter of {index['base']['model']}, not a whole model")
    try:
        config = GPTConfig.from_dict(index["model"])
    except (ValueError, TypeError) as error:
        raise Mistake(f"{Path(folder) / INDEX}: {error}") from error
    tensors = load_part(folder, "model", index)
    fit(blank(config), tensors, Path(folder) / index["files"]["model"]["name"])
    model = build(config, {name: tensor.to(device) for name, tensor in tensors.items()})
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
    return model, tokenizer, index["record"]


def load_part(folder, part, index=None):
    """The tensors saved under `part`, checked by size and sha256; {} where there is no such part."""
    index = index or read_index(folder)
    if part not in index["files"]:
        return {}
    content = _read_checked(folder, index, part)
    try:
        return tensors_from_bytes(content)
    except SafetensorError as error:
        raise Mistake(f"{Path(folder) / index['files'][part]['name']} is not a safetensors file: {error}") from error


def exists(folder):
    return (Path(folder) / INDEX).is_file()


def read_index(folder):
    """checkpoint.json as a dict, checked for being one of ours and not from the future."""
    path = Path(folder) / INDEX
    if not path.is_file():
        hint = "there is no such folder" if not Path(folder).exists() else f"it holds no {INDEX}"
        raise Mistake(
            f"no model at {folder}: {hint}; make one with `nanogpt train TEXT --out {folder}` or `make week14`"
        )
    try:
        index = json.loads(path.read_text())
        number = index["format"]
        if number > FORMAT:
            raise Mistake(f"{path} has format {number} and this nanogpt reads up to {FORMAT}; install a newer nanogpt")
        index["record"]
        if "base" in index:
            if "sha256" in index["base"]:  # of the weights alone, as it was written at first
                index["base"]["digest"] = {"weights": index["base"].pop("sha256")}
            index["base"]["model"], dict(index["base"]["digest"]), index["adapter"], index["files"]["adapter"]["sha256"]
        else:
            index["model"], index["files"]["model"]["sha256"], index["files"]["tokenizer"]["name"]
    except (ValueError, KeyError, TypeError) as error:
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
        raise Mistake(f"{source} does not fit its model: {'; '.join(wrong[:8])}{more}")


def _sha256(content):
    return hashlib.sha256(content).hexdigest()


def _read_checked(folder, index, part):
    """A file's bytes, once its size and sha256 are those that checkpoint.json names."""
    entry = index["files"][part]
    path = Path(folder) / entry["name"]
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise Mistake(f"{path} is missing, though {INDEX} names it; restore it from a copy, or train again") from error
    if len(content) != entry["bytes"]:
        raise Mistake(
            f"{path} has {len(content)} bytes, not {entry['bytes']}: it was cut short or replaced; "
            "restore it from a copy, or train again"
        )
    if _sha256(content) != entry["sha256"]:
        raise Mistake(f"{path} is damaged: its sha256 is not the one recorded; restore it from a copy, or train again")
    return content
