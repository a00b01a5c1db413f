"""Where a model comes from: a folder of ours, an adapter on a base, a published model, or a name."""

import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from . import checkpoint, formats
from .chat import Template
from .device import pick_precision
from .formats.published import Published
from .model import GPT, GPTConfig, blank, build
from .tasks import ENDS, end_of
from .vendor.bpe.fast import Tokenizer
from .vendor.lora import adapter
from .vendor.shared.errors import Mistake

# Models that have a name: the file or folder below one of the `places`, and the command that puts it there.
NAMES = {
    "smollm2-135m": ("smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf", "make data/smollm2-135m"),
    "story": ("story-5m", "git checkout -- checkpoints/shipped"),
}
SHIPPED = Path(__file__).resolve().parent / "shipped"  # comes with the package: a link to checkpoints/shipped
ADAPTER = "learned"  # the name of the one adapter that a model of ours carries
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass
class Loaded:
    """A model that is ready, and where it is from."""

    model: GPT
    tokenizer: Tokenizer
    special: dict | None = None  # {"template", "bos", "eos", "begin"}, as in Published; None where nothing is known
    record: dict | None = None  # what a course wrote; None for a published model
    source: str = ""  # as it was asked for
    base: dict | None = None  # {"model", "digest"} of the base that an adapter sits on
    sample: dict = field(default_factory=dict)  # how it is drawn from, as far as it says so: checkpoint.DRAWN

    def __post_init__(self):
        self.special = {"template": None, "bos": "", "eos": "", "begin": ""} | (self.special or {})
        # tasks.py asks the tokenizer what begins and ends a document; eos of a chat model may be the end of a turn
        eos, first = self.special["eos"], 2 if self.chat else 0
        self.tokenizer.begin, self.tokenizer.ends = self.special["begin"], (*ENDS[:first], eos, *ENDS[first:])

    @property
    def chat(self):
        """What a conversation needs, or None for a model that only continues text."""
        return self.special if self.special["template"] else None

    def template(self):
        """How a conversation becomes tokens; a model that was taught none gets its messages one after another."""
        bos = self.special["bos"] or ("" if self.chat else end_of(self.tokenizer))
        return Template(self.special["template"], self.tokenizer, bos, self.special["eos"])

    def published(self):
        """The model as a format writes it."""
        eos = self.special["eos"] or ("" if self.chat else end_of(self.tokenizer))
        words = (self.special["template"], self.special["bos"], eos, self.special["begin"])
        return Published(self.model.config, checkpoint.weights(self.model), self.tokenizer, *words, self.sample)


def open_model(source, device="cpu", precision="float32", *, fold=False, index=None):
    """The model that `source` names, on `device`, ready to run; a Mistake says what is wrong and what to do.

    `precision` is of published weights: ours are always trained, and therefore kept, in float32. `fold` adds an
    adapter to the weights for good: faster to run, but it can no longer be trained. `index` is what checkpoint.json
    said, for whoever reads more than the model and needs all of it of one moment.
    """
    device, path = torch.device(device), find(source)
    dtype = DTYPES[pick_precision(precision, device)]
    if not checkpoint.exists(path) and (path.is_file() or formats.row_of(path)):
        published = formats.read(path)
        for name, tensor in published.tensors.items():
            if not tensor.sum(dtype=torch.float64).isfinite():
                raise Mistake(f"{source}: {name} holds NaN or infinity; it is damaged: get another copy of the model")
        words = {"template": published.chat_template} | {n: getattr(published, n) for n in ("bos", "eos", "begin")}
        tensors = {name: tensor.to(device, dtype) for name, tensor in published.tensors.items()}
        checkpoint.fit(blank(published.config), tensors, "the model")
        model, sample = build(published.config, tensors), published.sample
        return Loaded(model, published.tokenizer, words, source=str(source), sample=sample)

    def ours(index):
        if "base" in index:
            return on_base(path, index, device, precision)
        model, tokenizer, record = checkpoint.load(path, device, index)
        model = model if record.get("kind") == "course" else model.to(dtype)
        return Loaded(model, tokenizer, index.get("chat"), record, str(source), sample=index["sample"])

    loaded = ours(index) if index else checkpoint.steady(path, ours)
    if fold and loaded.base:
        fold_in(loaded.model)
    return loaded


