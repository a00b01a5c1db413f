"""Whatever has a state_dict -> tensors for safetensors and a tree for JSON, and back, bit for bit. No pickle.

A model, an optimizer, a count of steps, a detector of spikes: each has state_dict() and load_state_dict(), so the
trainer saves a dict of them and need not know what they are. (torchtitan keeps its checkpoints so, and so does torch.)

JSON has neither tuples nor keys that are numbers, and an optimizer's state has both: they are written as lists that
begin with their kind. Left out: tensors spread over processes (week 10's checkpoints in shards).
"""

import json
import math

import torch

PLAIN = str | bool | int | None


def pack(state):
    """Nested dicts, lists, tuples, numbers and tensors -> ({name: tensor}, tree for JSON).

    A tensor that is there twice, as tied weights are, is stored once. Raises ValueError for anything else, and says
    where it is: "state.x.0" is the first of the list `x`.
    """
    tensors, names = {}, {}

    def walk(thing, path):
        if isinstance(thing, torch.Tensor):
            place = (thing.data_ptr(), thing.shape, thing.stride(), thing.dtype)
            if place not in names or not thing.numel():
                names[place] = path
                tensors[path] = thing.detach().cpu().clone(memory_format=torch.contiguous_format)
            return ["tensor", names[place]]
        if isinstance(thing, dict):
            return ["dict", *[[_key(key, path), walk(value, f"{path}.{key}")] for key, value in thing.items()]]
        if isinstance(thing, list | tuple):
            kind = "tuple" if isinstance(thing, tuple) else "list"
            return [kind, *[walk(value, f"{path}.{i}") for i, value in enumerate(thing)]]
        if isinstance(thing, float):
            return thing if math.isfinite(thing) else ["float", str(thing)]
        if isinstance(thing, PLAIN):
            return thing
        raise ValueError(
            f"{path} is a {type(thing).__name__}, which no checkpoint can hold; "
            "let its state_dict give tensors, numbers, text, lists and dicts"
        )

    return tensors, walk(state, "state")


def unpack(tensors, tree):
    """The inverse of pack."""
    if not isinstance(tree, list):
        return tree
    kind, *rest = tree
    if kind == "tensor":
        return tensors[rest[0]]
    if kind == "float":
        return float(rest[0])
    if kind == "dict":
        return {key: unpack(tensors, value) for key, value in rest}
    values = [unpack(tensors, value) for value in rest]
    return tuple(values) if kind == "tuple" else values


def _key(key, path):
    if not isinstance(key, str | int):
        raise ValueError(f"{path} has the key {key!r}, which no checkpoint can hold; let the keys be text or numbers")
    return key


def differences(old: dict, new: dict, prefix="") -> list[str]:
    """["model.n_layer was 2 and is 4"]: the fields in which two dicts of settings differ, nested ones by their path."""
    found = []
    for name in sorted(old.keys() | new.keys()):
        a, b = (side[name] if name in side else "absent" for side in (old, new))
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{prefix}{name}.")
        elif a != b:
            found.append(f"{prefix}{name} was {_shown(a)} and is {_shown(b)}")
    return found


def _shown(value):
    return value if value == "absent" else json.dumps(value)
