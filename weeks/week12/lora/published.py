"""A published model as week 14 opens it, and its adapter under the names that transformers and PEFT know.

Week 14 is opened by name, where it is installed (`make` installs it, or: pip install -e weeks/week14); nothing of this
week needs it but what works on SmolLM2-135M.
"""

import importlib
from contextlib import contextmanager

from torch import nn

from .adapter import base_state
from .layers import layers
from .peft_format import save
from .vendor.shared.errors import Mistake


def product(name):
    """The module of week 14 that is called `nanogpt.<name>`."""
    try:
        return importlib.import_module(f"nanogpt.{name}")
    except ImportError as error:
        raise Mistake(
            f"nanogpt.{name} cannot be imported ({error}), and it opens the published model; "
            "run: pip install -e weeks/week14"
        ) from None


@contextmanager
def told():
    """What nanogpt tells in a sentence of its own is a Mistake of this week too, and so is a setting out of range."""
    theirs = product("vendor.shared.errors").Mistake
    try:
        yield
    except (theirs, ValueError) as error:
        raise Mistake(str(error)) from error


def their_paths(model):
    """{path of an adapted layer of a nanogpt model: its path in the published model}.

    The published names come with the published tensors, which are the same memory; so nothing is spelled out here.
    """
    own = base_state(model)
    theirs = product("formats.hf").write_tensors(model.config, own)
    name_at = {tensor.data_ptr(): name.removesuffix(".weight") for name, tensor in theirs.items()}
    found = {path: name_at.get(own[f"{path}.weight"].data_ptr()) for path in layers(model)}
    if lost := [path for path, name in found.items() if name is None]:
        raise ValueError(
            f"{lost[0]} has no layer of its own in the published model, so PEFT has no place for an adapter on it; "
            "leave it out of targets"
        )
    return found


def save_published(model, name, folder, *, base):
    """Write adapter `name` of a nanogpt model so that PEFT loads it onto the published model; returns the folder."""
    skeleton = nn.Module()  # the same layers at other paths
    for path, theirs in their_paths(model).items():
        *above, last = theirs.split(".")
        place = skeleton
        for part in above:
            if part not in place._modules:
                place.add_module(part, nn.Module())
            place = place._modules[part]
        place.add_module(last, model.get_submodule(path))
    return save(skeleton, name, folder, base=base)
