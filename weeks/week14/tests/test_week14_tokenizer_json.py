"""tokenizer.json read and written, against Hugging Face's `tokenizers`, which defines the format."""

import copy
import json
import re

import pytest
import regex
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from nanogpt.formats import tokenizer_json
from nanogpt.vendor.bpe.fast import PATTERNS, Tokenizer
from nanogpt.vendor.shared.errors import Mistake

pytestmark = pytest.mark.day(94)

hf = pytest.importorskip("tokenizers", reason="the outside oracle is not installed")

# Llama 3's, as its tokenizer.json has it.
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
LINES = [
    "The lower the river, the slower the water; it's 7:30 and we'll've paid 1,234.50 for 12 eggs",
    "  two  blanks\tand\ttabs \n\n\n   lines\r\n end  ",
    "def f(x):\n    return x[0] + 0x1F  # naïve, DON'T",
    "½ Ⅳ ٣٤٥ १२३ 日本語のテキスト 2024年 한국어",
    "👩‍👩‍👧‍👦 1️⃣ 🇩🇪 e\u0301 \u00a0\u3000 \u2028 \x85 \x1c",
    "<|endoftext|>the<|im_start|>user<|im_end|> <|endoftext|><|endoftext|>",
    "the" * 50 + " " * 30 + "9" * 30,
    "",
    " ",
]
CORPUS = LINES * 3
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
KNOWN = st.characters(exclude_categories=("Cs", "Cn"))  # the libraries may know different versions of Unicode
TEXT = st.text(st.one_of(KNOWN, st.sampled_from(" \t\r\n019½'stlvedm.!aethlowrié日\u00a0<|>_")), max_size=50)


def byte_level(**change):
    return hf.pre_tokenizers.ByteLevel(**{"add_prefix_space": False, **change})


def split(pattern):
    return hf.pre_tokenizers.Split(hf.Regex(pattern), "isolated")


PRE_TOKENIZERS = {
    "gpt2": lambda: byte_level(),
    "smollm": lambda: hf.pre_tokenizers.Sequence([hf.pre_tokenizers.Digits(individual_digits=True), byte_level()]),
    "llama3": lambda: hf.pre_tokenizers.Sequence([split(LLAMA3), byte_level(use_regex=False)]),
}


def learned(kind):
    """A vocabulary that their trainer makes: special tokens first, then bytes, then merges."""
    theirs = hf.Tokenizer(hf.models.BPE())
    theirs.pre_tokenizer, theirs.decoder = PRE_TOKENIZERS[kind](), hf.decoders.ByteLevel()
    trainer = hf.trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=SPECIALS,
        initial_alphabet=hf.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    theirs.train_from_iterator(CORPUS, trainer)
    return theirs


@pytest.fixture(scope="module")
def theirs():
    return {kind: learned(kind) for kind in PRE_TOKENIZERS}


def read(fields, folder, named=()):
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(fields) if isinstance(fields, dict) else fields, encoding="utf-8")
    return tokenizer_json.read(path, named)


@pytest.mark.parametrize("kind", PRE_TOKENIZERS)
def test_their_file_gives_their_ids(kind, theirs, tmp_path):
    """The pre-tokenizer, merges and special tokens of a file must become ours exactly: a wrong id is a wrong word."""
    ours = read(theirs[kind].to_str(), tmp_path)
    assert ours.vocab_size == theirs[kind].get_vocab_size() == 420
    for line in LINES:
        ids = ours.encode(line, allowed_special="all")
        assert ids == theirs[kind].encode(line).ids
        assert ours.decode(ids) == line


@pytest.mark.parametrize("kind", PRE_TOKENIZERS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=TEXT)
@example("a  1  b\n 2")
@example("'S\u017f'LL don'T")
def test_their_file_gives_their_ids_on_random_text(kind, theirs, tmp_path, text):
    """Lines picked by hand miss what nobody thought of."""
    ours = read(theirs[kind].to_str(), tmp_path)
    assert ours.encode(text, allowed_special="all") == theirs[kind].encode(text).ids


