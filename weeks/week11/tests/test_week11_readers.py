"""Day 71: documents in. Three formats give the same documents; memory does not grow; bad input gets a sentence."""

import json
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pretrain.data import readers
from pretrain.data.clean import clean
from pretrain.data.readers import FORMATS, LONGEST, cut, find, read
from pretrain.vendor.shared.errors import Mistake
from pretrain.vendor.shared.text import END

pytestmark = pytest.mark.day(71)
TEXTS = ["One line.", "Two\nlines, Ωμέγα ☺", "", "The last one."]


def save(path, texts, column="text"):
    """Texts as a file of the format that the path's ending says; parquet with FineWeb-Edu's other columns."""
    if path.suffix == ".txt":
        path.write_text(f"\n{END}\n".join(texts), encoding="utf-8")
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"id": i, column: text}) + "\n" for i, text in enumerate(texts)))
    else:
        n = len(texts)
        table = {column: texts, "id": [f"<urn:{i}>" for i in range(n)], "url": ["https://x"] * n, "score": [2.5] * n}
        pq.write_table(pa.table(table), path)
    return path


@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_gives_the_documents_in_order(ending, tmp_path):
    """Empty documents arrive too, as "", for the pipeline counts them; blanks at the ends are clean's affair."""
    path = save(tmp_path / f"some{ending}", TEXTS)
    assert [text.strip() for text in read([path])] == TEXTS


