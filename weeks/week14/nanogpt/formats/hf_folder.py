"""A model in a Hugging Face folder, read and written: what save_pretrained leaves, and what from_pretrained takes.

    config.json                      the shape (hf.py)
    model.safetensors                the weights, or shards of them and model.safetensors.index.json
    tokenizer.json                   the vocabulary (tokenizer_json.py); older: vocab.json and merges.txt
    tokenizer_config.json            texts of bos and eos, and the chat template (or chat_template.jinja)
    generation_config.json           ids of bos and eos, and how the model is drawn from

Where transformers would compute other logits or ids from a folder than nanogpt, reading it raises a Mistake.
"""

import json
import os
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..model import blank
from ..vendor.shared.errors import Mistake
from ..vendor.shared.files import atomic_write
from ..vendor.shared.progress import bar
from . import hf, tokenizer_json
from .published import Published, several, take
from .tokenizer_json import read_json

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
SETTINGS, GENERATION, INDEX = "tokenizer_config.json", "generation_config.json", "model.safetensors.index.json"
ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
FLOATS = ("F64", "F32", "F16", "BF16")
ABOUT = f"a folder with {CONFIG} and {WEIGHTS}"


# ---- reading ----


def probe(path):
    return any((path / name).is_file() for name in (CONFIG, WEIGHTS, INDEX))


def files(folder):
    return sorted(folder.glob("*.safetensors"))


def read(folder) -> Published:
    """The model in `folder`, its tensors in float32; a Mistake says what is missing, damaged or not supported."""
    folder = Path(folder)
    if not folder.is_dir():
        why = "is a file; give the folder it is in" if folder.exists() else "does not exist; check the path"
        raise Mistake(f"{folder} {why}")
    fields = _optional(folder / CONFIG)
    if fields is None:
        raise Mistake(f"{folder} has no {CONFIG}, without which the weights have no shape; give a folder that has one")
    with _told(folder / CONFIG):
        config = hf.read_config(fields)
    weights = _weight_files(folder)
    settings = [_optional(folder / name) or {} for name in (SETTINGS, "special_tokens_map.json")]
    generation = _optional(folder / GENERATION) or {}
    with _told(folder / GENERATION):
        sample = _sample(generation)
    with _told(folder / SETTINGS):
        tokenizer = _tokenizer(folder, settings)
        ids = [generation, fields]
        bos, eos = (_special(role, tokenizer, settings, ids) for role in ("bos_token", "eos_token"))
        begin = _begin(tokenizer, settings[0], bos, eos)
        template = _chat_template(folder, settings[0])
    if tokenizer.vocab_size > config.vocab_size:
        raise Mistake(
            f"{folder}: the tokenizer has {tokenizer.vocab_size} tokens and the model only {config.vocab_size}; "
            "they do not belong together, so take both from one place"
        )
    names = _check_weights(folder, weights, config)
    return Published(config, _read_tensors(folder, names, config), tokenizer, template, bos, eos, begin, sample)


@contextmanager
def _told(path):
    """A ValueError in the block becomes a Mistake that names the file."""
    try:
        yield
    except ValueError as error:
        raise Mistake(f"{path}: {error}") from error


def _optional(path):
    return read_json(path) if path.is_file() else None


def _weight_files(folder):
    """The safetensors files of a folder, each with the names that its index promises (none where there is no index)."""
    if (folder / WEIGHTS).is_file():
        return {folder / WEIGHTS: []}
    index = _optional(folder / INDEX)
    if index is None:
        pickles = sorted(path.name for path in folder.glob("*.bin"))
        if pickles:
            raise Mistake(
                f"{folder} has its weights in {pickles[0]}, a pickle, which can run any code when it is opened; where "
                "you trust it, convert it: load it with AutoModelForCausalLM.from_pretrained of transformers, and call "
                "save_pretrained with another folder"
            )
        raise Mistake(f"{folder} has neither {WEIGHTS} nor {INDEX}, so there are no weights; download it again")
    files, places = {}, index.get("weight_map")
    if not isinstance(places, dict) or not places:
        raise Mistake(f"{folder / INDEX} has no weight_map, which says where each tensor is; download it again")
    for name, file in places.items():
        if not isinstance(file, str) or Path(file).name != file:
            raise Mistake(f"{folder / INDEX} puts {name} into {file!r}, which is no file name; get a clean copy")
        files.setdefault(folder / file, []).append(name)
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        raise Mistake(f"{folder} lacks {several(missing)}, which {INDEX} names; download the folder again")
    return dict(sorted(files.items()))


