"""Day 61: learning merges without recounting."""

import random
import sys
import warnings
from pathlib import Path

import bpe.fast as fast
import pytest
from bpe import PATTERNS, Tokenizer, plain, to_visible
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[3]
SHAKESPEARE = ROOT / "data" / "shakespeare" / "train.txt"


def generated_text(size, seed=0):
    """Words with a Zipf-like frequency, some blanks, digits and accents: pairs tie often, as in real text."""
    draw = random.Random(seed)
    letters = "etaoinshrdlu"
    words = ["".join(draw.choices(letters, k=draw.randint(1, 9))) for _ in range(2000)] + ["né", "日本", "2026", "aaaa"]
    weights = [1 / (i + 1) for i in range(len(words))]
    text = " ".join(draw.choices(words, weights, k=size // 5))
    return text[:size]


def recounted(text, vocab_size, pattern):
    """The merges of plain.py, as pairs of bytes."""
    merges = plain.train(text, vocab_size, PATTERNS[pattern])
    tokens = plain.vocabulary(merges)
    return [(tokens[left], tokens[right]) for left, right in merges]


@pytest.mark.day(61)
def test_merges_equal_a_plain_recount_on_200_kb():
    """The week's central equality: incremental counts give exactly the merges of counting everything again.

    40 merges keep the plain side at some seconds; train.py compares 256, the next test 1,244.
    """
    text = SHAKESPEARE.read_text(encoding="utf-8")[:200_000] if SHAKESPEARE.exists() else generated_text(200_000)
    text = text.replace("<|endoftext|>", "")
    quick = Tokenizer.train(text, 256 + 40, pattern="gpt2", special_tokens=())
    assert quick.merges == recounted(text, 256 + 40, "gpt2")


@pytest.mark.day(61)
@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="aab é1\n", max_size=60), st.sampled_from(["gpt2", "cl100k"]))
def test_merges_equal_a_plain_recount_on_tiny_alphabets(text, pattern):
    """Few letters make runs and ties, where incremental counts go wrong first; here every merge is learned."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # these texts run out of pairs
        try:
            learned = Tokenizer.train(text, 320, pattern=pattern, special_tokens=())
        except ValueError:
            assert text == ""
            return
    expected = recounted(text, 320, pattern)
    assert list(learned.ranks)[256:] == [left + right for left, right in expected]
    if all(len(token) <= fast.SHORT for token in learned.ranks):  # the parts of longer ones are day 62's
        assert learned.merges == expected


@pytest.mark.day(61)
def test_merges_equal_those_of_the_tokenizers_library():
    """plain.py could share a mistake with fast.py; Hugging Face's Rust trainer, which breaks ties alike, cannot.

    Each byte is shown to it as one letter, in the order of the bytes, and each piece as one word.
    """
    hf = pytest.importorskip("tokenizers", reason="the outside oracle is not installed")
    text = SHAKESPEARE.read_text(encoding="utf-8")[:400_000] if SHAKESPEARE.exists() else generated_text(400_000)
    text = text.replace("<|endoftext|>", "")
    letter = {byte: chr(0x4E00 + byte) for byte in range(256)}
    ours = Tokenizer.train(text, 1500, special_tokens=())
    words = [" ".join("".join(letter[b] for b in bytes(ids)) for ids in plain.split(text, PATTERNS["gpt2"]))]
    theirs = hf.Tokenizer(hf.models.BPE())
    theirs.pre_tokenizer = hf.pre_tokenizers.WhitespaceSplit()
    trainer = hf.trainers.BpeTrainer(
        vocab_size=1500, min_frequency=1, initial_alphabet=list(letter.values()), show_progress=False
    )
    theirs.train_from_iterator(words, trainer)
    expected = {"".join(letter[b] for b in token): i for token, i in ours.ranks.items()}
    assert theirs.get_vocab() == expected


@pytest.mark.day(61)
def test_a_small_vocabulary_is_the_start_of_a_large_one():
    """Merges are learned greedily, one after the other: the sweep in train.py cuts one vocabulary at many sizes."""
    text = generated_text(20_000)
    large = Tokenizer.train(text, 400, special_tokens=())
    small = Tokenizer.train(text, 300, special_tokens=())
    assert small.merges == large.merges[:44]


@pytest.mark.day(61)
def test_a_text_and_its_parts_give_the_same_vocabulary():
    """Texts may come one by one, so that a corpus need not be one string."""
    parts = ["the cat sat on the mat. ", "the rat sat on the cat. ", "the mat. "]
    joined = Tokenizer.train("<|endoftext|>".join(parts), 262)
    apart = Tokenizer.train(iter(parts), 262)
    assert (list(apart.ranks), apart.special_tokens) == (list(joined.ranks), joined.special_tokens)


@pytest.mark.day(61)
def test_special_tokens_part_documents_and_are_not_learned():
    """If `<|endoftext|>` were read as text, its letters would be merged thousands of times."""
    tokenizer = Tokenizer.train("ab<|endoftext|>" * 50 + "cd" * 9, 262)
    assert tokenizer.merges[0] == (b"a", b"b")
    assert not any(b"|" in token and len(token) > 1 for token in tokenizer.ranks)
    assert tokenizer.special_tokens == {"<|endoftext|>": tokenizer.vocab_size - 1}


@pytest.mark.day(61)
def test_learning_walks_far_fewer_lines_than_a_recount():
    """Work, not seconds: lines executed for the same 100 merges of 6 KB. Some 18 times fewer; 8 is asked for.

    A change that recounts, or that scans whole pieces for a pair, keeps every other test green and fails here.
    """

    def lines(function, *arguments, **keywords):
        count = 0

        def trace(frame, event, _):
            nonlocal count
            if not frame.f_code.co_filename.endswith(("plain.py", "fast.py")):
                return None
            count += event == "line"
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            function(*arguments, **keywords)
        finally:
            sys.settrace(before)
        return count

    text, everything = generated_text(6_000), r"(?s).+"
    quick = lines(Tokenizer.train, text, 356, pattern=everything, special_tokens=())
    recount = lines(plain.train, text, 356, everything)
    assert quick * 8 < recount, (quick, recount)


@pytest.mark.day(61)
def test_a_text_too_short_gives_a_smaller_vocabulary_and_says_so():
    """minbpe dies here with `max() arg is an empty sequence`; a learner's first text is always too short."""
    with pytest.warns(UserWarning, match="no pair left after 2 merges, so there are 259 ids, not 1000; give more text"):
        tokenizer = Tokenizer.train("abc", 1000)
    assert tokenizer.vocab_size == 259
    assert list(tokenizer.ranks.items())[-2:] == [(b"ab", 256), (b"abc", 257)]