@pytest.mark.parametrize("kind", PRE_TOKENIZERS)
def test_read_and_written_is_the_same_vocabulary(kind, theirs, tmp_path):
    """Nothing may get lost on the way in and out again."""
    ours = read(theirs[kind].to_str(), tmp_path)
    again = read(tokenizer_json.write(ours), tmp_path)
    assert again.to_dict() == ours.to_dict()


@pytest.mark.parametrize("pattern", [*PATTERNS, r"\p{L}+|\s+|[^\s\p{L}]+"])
@pytest.mark.parametrize("first", [False, True], ids=["special-last", "special-first"])
def test_our_vocabulary_in_their_library(pattern, first, tmp_path):
    """A vocabulary that we learned must give the same ids there, wherever its special tokens have their ids."""
    ours = Tokenizer.train(CORPUS, 420, pattern=pattern, special_tokens=SPECIALS)
    if first:
        ranks = {token: i + 3 for token, i in ours.ranks.items()}
        ours = Tokenizer(ranks, pattern=pattern, special_tokens=dict(zip(SPECIALS, range(3), strict=True)))
    written = tokenizer_json.write(ours)
    theirs = hf.Tokenizer.from_str(json.dumps(written))
    assert theirs.get_vocab_size() == 420
    for line in LINES:
        ids = theirs.encode(line).ids
        assert ids == ours.encode(line, allowed_special="all")
        assert theirs.decode(ids, skip_special_tokens=False) == line
    assert read(written, tmp_path).to_dict() == ours.to_dict()


def test_vocabulary_with_gaps_between_its_ids():
    """GPT-4's vocabulary has unused ids; theirs must not close the gaps."""
    ours = Tokenizer.train(CORPUS, 300, special_tokens=())
    ours = Tokenizer(ours.ranks, special_tokens={"<|endoftext|>": 310, "<|pad|>": 333})
    theirs = hf.Tokenizer.from_str(json.dumps(tokenizer_json.write(ours)))
    assert theirs.encode(LINES[5] + "<|pad|>").ids == ours.encode(LINES[5] + "<|pad|>", allowed_special="all")


# --- variants of the format -------------------------------------------------------------------------------------------


@pytest.fixture
def fields(theirs):
    return json.loads(theirs["gpt2"].to_str())


def test_older_spellings_are_read(fields, theirs, tmp_path):
    """Files of other years write merges as strings, name no model type, and have harmless steps around the model."""
    expected = read(fields, tmp_path).to_dict()
    fields["model"]["merges"] = [" ".join(pair) for pair in fields["model"]["merges"]]
    del fields["model"]["type"]
    fields["model"] |= {"continuing_subword_prefix": "", "end_of_word_suffix": "", "ignore_merges": True}
    fields["normalizer"] = {"type": "Sequence", "normalizers": []}
    empty = {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}], "pair": []}
    fields["post_processor"] = {"type": "Sequence", "processors": [tokenizer_json.BYTE_LEVEL, empty]}
    assert read(fields, tmp_path).to_dict() == expected


def test_every_way_to_split_a_token_may_be_listed(fields, tmp_path):
    """Llama 3's merges name all pairs that make a token, not just the one that is merged; ids must not change."""
    vocab = fields["model"]["vocab"]
    splits = [(vocab[t], t[:i], t[i:]) for t in vocab if t not in SPECIALS for i in range(1, len(t))]
    listed = sorted(row for row in splits if row[1] in vocab and row[2] in vocab)
    assert len(listed) > len(fields["model"]["merges"])
    fields["model"]["merges"] = [[left, right] for _, left, right in listed]
    fields["model"]["ignore_merges"] = True
    ours, theirs = read(fields, tmp_path), hf.Tokenizer.from_str(json.dumps(fields))
    for line in LINES:
        assert ours.encode(line, allowed_special="all") == theirs.encode(line).ids


