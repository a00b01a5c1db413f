"""Days 60, 62 and 63: the ids of tiktoken, for GPT-2's vocabulary, cl100k and vocabularies learned here."""

import random
from pathlib import Path

import pytest
from bpe import Tokenizer, to_visible, vocabularies
from hypothesis import example, given, settings
from hypothesis import strategies as st

tiktoken = pytest.importorskip("tiktoken", reason="the outside oracle is not installed")
DATA = Path(__file__).resolve().parents[3] / "data"

MIXED = [
    "def f(x):\n    return {k: v ** 2 for k, v in x.items() if k != 'a'}  # naïve\n\tpass\r\n\r\n",
    '<html><body class="x">&nbsp;</body></html>\n\n\n   #include <stdio.h>\nint main(){return 0;}',
    "🙂👍🏽👩‍👩‍👧‍👦🏳️‍🌈🇩🇪🇯🇵 ❤️ ✈︎ 1️⃣ 🙂🙂🙂🙂",
    "日本語のテキスト。中文字符，没有空格。한국어 문장입니다. ｆｕｌｌ　ｗｉｄｔｈ",
    "مرحبا بالعالم ١٢٣ שלום עולם  हिन्दी में क्षत्रिय ภาษาไทย Ελληνικά Кириллица",
    "e\u0301a\u0308o\u0302\u0323 Z\u0334\u0321a\u0337l\u0338g\u0322o\u0335 \u0301\u0301\u0301 cafe\u0301s",
    "a b  c   d    e     f\n\n\n\ng\t\th \t \t i\u00a0\u00a0j\u3000k\u2003\u2003l\u200bm\u2028n\u2029o\u0085p",
    "   leading, trailing   ",
    "\r\n\r\r\n\n\r \n \r\n  \n",
    "1 12 123 1234 12345 3.14159 1e-10 0xFFFFFFFF ²³¹ ½⅓ Ⅻ ٣٤٥ 1,000,000",
    "I'm you're he'll they've I'd DON'T I'LL 'S' '\u017fo ''s it’s l'été y'all'd've",
    "\x00\x01\x02\x07\x08\x0b\x0c\x1b[31m\x7f\x80\x9f\ufeff\ufffd\ufffe\uffff\U0010ffff\U000e0001",
    "supercalifragilisticexpialidocious" * 20 + " " + "a" * 500 + " " + "ab" * 300 + "é" * 200,
    "!!!???...---===***((([[[{{{\\\\\\///~~~```\n\n!!!\r\n\r\n---\n",
    "<|endoftext|> <|endofprompt|> <|im_start|> <|endoftext|",
    "",
    " ",
    "\n",
]
# The `regex` package and tiktoken may carry different versions of Unicode: a letter assigned between the two is a
# letter to one of them only. So random text holds what this Python knows, and no surrogates, which are not text.
KNOWN = st.characters(exclude_categories=("Cs", "Cn"))
TEXT = st.text(
    alphabet=st.one_of(KNOWN, st.sampled_from(" \t\r\n'sStTlLvVeErRdDmM019.!aé日🙂\u0301\u200d\u00a0\u3000")),
    max_size=80,
)


@pytest.fixture(scope="module", params=["gpt2", "cl100k_base"])
def pair(request):
    """(our tokenizer, tiktoken's own definition of the encoding, fed from the local files instead of the network)."""
    files = {p.name: p for folder in ("gpt2", "cl100k") for p in (DATA / folder).glob("*")}
    if not {"encoder.json", "vocab.bpe", "cl100k_base.tiktoken"} <= files.keys():
        pytest.skip("data/gpt2 or data/cl100k is missing; run: make data/gpt2 data/cl100k")
    load, public = pytest.importorskip("tiktoken.load"), pytest.importorskip("tiktoken_ext.openai_public")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", "")
        patch.setattr(load, "read_file", lambda url: files[url.rsplit("/", 1)[-1]].read_bytes())
        definition = getattr(public, request.param)()
    ours = (
        vocabularies.gpt2(DATA / "gpt2")
        if request.param == "gpt2"
        else vocabularies.cl100k(files["cl100k_base.tiktoken"])
    )
    return ours, tiktoken.Encoding(**definition)


@pytest.mark.day(63)
def test_the_vocabulary_is_tiktokens(pair):
    """Same bytes, ids and special tokens: checked apart, so that a wrong table is not hidden by a lucky text."""
    ours, theirs = pair
    assert ours.ranks == theirs._mergeable_ranks
    assert ours.special_tokens == theirs._special_tokens
    assert ours.vocab_size == theirs.n_vocab


@pytest.mark.day(63)
@pytest.mark.parametrize("text", MIXED, ids=range(len(MIXED)))
def test_ids_equal_tiktokens_on_mixed_text(pair, text):
    """The week's promise: the ids of the tokenizer that GPT-2 and GPT-4 were trained with, exactly."""
    ours, theirs = pair
    assert ours.encode_ordinary(text) == theirs.encode_ordinary(text)
    assert ours.encode(text, "all") == theirs.encode(text, allowed_special="all")
    assert ours.decode(ours.encode(text, "none")) == text


