"""tools/data, its texts: the split is stable and does not leak, and each recipe takes off just what is not text."""

import io
import json
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

WORDS = st.text(alphabet="ab ", min_size=0, max_size=60)
DOCUMENTS = st.dictionaries(st.text(alphabet="abcdefgh", min_size=1, max_size=6), WORDS, max_size=12)


@pytest.fixture(scope="module")
def splits(load_tool):
    return load_tool("data.documents")


@pytest.fixture(scope="module")
def words(load_tool):
    return load_tool("data.text")


@pytest.fixture(scope="module")
def cook(load_tool):
    return load_tool("data.recipes").cook


@pytest.fixture(scope="module")
def mistake(load_tool):
    return load_tool("shared.errors").Mistake


def documents_of(part):
    """The documents in the text of a train.txt, as a reader would take them apart."""
    assert part == "" or part.endswith("\n<|endoftext|>\n")
    return part.split("\n<|endoftext|>\n")[:-1]


def numbered(count, length=300):
    """Documents that have nothing in common: each is made of a word of its own."""
    return [(f"title {k}", f"w{k}x " * (length // 5)) for k in range(count)]


def test_a_document_added_later_moves_no_other(splits):
    """Results on val stay comparable when a set grows only if the old documents stay on their side."""
    before = splits.split(numbered(300), seed="s")
    after = splits.split(numbered(400), seed="s")
    for part in before:
        assert set(documents_of(before[part])) <= set(documents_of(after[part]))


def test_shares_are_about_ninety_five_five(splits):
    """The hash spreads documents evenly: of 4,000, within four standard deviations (sqrt(4000 * .05 * .95) = 14)."""
    sides = [splits.side("s", f"title {k}") for k in range(4000)]
    assert abs(sides.count("val") - 200) < 56 and abs(sides.count("test") - 200) < 56


def test_the_split_does_not_change_from_version_to_version(splits):
    """Seeds are part of the published data: these sides were worked out by hand from SHA-256, not by this code."""
    import hashlib

    for title in ("hamlet", "macbeth", "Cookbook:Akara", "01-001"):
        u = int(hashlib.sha256(f"seed/{title}".encode()).hexdigest()[:16], 16) / 16**16
        assert splits.side("seed", title) == ("val" if u < 0.05 else "test" if u < 0.1 else "train")


@settings(max_examples=60, deadline=None)
@given(documents=DOCUMENTS, seed=st.text(alphabet="xyz", max_size=3))
def test_no_document_is_in_two_parts(splits, words, documents, seed):
    """Not even a copy that differs in layout, whatever the titles: the parts are disjoint after `squeezed`."""
    parts = splits.split(documents.items(), seed)
    squeezed = [words.squeezed(text) for part in parts.values() for text in documents_of(part)]
    assert len(squeezed) == len(set(squeezed))
    assert set(squeezed) <= {words.squeezed(text) for text in documents.values()} - {""}


@settings(max_examples=150, deadline=None)
@given(texts=st.lists(WORDS, max_size=5), others=st.lists(WORDS, max_size=5), window=st.sampled_from([4, 6, 10]))
def test_leaks_are_found_as_by_comparing_every_run(splits, words, texts, others, window):
    """The fast search (half-windows, grown) against the plain one, which compares every run with every other."""

    def runs(text):
        flat = words.squeezed(text)
        return {flat[i : i + window] for i in range(len(flat) - window + 1)}

    seen = set().union(*map(runs, others))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splits, "WINDOW", window)
        kept = splits.without_leak(texts, others)
    assert kept == [text for text in texts if not runs(text) & seen]


def test_a_near_copy_of_training_text_is_left_out_of_val(splits):
    """The leak that counts: a val document that quotes 200 characters of train, laid out in another way."""
    documents = numbered(200)
    (title, text) = next(d for d in documents if splits.side("s", d[0]) == "train")
    thief = next(f"thief {k}" for k in range(999) if splits.side("s", f"thief {k}") == "val")
    stolen = text[:250].replace(" ", "\n").upper()
    parts = splits.split([*documents, (thief, f"A line of its own.\n{stolen}\nAnother one.")], seed="s")
    assert "A line of its own" not in parts["val.txt"] and parts["val.txt"]
    short = text[:120].replace(" ", "\n").upper()
    parts = splits.split([*documents, (thief, f"A line of its own.\n{short}\nAnother one.")], seed="s")
    assert "A line of its own" in parts["val.txt"]


def test_a_document_that_holds_the_separator_is_refused(splits):
    """It would silently become two documents."""
    with pytest.raises(Exception, match="'odd' holds <|endoftext|>, which ends a document".replace("|", r"\|")):
        splits.split([("odd", "one\n<|endoftext|>\ntwo")], seed="s")


@settings(max_examples=60, deadline=None)
@given(text=st.text(alphabet=st.characters(codec="utf-8"), max_size=80))
def test_tidy_leaves_nothing_invisible_and_is_done_after_one_pass(words, text):
    """Control characters, trailing blanks, runs of empty lines: gone, and a second pass finds nothing more."""
    clean = words.tidy(text)
    assert not [c for c in clean if ord(c) < 32 and c not in "\n\t"]
    assert "\n\n\n" not in clean and not any(line != line.rstrip() for line in clean.split("\n"))
    assert words.tidy(clean) == clean


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"\xef\xbb\xbfa\r\nb\rc\n", "a\nb\nc\n"), ("é".encode(), "é"), (b"", "")],
)
def test_decode_takes_off_byte_order_mark_and_carriage_returns(words, content, expected):
    """The same text must give the same bytes whichever machine packed it."""
    assert words.decode("x.txt", content) == expected