def test_added_tokens_become_special(fields, tmp_path):
    """In the vocabulary or after it, an added token is cut out before all else; the longest wins. One that is not
    special would be found in what people type, which ours never does: it is refused by name."""
    theirs = hf.Tokenizer.from_str(json.dumps(fields))
    theirs.add_special_tokens([hf.AddedToken(text, normalized=False) for text in ("lower the", "<|endoftext|><|")])
    ours = read(theirs.to_str(), tmp_path)
    changed = json.loads(theirs.to_str())
    changed["added_tokens"][-1]["special"] = False
    with pytest.raises(Mistake, match="its added token '.*' is not special"):
        read(changed, tmp_path)
    assert list(ours.special_tokens) == [*SPECIALS, "lower the", "<|endoftext|><|"]
    for line in LINES:
        assert ours.encode(line, allowed_special="all") == theirs.encode(line).ids


def test_tokens_that_other_files_name(fields, tmp_path):
    """A folder's settings may call a token special that tokenizer.json does not; one without an id is nobody's."""
    fields["model"]["vocab"]["<unk>"] = 420
    named = [{"content": "<unk>"}, {"content": "<pad>"}, {"content": "<extra>", "id": 421}]
    ours = read(fields, tmp_path, named)
    assert ours.special_tokens == {**dict(zip(SPECIALS, range(3), strict=True)), "<unk>": 420, "<extra>": 421}


def test_vocabulary_without_some_bytes(theirs, tmp_path):
    """Where the library would drop a character quietly, ours must say so when, and only when, a text holds it."""
    small = hf.Tokenizer(hf.models.BPE())
    small.pre_tokenizer = byte_level()
    small.train_from_iterator(["low lower lowest"], hf.trainers.BpeTrainer(vocab_size=20, show_progress=False))
    ours = read(small.to_str(), tmp_path)
    assert ours.encode("lower low") == small.encode("lower low").ids
    assert small.encode("lax").ids == small.encode("l").ids
    with pytest.raises(ValueError, match="the byte b'a' is not in this vocabulary"):
        ours.encode("lax")
    small.add_special_tokens(["<unk>"])
    fields = json.loads(small.to_str())
    fields["model"]["unk_token"] = "<unk>"
    with pytest.raises(Mistake, match="and writes '<unk>' for them; nanogpt does not"):
        read(fields, tmp_path)


def test_pair_of_older_files(fields, tmp_path):
    """vocab.json and merges.txt are the same vocabulary; a merge that looks like a comment is none."""
    vocab, merges = tmp_path / "vocab.json", tmp_path / "merges.txt"
    fields["model"]["vocab"]["##"] = len(fields["model"]["vocab"])
    fields["model"]["merges"].append(["#", "#"])
    vocab.write_text(json.dumps(fields["model"]["vocab"]))
    lines = [" ".join(pair) for pair in fields["model"]["merges"]]
    merges.write_text("#version: 0.2\r\n" + "\r\n".join(lines) + "\r\n", encoding="utf-8")
    expected = read(fields, tmp_path)
    named = [{"content": text} for text in SPECIALS]
    assert tokenizer_json.read_pair(vocab, merges, named).to_dict() == expected.to_dict()
    merges.write_text("\n".join(reversed(lines)), encoding="utf-8")
    assert merges.read_text(encoding="utf-8").startswith("# #")
    with pytest.raises(Mistake, match="its ids are not in the order of its merges"):
        tokenizer_json.read_pair(vocab, merges, named)
    merges.write_bytes(b"\xff\xfe")
    with pytest.raises(Mistake, match="merges.txt is not UTF-8"):
        tokenizer_json.read_pair(vocab, merges, named)


# --- refusals ---------------------------------------------------------------------------------------------------------


