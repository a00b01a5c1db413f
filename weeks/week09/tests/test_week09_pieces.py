"""Text -> pieces: the quick way by Python's re must be the patterns' own, as the package regex has them."""

import pytest
import regex
from bpe import pieces
from bpe.pieces import COMMON, PATTERNS, Splitter
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.day(60)
HARD = "aZ'sStTlLvVeEſK019²½ \t\n\r\x0b\x0c\x1c\x85\xa0\u2003\u2028_.,!?-—“”’éßªºǅ\u200b"


@pytest.mark.parametrize("name", PATTERNS)
def test_every_common_character_is_cut_as_by_regex(name):
    """Alone, and among letters, digits, blanks, marks and an apostrophe, on both sides."""
    for code in COMMON:
        for around in ("", "a", "A1", " ", "  ", "\n", "!", "'"):
            for other in ("", "b", "2", " ", "\r\n", "."):
                text = around + chr(code) + other
                assert Splitter(PATTERNS[name]).split(text) == regex.findall(PATTERNS[name], text), ascii(text)


@pytest.mark.parametrize("name", PATTERNS)
@settings(max_examples=300, deadline=None)
@given(text=st.text(st.sampled_from(HARD), max_size=40) | st.text(max_size=40))
def test_any_text_is_cut_as_by_regex(name, text):
    """Of characters that patterns tell apart, and of any at all."""
    text = "".join(char for char in text if not "\ud800" <= char <= "\udfff")
    assert Splitter(PATTERNS[name]).split(text) == regex.findall(PATTERNS[name], text)


def test_common_text_does_not_ask_regex(monkeypatch):
    """Else the quick way would be there and not used."""
    splitter = Splitter(PATTERNS["gpt2"])
    monkeypatch.setattr(splitter, "any", None)
    assert splitter.split("Don’t say “naïve”, 12½") == ["Don", "’", "t", " say", " “", "naïve", "”,", " 12½"]
    with pytest.raises(AttributeError):
        splitter.split("Σ")


def test_a_pattern_of_ones_own_goes_through_regex():
    """Nobody knows what it means by its classes."""
    assert Splitter(r"\p{Lu}|[^\p{Lu}]+").common is None
    assert Splitter(r"\p{Lu}|[^\p{Lu}]+").split("aBc") == ["a", "B", "c"]
    assert pieces.common(PATTERNS["gpt2"]).findall("it's 5") == ["it", "'s", " 5"]


def test_a_pattern_that_leaves_out_text_is_told():
    """What no piece holds would be missing after decoding, without an error."""
    with pytest.raises(ValueError, match=r"leaves out part of the text; end it with"):
        Splitter(r"\w+").split("abc def")


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("unit", ["a", "日", " ", "\u3000", "\n", " \n", "7", "\u0301", "!", "'", "\r\n \t"])
def test_a_megabyte_without_an_end_is_cut_in_one_pass(name, unit):
    """A pattern that goes back at each place would need 10**12 steps here, which is hours."""
    text = unit * (1_000_000 // len(unit.encode("utf-8"))) + "x"
    assert "".join(Splitter(PATTERNS[name]).split(text)) == text


def test_the_longest_special_token_is_found_and_kept():
    """`<|a` begins `<|a|>`, and its bars mean `or` in a pattern; what is found must stay in the list."""
    found = pieces.any_of(["<|a", "<|a|>"])
    assert found.split("x<|a|>y<|a") == ["x", "<|a|>", "y", "<|a", ""]
    assert pieces.any_of([]) is None
    with pytest.raises(ValueError, match="'' cannot be a special token; give a text"):
        pieces.any_of([""])
