"""Llama-family models from GGUF, llama.cpp's file format: config, float32 tensors and tokenizer. No live model.

A file is a header (settings, the vocabulary, and what lies where), then the tensors, most of them quantised (ggml's
docs/gguf.md). The gguf library undoes the quantisation. The header is read here: the library makes arrays of each of
the 98,000 strings of SmolLM2's vocabulary, which takes it longer than all the rest.
Left out: writing, other architectures, tokenizers that are not byte-level BPE, version 1, big-endian files.
"""

import math
import struct
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import gguf
import numpy as np
import torch

from ..model import GPTConfig, blank
from ..vendor.bpe.fast import Tokenizer, from_visible, to_visible
from ..vendor.shared.errors import Mistake
from ..vendor.shared.progress import bar
from .published import Published, several, take

SETTINGS = {  # of ours: where the header has it (after "llama.")
    "block_size": "context_length",
    "n_layer": "block_count",
    "n_head": "attention.head_count",
    "n_embd": "embedding_length",
    "n_hidden": "feed_forward_length",
    "norm_eps": "attention.layer_norm_rms_epsilon",
    "n_kv_head": "attention.head_count_kv",
    "rope_base": "rope.freq_base",
}
OPTIONAL = {"n_kv_head": 0, "rope_base": 10_000.0}
NAMES = {  # of the weights of a layer: theirs: ours
    "attn_norm": "norm1",
    "attn_q": "attn.q",
    "attn_k": "attn.k",
    "attn_v": "attn.v",
    "attn_output": "attn.proj",
    "ffn_norm": "norm2",
    "ffn_gate": "mlp.gate",
    "ffn_up": "mlp.up",
    "ffn_down": "mlp.down",
}
PRE_TOKENIZERS = {"gpt-2": "gpt2", "smollm": "smollm"}  # llama.cpp's name -> the pattern's name here
NORMAL, CONTROL, UNUSED = 1, 3, 5  # of tokenizer.ggml.token_type
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9  # the other types of a value in the header
ABOUT, write = "a .gguf file", "nanogpt only reads it; export to huggingface, from which llama.cpp converts"
ROWS_AT_ONCE = 2048  # de-quantised in one go, so that an embedding is never in memory twice


class Stored(NamedTuple):
    """A tensor as the header describes it."""

    shape: tuple[int, ...]  # as torch has it: the slowest dimension first
    kind: int
    offset: int  # from the start of the data


def probe(path):
    return path.is_file() and (path.suffix == ".gguf" or path.open("rb").read(4) == b"GGUF")


def files(path):
    return [path]


def read(path) -> Published:
    """The model in a GGUF file; a Mistake that names the file for whatever cannot be read exactly as it was meant."""
    path = Path(path)
    if not path.is_file():
        why = "is a folder; give the .gguf file in it" if path.is_dir() else "does not exist; check the path"
        raise Mistake(f"{path} {why}")
    try:
        with open(path, "rb") as file:
            return _read(file, path.stat().st_size)
    except ValueError as error:
        raise Mistake(f"{path}: {error}") from error


def _read(file, size):
    settings, stored, start = _Header(file, size).read()
    architecture = settings.get("general.architecture")
    if architecture != "llama":
        raise ValueError(f"its architecture is {architecture!r}, and of GGUF files nanogpt reads llama; choose another")
    tokens = take(settings, "tokenizer.ggml.tokens", list)
    config = _config(settings, len(tokens), tie="output.weight" not in stored)
    places = _places(config, stored)
    _check_data(stored, size - start)
    tokenizer = _tokenizer(settings, tokens)
    tensors = {}
    in_order = sorted(stored.items(), key=lambda item: item[1].offset)
    for name, tensor in bar(in_order, f"load {Path(file.name).name}", delay=2, unit="tensor"):
        weight = _float32(file, start, tensor)
        ours = places[name]
        if ours.endswith(("attn.q.weight", "attn.k.weight")):
            weight = _unpermute(weight, config.head_dim)
        tensors[ours] = torch.from_numpy(weight)
    template = take(settings, "tokenizer.chat_template", str, "") or None
    bos, eos = (_special(settings, role, tokens, tokenizer) for role in ("bos", "eos"))
    begin = bos if _adds(settings, "bos", bos) else ""
    _adds(settings, "eos", eos)
    return Published(config, tensors, tokenizer, template, bos, eos, begin)


# --- the header -------------------------------------------------------------------------------------------------------