def bos(fields):
    piece = {"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    fields["post_processor"] = {"type": "TemplateProcessing", "single": [piece, piece, text]}


def pre(*steps):
    return lambda fields: fields.update(pre_tokenizer={"type": "Sequence", "pretokenizers": list(steps)})


def swap(fields):
    """Two tokens of one length change ids: the merges make them in the other order now."""
    vocab = fields["model"]["vocab"]
    one, two = [token for token in vocab if token not in SPECIALS and len(token) == 2][-2:]
    vocab[one], vocab[two] = vocab[two], vocab[one]


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
SPLIT = {"type": "Split", "pattern": {"Regex": LLAMA3}, "behavior": "Isolated", "invert": False}
REFUSED = {
    "its model is Unigram": lambda f: f["model"].update(type="Unigram"),
    "its model is WordPiece": lambda f: f["model"].update(type="WordPiece"),
    "its model is a model without merges": lambda f: f.update(model={"vocab": {"a": 0}}),
    "its normalizer NFC": lambda f: f.update(normalizer={"type": "NFC"}),
    "its normalizer Sequence": lambda f: f.update(normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}]}),
    "add_prefix_space: a blank": lambda f: f["pre_tokenizer"].update(add_prefix_space=True),
    "its pre-tokenizer is []": lambda f: f.update(pre_tokenizer=None),
    'its pre-tokenizer is [{"type": "Metaspace"': pre({"type": "Metaspace", "replacement": "▁"}),
    '"individual_digits": false': pre({"type": "Digits", "individual_digits": False}, tokenizer_json.BYTE_LEVEL),
    '"behavior": "Removed"': pre(SPLIT | {"behavior": "Removed"}, BYTES),
    '"invert": true': pre(SPLIT | {"invert": True}, BYTES),
    '"pattern": {"String": " "}': pre(SPLIT | {"pattern": {"String": " "}}, BYTES),
    '"type": "Split"': pre(SPLIT, tokenizer_json.BYTE_LEVEL),  # cut twice
    r"from '\\w+' on, so ids could differ": pre(SPLIT | {"pattern": {"Regex": r"\s+|\w+"}}, BYTES),
    "from '{1,3}+' on, so ids could differ": pre(SPLIT | {"pattern": {"Regex": r"\d{1,3}+"}}, BYTES),
    "is no regular expression": pre(SPLIT | {"pattern": {"Regex": "a)"}}, BYTES),
    "adds '<|im_start|>', '<|im_start|>' to every text": bos,
    "adds what RobertaProcessing says": lambda f: f.update(post_processor={"type": "RobertaProcessing"}),
    "has byte_fallback True": lambda f: f["model"].update(byte_fallback=True),
    "has dropout 0.1": lambda f: f["model"].update(dropout=0.1),
    "has continuing_subword_prefix '##'": lambda f: f["model"].update(continuing_subword_prefix="##"),
    "has end_of_word_suffix '</w>'": lambda f: f["model"].update(end_of_word_suffix="</w>"),
    "'<|endoftext|>' has lstrip set": lambda f: f["added_tokens"][0].update(lstrip=True),
    "has single_word, rstrip set": lambda f: f["added_tokens"][0].update(single_word=True, rstrip=True),
    "'<|endoftext|>' has two ids": lambda f: f["added_tokens"][0].update(id=1),
    "token '▁the' is not in GPT-2's letters": lambda f: f["model"]["vocab"].update({"▁the": 420}),
    "merges no two earlier ones": lambda f: f["model"]["vocab"].update({"xqz": 420}),
    "its merge 'x' + 'qz' has a token that its vocabulary lacks": lambda f: f["model"]["merges"].append(["x", "qz"]),
    "its merges lack ": lambda f: f["model"]["merges"].pop(),
    "its ids are not in the order of its merges: see ": swap,
    "it needs a byte or more and an id >= 0 of its own": lambda f: f["model"]["vocab"].update(the=5),
    "it has no model, without which": lambda f: f.pop("model"),
    "model is '[]', which is of the wrong type": lambda f: f.update(model=[]),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_would_change_ids_is_refused(sentence, fields, tmp_path):
    """A step of theirs that ours does not take would give other ids quietly; the sentence names it and the file."""
    REFUSED[sentence](fields)
    with pytest.raises(Mistake, match=f"^{re.escape(str(tmp_path))}.*{re.escape(sentence)}"):
        read(fields, tmp_path)


