"""tools/data, the set stories: ids become the text they stand for, and only whole stories are kept."""

import json
from array import array

import pytest

END = "<|endoftext|>"
STORY = "Once there was a café by the sea.\n" + "The cook was kind and fed every bird that came. " * 3
TEXT = STORY.strip()


@pytest.fixture(scope="module")
def stories(load_tool):
    return load_tool("data.recipes.stories")


@pytest.fixture(scope="module")
def cook(load_tool):
    return load_tool("data.recipes").cook


def source(stories, texts):
    """{path: bytes}: the texts as ids of a vocabulary of single bytes, END between them."""
    gpt2 = {byte: chr(byte) for byte in (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))}
    hidden = [byte for byte in range(256) if byte not in gpt2]
    gpt2 |= {byte: chr(256 + rank) for rank, byte in enumerate(hidden)}
    vocabulary = {gpt2[byte]: byte for byte in range(256)} | {END: 50256}
    ids = [number for text in texts for number in (*text.encode(), 50256)]
    content = b"".join(number.to_bytes(2, "little") for number in ids)
    return {"x/train.bin": content, "x/encoder.json": json.dumps(vocabulary).encode()}


def test_ids_are_read_and_the_cut_stories_at_both_ends_dropped(stories, cook):
    """The first story of a file may have lost its head; what follows the last END may have lost its tail."""
    files = cook("stories", source(stories, ["cut", TEXT]))
    assert "".join(files.values()) == f"{TEXT}\n{END}\n"


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda f: f | {"x/train.bin": f["x/train.bin"][:-1]}, "an odd number, so it is cut short"),
        (lambda f: f | {"x/train.bin": array("H", [1000, 50256]).tobytes()}, "holds the id 1000, which encoder.json"),
        (lambda f: {"x/train.bin": f["x/train.bin"]}, "the source has no encoder.json"),
        (lambda f: f | {"x/a.pdf": b"1"}, "a.pdf is of no kind that stories are read from"),
        (lambda f: f | {"x/b.json": b'["Short."]'}, "b.json holds no whole story"),
    ],
)
def test_another_file_is_refused_in_a_sentence(stories, cook, damage, sentence, load_tool):
    """Each way in which a file can be the wrong one."""
    with pytest.raises(load_tool("shared.errors").Mistake, match=sentence):
        cook("stories", damage(source(stories, ["cut", TEXT])))


def test_a_page_gives_its_articles_without_markup(stories):
    """Paragraphs are lines, tags go, entities are characters."""
    page = b"<body><article id='a'><h2>T</h2><p>A <i>fox</i>\n &amp; a hen.</p><p>So.</p></article></body>"
    assert stories.from_page("f.xhtml", page, {}) == ["A fox & a hen.\nSo."]


@pytest.mark.parametrize("odd", [TEXT[:-1], TEXT[1:], "Hi.", TEXT.replace("cook", "cook â€œ"), f"{TEXT} <b>So.</b>"])
def test_what_is_not_a_whole_story_is_left_out(stories, odd):
    """Cut at an end, too short, wrong characters, markup; the story itself stays."""
    assert stories.is_whole(TEXT) and not stories.is_whole(odd)