def _check_weights(folder, files, config):
    """[(file, name of a tensor)], once the headers fit the config and the index; else all that is wrong is told."""
    places, found, wrong = [], {}, []  # found: name as save_pretrained writes it -> shape
    for path, promised in files.items():
        with _open(path) as file:
            names = file.keys()
            wrong += [f"{name} is not in {path.name}, where {INDEX} has it" for name in promised if name not in names]
            for name in names:
                part, full = file.get_slice(name), hf.full_name(config, name)
                if full.endswith(hf.DERIVED):
                    continue
                places.append((path, name))
                if full in found:
                    wrong.append(f"{name} is there twice")
                if part.get_dtype() not in FLOATS:
                    wrong.append(f"{name} is {part.get_dtype()}, which is none of {', '.join(FLOATS)}")
                found[full] = tuple(part.get_shape())
    if config.n_layer > len(found):
        wrong.append(f"{config.n_layer} layers cannot be made of {len(found)} tensors")
    else:
        wanted = _shapes(hf.write_tensors(config, blank(config)))
        if config.tie and "lm_head.weight" in found:  # the embedding once more, or in place of the embedding
            embed = next(name for name in wanted if name.endswith(("embed_tokens.weight", "wte.weight")))
            wanted["lm_head.weight"] = wanted[embed]
            found.setdefault(embed, found["lm_head.weight"])
        wrong += _disagreements(wanted, found)
    if wrong:
        raise Mistake(f"{folder}: {CONFIG} and the weights do not fit together: {several(wrong)}; download both again")
    return places


def _read_tensors(folder, names, config):
    """Our tensors, one after the other: nothing but the result, and one tensor of the files, is in memory."""
    tensors = {}
    for path, name in bar(names, f"load {folder.name}", delay=2, unit="tensor"):
        with _open(path) as file:  # anew, for what was read of a mapped file counts as memory until it is closed
            for ours, tensor in hf.convert(name, file.get_tensor(name), config).items():
                tensors[ours] = torch.empty(tensor.shape, dtype=torch.float32).copy_(tensor)
    head = tensors.pop("head.weight", None) if config.tie else None
    if head is not None and not torch.equal(tensors.setdefault("embed.weight", head), head):
        raise Mistake(
            f"{folder}: tie_word_embeddings is true, but lm_head.weight is not the embedding; where the model has a "
            f"head of its own, set it to false in {CONFIG}"
        )
    return tensors


def _open(path):
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        raise Mistake(
            f"{path} is not a whole safetensors file, for its {path.stat().st_size} bytes do not hold what they should "
            f"({error}): it was cut short, or is a pointer of git-lfs; download it again"
        ) from error


def _shapes(tensors):
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _disagreements(wanted, found):
    """What is missing, unknown or misshapen; both are name -> shape."""
    return [
        *(f"{name} is missing" for name in wanted if name not in found),
        *(f"{name} is unknown" for name in found if name not in wanted),
        *(f"{n} has shape {found[n]}, not {shape}" for n, shape in wanted.items() if found.get(n, shape) != shape),
    ]


def _tokenizer(folder, settings):
    """The Tokenizer of a folder; `settings` are the dicts that name its special tokens, the one that counts first."""
    if take(settings[0], "add_prefix_space", bool, False):
        raise ValueError("it sets add_prefix_space, and nanogpt adds no blank to a text; choose another model")
    pair, named = (folder / "vocab.json", folder / "merges.txt"), _named(settings)
    if (folder / TOKENIZER).is_file():
        return tokenizer_json.read(folder / TOKENIZER, named)
    if all(path.is_file() for path in pair):
        added = _optional(folder / "added_tokens.json") or {}
        named += [{"content": text, "id": i} for text, i in added.items()] + [{"content": "<|endoftext|>"}]
        return tokenizer_json.read_pair(*pair, named)
    other = " (tokenizer.model is SentencePiece's)" if (folder / "tokenizer.model").is_file() else ""
    raise Mistake(f"{folder} has no {TOKENIZER}, nor vocab.json and merges.txt{other}; download the tokenizer, too")


def _named(settings):
    """Every token that a folder's settings name, as dicts with "content" and, where it is told, "id"."""
    named = []
    for fields in settings:
        for i, token in take(fields, "added_tokens_decoder", dict, {}).items():
            if not i.isdecimal() or not isinstance(token, dict):
                raise ValueError(f"added_tokens_decoder has {i!r}: {str(token)[:40]!r}; get another copy of the model")
            named.append({**token, "id": int(i)})
        for name in ("additional_special_tokens", "extra_special_tokens"):
            more = take(fields, name, list | dict, [])
            for token in more.values() if isinstance(more, dict) else more:
                named.append(_token({name: token}, name))
        named += [_token(fields, role) for role in ROLES if fields.get(role)]
    return [{**token, "special": True} if "id" not in token else token for token in named]


def _token(fields, key):
    """A token of the settings, written as its text or as a dict."""
    token = take(fields, key, str | dict)
    return {"content": token} if isinstance(token, str) else {"content": take(token, "content", str)} | token


