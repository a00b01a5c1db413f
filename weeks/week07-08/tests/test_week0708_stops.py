"""Stop strings: no part of one is shown, however the text was cut, and nothing is computed after it."""

import pytest
import torch
from gpt.generate import generate
from gpt.model import GPT, GPTConfig
from gpt.stops import until, write
from gpt.text import Characters
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.day(54)


def plainly(text, stops):
    """The definition: the first place where a stop string ends; of those that end there, the longest is taken off."""
    for end in range(len(text) + 1):
        ending = [stop for stop in stops if text[:end].endswith(stop)]
        if ending:
            return text[: end - max(map(len, ending))]
    return text


# two letters and short stop strings: many false starts, overlaps, and strings that hold each other
words = st.text("ab", min_size=1, max_size=4)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.lists(st.text("ab", max_size=5), max_size=8), st.lists(words, max_size=3))
def test_the_text_ends_before_the_first_stop_string(pieces, stops):
    """Against the definition, for any cut into pieces; and whatever is shown early is never taken back."""
    shown = list(until(pieces, stops))
    assert "".join(shown) == plainly("".join(pieces), stops)
    assert all(shown)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.text("ab", max_size=20), st.lists(words, min_size=1, max_size=3))
def test_no_more_is_held_back_than_could_become_a_stop_string(text, stops):
    """After each character everything is shown but an end that begins a stop string: else a reader would wait."""
    arrived = ""

    def pieces():
        nonlocal arrived
        for character in text:
            arrived += character
            yield character

    shown = ""
    for piece in until(pieces(), stops):
        shown += piece
        held = arrived[len(shown) :]
        assert arrived == plainly(text, stops) or any(stop.startswith(held) or held in stops for stop in stops)


def test_nothing_is_asked_for_after_a_stop_string():
    """A piece of a model costs a forward: after the stop string there must be none."""

    def pieces():
        yield from ["one", " t", "wo", " three"]
        pytest.fail("a piece was asked for after the stop string")

    assert "".join(until(pieces(), ["two", "three"])) == "one "


def test_a_half_stop_string_at_the_end_is_text():
    """The model was allowed no more tokens: what was held back belongs to the reader."""
    assert list(until(["a", "b\n"], ["\n\n"])) == ["a", "b", "\n"]


@pytest.mark.parametrize("stops", ["\n", [""], ["a", ""], [7]])
def test_stop_strings_that_are_none_are_refused(stops):
    with pytest.raises(ValueError, match="give a list of strings of one character or more"):
        next(until(["a"], stops))


OPTIONS = {
    "greedy": dict(temperature=0, repetition_penalty=1.3),
    "top-k": dict(top_k=5),
    "all": dict(temperature=1.2, top_k=8, top_p=0.95, min_p=0.01, repetition_penalty=1.2),
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_model_writes_the_same_with_and_without_a_cache(options):
    """The written text is that of `generate`, cut by the definition; with a cache and without one."""
    torch.manual_seed(0)
    characters = Characters("abcdefgh")
    net = GPT(GPTConfig(len(characters), 16, 2, 2, 16))
    prompt, stops = "abc", ["ab", "cd", "h", "cccc"]
    draw = lambda: torch.Generator().manual_seed(1)
    ids = generate(net, torch.tensor([characters.encode(prompt)]), 60, generator=draw(), **options)[0, 3:]
    whole = characters.decode(ids)
    expected = plainly(whole, stops)
    assert expected != whole, "this text must hold a stop string, or the test shows nothing"
    for cached in (False, True):
        text = write(net, characters, prompt, 60, stops=stops, cached=cached, generator=draw(), **options)
        assert "".join(text) == expected
