"""Byte-level BPE vocabularies in Hugging Face's tokenizer.json, and back.

A tokenizer.json describes a pipeline: normalizer, pre-tokenizer, model, post-processor, decoder, and tokens added on
top. Our Tokenizer is one such pipeline, so a file is read only if it gives the same ids for every text: whatever would
change them raises, with its name. Two things differ still, and are told here: a byte that the vocabulary lacks raises
when a text holds it (theirs drops it), and letters newer than a library's Unicode are cut as that library knows them.
Left out: SentencePiece (Metaspace, byte_fallback), Unigram, WordPiece, normalizers.
"""

import json

import regex

from ..vendor.bpe.fast import PATTERNS, Tokenizer, from_visible, to_visible
from ..vendor.shared.errors import Mistake
from .published import take

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
DIGITS = {"type": "Digits", "individual_digits": True}
# Bytes that UTF-8 never uses; every other one a vocabulary may have to write.
NEVER = {0xC0, 0xC1, *range(0xF5, 0x100)}
# Patterns that mean the same to `regex` and to Oniguruma, the engine of Hugging Face's library. What differs is left
# out: anchors, \w, \b, \h, flags but i, nested and intersected sets, {1,3}+ (possessive to one, repeated to the other).
PORTABLE = regex.compile(
    r"""(?: [^\\^$([{]                                  # a character, or a sign for alternatives and repetition
          | (?<escape> \\[sSdDrnt] | \\[pP]\{\w+\} | \\[^\w\s] )
          | \{[\d,]+\}(?![+?])
          | \[\^?(?: (?&escape) | &(?!&) | [^\\[\]&] )++\]
          | \((?: \?(?: i?: | <?[=!] ) | (?!\?) ) )*+""",
    regex.VERBOSE,
)


def read(path, named=()):
    """The Tokenizer in the tokenizer.json at `path`; a Mistake names what it has that ours lacks.

    `named` are tokens that other files of the folder name: dicts with a "content", and an "id" where the vocabulary may
    lack them. The Tokenizer's `around` are the texts of the special tokens before and after every text, "" for none.
    """
    return _checked(path, read_json(path), named)


def read_pair(vocab, merges, named=()):
    """The Tokenizer in GPT-2's older pair of files, vocab.json and merges.txt, whose pre-tokenizer is GPT-2's."""
    try:
        text = merges.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise Mistake(f"{merges} is not UTF-8 ({error}); it is damaged: download it again") from error
    lines = text.splitlines()[text.startswith("#version") :]  # only there: a later line may merge "#" with something
    model = {"type": "BPE", "vocab": read_json(vocab), "merges": [line for line in lines if line]}
    return _checked(vocab, {"model": model, "pre_tokenizer": BYTE_LEVEL}, named)