class _Header:
    """Reads a header's values one after the other. In `settings` a list is of strings, a tuple of numbers."""

    def __init__(self, file, size):
        self.file, self.size = file, size

    def read(self):
        """(settings, name -> Stored, where the tensors' data begins)."""
        if self.file.read(4) != b"GGUF":
            raise ValueError("this is no GGUF file, for it does not begin with GGUF; give a model in that format")
        version = self.number("I")
        if version % 2**16 == 0:
            raise ValueError("this GGUF file is big-endian; make it little-endian with gguf-convert-endian")
        if version not in (2, 3):
            raise ValueError(f"this is version {version} of GGUF, and nanogpt reads 2 and 3; get a newer file of it")
        n_tensors, n_settings = self.number("Q"), self.number("Q")
        settings, stored = {}, {}
        for _ in range(n_settings):
            _add(settings, self.string(), self.value(self.number("I")))
        for _ in range(n_tensors):
            name, shape = self.string(), self.numbers("Q", self.number("I"))
            _add(stored, name, Stored(shape[::-1], self.number("I"), self.number("Q")))
        alignment = take(settings, "general.alignment", int, 32)
        if alignment < 1:
            raise ValueError(f"general.alignment is {alignment}, so the file is damaged; download it again")
        return settings, stored, math.ceil(self.file.tell() / alignment) * alignment

    def take(self, n):
        content = self.file.read(n) if n <= self.size else b""
        if len(content) < n:
            raise ValueError(f"its header goes on after the file's {self.size} bytes: cut short; download it again")
        return content

    def numbers(self, code, n):
        return struct.unpack(f"<{n}{code}", self.take(n * struct.calcsize(f"<{code}")))

    def number(self, code):
        return self.numbers(code, 1)[0]

    def string(self):
        content = self.take(int.from_bytes(self.take(8), "little"))
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{content[:40]!r} in its header is not UTF-8: damaged; download it again") from None

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind in NUMBERS:
            return self.number(NUMBERS[kind])
        if kind == ARRAY:
            kind, n = self.number("I"), self.number("Q")
            if kind == STRING:
                return [self.string() for _ in range(n)]
            if kind in NUMBERS:
                return self.numbers(NUMBERS[kind], n)
        raise ValueError(f"its header has a value of type {kind}, which GGUF 3 does not: damaged; download it again")


def _add(entries, name, value):
    if name in entries:
        raise ValueError(f"its header names {name!r} twice: damaged; download it again")
    entries[name] = value


# --- config and tensors -----------------------------------------------------------------------------------------------


def _config(settings, vocab_size, tie):
    """Our config. A setting that it cannot express raises, for without it the logits would be wrong quietly."""
    if "split.count" in settings:
        raise ValueError("this is one part of a split model; join the parts with llama-gguf-split --merge")
    default = {ours: [OPTIONAL[ours]] if ours in OPTIONAL else [] for ours in SETTINGS}
    fields = {ours: take(settings, f"llama.{key}", int | float, *default[ours]) for ours, key in SETTINGS.items()}
    config = GPTConfig(vocab_size, tie=tie, **fields)
    head, expressed = config.head_dim, {f"llama.{key}" for key in SETTINGS.values()}
    implied = {"vocab_size": vocab_size, "attention.key_length": head, "attention.value_length": head}
    implied |= {"rope.dimension_count": head, "rope.scaling.type": "none", "expert_count": 0, "expert_used_count": 0}
    for key, value in settings.items():
        if key.startswith("llama.") and key not in expressed:
            wanted = implied.get(key.removeprefix("llama."), "no such setting")
            if value != wanted:
                raise ValueError(f"{key} is {value!r}, and nanogpt computes with {wanted}; choose another model")
    return config


def _places(config, stored):
    """GGUF's name -> ours, of every tensor; missing, unknown and misshapen ones are all named in one error."""
    if "rope_freqs.weight" in stored:
        raise ValueError("it scales RoPE (rope_freqs.weight), which nanogpt does not; choose a model that does not")
    if config.n_layer > len(stored):
        raise ValueError(f"it has {len(stored)} tensors for {config.n_layer} layers: damaged; download it again")
    shapes = {name.removesuffix(".weight"): tuple(tensor.shape) for name, tensor in blank(config).items()}
    names = {f"blocks.{i}.{ours}": f"blk.{i}.{theirs}" for i in range(config.n_layer) for theirs, ours in NAMES.items()}
    names |= {"embed": "token_embd", "norm": "output_norm", "head": "output"}
    places = {f"{names[ours]}.weight": (f"{ours}.weight", shape) for ours, shape in shapes.items()}
    wrong = [f"{name} is missing" for name in places if name not in stored]
    wrong += [f"{name} has no place" for name in stored if name not in places]
    wrong += [
        f"{name} has shape {stored[name].shape}, not {shape}"
        for name, (_, shape) in places.items()
        if name in stored and stored[name].shape != shape
    ]
    if wrong:
        raise ValueError(f"it is no Llama model as nanogpt builds it: {several(wrong)}; choose another")
    return {name: ours for name, (ours, _) in places.items()}