def test_decode_names_the_file_that_is_not_utf8(words):
    """Latin-1 read as UTF-8 must not become a wrong letter in silence."""
    with pytest.raises(Exception, match="caf.txt is not UTF-8"):
        words.decode("caf.txt", b"caf\xe9")


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("### SCENE I. Elsinore.", "SCENE I. Elsinore."),
        ("**HAMLET**  \nTo be, or  \nnot to be.", "HAMLET:\nTo be, or\nnot to be."),
        ("_Exeunt, bearing off\nthe dead bodies_", "[Exeunt, bearing off the dead bodies]"),
        ("*[He draws his sword.]*", "[He draws his sword.]"),
        ("**BOTTOM**  \n__\\[Awaking]_  \nWhen my cue comes", "BOTTOM:\n[Awaking]\nWhen my cue comes"),
        ("**FALSTAFF**  \n[To ROBIN]_  \nHold, sirrah", "FALSTAFF:\n[To ROBIN]\nHold, sirrah"),
        ("And either _\\[ ]_  \nthe devil", "And either\nthe devil"),
        ("ladies,'\\--or 'Fair", "ladies,'--or 'Fair"),
        ("queen of shades,—", "queen of shades,--"),
        ("**Senators, & C**  \nWe'll surety him.", "Senators, &c:\nWe'll surety him."),
    ],
)
def test_plays_lose_their_markdown(words, load_tool, block, expected):
    """Every irregularity of the edition that was seen while reading it, as it stands there."""
    assert words.tidy(load_tool("data.recipes.shakespeare").play_block(block)) == expected


def test_a_play_without_title_gets_its_files_name(cook):
    """One play of the edition starts with its first act."""
    parts = cook("shakespeare", {"plays/measure-for-measure.md": b"## ACT I\n\n**DUKE**  \nEscalus.\n"})
    assert "".join(parts.values()) == "Measure For Measure\n\nACT I\n\nDUKE:\nEscalus.\n<|endoftext|>\n"


def test_bible_is_cut_by_the_offsets_of_the_source(cook):
    """The offsets count the source's characters, where a backslash takes two; reading the string first shifts them."""
    verses = [" In the beginning.", r" \\1:2\\And then,", "***", " a second chapter. [So be it.]"]
    starts, ends, at = {}, {}, 0
    for number, verse in zip((1001001, 1001002, 1001003, 1002001), verses, strict=True):
        starts[number], ends[number] = at, at + len(verse)
        at += len(verse)
    arguments = f"{starts}, {ends}, {{B.G: {{1: 3, 2: 1}}}}, {{B.G: 'Genesis'}}, {{B.G: 'Gen'}}, False"
    source = f'from b import B\nbible = Bible(V.X, """{"".join(verses)}""", {arguments})\n'
    parts = cook("bible", {"p/plain.py": source.encode()})
    assert sorted(documents_of("".join(parts.values()))) == [
        "Genesis 1\n\nIn the beginning.\nAnd then,",
        "Genesis 2\n\na second chapter. So be it.",
    ]