def test_refused_order_does_change_ids(tmp_path):
    """The check is not idle: with these merges theirs leaves "abc" in two, and merging by id would not."""
    vocab = {"a": 0, "b": 1, "c": 2, "ab": 3, "bc": 4, "abc": 5}
    model = {"type": "BPE", "vocab": vocab, "merges": ["a b", "b c", "a bc"]}
    theirs = hf.Tokenizer(hf.models.BPE(vocab, [("a", "b"), ("b", "c"), ("a", "bc")]))
    by_id = Tokenizer({token.encode(): i for token, i in vocab.items()})
    assert theirs.encode("abc").ids == [3, 2] != by_id.encode("abc") == [5]
    with pytest.raises(Mistake, match=re.escape("its merges lack ab + c")):
        read({"model": model, "pre_tokenizer": tokenizer_json.BYTE_LEVEL}, tmp_path)


@pytest.mark.parametrize("pattern", [r"\p{N}{1,3}+|\D", r"^b.|\s|\S", r"\h+|\S|\s", r"[a[b]]+|\S|\s"])
@pytest.mark.filterwarnings("ignore:Possible nested set")
def test_refused_patterns_mean_other_things(pattern):
    """Nor is this one: each pattern cuts some text differently in the two engines, and none is written or read."""
    text = "1234567\nbcab[]"
    assert regex.findall(pattern, text) != [piece for piece, _ in split(pattern).pre_tokenize_str(text)]
    assert not tokenizer_json.PORTABLE.fullmatch(pattern)


def test_a_vocabulary_that_cannot_be_written():
    """An unportable pattern, a token that is two things, and a rank without parents end in a sentence too."""
    ranks = {bytes([byte]): byte for byte in range(256)}
    with pytest.raises(ValueError, match="may mean another thing to another regex engine"):
        tokenizer_json.write(Tokenizer(ranks, pattern=r"\w+|\W+"))
    with pytest.raises(ValueError, match=r"\['a'\] are ordinary and special tokens at once"):
        tokenizer_json.write(Tokenizer(ranks, special_tokens={"a": 256}))
    with pytest.raises(ValueError, match="merges no two earlier ones"):
        tokenizer_json.write(Tokenizer({**ranks, b"abc": 256}))


JUNK = st.sampled_from([None, True, -1, 2.5, "", "x", [], ["x"], [[]], {}, {"type": "x"}, {"a": "b"}, 10**30])


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_damage_anywhere_is_told(data, tmp_path):
    """Whatever single value of a file is lost or replaced: it is read as a tokenizer, or a Mistake says why not."""
    fields = copy.deepcopy(WRITTEN)
    place = fields
    while True:
        keys = list(place) if isinstance(place, dict) else range(len(place))
        key = data.draw(st.sampled_from(list(keys)))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    if data.draw(st.booleans()):
        place[key] = data.draw(JUNK)
    else:
        del place[key]
    try:
        assert isinstance(read(fields, tmp_path), Tokenizer)
    except Mistake as error:
        assert str(tmp_path) in str(error)


WRITTEN = tokenizer_json.write(Tokenizer.train(CORPUS, 280, pattern="smollm", special_tokens=SPECIALS))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe{}", b"[1]", b'"x"', b"[" * 10_000])
def test_broken_json_is_told(content, tmp_path):
    """A file cut short, in another encoding, of another shape, or nested beyond reason."""
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(Mistake, match="tokenizer.json (is not JSON|holds a JSON)"):
        tokenizer_json.read(path)
