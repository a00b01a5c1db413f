"""Day 62: special tokens, the cache, and long pieces."""

import random

import bpe.fast as fast
import pytest
from bpe import PATTERNS, Tokenizer, from_visible, plain, to_visible
from hypothesis import given, settings
from hypothesis import strategies as st

TEXT = "the cat sat on the mat, the rat sat on the cat; naïve café 日本日本 🙂🙂 <|end of text|> 12 12 12"


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(TEXT, 290, special_tokens=["<|end of text|>", "<|end"])


@pytest.mark.day(62)
@settings(max_examples=100, deadline=None)
@given(
    st.text(alphabet=st.one_of(st.characters(exclude_categories=("Cs",)), st.sampled_from("the cat,日\n")), max_size=60)
)
def test_encoding_equals_the_plain_one(text):
    """The heap must do what "apply merges in their order" does, for merges learned by the plain side."""
    pattern = PATTERNS["gpt2"]
    merges = plain.train(TEXT, 300, pattern)
    ranks = {token: i for i, token in plain.vocabulary(merges).items()}
    quick = Tokenizer(ranks, pattern="gpt2")
    assert quick.encode(text) == plain.encode(text, merges, pattern)
    assert quick.decode(quick.encode(text)) == text


@pytest.mark.day(62)
def test_a_special_token_in_the_text_is_refused_by_default(tokenizer):
    """Text from outside that holds `<|endoftext|>` must not end a document unless somebody said so."""
    with pytest.raises(ValueError, match=r"holds the special token '<\|end of text\|>' at character 2; pass allowed"):
        tokenizer.encode("a <|end of text|>")


@pytest.mark.day(62)
def test_the_caller_chooses_what_a_special_token_means(tokenizer):
    """The four policies: ids for all, for none, for the named ones, and an error for those not named."""
    text = "cat<|end of text|>cat"
    cat, end = tokenizer.encode("cat"), tokenizer.special_tokens["<|end of text|>"]
    assert tokenizer.encode(text, "all") == [*cat, end, *cat]
    assert tokenizer.encode(text, {"<|end of text|>", "<|end"}) == [*cat, end, *cat]
    assert tokenizer.encode(text, "none") == tokenizer.encode_ordinary(text)
    assert end not in tokenizer.encode(text, "none")
    assert tokenizer.decode(tokenizer.encode(text, "none")) == text
    with pytest.raises(ValueError, match="holds the special token"):
        tokenizer.encode(text, {"<|end"})
    with pytest.raises(ValueError, match="allowed_special is 'everything'; give 'none_raise', 'none', 'all' or a set"):
        tokenizer.encode(text, "everything")
    with pytest.raises(ValueError, match=r"allowed_special is \{'<x>'\}; give"):
        tokenizer.encode(text, {"<x>"})


@pytest.mark.day(62)
def test_of_two_special_tokens_the_longer_wins(tokenizer):
    """`<|end` starts `<|end of text|>`; the shorter first would split the longer."""
    assert tokenizer.encode("<|end of text|><|end", "all") == [
        tokenizer.special_tokens["<|end of text|>"],
        tokenizer.special_tokens["<|end"],
    ]


@pytest.mark.day(62)
def test_empty_text_is_no_tokens(tokenizer):
    """The empty prompt is legal, with every policy."""
    for policy in ("none_raise", "none", "all", set()):
        assert tokenizer.encode("", policy) == []
    assert tokenizer.decode([]) == ""


@pytest.mark.day(62)
@pytest.mark.parametrize("text", [None, b"abc", 7, ["abc"]])
def test_only_text_is_encoded(tokenizer, text):
    """Bytes or a list would otherwise fail deep inside the regular expression."""
    with pytest.raises(TypeError, match=f"text must be a str, not {type(text).__name__}; read a file with"):
        tokenizer.encode(text)


@pytest.mark.day(62)
def test_a_lone_surrogate_gets_a_sentence(tokenizer):
    """Files read with errors="surrogateescape" hold them; UTF-8 cannot write them."""
    with pytest.raises(ValueError, match="character 2 of the text is a lone surrogate"):
        tokenizer.encode("ab\udcffc")


@pytest.mark.day(62)
@pytest.mark.parametrize("bad", [10**6, -1, "a", None])
def test_an_unknown_id_gets_a_sentence(tokenizer, bad):
    """The usual cause is another model's tokenizer or an embedding padded to a round number."""
    with pytest.raises(
        ValueError, match=r"is not in this vocabulary \(integers below 290\); decode with the tokenizer"
    ):
        tokenizer.decode([97, bad])
    with pytest.raises(ValueError, match="is not in this vocabulary"):
        tokenizer.token_bytes(bad)


@pytest.mark.day(62)
def test_half_a_character_is_replaced_in_text_and_kept_in_bytes(tokenizer):
    """Streaming needs the exact bytes; showing needs text that never raises."""
    ids = Tokenizer.train("abc", 256, special_tokens=()).encode("é")
    assert tokenizer.decode(ids[:1]) == "\ufffd"
    assert tokenizer.decode_bytes(ids[:1]) == b"\xc3"
    assert tokenizer.token_bytes(tokenizer.special_tokens["<|end"]) == b"<|end"