def _check_data(stored, size):
    """Every tensor of a quantisation that can be undone, and within the `size` bytes of data; told before the work."""
    for kind in sorted({tensor.kind for tensor in stored.values()}):
        try:
            known = gguf.GGMLQuantizationType(kind)
            gguf.dequantize(np.zeros((1, gguf.GGML_QUANT_SIZES[known][1]), np.uint8), known)  # one block of zeros
        except (ValueError, NotImplementedError) as error:
            raise ValueError(f"{error}; choose a file of another quantisation, such as Q8_0 or Q4_K_M") from None
    end = max(tensor.offset + math.prod(_byte_shape(tensor)) for tensor in stored.values())
    if end > size:
        raise ValueError(f"its tensors need {end} bytes and {max(0, size)} are there: cut short; download it again")


def _byte_shape(tensor):
    return gguf.quant_shape_to_byte_shape(tensor.shape, gguf.GGMLQuantizationType(tensor.kind))


def _float32(file, start, tensor):
    """A stored tensor as a float32 array of its shape."""
    kind, shape = gguf.GGMLQuantizationType(tensor.kind), _byte_shape(tensor)
    file.seek(start + tensor.offset)
    raw = np.fromfile(file, np.uint8, math.prod(shape)).reshape(-1, shape[-1])  # (rows, bytes)
    weight = np.empty((len(raw), tensor.shape[-1]), np.float32)  # (rows, columns)
    for i in range(0, len(raw), ROWS_AT_ONCE):
        weight[i : i + ROWS_AT_ONCE] = gguf.dequantize(raw[i : i + ROWS_AT_ONCE], kind)
    return weight.reshape(tensor.shape)


def _unpermute(weight, head_dim):
    """Rows of q or k (heads * head_dim, in) back from llama.cpp's order, whose RoPE turns neighbours: within a head
    0, D/2, 1, D/2 + 1, ... Ours turns c with c + D/2, as the model was trained and published."""
    pairs = weight.reshape(-1, head_dim // 2, 2, weight.shape[1])  # (heads, D/2, 2, in)
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(weight.shape)


# --- tokenizer --------------------------------------------------------------------------------------------------------


def _tokenizer(settings, tokens):
    """Our tokenizer; control tokens are special ones. Raises where ours would not give the ids that were meant."""
    model, pre = settings.get("tokenizer.ggml.model"), settings.get("tokenizer.ggml.pre")
    if model != "gpt2" or pre not in PRE_TOKENIZERS:
        known = f"'gpt2' with {' or '.join(map(repr, PRE_TOKENIZERS))}"
        raise ValueError(f"its tokenizer is {model!r} with {pre!r}, and nanogpt knows {known}; choose another model")
    if take(settings, "tokenizer.ggml.add_space_prefix", bool, False):
        raise ValueError("its tokenizer puts a blank before every text, and nanogpt's does not; choose another model")
    kinds = take(settings, "tokenizer.ggml.token_type", tuple)
    merges = take(settings, "tokenizer.ggml.merges", list)
    specials = {token: i for i, (token, kind) in enumerate(zip(tokens, kinds)) if kind in (CONTROL, UNUSED)}
    ids = {token: i for i, (token, kind) in enumerate(zip(tokens, kinds)) if kind == NORMAL}
    if not len(ids) + len(specials) == len(tokens) == len(kinds):
        raise ValueError("its tokens are not all different, or not all normal, control or unused; choose another model")
    tokenizer = Tokenizer(
        {from_visible(token): i for token, i in ids.items()}, pattern=PRE_TOKENIZERS[pre], special_tokens=specials
    )
    # Ours stores no merges: they follow from the ids, and must be those of the file (week 9's notes, step 5).
    try:
        implied = [f"{to_visible(left)} {to_visible(right)}" for left, right in tokenizer.merges]
    except ValueError:
        raise ValueError("its ids are not in the order of its merges, as nanogpt needs them; choose another") from None
    for ours, theirs in zip_longest(implied, merges):
        if ours != theirs:
            raise ValueError(f"its merges have {theirs!r}, where its ids call for {ours!r}; choose another model")
    return tokenizer


def _special(settings, role, tokens, tokenizer):
    """The text of the bos or eos token, "" where the file names none."""
    key = f"tokenizer.ggml.{role}_token_id"
    i = settings.get(key)
    if i is None:
        return ""
    text = tokens[i] if isinstance(i, int) and 0 <= i < len(tokens) else None
    if text not in tokenizer.special_tokens:
        raise ValueError(f"{key} is {i!r}, which is no special token of its vocabulary; choose another model")
    return text


def _adds(settings, role, text):
    """Whether the file wants that token around every text. llama.cpp adds none where a file of the two vocabularies
    that are read here says nothing. An eos after every text is what ends each document here anyway."""
    key = f"tokenizer.ggml.add_{role}_token"
    if take(settings, key, bool, False) and not text:
        raise ValueError(f"{key} is true, and it names no {role} token; get another file of the model")
    return settings.get(key, False)
