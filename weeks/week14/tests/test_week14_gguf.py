"""GGUF files: tiny ones written by the gguf library, read by us, by transformers and by the library's own reader."""

import math
import random
import struct

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nanogpt.formats import gguf as ours
from nanogpt.model import GPT
from nanogpt.vendor.bpe.fast import PATTERNS, Tokenizer, to_visible
from nanogpt.vendor.shared.errors import Mistake

pytestmark = pytest.mark.day(97)

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES, TYPES = "tokenizer.ggml.merges", "tokenizer.ggml.token_type"
N_LAYER, N_HEAD, N_KV_HEAD, WIDE, HIDDEN = 2, 4, 2, 64, 96
KINDS = {"embd": "Q8_0", "_q": "Q4_1", "_k": "Q5_0", "_v": "F16", "_output": "BF16", "gate": "Q4_0", "up": "Q5_1"}


@pytest.fixture(scope="module")
def vocabulary(load_script):
    """A vocabulary laid out as SmolLM2's: special tokens first, then bytes, then merges in order."""
    text = "\n".join(load_script("week14", "oracle").mixed_lines(200, seed=1))
    learned = Tokenizer.train(text, 500, pattern="smollm", special_tokens=())
    merges = [f"{to_visible(left)} {to_visible(right)}" for left, right in learned.merges]
    return SPECIALS + [to_visible(token) for token in learned.ranks], merges


def header(vocabulary):
    """The settings of a tiny model; in an array, strings are in a list and numbers in a tuple."""
    tokens, merges = vocabulary
    return {
        "llama.block_count": N_LAYER,
        "llama.context_length": 32,
        "llama.embedding_length": WIDE,
        "llama.feed_forward_length": HIDDEN,
        "llama.attention.head_count": N_HEAD,
        "llama.attention.head_count_kv": N_KV_HEAD,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.freq_base": 100_000.0,
        "llama.rope.dimension_count": WIDE // N_HEAD,
        "llama.vocab_size": len(tokens),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.add_space_prefix": False,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": (3,) * len(SPECIALS) + (1,) * (len(tokens) - len(SPECIALS)),
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.chat_template": "{{ messages }}",
    }


def weights(vocab_size, tie=True, n_kv_head=N_KV_HEAD):
    """name -> float32 array, loud enough that every part moves the logits."""
    draw, kv = np.random.default_rng(0), WIDE // N_HEAD * n_kv_head
    shapes = {"token_embd": (vocab_size, WIDE), "output_norm": (WIDE,)}
    shapes |= {} if tie else {"output": (vocab_size, WIDE)}
    for i in range(N_LAYER):
        shapes |= {f"blk.{i}.{name}": (WIDE,) for name in ("attn_norm", "ffn_norm")}
        shapes |= {f"blk.{i}.{name}": (WIDE, WIDE) for name in ("attn_q", "attn_output")}
        shapes |= {f"blk.{i}.{name}": (kv, WIDE) for name in ("attn_k", "attn_v")}
        shapes |= {f"blk.{i}.ffn_gate": (HIDDEN, WIDE), f"blk.{i}.ffn_up": (HIDDEN, WIDE)}
        shapes[f"blk.{i}.ffn_down"] = (WIDE, HIDDEN)
    random_one = lambda shape: draw.normal(0, 0.25, shape) + (len(shape) == 1)
    return {f"{name}.weight": random_one(shape).astype(np.float32) for name, shape in shapes.items()}