@pytest.mark.parametrize(
    ("item", "lines"),
    [
        ("1 package () mushrooms", ["1 package mushrooms"]),
        ("1 large (1 cup/) onion", ["1 large (1 cup) onion"]),
        ('M&amp;Ms <ref name="x"></ref>', ["M&Ms"]),
        ("cook until ''al dente''", ["cook until al dente"]),
        ("Toppings:<br/>* Bacon<br>*Ham", ["Toppings:", "Bacon", "Ham"]),
        ("180˚C , or&nbsp;less", ["180°C, or less"]),
        ("<ref>The book</ref>", []),
        ("Category:Recipes for waffles", []),
    ],
)
def test_recipes_lose_their_wiki_markup(load_tool, item, lines):
    """What the wiki's templates and tags left behind in the source, as it stands there."""
    assert load_tool("data.recipes.cookbook").wiki_lines(item) == lines


def test_fables_lose_their_question_and_quotations_part(cook):
    """The text before the question is the story; two quotations that ran into each other get their space back."""
    story = 'He cried. "How big?"She asked. ""Big!"" "It is,"he said.'
    line = {"input": [{}, {"content": f"{story}\nWhich moral is this story attempting to convey?\nA) None."}]}
    parts = cook("fables", {"d/parable-to-moral-match-en.jsonl": json.dumps(line).encode()})
    text = "".join(parts.values())
    assert "Which moral" not in text and "None" not in text
    assert '"How big?" She asked.' in text and '"It is," he said.' in text


def test_morals_are_asked_of_held_out_fables_alone(cook):
    """One question for a story, the first; its story in val or test of the fables; the label is the right moral."""
    ask = "Which moral is this story attempting to convey?\nA) One. B) Two. C) Three. D) Four. E) Five. .\nThe output"
    lines = [
        {"input": [{}, {"content": f"Story {k}, told once.\n{ask}"}], "ideal": [f"The final answer is: {letter}"]}
        for k in range(60)
        for letter in "BE"
    ]
    source = {"d/parable-to-moral-match-en.jsonl": "\n".join(map(json.dumps, lines)).encode()}
    stories, rows = cook("fables", source), cook("fable_morals", source)["test.jsonl"].splitlines()
    held_out = (stories["val.txt"] + stories["test.txt"]).split("\n<|endoftext|>\n")[:-1]
    assert sorted(json.loads(row)["ctx"] for row in rows) == sorted(held_out) and 0 < len(rows) < 60
    expected = {"endings": ["One.", "Two.", "Three.", "Four.", "Five."], "label": 1}
    assert all(json.loads(row) == {"ctx": json.loads(row)["ctx"], **expected} for row in rows)


def test_a_lead_that_is_a_stub_or_cut_off_is_left_out(cook):
    extracts = {"Whole": "word " * 50 + "end.", "Stub": "Short.", "Cut": "word " * 50 + "and then the"}
    articles = {name: {"title": name, "extract": text} for name, text in extracts.items()}
    text = "".join(cook("wiki_leads", {"s.json": json.dumps(articles).encode()}).values())
    assert text.startswith("Whole\n\nword") and "Stub" not in text and "Cut" not in text


def test_a_recipe_that_was_read_badly_is_left_out(cook):
    """Where a template's value is lost ("preheat the oven to ."), the sentence cannot be mended."""
    good = {"title": "Toast", "ingredients": ["2 slices bread"], "steps": ["Toast the bread.", "Serve."]}
    bad = [
        {**good, "title": "Cake", "steps": ["Preheat the oven to ."]},
        {**good, "title": "Link", "steps": ["See [[Cookbook:Toast]]."]},
        {**good, "title": "Empty", "steps": []},
    ]
    book = {f"Cookbook:{recipe['title']}": recipe for recipe in [good, *bad]}
    parts = cook("cookbook", {"r.json": json.dumps(book).encode()})
    text = "Toast\n\nIngredients:\n- 2 slices bread\n\nMethod:\n1. Toast the bread.\n2. Serve.\n<|endoftext|>\n"
    assert "".join(parts.values()) == text


