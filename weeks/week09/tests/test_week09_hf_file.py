"""Day 63: the file that Hugging Face's library loads. The oracle is that library."""

import json

import pytest
from bpe import PATTERNS, Tokenizer
from bpe.hf_file import CUTS, from_hf, load_hf, save_hf, to_hf
from hypothesis import example, given, settings
from hypothesis import strategies as st

hf = pytest.importorskip("tokenizers", reason="the outside oracle is not installed")
pytestmark = pytest.mark.day(63)

SPECIALS = ["<|end|>", "<|a b|>", "é🙂"]
TEXT = "It's 2026, isn't it? YES, it'S 12345 naïve 日本 🙂 \n\n\t x  y   z --- def f(x):\r\n    return 3.14\n" * 3


def learned(pattern):
    """One vocabulary a pattern, with three added tokens."""
    if pattern not in learned.kept:
        learned.kept[pattern] = Tokenizer.train(TEXT, 300, pattern=pattern, special_tokens=SPECIALS)
    return learned.kept[pattern]


learned.kept = {}


def theirs(tokenizer):
    return hf.Tokenizer.from_str(json.dumps(to_hf(tokenizer)))


def letters():
    """Characters of every class, as far as this Python knows them: two engines may be of two versions of Unicode."""
    kinds = st.characters(exclude_categories=("Cs", "Cn"), max_codepoint=0x1FFFF)
    return st.one_of(st.sampled_from("'sStTlLvVeErR019 \t\r\n.,-!é日🙂\u0301\u200d\u00a0\u3000"), kinds)


@pytest.mark.parametrize("pattern", CUTS)
@given(st.lists(st.one_of(st.text(letters(), max_size=12), st.sampled_from(SPECIALS)), max_size=6).map("".join))
@example(TEXT)
@example("a<|end|>b<|end|><|a b|> é🙂")
@settings(max_examples=80, deadline=None)
def test_the_library_gives_our_ids_and_our_text(pattern, text):
    ours = learned(pattern)
    ids = ours.encode(text, "all")
    if pattern not in learned.peers:
        learned.peers[pattern] = theirs(ours)
    peer = learned.peers[pattern]
    assert peer.encode(text).ids == ids
    assert peer.decode(ids, skip_special_tokens=False) == text == ours.decode(ids)


learned.peers = {}


@pytest.mark.parametrize("pattern", CUTS)
def test_what_the_library_saves_comes_back(tmp_path, pattern):
    """Theirs writes more fields and another order; the same tokenizer is in it."""
    ours, path = learned(pattern), tmp_path / "tokenizer.json"
    assert save_hf(ours, path) == path
    for tokenizer in (load_hf(path), None):
        if tokenizer is None:
            hf.Tokenizer.from_file(str(path)).save(str(path))
            tokenizer = load_hf(path)
        assert (tokenizer.ranks, tokenizer.pattern) == (ours.ranks, ours.pattern)
        assert tokenizer.special_tokens == ours.special_tokens == dict(zip(SPECIALS, range(297, 300)))


def test_a_vocabulary_that_the_library_learned_is_read():
    """Its trainer, its file, our reader: the same ids on a text with words that it did not see."""
    peer = hf.Tokenizer(hf.models.BPE())
    peer.pre_tokenizer = hf.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = hf.trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|end|>"],
        initial_alphabet=hf.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    peer.train_from_iterator([TEXT], trainer)
    ours = from_hf(json.loads(peer.to_str()))
    assert ours.special_tokens == {"<|end|>": 0}
    text = "naïvety<|end|> isn't 日 a yes\n\nreturning"
    assert ours.encode(text, "all") == peer.encode(text).ids


def without(**changes):
    """The file of a small tokenizer with some fields other than ours."""
    state = to_hf(learned("gpt2"))
    return {**state, **changes}


PLAIN = {"id": 297, "content": "<|end|>", "special": True}


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        (without, None),  # ours is read
        (lambda: without(normalizer={"type": "NFC"}), "its normalizer .*NFC.* so ids would differ; use another"),
        (lambda: without(pre_tokenizer={"type": "Whitespace"}), "its pre_tokenizer .*Whitespace"),
        (lambda: without(post_processor={"type": "BertProcessing"}), "its post_processor .*BertProcessing"),
        (lambda: without(added_tokens=[PLAIN | {"lstrip": True}]), "its added_tokens .*end.* so ids would differ"),
        (lambda: without(added_tokens=[PLAIN | {"special": False}]), "its added_tokens .*end.* so ids would differ"),
        (lambda: without(model={"type": "Unigram", "vocab": []}), "its model .*Unigram"),
        (lambda: without(model=None), "it is no tokenizer of Hugging Face's library .*; give another file"),
        (lambda: without(pre_tokenizer=None), "it is no tokenizer of Hugging Face's library"),
        (lambda: {"format": "byte-level-bpe"}, "it is no tokenizer of Hugging Face's library"),
        (lambda: [], "it is no tokenizer of Hugging Face's library"),
    ],
)
def test_a_file_that_would_give_other_ids_is_refused(tmp_path, state, sentence):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(state()), encoding="utf-8")
    if sentence is None:
        assert load_hf(path).ranks == learned("gpt2").ranks
        return
    with pytest.raises(ValueError, match=f"tokenizer.json: {sentence}"):
        load_hf(path)


def test_merges_in_another_order_are_refused():
    state = to_hf(learned("gpt2"))
    state["model"]["merges"].reverse()
    with pytest.raises(ValueError, match="its ids are not in the order of its merges, and ours merges by id; use"):
        from_hf(state)


def test_a_damaged_or_missing_file_gets_a_sentence(tmp_path):
    path = tmp_path / "tokenizer.json"
    with pytest.raises(FileNotFoundError, match="there is no tokenizer at .*tokenizer.json; give another path"):
        load_hf(path)
    for content in (b"{", b"\xff"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="tokenizer.json is not JSON .*; it was cut short: download it again"):
            load_hf(path)


def test_what_the_file_cannot_hold_is_refused():
    own = Tokenizer.train(TEXT, 260, pattern=r"(?s).")
    with pytest.raises(ValueError, match=r"the pattern '\(\?s\).' is none of gpt2, cl100k, smollm, and .* with one of"):
        to_hf(own)
    twice = Tokenizer(learned("gpt2").ranks, special_tokens={"a": 300})
    with pytest.raises(ValueError, match="'a' is an ordinary and a special token, which the file cannot hold; rename"):
        to_hf(twice)


def test_every_pattern_has_its_cut():
    assert CUTS.keys() == PATTERNS.keys()