def on_base(folder, index, device, precision):
    """The base that an adapter folder names, with the adapter attached."""
    base = index["base"]
    if not find(base["model"]).exists():
        raise Mistake(
            f"{folder} is an adapter of {base['model']}, and nothing is there; put that model back, or write its whole "
            f'path into {Path(folder) / checkpoint.INDEX}, as "model" of "base"'
        )
    try:
        loaded = open_model(base["model"], device, precision)
    except Mistake as error:
        raise Mistake(f"{folder} is an adapter of {base['model']}, which cannot be opened: {error}") from error
    now = digest(loaded)
    other = [part for part, sha256 in base["digest"].items() if now.get(part) != sha256]
    if other:
        raise Mistake(
            f"{folder} was trained on another {base['model']} than is there now: its {' and '.join(other)} changed; "
            "put the old files back"
        )
    try:
        config = adapter.LoRAConfig.from_dict(index["adapter"])
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


def places():
    """The folders in which named models are looked for, the first first."""
    cache = os.environ.get("XDG_CACHE_HOME") or (os.environ.get("LOCALAPPDATA") if os.name == "nt" else None)
    folders = [os.environ.get("CHASE_DATA"), "data", Path(cache or os.path.expanduser("~/.cache")) / "nanogpt"]
    return [*(Path(folder) for folder in folders if folder), SHIPPED]


def find(source):
    """The path that `source` means: a name of NAMES, or a path."""
    path = Path(os.path.expanduser(source))  # pathlib's raises for the home of nobody
    if str(source) not in NAMES or path.exists():
        return path
    file, made_by = NAMES[str(source)]
    looked = [folder / file for folder in places()]
    for path in looked:
        if path.is_file() or checkpoint.exists(path):
            return path
    raise Mistake(
        f"{source} is not here; looked for {', '.join(map(str, looked))}. In a checkout run: {made_by}; elsewhere put "
        "the file in one of these places, or give its path to --model"
    )


def lasting(source):
    """`source` as it is kept in a file: a name as it is, a path in full, so that it means the same everywhere."""
    path = Path(os.path.expanduser(source))
    return str(source) if str(source) in NAMES and not path.exists() else str(path.resolve())


def fold_in(model):
    """Merge the adapter into the weights it sits on, for good. A tied head that it changes is tied no more."""
    try:
        adapter.merge(model, ADAPTER)
    except ValueError as error:
        raise Mistake(f"the adapter cannot be added to the weights: {error}") from error
    for layer in adapter.layers(model).values():
        layer.merged = layer.kept = None  # what `unmerge` would put back is not needed any more
    adapter.detach(model, ADAPTER)
    model.requires_grad_(True)
    if model.config.tie and model.head.weight is not model.embed.weight:
        model.config = replace(model.config, tie=False)


def digest(loaded):
    """{part: sha256} of what a base consists of, as it was opened: config, tokenizer, template, files of weights, and
    settings of its format where it has some.

    Settings that have their default value are left out, so that one which a later version adds changes nothing.
    """
    path, config = find(loaded.source), loaded.model.config.to_dict()
    defaults = GPTConfig(1).to_dict()
    parts = {
        "config": {name: value for name, value in config.items() if value != defaults[name]},
        "tokenizer": loaded.tokenizer.to_dict(),
        "template": loaded.special,
    }
    parts = {name: json.dumps(part, sort_keys=True).encode() for name, part in parts.items()}
    hashes = {name: hashlib.sha256(part).hexdigest() for name, part in parts.items()}
    if checkpoint.exists(path):
        return {"weights": checkpoint.read_index(path)["files"]["model"]["sha256"], **hashes}
    total, entry = hashlib.sha256(), formats.row_of(path)
    for file in entry.files(path):
        with open(file, "rb") as f:
            total.update(hashlib.file_digest(f, "sha256").digest())
    if hasattr(entry, "settings"):
        hashes["settings"] = hashlib.sha256(entry.settings(path)).hexdigest()
    return {"weights": total.hexdigest(), **hashes}