def write(path, fields, tensors, kinds=KINDS, architecture="llama", **options):
    """The file, by the library's own writer; a value of None leaves a setting or a tensor out."""
    writer = gguf.GGUFWriter(path, architecture, **options)
    for key, value in fields.items():
        if isinstance(value, list | tuple):
            writer.add_array(key, list(value))
        elif value is not None:
            add = {str: writer.add_string, bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32}
            add[type(value)](key, value)
    for name, value in tensors.items():
        if value is not None:
            kind = next((kinds[part] for part in kinds if part in name and value.ndim == 2), "F32")
            kind = gguf.GGMLQuantizationType[kind]
            writer.add_tensor(name, gguf.quantize(value, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def tiny(vocabulary, tmp_path_factory):
    """The path of a tiny whole file."""
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    return write(path, header(vocabulary), weights(len(vocabulary[0])))


# --- what a good file gives -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tie", [True, False], ids=["tied", "untied"])
def test_model_equals_transformers_reading_the_same_file(vocabulary, tmp_path, tie):
    """Names, shapes, eight quantisations and llama.cpp's order of q and k: one wrong, and the logits are nonsense."""
    transformers = pytest.importorskip("transformers", reason="the outside oracle is not installed")
    path = write(tmp_path / "m.gguf", header(vocabulary), weights(len(vocabulary[0]), tie))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=path.name, dtype=torch.float32)
    published = ours.read(path)
    model = GPT(published.config).eval()
    missing, unknown = model.load_state_dict(published.tensors, strict=False)
    assert not unknown and missing == (["head.weight"] if tie else []) and published.config.tie == tie
    tokens = torch.randint(0, len(vocabulary[0]), (2, 32), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs.eval()(tokens).logits
        logits, _ = model(tokens)
    assert expected.std() > 0.1
    # float32 sums of some hundred products in another order: about 1e-6 of the largest was seen
    torch.testing.assert_close(logits, expected, atol=1e-5 * expected.abs().max().item(), rtol=0)


def test_the_rest_of_what_was_published(tiny, vocabulary):
    """Special tokens by their texts, the template as it stands; memory of the file must not be shared."""
    published = ours.read(tiny)
    assert (published.bos, published.eos) == ("<|im_start|>", "<|im_end|>")
    assert published.chat_template == "{{ messages }}"
    assert published.tokenizer.special_tokens == {text: i for i, text in enumerate(SPECIALS)}
    assert published.tokenizer.vocab_size == published.config.vocab_size == len(vocabulary[0])
    assert {t.dtype for t in published.tensors.values()} == {torch.float32}
    assert all(t.is_contiguous() and t.numpy().flags.writeable for t in published.tensors.values())


def test_large_tensors_are_the_same_in_pieces(tiny, monkeypatch):
    """An embedding is undone some rows at a time; the seams must not show."""
    whole = ours.read(tiny).tensors
    monkeypatch.setattr(ours, "ROWS_AT_ONCE", 7)
    assert all(torch.equal(whole[name], tensor) for name, tensor in ours.read(tiny).tensors.items())


def test_header_equals_the_librarys_reading(tmp_path):
    """Our short parser replaces a slow one, so every type of value must come out as that one gives it."""
    writer, types = gguf.GGUFWriter(tmp_path / "x.gguf", "other"), gguf.GGUFValueType
    numbers = {"INT": (-5, 5), "UINT": (0, 200), "FLOAT": (0.5, -3.25)}
    for kind in types:
        values = [False, True] if kind.name == "BOOL" else numbers.get(kind.name.rstrip("0123456789"))
        if values:
            writer.add_key_value(f"x.{kind.name}", values[1], kind)
            writer.add_key_value(f"x.many.{kind.name}", list(values), types.ARRAY, sub_type=kind)
    writer.add_string("x.string", "naïve 日本語\n")
    writer.add_array("x.strings", ["", "a b", "🙂"])
    writer.add_custom_alignment(64)
    writer.add_tensor("one", np.arange(6, dtype=np.float32).reshape(2, 3))
    writer.add_tensor("two", np.arange(5, dtype=np.float32))
    writer.write_header_to_file(), writer.write_kv_data_to_file(), writer.write_tensors_to_file(), writer.close()
    theirs = gguf.GGUFReader(tmp_path / "x.gguf")
    with open(tmp_path / "x.gguf", "rb") as file:
        found, stored, start = ours._Header(file, 10**6).read()
    expected = {name: field.contents() for name, field in theirs.fields.items() if not name.startswith("GGUF.")}
    assert {name: list(v) if isinstance(v, tuple) else v for name, v in found.items()} == expected
    assert len(found) == 2 * 11 + 4
    assert {name: (t.shape, start + t.offset) for name, t in stored.items()} == {
        t.name: (tuple(t.data.shape), t.data_offset) for t in theirs.tensors
    }


# --- tokenizer --------------------------------------------------------------------------------------------------------


def their_tokenizer(load_script, tokens, merges):
    """Hugging Face's tokenizer with these tokens and merges, and SmolLM2's published pre-tokenizer."""
    hf = pytest.importorskip("tokenizers", reason="the outside oracle is not installed")
    ids = {token: i for i, token in enumerate(tokens)}
    theirs = hf.Tokenizer(hf.models.BPE(vocab=ids, merges=[tuple(merge.split(" ")) for merge in merges]))
    theirs.pre_tokenizer = load_script("week14", "oracle").published_pre_tokenizer()
    return theirs


@pytest.fixture(scope="module")
def pair(tiny, vocabulary, load_script):
    """(our tokenizer of the tiny file, theirs of the same lists)."""
    return ours.read(tiny).tokenizer, their_tokenizer(load_script, *vocabulary)


def test_ids_equal_on_mixed_lines(pair, load_script):
    """A thousand lines of digits, scripts, emoji and blanks: an id that differs is a word the model misreads."""
    lines = load_script("week14", "oracle").mixed_lines(1000)
    assert len(set(lines)) == 1000
    wrong = [line for line in lines if pair[0].encode_ordinary(line) != pair[1].encode(line).ids]
    assert wrong == []


KNOWN = st.characters(exclude_categories=("Cs", "Cn"))  # what this Python's Unicode has, so that both engines agree
TEXT = st.text(st.one_of(KNOWN, st.sampled_from(" \t\r\n0129½Ⅳ٣'stlvedm.!aé日\u00a0\u3000\u0301")), max_size=60)


@settings(max_examples=200)
@given(TEXT)
def test_ids_equal_on_random_text(pair, text):
    """Lines that are made by a recipe miss what the recipe's author did not think of."""
    assert pair[0].encode_ordinary(text) == pair[1].encode(text).ids
    assert pair[0].decode(pair[0].encode_ordinary(text)) == text


def test_gpt2s_pre_tokenizer_and_defaults(vocabulary, tmp_path):
    """The other pre-tokenizer that is known, and what a file may leave out."""
    left_out = ["llama.attention.head_count_kv", "llama.rope.freq_base", "tokenizer.ggml.bos_token_id"]
    fields = header(vocabulary) | dict.fromkeys([*left_out, "tokenizer.chat_template"])
    path = tmp_path / "m.gguf"
    write(path, fields | {"tokenizer.ggml.pre": "gpt-2"}, weights(len(vocabulary[0]), n_kv_head=N_HEAD))
    published = ours.read(path)
    assert published.tokenizer.pattern == PATTERNS["gpt2"]
    assert (published.config.n_kv_head, published.config.rope_base) == (N_HEAD, 10_000.0)
    assert (published.bos, published.eos, published.chat_template) == ("", "<|im_end|>", None)


# --- bad files --------------------------------------------------------------------------------------------------------


def refused(path):
    """The sentence that reading the file ends in; it must be one line and name the file."""
    with pytest.raises(Mistake) as caught:
        ours.read(path)
    sentence = str(caught.value)
    assert str(path) in sentence and "\n" not in sentence and len(sentence) < 900
    return sentence


def swapped(key, i, j):
    """A change: two entries of a list change places."""

    def change(fields):
        entries = list(fields[key])
        entries[i], entries[j] = entries[j], entries[i]
        return {key: entries}

    return change


def merged_otherwise(fields):
    """Tokens ab, bc, abc whose ids are in order, but abc is listed as a + bc, where the ids call for ab + c."""
    tokens = [*SPECIALS, "a", "b", "c", "ab", "bc", "abc"]
    merges = ["a b", "b c", "a bc"]
    kinds = (3, 3, 3, 1, 1, 1, 1, 1, 1)
    return dict(zip((f"tokenizer.ggml.{name}" for name in ("tokens", "merges", "token_type")), (tokens, merges, kinds)))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"llama.rope.scaling.type": "linear"}, "llama.rope.scaling.type is 'linear', and nanogpt computes with none"),
        ({"llama.expert_count": 8}, "llama.expert_count is 8, and nanogpt computes with 0"),
        ({"llama.attention.sliding_window": 512}, "sliding_window is 512, and nanogpt computes with no such setting"),
        ({"llama.attention.key_length": 32}, "key_length is 32, and nanogpt computes with 16"),
        ({"llama.rope.dimension_count": 8}, "dimension_count is 8, and nanogpt computes with 16"),
        ({"llama.vocab_size": 7}, "llama.vocab_size is 7, and nanogpt computes with"),
        ({"llama.block_count": None}, "has no llama.block_count"),
        ({"llama.block_count": "two"}, "llama.block_count is 'two', which is of the wrong type"),
        ({"llama.attention.head_count": 5}, "n_head 5 does not divide n_embd 64"),
        ({"llama.block_count": 9999}, "tensors for 9999 layers: damaged"),
        ({"llama.block_count": 10**9}, "n_layer is 1000000000; it must be a whole number from 1 to 10,000"),
        ({"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.bos_token_id": None}, "it names no bos token"),
        ({"llama.feed_forward_length": 64}, "blk.0.ffn_gate.weight has shape (96, 64), not (64, 64)"),
        ({"llama.block_count": 3}, "blk.2.ffn_down.weight is missing and 1 more; choose"),
        ({"llama.block_count": 1}, "blk.1.attn_norm.weight has no place"),
        ({"split.count": 3}, "one part of a split model; join the parts with llama-gguf-split"),
        ({"tokenizer.ggml.model": "llama"}, "its tokenizer is 'llama' with 'smollm', and nanogpt knows 'gpt2' with"),
        ({"tokenizer.ggml.pre": "qwen2"}, "'gpt2' with 'qwen2', and nanogpt knows 'gpt2' with 'gpt-2' or 'smollm'"),
        ({"tokenizer.ggml.pre": None}, "'gpt2' with None"),
        ({"tokenizer.ggml.add_space_prefix": True}, "puts a blank before every text"),
        ({"tokenizer.ggml.tokens": None}, "has no tokenizer.ggml.tokens"),
        ({TYPES: (1, 3)}, "not all different, or not all normal, control or unused"),
        (lambda old: {TYPES: (4, *old[TYPES][1:])}, "not all different, or not all normal, control or unused"),
        ({MERGES: ["a b"]}, "its merges have 'a b', where its ids call for"),
        (lambda old: {MERGES: [*old[MERGES], "a b"]}, "its merges have 'a b', where its ids call for None"),
        ({MERGES: (1, 2)}, "merges is '(1, 2)', which is of the wrong type"),
        (swapped(MERGES, 5, 9), ", where its ids call for"),
        (swapped("tokenizer.ggml.tokens", 300, 309), "its ids are not in the order of its merges"),
        (merged_otherwise, "its merges have 'a bc', where its ids call for 'ab c'"),
        ({"tokenizer.ggml.eos_token_id": 300}, "eos_token_id is 300, which is no special token"),
        ({"tokenizer.ggml.bos_token_id": 10**6}, "bos_token_id is 1000000, which is no special token"),
        ({"general.alignment": 0}, "general.alignment is 0"),
    ],
)
def test_a_setting_that_cannot_be_honoured_gets_a_sentence(vocabulary, tmp_path, change, sentence):
    """A setting that is ignored, or a tokenizer taken for another, gives a model that talks nonsense quietly."""
    fields = header(vocabulary)
    fields |= change(fields) if callable(change) else change
    if change is merged_otherwise:
        fields["llama.vocab_size"] = 9
    vocab_size = len(fields["tokenizer.ggml.tokens"] or vocabulary[0])
    assert sentence in refused(write(tmp_path / "m.gguf", fields, weights(vocab_size)))


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        ({"blk.0.attn_q.weight": None}, "blk.0.attn_q.weight is missing; choose"),
        ({"blk.0.attn_q.bias": np.ones(WIDE, np.float32)}, "blk.0.attn_q.bias has no place; choose"),
        ({"blk.1.ffn_gate_inp.weight": np.ones((2, WIDE), np.float32)}, "blk.1.ffn_gate_inp.weight has no place"),
        ({"rope_freqs.weight": np.ones(8, np.float32)}, "it scales RoPE (rope_freqs.weight)"),
        ({"output_norm.weight": np.ones(32, np.float32)}, "output_norm.weight has shape (32,), not (64,)"),
    ],
)
def test_tensors_of_another_model_are_named(vocabulary, tmp_path, tensors, sentence):
    """A bias or a scaling that is dropped changes every logit a little: the worst kind of wrong."""
    tensors = weights(len(vocabulary[0])) | tensors
    assert sentence in refused(write(tmp_path / "m.gguf", header(vocabulary), tensors))