@pytest.mark.day(62)
def test_the_cache_is_bounded_and_changes_nothing(tokenizer, monkeypatch):
    """A cache that grows with the text is a leak in a server; emptied, it must give the same ids."""
    text = " ".join(f"w{i}" for i in range(200)) + " " + "x" * 100
    expected = tokenizer.encode(text)
    monkeypatch.setattr(fast, "CACHE_PIECES", 16)
    tokenizer._cache.clear()
    assert tokenizer.encode(text) == expected
    assert tokenizer.encode(text) == expected
    assert 0 < len(tokenizer._cache) <= 16
    assert all(len(piece) <= fast.CACHE_LENGTH for piece in tokenizer._cache)


@pytest.mark.day(62)
def test_the_caller_may_change_the_ids_it_got(tokenizer):
    """The cache holds lists; were one handed out, the caller's append would corrupt later texts."""
    ids = tokenizer.encode("cat")
    before = list(ids)
    ids.append(0)
    assert tokenizer.encode("cat") == before


@pytest.mark.day(62)
def test_a_long_piece_costs_no_more_than_n_log_n(tokenizer, monkeypatch):
    """Work, not seconds: heap steps for 100,000 bytes without a blank. A scan for each merge would be 10**9."""
    pops = 0
    pop = fast.heapq.heappop

    def counted(heap):
        nonlocal pops
        pops += 1
        return pop(heap)

    monkeypatch.setattr(fast.heapq, "heappop", counted)
    ids = tokenizer.encode("thecatsat" * 11_112)
    assert pops < 4 * 100_008  # each merge adds two pairs at most, each leaves the heap once
    monkeypatch.undo()
    assert tokenizer.decode(ids) == "thecatsat" * 11_112


@pytest.fixture(scope="module")
def two_letters():
    """Ranks of 74 merges of two letters: most neighbours can merge, so entries of a heap often go out of date."""
    text = "".join(random.Random(0).choices("aab", k=3000))
    return Tokenizer.train(text, 330, pattern=r"(?s).+", special_tokens=()).ranks


@pytest.mark.day(62)
@settings(max_examples=100, deadline=None)
@given(text=st.text(alphabet="ab", min_size=1, max_size=150))
def test_a_heap_merges_as_a_scan_does(two_letters, text):
    """Two ways for short and for long pieces: where one takes over from the other, no id may change."""
    piece, no_end = text.encode(), float("inf")
    assert fast._merge_long(piece, two_letters, no_end) == fast._merge_short(piece, two_letters, no_end)


@pytest.mark.day(62)
def test_an_entry_of_the_heap_whose_parts_have_merged_is_thrown_away():
    """In `abcd`, (a, b) is noted with 1, and then b merges with c: what stands at a now is abc, which comes last."""
    ranks = {bytes([byte]): 10 + i for i, byte in enumerate(b"abcd")} | {b"bc": 0, b"ab": 1, b"bcd": 2, b"abc": 3}
    assert fast._merge_long(b"abcd", ranks, float("inf")) == [b"a", b"bcd"]


@pytest.mark.day(62)
def test_a_byte_that_the_vocabulary_lacks_gets_a_sentence():
    """Some published vocabularies leave out bytes that never occur in UTF-8, and a few that do."""
    small = Tokenizer({b"a": 0, b"b": 1, b"ab": 2})
    assert small.encode("aab") == [0, 2]
    with pytest.raises(ValueError, match=r"the byte b'c' is not in this vocabulary; drop it from the text"):
        small.encode("abc")


@pytest.mark.day(62)
@pytest.mark.parametrize(
    ("ranks", "specials"),
    [
        ({b"a": 0, b"b": 0}, {}),
        ({b"a": 0}, {"<s>": 0}),
        ({b"": 0}, {}),
        ({"a": 0}, {}),
        ({b"a": -1}, {}),
        ({b"a": 0.5}, {}),
        ({b"a": True}, {}),
        ({b"a": "x", b"b": 1}, {}),
        ({b"a": 0, b"b": None}, {}),
    ],
)
def test_a_vocabulary_with_a_wrong_id_is_refused(ranks, specials):
    """Two tokens of one id would decode to whichever came last."""
    with pytest.raises(ValueError, match="it needs a byte or more and an id >= 0 of its own"):
        Tokenizer(ranks, special_tokens=specials)


@pytest.mark.day(62)
def test_special_tokens_can_be_added_in_a_new_tokenizer(tokenizer):
    """Chat needs markers that the pretrained vocabulary lacks; old ids must not move."""
    more = Tokenizer(
        tokenizer.ranks,
        pattern=tokenizer.pattern,
        special_tokens={**tokenizer.special_tokens, "<|user|>": tokenizer.vocab_size},
    )
    assert more.vocab_size == tokenizer.vocab_size + 1
    assert more.encode("<|user|>cat", {"<|user|>"}) == [tokenizer.vocab_size, *tokenizer.encode("cat")]


@pytest.mark.day(62)
def test_the_visible_alphabet_is_gpt2s():
    """Files of GPT-2, Hugging Face and GGUF write a blank as U+0120; each byte has one character and comes back."""
    everything = bytes(range(256))
    assert to_visible(b" the\n") == "\u0120the\u010a"
    assert from_visible(to_visible(everything)) == everything
    assert len(set(to_visible(everything))) == 256
    assert to_visible(everything).isprintable()
    with pytest.raises(ValueError, match="' ' in 'a b' stands for no byte; write tokens with to_visible"):
        from_visible("a b")