@pytest.mark.day(61)
def test_a_vocabulary_without_merges_is_bytes():
    """The smallest vocabulary is legal: bytes and the special token."""
    tokenizer = Tokenizer.train("hello", 257)
    assert list(tokenizer.ranks) == [bytes([byte]) for byte in range(256)]
    assert tokenizer.merges == []


@pytest.mark.day(61)
@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ((("abc", 256), {}), ValueError, "vocab_size is 256; bytes and special tokens alone need 257"),
        ((("abc", "512"), {}), ValueError, "vocab_size is '512'"),
        ((("abc", 2**20 + 1), {}), ValueError, "vocab_size is 1048577; .* and 1,048,576 is the most: give a number"),
        ((("", 300), {}), ValueError, "the text to learn from is empty; give a text"),
        (((["", "<|endoftext|>"], 300), {}), ValueError, "the text to learn from is empty"),
        (((b"abc", 300), {}), TypeError, "text must be a str, not bytes; read a file with"),
        (((Path("a.txt"), 300), {}), TypeError, r"text must be a str, not \w+Path; read a file with"),
        (((["abc", None], 300), {}), TypeError, "text must be a str, not NoneType"),
        ((("a\ud800b", 300), {}), ValueError, "character 1 of the text is a lone surrogate; read the file as UTF-8"),
        ((("abc", 300), {"pattern": "gpt5("}), ValueError, "the pattern 'gpt5\\(' is no regular expression"),
        ((("abc", 300), {"pattern": r"(a)|."}), ValueError, r"captures a group; write \(\?:"),
        ((("abc def", 300), {"pattern": r"\w+"}), ValueError, "leaves out part of the text; end it with"),
        ((("abc", 300), {"special_tokens": [""]}), ValueError, "'' cannot be a special token; give a text"),
        ((("abc", 300), {"special_tokens": [7]}), ValueError, "7 cannot be a special token"),
    ],
)
def test_bad_input_gets_a_sentence(arguments, error, sentence):
    """An error says what was given and what to do; none of these may surface as a KeyError or an assert."""
    positional, keywords = arguments
    with pytest.raises(error, match=sentence):
        Tokenizer.train(*positional, **keywords)


@pytest.mark.day(61)
def test_splitting_keeps_words_apart():
    """The pattern exists so that no token mixes letters with punctuation or runs over two words."""
    tokenizer = Tokenizer.train("dog. dog! dog? " * 20, 259, special_tokens=())
    assert b"dog" in tokenizer.ranks
    for token in tokenizer.ranks:
        assert not (b"dog" in token and set(token) & set(b".!?")), to_visible(token)