def test_other_files_get_a_sentence(vocabulary, tiny, tmp_path):
    """What people really pass: a folder, a wrong path, a text, another model, another machine's byte order."""
    path, good = tmp_path / "m.gguf", tiny.read_bytes()
    assert "is a folder; give the .gguf file in it" in refused(tmp_path)
    assert "does not exist; check the path" in refused(path)
    changed = [
        (b"", "this is no GGUF file"),
        (b"hello, world" * 10, "this is no GGUF file"),
        (b"GGUF\x01\0\0\0" + good[8:], "version 1 of GGUF, and nanogpt reads 2 and 3"),
        (b"GGUF\0\0\0\x03" + good[8:], "big-endian; make it little-endian with gguf-convert-endian"),
        (good.replace(b"llama.block_count", b"llama.vocab_sizes"), "llama.block_count"),
        (good.replace(b"llama.block_count", b"llama.\xff\xfe_countx"), "not UTF-8"),
        (good.replace(b"tokenizer.ggml.pre", b"tokenizer.ggml.pro"), "'gpt2' with None"),
        (good.replace(b"blk.0.ffn_up.weight", b"blk.1.ffn_up.weight"), "names 'blk.1.ffn_up.weight' twice"),
    ]
    for content, sentence in changed:
        path.write_bytes(content)
        assert sentence in refused(path)
    for name in ("qwen2", "gemma3", "gpt2"):
        write(path, {}, {}, architecture=name)
        assert f"its architecture is {name!r}, and of GGUF files nanogpt reads llama" in refused(path)