@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_cuts_a_long_document_and_loses_nothing(ending, tmp_path):
    text = ("a sentence of some words\n" * (2 * LONGEST // 25))[:-1]
    parts = list(read([save(tmp_path / f"some{ending}", [text, "next"])]))
    assert "".join(parts[:-1]).rstrip("\n") == text and parts[-1] == "next"
    assert len(parts) == 4 and max(map(len, parts)) <= LONGEST
    assert all(part.endswith("words\n") for part in parts[:-2])  # cut between lines


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_another_column_can_be_named(ending, tmp_path):
    path = save(tmp_path / f"some{ending}", ["a", "b"], column="content")
    assert list(read([path], "content")) == ["a", "b"]
    with pytest.raises(Mistake, match=r"no (column )?'text'.*'content'.*name (one|another)"):
        list(read([path]))


def test_a_separator_counts_only_on_a_line_of_its_own(tmp_path):
    path = tmp_path / "some.txt"
    path.write_bytes(f"\ufeffa {END} b\r\n{END}\r\n{END} c\n{END}\n".encode())
    assert list(read([path])) == [f"a {END} b\r\n", f"{END} c\n"]


@pytest.mark.parametrize("ending", [".txt", ".jsonl"])
def test_memory_does_not_grow_with_the_file(ending, tmp_path):
    """By Python's own count: 8 MB of documents of 1 KB are read with less than 2 MB at any time."""
    path = save(tmp_path / f"some{ending}", ["x y z " * 170] * 8000)
    tracemalloc.start()
    try:
        assert sum(1 for _ in read([path])) == 8000
        assert tracemalloc.get_traced_memory()[1] < 2e6
    finally:
        tracemalloc.stop()


def test_one_endless_line_of_text_is_read_in_parts(tmp_path):
    """10 MB without a newline or a blank: parts of LONGEST, in less memory than a third of the line."""
    path = tmp_path / "some.txt"
    path.write_bytes(b"\xc3\xa9" * 5_000_000)  # two bytes a character: a part may end inside one
    tracemalloc.start()
    try:
        assert sum(map(len, read([path]))) == 5_000_000
        assert tracemalloc.get_traced_memory()[1] < 3e6
    finally:
        tracemalloc.stop()


def test_one_endless_line_of_json_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    """8 MB on one line, where 1 MB is allowed: refused with little more than 1 MB in memory."""
    monkeypatch.setattr(readers, "LONGEST_LINE", 2**20)
    documents = read([save(tmp_path / "some.jsonl", ["short", "x" * 2**23])])
    assert next(documents) == "short"
    tracemalloc.start()
    try:
        with pytest.raises(Mistake, match=r"some.jsonl, line 2: .*1 MB"):
            next(documents)
        assert tracemalloc.get_traced_memory()[1] < 4e6
    finally:
        tracemalloc.stop()


BROKEN = {
    '{"text": "a"}\n{"text": "b\n': r"some.jsonl, line 2: .*JSON",
    '["a"]\n': r"some.jsonl, line 1: .*\['a'\]",
    '\n{"text": 3}': r"some.jsonl, line 2: 'text' is 3, no text; mend the line",
    '{"body": "a", "id": 1}': r"some.jsonl, line 1: .*'body', 'id'",
}


@pytest.mark.parametrize("content", BROKEN)
def test_a_broken_json_line_is_named(content, tmp_path):
    path = tmp_path / "some.jsonl"
    path.write_text(content)
    with pytest.raises(Mistake, match=BROKEN[content]):
        list(read([path]))


def test_null_is_an_empty_document(tmp_path):
    path = tmp_path / "some.jsonl"
    path.write_text('{"text": null}\n')
    pq.write_table(pa.table({"text": pa.array([None, "a"], pa.string())}), tmp_path / "some.parquet")
    assert list(read([path, tmp_path / "some.parquet"])) == ["", "", "a"]


def test_parquet_without_text_names_what_is_there(tmp_path):
    path = tmp_path / "some.parquet"
    pq.write_table(pa.table({"id": ["a"], "score": [1]}), path)
    with pytest.raises(Mistake, match=r"no column 'text'; its columns are 'id', 'score': name one of them"):
        list(read([path]))
    with pytest.raises(Mistake, match=r"the column 'score' holds int64, no text; name another column"):
        list(read([path], "score"))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(Mistake, match=r"some.parquet is no whole parquet file .*cut short or damaged"):
        list(read([path]))
    latin = pa.array([b"caf\xe9"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": latin}), path)
    with pytest.raises(Mistake, match=r"some.parquet is no whole parquet file .*utf-8"):
        list(read([path]))
    pq.write_table(pa.table({"text": ["words of a page " * 400]}), path, compression="snappy", use_dictionary=False)
    damaged = bytearray(path.read_bytes())
    damaged[60:90] = b"\xff" * 30
    path.write_bytes(damaged)
    with pytest.raises(Mistake, match=r"some.parquet is no whole parquet file"):
        list(read([path]))


def test_text_that_is_none_is_refused(tmp_path):
    path = tmp_path / "some.txt"
    for content, sentence in {
        b"a\nb\xff\n": r"is not UTF-8: near line 2 a byte is 0xff; convert it first",
        b"a\n\xc3": r"is not UTF-8: it ends inside a character; it was cut short",
        b"a\nb\0": r"is not text: a byte near line 2 is zero",
    }.items():
        path.write_bytes(content)
        with pytest.raises(Mistake, match=sentence):
            list(read([path]))
    with pytest.raises(Mistake, match=r"is plain text and has no column 'body'; leave the column out"):
        list(read([path], "body"))


def test_files_are_found_in_order_or_missed_in_a_sentence(tmp_path):
    for name in ("b.txt", "a.jsonl", "deep/c.parquet", "notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in find([tmp_path])] == ["a.jsonl", "b.txt", "c.parquet"]
    assert find([tmp_path / "b.txt"]) == [tmp_path / "b.txt"]
    (tmp_path / "empty").mkdir()
    for place, sentence in {
        "notes.md": r"notes.md is of no known format \(.txt, .jsonl, .parquet\)",
        "empty": r"empty holds no .txt, .jsonl, .parquet file",
        "gone.txt": r"gone.txt does not exist; check the path",
    }.items():
        with pytest.raises(Mistake, match=sentence):
            find([tmp_path / place])
    with pytest.raises(Mistake, match="no file was named"):
        find([])


@given(st.text(alphabet="ab \n", max_size=60), st.integers(1, 20))
def test_parts_are_short_and_join_to_the_whole(text, longest):
    parts = list(cut(text, longest))
    assert "".join(parts) == text and all(len(part) <= longest for part in parts)


# --- clean ------------------------------------------------------------------------------------------------------------

CLEANED = {
    "a\r\nb\rc\u2028d": "a\nb\nc\nd",
    "cafe\u0301": "café",  # NFC
    "x² ﬁne": "x² ﬁne",  # and not NFKC, which changes what is seen
    "zero\u200bwidth, soft\xadhyphen, bell\x07": "zerowidth, softhyphen, bell",
    "half a pair: \ud83d.": "half a pair: .",
    "trailing \t\u00a0\nblanks": "trailing\nblanks",
    "a\n\n\n\n\nb": "a\n\nb",
    "\ufeff  around \n": "around",
    f"<|endof{END}text|> a": "a",  # one inside another
    "\tcode  keeps\n\tits blanks": "code  keeps\n\tits blanks",
    "👨‍👩‍👧 می‌خواهم": "👨‍👩‍👧 می‌خواهم",  # the joiners have a meaning
    " \x00\u200b\n": "",
}


@pytest.mark.parametrize("text", CLEANED)
def test_what_a_reader_does_not_see_goes(text):
    assert clean(text) == CLEANED[text]


@given(st.text(st.characters(categories=["L", "M", "N", "P", "Z", "C"]), max_size=40))
def test_cleaning_twice_changes_nothing_and_all_of_it_is_utf8(text):
    once = clean(text)
    assert clean(once) == once
    once.encode()


def test_plain_text_stays_as_it_is():
    text = "The quick brown fox,\nit jumps.\n\n\tOver 3 lazy dogs."
    assert clean(text) == text