def _special(role, tokenizer, settings, ids):
    """The text of a special token: named in the settings or, where they say nothing, by its id in the config files."""
    for fields in settings:
        if role in fields:
            text = _token(fields, role)["content"] if fields[role] else ""
            if text and text not in tokenizer.special_tokens:
                raise ValueError(f"its {role} is {text!r}, which its vocabulary lacks; get a clean copy")
            return text
    for fields in ids:
        named = fields.get(f"{role}_id")
        first = named[0] if isinstance(named, list) and named else named
        for text, i in tokenizer.special_tokens.items():
            if i == first:
                return text
    return ""


def _begin(tokenizer, settings, bos, eos):
    """The text of the token before every text: what tokenizer.json puts there, or bos where the settings ask for it.

    One after every text must be eos, which ends each document here anyway.
    """
    before, after = getattr(tokenizer, "around", ("", ""))
    for name, text in (("add_bos_token", bos), ("add_eos_token", eos)):
        if take(settings, name, bool, False) and not text:
            raise ValueError(f"it sets {name} and names no {name[4:]}; get another copy of the model")
    if after not in ("", eos):
        raise ValueError(f"its tokenizer puts {after!r} after every text, which is not its eos_token; choose another")
    return before or (bos if settings.get("add_bos_token") else "")


def _sample(fields):
    """How the model is drawn from: what its settings say, where they say that it is drawn from at all."""
    if not take(fields, "do_sample", bool, False):
        return {}
    kinds = {"temperature": int | float, "top_k": int, "top_p": int | float}
    told = {name: take(fields, name, kind, None) for name, kind in kinds.items()}
    told = {name: value for name, value in told.items() if value}  # top_k 0: no such limit
    for name, value in told.items():
        if not 0 < value <= (1 if name == "top_p" else sys.float_info.max):
            raise ValueError(f"{name} is {value!r}, and nothing can be drawn with that; correct it, or take it out")
    return told


def _chat_template(folder, settings):
    path = folder / "chat_template.jinja"
    if path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise Mistake(f"{path} is not UTF-8 ({error}); download it again") from error
    template = take(settings, "chat_template", str | list, "")
    if isinstance(template, list):  # several, each with a name
        if not all(isinstance(entry, dict) for entry in template):
            raise ValueError("chat_template is a list of no templates; get another copy of the model")
        named = [entry for entry in template if entry.get("name") == "default"]
        template = take(named[0], "template", str) if named else ""
    return template or None


# ---- writing ----


def write(folder, published):
    """Write `published` as a folder that transformers loads: all of it, or nothing and a Mistake.

    A folder that exists must be empty. The files are written to a folder beside it, which then takes its place.
    """
    folder = Path(folder).resolve()
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise Mistake(f"{folder} exists and is not an empty folder; give another one, for nothing is overwritten")
    texts, tensors = _texts(published), _theirs(published)
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True)
        save_file(tensors, part / WEIGHTS, metadata={"format": "pt"})
        for name, content in texts.items():
            atomic_write(part / name, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        shutil.copymode(part / CONFIG, part / WEIGHTS)  # safetensors lets only the owner read
        with open(part / WEIGHTS, "rb") as file:
            os.fsync(file.fileno())
        os.replace(part, folder)
    except SafetensorError as error:  # a full disk, which its library reports in this way
        raise Mistake(f"{folder} cannot be written ({error}); make room there, or give another folder") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _texts(published):
    """File name -> content of all but the weights; a Mistake where the model or the tokenizer cannot be exported."""
    config, tokenizer = published.config, published.tokenizer
    if tokenizer.vocab_size > config.vocab_size:
        raise Mistake(f"the tokenizer has {tokenizer.vocab_size} tokens and the model only {config.vocab_size}")
    ids = {}
    for role, text in (("bos_token_id", published.bos), ("eos_token_id", published.eos)):
        if text and text not in tokenizer.special_tokens:
            raise Mistake(f"{role} would be that of {text!r}, which is no special token of the tokenizer")
        ids[role] = tokenizer.special_tokens.get(text)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": published.bos or None,
        "eos_token": published.eos or None,
        "clean_up_tokenization_spaces": False,  # transformers 4 would drop the blank before a comma in decoding
        "model_max_length": config.block_size,
    }
    if published.chat_template:
        settings["chat_template"] = published.chat_template
    try:
        fields = {**hf.write_config(config), **ids, "torch_dtype": "float32"}
        vocabulary = tokenizer_json.write(tokenizer, published.begin)
        drawn = {"do_sample": True, "top_k": 0, **published.sample} if published.sample else {}
        return {CONFIG: fields, TOKENIZER: vocabulary, SETTINGS: settings, GENERATION: {**ids, **drawn}}
    except ValueError as error:
        raise Mistake(f"this model cannot be exported: {error}") from error


def _theirs(published):
    """The tensors under their names, once they are those that the config asks for."""
    wrong = _disagreements(_shapes(blank(published.config)), _shapes(published.tensors))
    if wrong:
        raise Mistake(f"the tensors are not those of the config: {several(wrong)}; nothing was written")
    tensors = {name: t.detach().to("cpu", torch.float32) for name, t in published.tensors.items()}
    return hf.write_tensors(published.config, tensors)
