"""Adapters in the file format of Hugging Face PEFT, so that either side reads what the other wrote.

A folder with adapter_config.json (which kind, its settings, target_modules, ...) and adapter_model.safetensors, whose
keys are `base_model.model.<module path>.<parameter>`. The adapter's name is in neither. What is of one kind of adapter
alone is told by its row of VARIANTS: shapes, keys, settings.

Nothing is dropped quietly: a setting that would change the result and is not built here raises, and so does every
tensor that is missing, unknown or of another shape, up to twenty of them in one message.
"""

import json
import os
import re
import struct
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as bytes_from_tensors

from .adapter import build, check, install, require
from .config import LoRAConfig
from .layers import adaptable, all_linear, whole
from .variants import VARIANTS, Variant
from .variants.whole import Whole

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
SHOWN = 20  # tensors that a message names; of a file for another model all of hundreds are wrong
PREFIX = "base_model.model."

PLACES = {"target_modules", "rank_pattern", "alpha_pattern", "bias", "modules_to_save"}  # these name layers
# These say where an adapter came from, or how others run it; none changes what it computes.
HARMLESS = {"auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version", "revision", "task_type"}


def save(model, name, folder, *, base=None):
    """Write adapter `name` to `folder`, and return it; `base` tells a reader the name or path of the base model.

    Works while the adapter is merged, too: its parameters are what is saved, never the merged weight.
    """
    folder, found = Path(folder), require(model, name)
    parts = {path: layer.adapters[name] for path, layer in found.items()}
    variants = {path: part for path, part in parts.items() if isinstance(part, Variant)}
    kind = next(iter(variants.values()))
    config = kind.config
    tensors = {
        f"{PREFIX}{path}.{key}": tensor.detach().cpu().contiguous()
        for path, part in parts.items()
        for key, tensor in part.in_file(found[path]).items()
    }
    sizes = {path: v.size_in_file(config, v.rank, v.alpha) for path, v in variants.items()}
    rank, alpha = kind.size_in_file(config, config.rank, config.alpha)
    record = {
        **kind.to_peft(config),
        "base_model_name_or_path": base,
        "task_type": None,
        "inference_mode": True,
        "target_modules": _targets(model, list(variants)),
        "rank_pattern": _pattern({path: r for path, (r, _) in sizes.items()}, rank),
        "alpha_pattern": _pattern({path: a for path, (_, a) in sizes.items()}, alpha),
        "bias": config.bias,
        "fan_in_fan_out": False,
        "modules_to_save": [path for path, part in parts.items() if isinstance(part, Whole)] or None,
    }
    folder.mkdir(parents=True, exist_ok=True)
    contents = {TENSORS: bytes_from_tensors(tensors, metadata={"format": "pt"})}
    contents[CONFIG] = (json.dumps(record, indent=2) + "\n").encode()
    ready = []
    try:
        for name, content in contents.items():
            ready.append(_write_beside(folder / name, content))
    except BaseException:
        for temporary, _ in ready:
            temporary.unlink()
        raise
    # Both files are whole on the disk. The config goes first and comes last: a folder that has one has its own tensors,
    # never old tensors with a new scale.
    (folder / CONFIG).unlink(missing_ok=True)
    for temporary, path in ready:
        os.replace(temporary, path)
    return folder


def load(model, folder, name):
    """Attach the adapter in `folder` as `name`; returns the module paths. Nothing is attached unless all of it fits."""
    check(model, name)
    config, paths = read_config(model, folder)
    return _fill(model, name, config, paths, read_tensors(folder), folder)


def _fill(model, name, config, paths, tensors, folder):
    parts = build(model, config, paths)
    expected = {  # key in the file -> the parameter that it fills
        f"{PREFIX}{path}.{key}": parameter
        for path, part in parts.items()
        for key, parameter in part.in_file(model.get_submodule(path)).items()
    }
    wrong = [f"missing {key}" for key in expected if key not in tensors]
    wrong += [f"unknown {key}" for key in tensors if key not in expected and not _is_double(model, key, tensors)]
    for key, parameter in expected.items():
        shape = tuple(parameter.shape)
        if key in tensors and tuple(tensors[key].shape) != shape:
            wrong.append(f"{key} is {tuple(tensors[key].shape)} where {shape} is needed")
        elif key in tensors and not (tensors[key].is_floating_point() and torch.isfinite(tensors[key]).all()):
            wrong.append(f"{key} holds NaN, infinity or whole numbers")
    if wrong:
        raise ValueError(
            f"{Path(folder) / TENSORS} does not fit this model (was it trained for another one?); "
            + "\n  ".join([f"{len(wrong)} wrong:", *wrong[:SHOWN], *["..."] * (len(wrong) > SHOWN)])
        )
    with torch.no_grad():
        for key, parameter in expected.items():
            parameter.copy_(tensors[key])
    install(model, name, parts)
    return paths


def _is_double(model, key, tensors):
    """Does the tensor say nothing new? PEFT saves some twice: a table beside the adapter on it, which is this model's
    own, and with bias = "all" the biases of modules_to_save and of the modules that these stand in for."""
    plain = key.replace(".modules_to_save.", ".").replace(".original_module.", ".")
    if plain != key and plain in tensors:
        return ".original_module." in key or torch.equal(tensors[plain], tensors[key])
    own = model.state_dict().get(key.removeprefix(PREFIX).replace(".base_layer.", "."))
    return own is not None and own.dtype == tensors[key].dtype and torch.equal(own.cpu(), tensors[key])


