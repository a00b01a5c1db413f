"""A tokenizer as Hugging Face's tokenizer.json, the file that the library `tokenizers` loads, and back.

The file describes a pipeline: a pre-tokenizer that cuts the text, a model with its merges, a decoder, and the tokens
added on top. Ours is one such pipeline. So a file is read only where it is of this shape: any other step would give
other ids. Added tokens are special there as here; the library turns them into ids wherever a text holds them, which is
`allowed_special="all"`. Left out: normalizers, what is put around every text, patterns of one's own (the library has
another engine for them). Week 14 reads more kinds.
"""

import json
from pathlib import Path

from .fast import PATTERNS, Tokenizer, from_visible, to_visible
from .vendor.shared.files import atomic_write

NAME = "tokenizer.json"
LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}  # GPT-2's pattern
_cl100k = {"type": "Split", "pattern": {"Regex": PATTERNS["cl100k"]}, "behavior": "Isolated", "invert": False}
_digits = {"type": "Digits", "individual_digits": True}
CUTS = {  # name of a pattern -> the pre-tokenizer that cuts alike
    "gpt2": LEVEL,
    "cl100k": {"type": "Sequence", "pretokenizers": [_cl100k, LEVEL | {"use_regex": False}]},
    "smollm": {"type": "Sequence", "pretokenizers": [_digits, LEVEL]},
}
FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}


def to_hf(tokenizer: Tokenizer) -> dict:
    """The content of a tokenizer.json with the ids of `tokenizer`; ValueError for a pattern of one's own."""
    named = {pattern: name for name, pattern in PATTERNS.items()}
    if tokenizer.pattern not in named:
        raise ValueError(
            f"the pattern {tokenizer.pattern!r} is none of {', '.join(PATTERNS)}, and the library tokenizers may read "
            "it otherwise; learn with one of these"
        )
    vocab = {to_visible(token): i for token, i in tokenizer.ranks.items()}
    if both := vocab.keys() & tokenizer.special_tokens.keys():
        raise ValueError(f"{min(both)!r} is an ordinary and a special token, which the file cannot hold; rename it")
    added = [{"id": i, "content": text, **FLAGS} for text, i in tokenizer.special_tokens.items()]
    merges = [[to_visible(left), to_visible(right)] for left, right in tokenizer.merges]
    return {
        "version": "1.0",
        "added_tokens": sorted(added, key=lambda token: token["id"]),
        "normalizer": None,
        "pre_tokenizer": CUTS[named[tokenizer.pattern]],
        "post_processor": None,
        "decoder": LEVEL,
        "model": {"type": "BPE", "vocab": vocab | tokenizer.special_tokens, "merges": merges},
    }


def from_hf(state: dict) -> Tokenizer:
    """The inverse of `to_hf`; ValueError names what a file has that would give other ids here."""
    try:
        model, added, cut = state["model"], state["added_tokens"], state["pre_tokenizer"]
        patterns = [name for name, steps in CUTS.items() if _same_cut(steps, cut)]
        around = state.get("post_processor") or LEVEL
        for key, wrong in (
            ("model", model["type"] != "BPE" or any(model.get(name) for name in ("dropout", "byte_fallback"))),
            ("normalizer", state.get("normalizer")),
            ("pre_tokenizer", not patterns),
            ("post_processor", around["type"] != "ByteLevel"),
            ("added_tokens", any(token.get(flag, value) != value for token in added for flag, value in FLAGS.items())),
        ):
            if wrong:
                shown = json.dumps(state[key])[:60]
                raise ValueError(f"its {key} {shown} is none that ours has, so ids would differ; use another tokenizer")
        specials = {token["content"]: token["id"] for token in added}
        ranks = {from_visible(written): i for written, i in model["vocab"].items() if written not in specials}
        # older files write a merge as one text with a blank
        pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
        merges = [(from_visible(left), from_visible(right)) for left, right in pairs]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is no tokenizer of Hugging Face's library ({error!r}); give another file") from None
    tokenizer = Tokenizer(ranks, pattern=patterns[0], special_tokens=specials)
    if tokenizer.merges != merges:
        raise ValueError("its ids are not in the order of its merges, and ours merges by id; use another tokenizer")
    return tokenizer


def _same_cut(steps, cut):
    """Do two pre-tokenizers cut alike? `trim_offsets` moves only what the library tells of places in the text."""
    without = lambda step: {key: value for key, value in step.items() if key != "trim_offsets"}
    lists = [one.get("pretokenizers", [one]) for one in (steps, cut)]
    return list(map(without, lists[0])) == list(map(without, lists[1]))


def save_hf(tokenizer: Tokenizer, path) -> Path:
    """Write `path`, a tokenizer.json."""
    atomic_write(path, json.dumps(to_hf(tokenizer), ensure_ascii=False, indent=1) + "\n")
    return Path(path)


def load_hf(path) -> Tokenizer:
    """The tokenizer in a tokenizer.json; ValueError with the name of the file for any other."""
    try:
        return from_hf(json.loads(Path(path).read_bytes().decode("utf-8")))
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no tokenizer at {path}; give another path") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not JSON ({error}); it was cut short: download it again") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
