"""Where a model comes from: a folder of ours, an adapter on a base, a GGUF file, a Hugging Face folder, or a name."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from . import checkpoint
from .chat import Template
from .device import pick_precision
from .model import GPT, rope_tables
from .vendor.bpe.fast import Tokenizer
from .vendor.lora import adapter
from .vendor.shared.errors import Mistake

# Models that have a name: the file below data/ (or CHASE_DATA), and the command that puts it there.
NAMES = {"smollm2-135m": ("smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf", "make data/smollm2-135m")}
ADAPTER = "learned"  # the name of the one adapter that a model of ours carries
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass
class Loaded:
    """A model that is ready, and where it is from."""

    model: GPT
    tokenizer: Tokenizer
    chat: dict | None = None  # {"template", "bos", "eos"}; None for a model that only continues text
    record: dict | None = None  # what a course wrote; None for a published model
    source: str = ""  # as it was asked for
    base: dict | None = None  # {"model", "sha256"} of the base that an adapter sits on

    def template(self):
        """How a conversation becomes tokens; a model that was taught none gets its messages one after another."""
        chat = self.chat or {"template": None, "bos": "", "eos": ""}
        return Template(chat["template"], self.tokenizer, chat["bos"], chat["eos"])


def open_model(source, device="cpu", precision="float32", *, fold=False):
    """The model that `source` names, on `device`, ready to run; a Mistake says what is wrong and what to do.

    `precision` is of published weights: ours are always trained, and therefore kept, in float32. `fold` adds an
    adapter to the weights for good: faster to run, but it can no longer be trained.
    """
    device, path = torch.device(device), find(source)
    dtype = DTYPES[pick_precision(precision, device)]
    if not checkpoint.exists(path) and (path.is_file() or (path / "config.json").is_file()):
        published = read(path)
        chat = None
        if published.chat_template:
            chat = {"template": published.chat_template, "bos": published.bos, "eos": published.eos}
        model = build(published.config, published.tensors, device, dtype)
        return Loaded(model, published.tokenizer, chat, source=str(source))
    index = checkpoint.read_index(path)
    if "base" not in index:
        model, tokenizer, record = checkpoint.load(path, device)
        model = model if "replay" in record else model.to(dtype)
        return Loaded(model, tokenizer, index.get("chat"), record, str(source))
    loaded = on_base(path, index, device, precision)
    if fold:
        fold_in(loaded.model)
    return loaded


def on_base(folder, index, device, precision):
    """The base that an adapter folder names, with the adapter attached."""
    base = index["base"]
    try:
        loaded = open_model(base["model"], device, precision)
    except Mistake as error:
        raise Mistake(f"{folder} is an adapter of {base['model']}, which cannot be opened: {error}") from error
    if digest(find(base["model"])) != base["sha256"]:
        raise Mistake(f"{folder} was trained on another {base['model']} than is there now; put the old file back")
    try:
        config = adapter.LoRAConfig(**index["adapter"])
        adapter.attach(loaded.model, ADAPTER, config)
    except (TypeError, ValueError) as error:
        raise Mistake(f"{folder}: the adapter does not fit {base['model']}: {error}") from error
    wanted, tensors = adapter.parameters(loaded.model, ADAPTER), checkpoint.load_part(folder, "adapter", index)
    checkpoint.fit(wanted, tensors, f"the adapter in {folder}")
    with torch.no_grad():
        for name, parameter in wanted.items():
            parameter.copy_(tensors[name])
    loaded.record, loaded.source, loaded.base = index["record"], str(folder), base
    return loaded


def find(source):
    """The path that `source` means: a name of NAMES, or a path."""
    if str(source) not in NAMES or Path(source).exists():
        return Path(source)
    file, made_by = NAMES[str(source)]
    path = Path(os.environ.get("CHASE_DATA") or "data") / file
    if not path.is_file():
        raise Mistake(f"{source} is not here: {path} does not exist; run: {made_by}, or give a path to --model")
    return path


def read(path):
    """The Published model in a GGUF file or a Hugging Face folder."""
    if path.is_file():
        from .formats import gguf  # each reader is imported by who needs it

        return gguf.read(path)
    from .formats import hf_folder

    return hf_folder.read(path)


def build(config, tensors, device="cpu", dtype=torch.float32):
    """A GPT that takes `tensors` over as they are, without a second copy: nothing is allocated or initialised first."""
    with torch.device("meta"):
        model = GPT(config)
    checkpoint.fit(checkpoint.weights(model), tensors, "the model")
    state = {name: t.to(device, dtype) for name, t in tensors.items()}
    if config.tie:
        state["head.weight"] = state["embed.weight"]
    model.load_state_dict(state, assign=True)
    if config.tie:
        model.head.weight = model.embed.weight  # one Parameter again, not two that share memory
    if config.position == "rope":
        model.cos, model.sin = (table.to(device) for table in rope_tables(config))
    return model.requires_grad_(True).eval()


def fold_in(model):
    """Add the adapter to the weights it sits on, in place, and take it off."""
    with torch.no_grad():
        for layer in adapter.layers(model).values():
            layer.weight.copy_(layer.adapters[ADAPTER].weight(layer))
    adapter.detach(model, ADAPTER)


def digest(path):
    """sha256 of what a base consists of: the file, or the weights that a folder names."""
    if checkpoint.exists(path):
        return checkpoint.read_index(path)["files"]["model"]["sha256"]
    files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
    total = hashlib.sha256()
    for file in files:
        with open(file, "rb") as f:
            total.update(hashlib.file_digest(f, "sha256").digest())
    return total.hexdigest()