def read_config(model, folder):
    """(LoRAConfig, module paths of `model` that it names) of an adapter folder."""
    path = Path(folder) / CONFIG
    if not path.is_file():
        inside = ", ".join(sorted(p.parent.name for p in Path(folder).glob(f"*/{CONFIG}")))
        hint = f"it holds the adapters {inside}: give one of those folders" if inside else "give an adapter's folder"
        raise FileNotFoundError(f"{folder} has no {CONFIG}; {hint}")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are both one
        raise ValueError(f"{path} is not JSON ({error}); save or copy the adapter again") from None
    if not isinstance(raw, dict):
        raise ValueError(f"{path} holds no settings but {raw!r}, so no peft_type; save or copy the adapter again")
    variant, settings = _variant(raw, path)
    paths = _named_by(model, raw.get("target_modules"), path)
    try:
        config = LoRAConfig(
            **settings,
            variant=variant,
            targets=tuple(paths),
            bias=raw.get("bias") or "none",
            modules_to_save=_saved(model, raw.get("modules_to_save") or [], path),
            rank_pattern=_resolve(raw.get("rank_pattern") or {}, paths, settings["rank"]),
            alpha_pattern=_resolve(raw.get("alpha_pattern") or {}, paths, settings["alpha"]),
        )
    except (TypeError, ValueError, AttributeError, re.error) as error:
        raise ValueError(f"{path} holds a value that cannot be used: {error}") from None
    return config, paths


def _variant(raw, path):
    """(row of VARIANTS, its settings): the row that understands all of PEFT's fields; an error tells of the nearest."""
    found = []
    for name, kind in VARIANTS.items():
        rest = dict(raw)
        if (settings := kind.from_peft(rest)) is not None:
            found.append((name, settings, {key: value for key, value in rest.items() if not _harmless(key, value)}))
    if not found:
        raise ValueError(f"{path} says peft_type {raw.get('peft_type')!r}; what is built here is {', '.join(VARIANTS)}")
    name, settings, unsupported = min(found, key=lambda row: len(row[2]))
    if unsupported:
        told = ", ".join(f"{key} = {json.dumps(value)}" for key, value in unsupported.items())
        raise ValueError(f"{path} asks for what is not built here: {told}; convert the adapter to plain LoRA first")
    return name, settings


def read_tensors(folder):
    """{key: tensor} of an adapter folder's safetensors file."""
    path = Path(folder) / TENSORS
    if not path.is_file():
        hint = "copy the folder again"
        if (Path(folder) / "adapter_model.bin").is_file():
            hint = "adapter_model.bin is a pickle, which can run code: save the adapter again as safetensors"
        raise FileNotFoundError(f"{folder} has no {TENSORS}; {hint}")
    try:
        return tensors_from_bytes(path.read_bytes())
    except (SafetensorError, ValueError, KeyError, struct.error) as error:
        raise ValueError(f"{path} is damaged or cut short ({error}); save or copy the adapter again") from None


def _harmless(key, value):
    if key in PLACES or key in HARMLESS:
        return True
    return value is None or value is False or value in ({}, [], "")  # a feature that is not used


def _named_by(model, targets, where):
    """PEFT's rule: a list holds ends of paths; a string is "all-linear" or a regular expression of the whole path."""
    paths = list(adaptable(model))
    if isinstance(targets, str) and targets.lower() == "all-linear":
        found = all_linear(model)
    elif isinstance(targets, str):
        try:
            found = [path for path in paths if re.fullmatch(targets, path)]
        except re.error as error:
            raise ValueError(f"{where}: target_modules {targets!r} is not a regular expression: {error}") from None
    elif isinstance(targets, list) and all(isinstance(target, str) for target in targets):
        found = _ending(paths, targets)
    else:
        raise ValueError(f"{where}: target_modules must be a list of names or a string, got {targets!r}")
    if not found:
        raise ValueError(f"{where}: target_modules {targets!r} names no linear layer here; is it the right base model?")
    return found


def _ending(paths, names):
    return [path for path in paths if any(f".{path}".endswith(f".{name}") for name in names)]


def _saved(model, names, where):
    """The paths that modules_to_save names, by PEFT's rule for a list; a name of nothing raises."""
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"{where}: modules_to_save must be a list of names, got {names!r}")
    paths = list(whole(model))
    if strange := [name for name in names if not _ending(paths, [name])]:
        raise ValueError(f"{where}: modules_to_save {strange!r} names no module here that can be trained as a copy")
    return tuple(_ending(paths, names))


def _targets(model, paths):
    """target_modules that PEFT reads as exactly `paths`: a list, unless one of them is the end of a layer left out."""
    others = [path for path in adaptable(model) if path not in paths]
    if any(other.endswith(f".{path}") for other in others for path in paths):
        return "|".join(re.escape(path) for path in paths)
    return paths


def _pattern(values, default):
    """rank_pattern or alpha_pattern. PEFT takes the first key that matches the path's end, so longer paths go first."""
    if all(value == default for value in values.values()):
        return {}
    return {re.escape(path): values[path] for path in sorted(values, key=len, reverse=True)}


def _resolve(patterns, paths, default):
    """PEFT's regular expressions -> {whole path: value}, longest first, so that the first match is that path."""
    if not patterns:
        return {}
    values = {}
    for path in sorted(paths, key=len, reverse=True):
        values[path] = next((v for p, v in patterns.items() if re.match(rf"(.*\.)?({p})$", path)), default)
    return values


def _write_beside(path, content):
    """Write all of `content` beside `path`; returns (temporary, path) for os.replace."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb") as f:
            f.write(content)
            f.flush()
            os.fsync(f.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary, path
