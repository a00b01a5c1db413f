"""Day 63: SmolLM's way to cut text, against the two steps of Hugging Face's library that define it."""

import unicodedata

import pytest
import regex
from bpe import PATTERNS, Tokenizer, to_visible
from hypothesis import example, given, settings
from hypothesis import strategies as st

hf = pytest.importorskip("tokenizers", reason="the outside oracle is not installed")

MIXED = [
    "It's 7:30, we'll pay 1,234.50 for 12 eggs and 3½ pies; he'd've said 1990s'll do",
    "  2  3 4\t5\n6\r\n7   \n 8 9",
    "for i in range(10):\n    x[i] += 0x1F  # naïve\n\n\tpass\r\n\r\n",
    "½⅓ Ⅳ ⅻ ٣٤٥ १२३ ② ²³¹ 一二三 〇 ௧௨ 𝟘𝟙",
    "👩‍👩‍👧‍👦 1️⃣2️⃣ 🇩🇪 ❤️ ✈︎ 🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "日本語のテキスト。3月14日 中文2024年 한국어 문장 2개",
    "i\u00a0\u00a01\u3000\u30002\u2003\u2003l\u200bm\u20283\u2029o\u0085\u00857 ",
    "   " + "a" * 300 + " " * 40 + "1" * 300 + "\n" * 9 + "9",
    "'s '1s '9'll 5's DON'T 'S\u017f",
    "",
    " ",
    " 1",
]
# What this Python knows, and no surrogates: the two regex engines may be of different versions of Unicode.
KNOWN = st.characters(exclude_categories=("Cs", "Cn"))
TEXT = st.text(st.one_of(KNOWN, st.sampled_from(" \t\r\n0129½Ⅳ٣'stlvedm.!aé日\u00a0\u3000\u0301\u200d")), max_size=60)


def published():
    """The pre-tokenizer of SmolLM2's tokenizer.json: every number alone, then GPT-2's pattern on what lies between."""
    steps = [hf.pre_tokenizers.Digits(individual_digits=True), hf.pre_tokenizers.ByteLevel(add_prefix_space=False)]
    return hf.pre_tokenizers.Sequence(steps)


def pieces(text):
    """Our pieces of a text, written as theirs are."""
    return [to_visible(piece.encode("utf-8")) for piece in regex.findall(PATTERNS["smollm"], text)]


@pytest.mark.day(63)
@pytest.mark.parametrize("text", MIXED, ids=range(len(MIXED)))
def test_pieces_equal_the_two_steps_of_the_publisher(text):
    """One regex stands for two steps; a number must end a run of blanks just as the end of a text does."""
    assert pieces(text) == [piece for piece, _ in published().pre_tokenize_str(text)]


@pytest.mark.day(63)
@settings(max_examples=300)
@given(TEXT)
@example("a  1")
@example("a  1  b")
@example("\u2028\u2029\u0085\x1c\x1d\x1e\x1f 1x")  # what counts as white space differs between libraries
def test_pieces_equal_on_random_text(text):
    """Hand-picked text misses what nobody thought of."""
    assert pieces(text) == [piece for piece, _ in published().pre_tokenize_str(text)]


@pytest.mark.day(63)
def test_every_number_and_blank_of_unicode_is_cut_alike():
    """Digits are more than 0 to 9, blanks more than one: each is tried where the pattern looks ahead."""
    theirs, tried = published(), 0
    for char in map(chr, range(0x110000)):
        if unicodedata.category(char)[0] in "NZ" or char.isspace():
            text = f"a  {char}b {char}{char} 1{char}"
            assert pieces(text) == [piece for piece, _ in theirs.pre_tokenize_str(text)], ascii(char)
            tried += 1
    assert tried > 1500


@pytest.fixture(scope="module")
def learned():
    """(our vocabulary of 450 ids, the same ids and merges in Hugging Face's library)."""
    ours = Tokenizer.train("\n".join(MIXED) * 3, 450, pattern="smollm")
    written = {to_visible(token): i for token, i in ours.ranks.items()}
    merges = [(to_visible(left), to_visible(right)) for left, right in ours.merges]
    theirs = hf.Tokenizer(hf.models.BPE(vocab=written, merges=merges))
    theirs.pre_tokenizer = published()
    return ours, theirs


@pytest.mark.day(63)
@settings(max_examples=200)
@given(TEXT)
@example("".join(MIXED))
def test_ids_equal_the_librarys(learned, text):
    """Pieces alone do not show that merges stay inside them: no token may hold a number and something else."""
    ours, theirs = learned
    assert ours.encode_ordinary(text) == theirs.encode(text).ids


@pytest.mark.day(63)
def test_a_number_is_a_token_of_its_own(learned):
    """What the pattern is for: 1990 is four tokens in every context, so that arithmetic sees its digits."""
    ours, _ = learned
    assert sorted(token for token in ours.ranks if regex.search(rb"\d", token)) == [b"%d" % i for i in range(10)]
    assert ours.encode_ordinary(" 1990")[1:] == [ours.ranks[d] for d in (b"1", b"9", b"9", b"0")]