@pytest.mark.parametrize("kind", [gguf.GGMLQuantizationType.Q8_K, gguf.GGMLQuantizationType.F64, 39000])
def test_a_quantisation_that_the_library_cannot_undo_is_told_at_once(tiny, tmp_path, kind):
    """Not after a gigabyte of work, and not as NotImplementedError."""
    name = b"blk.1.ffn_norm.weight"
    place = tiny.read_bytes().index(name) + len(name) + 4 + 8  # after the number of dimensions and the one dimension
    path = tmp_path / "m.gguf"
    path.write_bytes(tiny.read_bytes()[:place] + struct.pack("<I", kind) + tiny.read_bytes()[place + 4 :])
    sentence = refused(path)
    assert "another quantisation, such as Q8_0 or Q4_K_M" in sentence
    assert (kind.name if kind != 39000 else "39000") in sentence


def test_every_truncation_gets_a_sentence(tiny, tmp_path):
    """A download breaks off anywhere: in a length, in a name, in the last tensor."""
    good, path, draw = tiny.read_bytes(), tmp_path / "m.gguf", random.Random(0)
    with open(tiny, "rb") as file:
        _, stored, start = ours._Header(file, len(good)).read()
    last = max(stored.values(), key=lambda t: t.offset)
    end = start + last.offset + math.prod(last.shape) * 4  # the last one is a norm in float32; padding may follow
    for cut in [4, 5, 8, 16, 23, 24, 25, start - 1, start, start + 1, end - 1, *draw.choices(range(6, end), k=100)]:
        path.write_bytes(good[:cut])
        assert "cut short; download it again" in refused(path), cut
    path.write_bytes(good[:end])
    ours.read(path)  # and no byte more is needed


@settings(max_examples=150)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=3))
def test_a_damaged_header_is_refused_or_read_but_never_crashes(tiny, tmp_path_factory, changes):
    """Any byte may be wrong: what comes out is a model or one sentence, not a traceback, not a gigabyte of memory."""
    content = bytearray(tiny.read_bytes())
    short = content.index(b"tokenizer.ggml.tokens")  # the settings, then the names of tensors: not the long lists
    names = content.index(b"token_embd.weight")
    places = [*range(short + 60), *range(names - 40, names + 1800)]
    for place, byte in changes:
        content[places[place % len(places)]] = byte
    path = tmp_path_factory.mktemp("damaged") / "m.gguf"
    path.write_bytes(content)
    try:
        ours.read(path)
    except Mistake as error:
        assert str(path) in str(error)