def read_json(path):
    """The object in a JSON file, as a dict."""
    try:
        fields = json.loads(path.read_bytes().decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Mistake(f"{path} is not JSON ({error}); it was cut short or edited: download it again") from error
    if not isinstance(fields, dict):
        raise Mistake(f"{path} holds a JSON {type(fields).__name__} and not an object; download it again")
    return fields


def _checked(path, fields, named):
    try:
        return _tokenizer(fields, named)
    except ValueError as error:
        raise Mistake(f"{path}: {error}") from error


# ---- reading ----


def _tokenizer(fields, named):
    model = take(fields, "model", dict)
    around = _refuse_other_ids(fields, model)
    pattern = _pattern(take(fields, "pre_tokenizer", dict, None))
    vocab, specials, ordinary = take(model, "vocab", dict), {}, {}
    for token in [*_dicts(fields, "added_tokens"), *named]:
        text = take(token, "content", str)
        i = token.get("id", vocab.get(text))
        if i is None:
            continue  # a name that no text can turn into an id of this model
        flags = [flag for flag in ("single_word", "lstrip", "rstrip") if token.get(flag)]
        if flags:
            raise ValueError(f"its added token {text!r} has {', '.join(flags)} set, which nanogpt does not support")
        if not i == vocab.get(text, i) == specials.get(text, i):
            raise ValueError(f"its added token {text!r} has two ids; take all files of the tokenizer from one place")
        specials[text] = i
        ordinary[text] = ordinary.get(text, True) and token.get("special", True) is False
    if any(ordinary.values()):
        text = next(text for text in ordinary if ordinary[text])
        raise ValueError(f"its added token {text!r} is not special, so any text may hold it; choose another model")
    tokens = {written: _bytes(written) for written in vocab if written not in specials}
    absent = {bytes([byte]) for byte in set(range(256)) - NEVER} - set(tokens.values())
    if model.get("unk_token") and absent:
        raise ValueError(f"it lacks {len(absent)} bytes and writes {model['unk_token']!r} for them; nanogpt does not")
    ranks = {token: vocab[written] for written, token in tokens.items()}
    tokenizer = Tokenizer(ranks, pattern=pattern, special_tokens=specials)
    merges = [merge.split(" ") if isinstance(merge, str) else merge for merge in take(model, "merges", list)]
    _check_order(tokenizer, merges, tokens)
    tokenizer.around = around
    if not set(filter(None, around)) <= specials.keys():
        raise ValueError(f"its post_processor adds {around}, which is no added token; get another copy of the model")
    return tokenizer


def _dicts(fields, key):
    """A list of dicts, empty where there is none."""
    entries = take(fields, key, list, [])
    if not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{key} has an entry of the wrong type; get another copy of the model")
    return entries


def _refuse_other_ids(fields, model):
    """ValueError for every step of the pipeline that our Tokenizer does not take; what is put around every text."""
    kind = take(model, "type", str, None) or ("BPE" if "merges" in model else "a model without merges")
    if kind != "BPE":
        raise ValueError(f"its model is {kind}, and nanogpt reads byte-level BPE; choose another model")
    normalizer = take(fields, "normalizer", dict, {})
    if normalizer.get("normalizers", normalizer):  # an empty Sequence does nothing
        raise ValueError(f"its normalizer {normalizer.get('type')} changes the text, and nanogpt has none")
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"):
        if model.get(name):
            raise ValueError(f"its model has {name} {model[name]!r}, which nanogpt does not support")
    before, after = _around(take(fields, "post_processor", dict, {"type": "ByteLevel"}))
    if len(before) > 1 or len(after) > 1:
        added = ", ".join(map(repr, before + after))
        raise ValueError(f"its post_processor adds {added} to every text, and nanogpt one token on each side at most")
    return "".join(before), "".join(after)


def _pattern(pre):
    """The pattern of our Tokenizer that cuts text as a pre-tokenizer does."""
    steps = [] if pre is None else _dicts(pre, "pretokenizers") if take(pre, "type", str) == "Sequence" else [pre]
    kinds, last = [take(step, "type", str) for step in steps], steps[-1] if steps else {}
    if kinds[-1:] == ["ByteLevel"] and last.get("add_prefix_space", True):
        raise ValueError("its pre-tokenizer has add_prefix_space: a blank before every text, which nanogpt never adds")
    if kinds[-1:] == ["ByteLevel"] and last.get("use_regex", True):
        if kinds == ["ByteLevel"]:
            return PATTERNS["gpt2"]
        if kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits"):
            return PATTERNS["smollm"]
    elif kinds == ["Split", "ByteLevel"]:
        split = steps[0]
        regular = take(split, "pattern", dict).get("Regex")
        if split.get("behavior") == "Isolated" and split.get("invert") is False and isinstance(regular, str):
            return _portable(regular)
    raise ValueError(f"its pre-tokenizer is {_short(steps)}, which is none of those that nanogpt knows")


def _around(post):
    """The texts that a post-processor puts before and after every text, as two lists."""
    kind = take(post, "type", str)
    if kind == "ByteLevel":  # it changes offsets only
        return [], []
    if kind == "Sequence":
        pairs = [_around(step) for step in _dicts(post, "processors")]
        return [text for before, _ in pairs for text in before], [text for _, after in pairs for text in after]
    if kind != "TemplateProcessing":
        raise ValueError(f"its post_processor adds what {kind} says, which nanogpt does not know; choose another model")
    around, side = ([], []), 0
    for piece in _dicts(post, "single"):
        if "SpecialToken" in piece:
            around[side].append(take(take(piece, "SpecialToken", dict), "id", str))
        side = 1 if "Sequence" in piece else side
    return around


def _bytes(written):
    try:
        return from_visible(written)
    except ValueError:
        raise ValueError(f"its token {written!r} is not in GPT-2's letters for bytes: no byte-level BPE") from None


def _check_order(tokenizer, merges, tokens):
    """Our Tokenizer merges by id and stores no merges, so both must say the same.

    Ids determine the two parents of each token. Where the list has all of these pairs, in the order of their ids, any
    other pair in it (Llama 3 lists every way to split a token) is never met: its bytes have merged in the first way.
    """
    place = {}
    for i, merge in enumerate(merges):
        if not (isinstance(merge, list) and len(merge) == 2 and all(isinstance(part, str) for part in merge)):
            raise ValueError(f"merges has {str(merge)[:40]!r}, which is no pair of tokens; get another copy")
        left, right = merge
        if not (left in tokens and right in tokens and left + right in tokens):
            raise ValueError(f"its merge {left!r} + {right!r} has a token that its vocabulary lacks; get a clean copy")
        place[tokens[left], tokens[right]] = i
    try:
        parents = tokenizer.merges
    except ValueError as error:
        raise ValueError(f"its ids are not in the order of its merges, as nanogpt needs them: {error}") from None
    before = -1
    for pair in parents:
        now = place.get(pair, -1)
        if now <= before:
            what = "its merges lack" if now < 0 else "its ids are not in the order of its merges: see"
            written = " + ".join(map(to_visible, pair))
            raise ValueError(f"{what} {written}, and nanogpt merges by id; choose another model")
        before = now


def _portable(pattern):
    if not PORTABLE.fullmatch(pattern):
        place = PORTABLE.match(pattern).end()
        raise ValueError(
            f"its pattern may mean another thing to another regex engine from {pattern[place : place + 20]!r} on, so "
            "ids could differ; choose another tokenizer"
        )
    return pattern


def _short(steps):
    text = json.dumps(steps)
    return text if len(text) < 300 else text[:300] + " ..."


# ---- writing ----


def write(tokenizer, begin=""):
    """The dict of a tokenizer.json that gives the ids of `tokenizer`, special tokens in the text included, with the
    special token `begin`, if there is one, before every text."""
    written = {to_visible(token): i for token, i in tokenizer.ranks.items()}
    both = written.keys() & tokenizer.special_tokens.keys()
    if both:
        raise ValueError(f"{sorted(both)} are ordinary and special tokens at once, which a tokenizer.json cannot hold")
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    specials = sorted(tokenizer.special_tokens.items(), key=lambda item: item[1])
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": text, **flags, "special": True} for text, i in specials],
        "normalizer": None,
        "pre_tokenizer": _pre_tokenizer(tokenizer.pattern),
        "post_processor": _post_processor(begin, tokenizer.special_tokens[begin]) if begin else BYTE_LEVEL,
        "decoder": BYTE_LEVEL,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": dict(sorted((written | tokenizer.special_tokens).items(), key=lambda item: item[1])),
            "merges": [f"{to_visible(left)} {to_visible(right)}" for left, right in tokenizer.merges],
        },
    }


def _post_processor(begin, i):
    first, text = {"SpecialToken": {"id": begin, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
    pair = [first, text, {"Sequence": {"id": "B", "type_id": 1}}]
    rule = {"type": "TemplateProcessing", "single": [first, text], "pair": pair}
    rule["special_tokens"] = {begin: {"id": begin, "ids": [i], "tokens": [begin]}}
    return {"type": "Sequence", "processors": [BYTE_LEVEL, rule]}


def _pre_tokenizer(pattern):
    if pattern == PATTERNS["gpt2"]:
        return BYTE_LEVEL
    if pattern == PATTERNS["smollm"]:
        return {"type": "Sequence", "pretokenizers": [DIGITS, BYTE_LEVEL]}
    split = {"type": "Split", "pattern": {"Regex": _portable(pattern)}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, BYTE_LEVEL | {"use_regex": False}]}