@pytest.mark.day(63)
@settings(max_examples=300, deadline=None)
@given(TEXT)
@example("'\u017f \u212a'S")  # long s and the Kelvin sign: equal to s and k when case is ignored
@example("\u2028\u2029\u0085\x1c\x1d\x1e\x1f x")  # what counts as white space differs between libraries
def test_ids_equal_tiktokens_on_random_text(pair, text):
    """Hand-picked text misses what nobody thought of."""
    ours, theirs = pair
    assert ours.encode_ordinary(text) == theirs.encode_ordinary(text)
    assert ours.decode(ours.encode_ordinary(text)) == text


@pytest.mark.day(63)
@settings(max_examples=100, deadline=None)
@given(st.data())
def test_decoding_equals_tiktokens_on_random_ids(pair, data):
    """A model emits any ids, so bytes that are no UTF-8 must decode alike too."""
    ours, theirs = pair
    ids = data.draw(st.lists(st.integers(0, ours.vocab_size - 1).filter(ours._bytes.__contains__), max_size=20))
    assert ours.decode_bytes(ids) == theirs.decode_bytes(ids)
    assert ours.decode(ids) == theirs.decode(ids)


@pytest.mark.day(63)
def test_long_pieces_equal_tiktokens(pair):
    """One piece of 100,000 bytes: the order of merges must hold where left and right neighbours change all the time."""
    ours, theirs = pair
    draw = random.Random(0)
    for letters in ("abcdefgh", "aaab", "etaoin"):
        text = "".join(draw.choices(letters, k=100_000))
        assert ours.encode_ordinary(text) == theirs.encode_ordinary(text)


@pytest.mark.day(63)
def test_real_text_equals_tiktokens(pair):
    """200 KB each of plays, Python and recipes: the frequent pieces, with the cache in use."""
    ours, theirs = pair
    found = [p for name in ("shakespeare", "code", "recipes") if (p := DATA / name / "val.txt").exists()]
    if not found:
        pytest.skip("data/shakespeare is missing; run: make data/shakespeare")
    for path in found:
        text = path.read_text(encoding="utf-8")[:200_000]
        assert ours.encode(text, "all") == theirs.encode(text, allowed_special="all")


@pytest.mark.day(63)
def test_merges_are_those_of_the_vocab_file():
    """Parents are not stored but recovered from the ranks; for GPT-2 the file lists all 50,000 of them."""
    if not (DATA / "gpt2" / "vocab.bpe").exists():
        pytest.skip("data/gpt2 is missing; run: make data/gpt2")
    listed = (DATA / "gpt2" / "vocab.bpe").read_text(encoding="utf-8").splitlines()[1:]
    ours = vocabularies.gpt2(DATA / "gpt2")
    assert [f"{to_visible(left)} {to_visible(right)}" for left, right in ours.merges] == listed


@pytest.mark.day(62)
@settings(max_examples=40, deadline=None)
@given(TEXT)
def test_a_learned_vocabulary_encodes_as_tiktoken_would(learned, text):
    """The same representation serves what is learned here: tiktoken gets our ranks and must give our ids."""
    ours, theirs = learned
    assert ours.encode(text, "all") == theirs.encode(text, allowed_special="all")


@pytest.fixture(scope="module")
def learned():
    """(a vocabulary learned from the mixed text, tiktoken with its ranks)."""
    ours = Tokenizer.train(" ".join(MIXED), 600, pattern="cl100k", special_tokens=["<|a b|>", "<|a"])
    theirs = tiktoken.Encoding(
        name="learned", pat_str=ours.pattern, mergeable_ranks=ours.ranks, special_tokens=ours.special_tokens
    )
    return ours, theirs


@pytest.mark.day(63)
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("IQ== 0\nIg==\n", "line 2: 'Ig==' is not a token in base64 and its rank"),
        ("I* 0\n", "line 1"),
        ("IQ== x\n", "line 1"),
    ],
)
def test_a_damaged_tiktoken_file_gets_a_sentence(tmp_path, content, sentence):
    """A download that broke off must name the line, not raise from inside base64."""
    (tmp_path / "x.tiktoken").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=sentence):
        vocabularies.read_tiktoken(tmp_path / "x.tiktoken")


@pytest.mark.day(63)
def test_missing_and_mismatched_vocabulary_files_get_a_sentence(tmp_path):
    """encoder.json of one model beside vocab.bpe of another would encode without an error, and wrongly."""
    with pytest.raises(FileNotFoundError, match="encoder.json does not exist; run: make data/gpt2"):
        vocabularies.gpt2(tmp_path)
    (tmp_path / "encoder.json").write_text('{"a": 0, "b": 1, "ab": 256}', encoding="utf-8")
    (tmp_path / "vocab.bpe").write_text("#version: 0.2\na a\n", encoding="utf-8")
    with pytest.raises(ValueError, match="of two vocabularies; run: make data/gpt2"):
        vocabularies.gpt2(tmp_path)