def test_code_leaves_out_tests_tables_and_other_encodings(cook):
    """A module is a document; what would fill the set with tables or fail to decode is skipped, not mended."""
    parts = cook(
        "python_modules",
        {
            "abc.py": b"def f():\n    return 1\n\n\n\n\nx = f()\n",
            "test/test_abc.py": b"assert True\n",
            "encodings/big.py": b"table = {}\n",
            "latin.py": b"# caf\xe9\n",
            "huge.py": b"x = 1\n" * 20_000,
            "_sysconfigdata__linux.py": b"build = {}\n",
        },
    )
    assert "".join(parts.values()) == "def f():\n    return 1\n\n\nx = f()\n<|endoftext|>\n"


def test_code_stops_at_its_size_whatever_the_interpreter_holds(cook, load_tool, monkeypatch):
    """Interpreters differ in how much library they carry; the set must not."""
    monkeypatch.setattr(load_tool("data.recipes.python_modules"), "LARGEST_CODE", 1000)
    parts = cook("python_modules", {f"m{k}.py": f"name_{k} = {k}\n".encode() * 10 for k in range(40)})
    assert 700 < sum(map(len, parts.values())) < 1100 + 40 * len("<|endoftext|>\n")


ROWS = [("Zed", "F", 9), ("Ann", "F", 30), ("Abe", "F", 9), ("Bob", "M", 700), ("Cy", "M", 5)]  # as NAME,SEX,COUNT


def parquet_of(**columns):
    """The bytes of a Parquet table."""
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow writes the table that the recipe reads")
    from pyarrow import parquet

    buffer = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), buffer)
    return buffer.getvalue()


def year_table(rows):
    """A table as in babynames: other years before and after, the year as a float, rows in no order."""
    rows = [(1999.0, "Old", "F", 99), *((2017.0, *row) for row in rows), (2018.0, "New", "M", 99)]
    return parquet_of(**dict(zip(("year", "name", "sex", "n"), map(list, zip(*rows)))))


def test_names_come_out_of_a_list_by_sex_then_frequency(cook):
    """The order is part of the pinned bytes: girls first, the most frequent first, ties by the alphabet."""
    listed = "".join(f"{name},{sex},{count}\n" for name, sex, count in ROWS).encode()
    assert cook("names", {"yob2017.txt": listed}) == {"names.txt": "ann\nabe\nzed\nbob\ncy"}


def test_names_come_out_of_the_table_as_out_of_the_list(cook):
    """Two sources, one result: the table of all years holds the same year."""
    assert cook("names", {"p/babynames.parquet": year_table(ROWS)}) == {"names.txt": "ann\nabe\nzed\nbob\ncy"}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"Emma,F,19\nOlivia,F\n", "yob2017.txt, line 2: 'Olivia,F' is not NAME,SEX,COUNT"),
        (b"<html>Not found</html>", "line 1: '<html>Not found</html>' is not NAME,SEX,COUNT"),
        (b"Zo\xc3\xab,F,9\n", "the name 'Zoë', but names of letters a to z alone"),
        (b"", "holds no name of 2017"),
    ],
)
def test_a_list_of_other_lines_is_refused(cook, mistake, content, sentence):
    """A page that says "not found", a list cut short, an alphabet that the weeks do not expect: one sentence each."""
    with pytest.raises(mistake, match=sentence):
        cook("names", {"yob2017.txt": content})


@pytest.mark.parametrize("damage", ["cut", "no table", "other columns", "other years"])
def test_a_table_that_cannot_be_read_is_refused(cook, mistake, damage):
    """pyarrow's own exceptions name no file and are no Mistake; none of them may reach the learner."""
    whole = year_table(ROWS)
    content = {
        "cut": whole[: len(whole) // 2],
        "no table": b"PAR1" + bytes(40) + b"PAR1",
        "other columns": parquet_of(year=[2017.0], first=["Ann"]),
        "other years": year_table([]),
    }[damage]
    with pytest.raises(mistake, match="babynames.parquet (is not the table|holds no name of 2017)"):
        cook("names", {"p/babynames.parquet": content})


def test_a_machine_without_pyarrow_is_told_what_to_install(cook, mistake, monkeypatch):
    """An installation older than this set has no pyarrow; None in sys.modules makes the import fail as there."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(mistake, match="needs pyarrow; run: python -m pip install pyarrow"):
        cook("names", {"p/babynames.parquet": b"PAR1"})
