"""One exam for every recipe of tools/data/recipes, and for the next one: it is a file and a row of data.toml."""

import csv
import io
import json
import re
import shutil
import struct
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[1]
CATALOGUE = tomllib.loads((TOOLS / "data.toml").read_text(encoding="utf-8"))
RECIPES = sorted(path.stem for path in (TOOLS / "data/recipes").glob("*.py") if path.stem != "__init__")
END = "<|endoftext|>"


# ---- a small source for each recipe ----------------------------------------------------------------------------------


def words(k, count=60):
    """A text that has no word in common with that of another k."""
    return " ".join(f"w{k}x{j}" for j in range(count))


def questions(labels):
    return [(label, f"{words(f'{label}{k}', 8)} ?") for label in labels for k in range(30)]


def bible():
    """A source as bible.py describes it: 200 chapters of one verse; no mark in a verse, so offsets are plain."""
    starts, ends, at, verses = {}, {}, 0, [f" {words(k)}" for k in range(200)]
    for k, verse in enumerate(verses):
        starts[1_001_001 + 1000 * k], ends[1_001_001 + 1000 * k] = at, at + len(verse)
        at += len(verse)
    return f'b = B(V, """{"".join(verses)}""", {starts}, {ends}, {{}}, {{B.G: "Genesis"}})\n'


def table(rows):
    lines = io.StringIO()
    csv.writer(lines).writerows(rows)
    return lines.getvalue()


def idx(*shape):
    return struct.pack(f">2x2B{len(shape)}I", 8, len(shape), *shape) + bytes(shape[0] * (784 if len(shape) > 1 else 1))


MORALS = " ".join(f"{letter}) Moral {letter.lower()}." for letter in "ABCDE")
R8 = ("acq", "crude", "earn", "grain", "interest", "money-fx", "ship", "trade")
KINDS = ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")
SOURCES = {  # recipe -> {path in the source: text or bytes}
    "plain": lambda: {"a/encoder.json": "{}", "b/vocab.bpe": "a b\n"},
    "cl100k": lambda: {"x/9b5ad71b2ce5": "IQ== 0\n"},
    "shakespeare": lambda: {f"plays/p{k}.md": f"# Play {k}\n\n**FOOL**  \n{words(k)}.\n" for k in range(200)},
    "bible": lambda: {"reader.py": bible()},
    "cookbook": lambda: {
        "r.json": json.dumps(
            {f"Cookbook:{k}": {"title": f"Dish {k}", "ingredients": [words(k)], "steps": ["Eat."]} for k in range(200)}
        )
    },
    "fables": lambda: {
        "d/parable-to-moral-match-en.jsonl": "\n".join(
            json.dumps({"input": [{}, {"content": f"{words(k)}.\nWhich moral is this story attempting to convey?"}]})
            for k in range(200)
        )
    },
    "fable_morals": lambda: {
        "d/parable-to-moral-match-en.jsonl": "\n".join(
            json.dumps(
                {
                    "input": [
                        {},
                        {"content": f"{words(k)}.\nWhich moral is this story attempting to convey?\n{MORALS}"},
                    ],
                    "ideal": ["The final answer is: C"],
                }
            )
            for k in range(200)
        )
    },
    "wiki_leads": lambda: {
        "s.json": json.dumps({f"T{k}": {"title": f"T{k}", "extract": f"{words(k)}."} for k in range(200)})
    },
    "stories": lambda: {
        "a/tinystories.txt": "".join(f"A {words(k)}.\n{END}\n" for k in range(200)),
        "a/more.json": json.dumps([f"A {words(k)}." for k in range(200, 220)]),
    },
    "python_modules": lambda: {f"m{k}.py": f"# {words(k)}\n\n\n\n\nx = {k}\n" for k in range(200)},
    "names": lambda: {"yob2017.txt": "Emma,F,19738\nOlivia,F,18632\nLiam,M,18728\n"},
    "mnist": lambda: {
        "d/train-images-idx3-ubyte": idx(60_000, 28, 28),
        "d/train-labels-idx1-ubyte": idx(60_000),
        "d/t10k-images-idx3-ubyte": idx(10_000, 28, 28),
        "d/t10k-labels-idx1-ubyte": idx(10_000),
    },
    "reuters_r8": lambda: {
        f"d/reuters-r8-{part}.tab": "Category\tText\nd\tstring\nclass\t\n"
        + "".join(f"{label}\t{part} {text}\n" for label, text in questions(R8)[shift::2])
        for shift, part in enumerate(("train", "test"))
    },
    "trec": lambda: {"question_labels.txt": "".join(f"{kind}:any {text}\n" for kind, text in questions(KINDS))},
    "sms_spam": lambda: {"sms-spam.csv": table([("", "spam", "text"), *((k, k % 2, words(k, 9)) for k in range(99))])},
    "sarcasm": lambda: {
        "samples.jsonl": "\n".join(
            json.dumps({"input": [{}, {"content": words(k, 9)}], "ideal": str(k % 2)}) for k in range(99)
        )
    },
    "polarity": lambda: {
        "movieReviewSnippets_GroundTruth.txt": "id\tsentiment\ttext\n"
        + "".join(f"{k}\t{2.5 - 5 * (k % 2)}\t{words(k, 9)}\n" for k in range(99))
    },
}


def source_of(name):
    return {path: text if isinstance(text, bytes) else text.encode() for path, text in SOURCES[name]().items()}


@pytest.fixture(scope="module")
def tools(load_tool):
    """(cook, Mistake, tidy, squeezed)"""
    text = load_tool("data.text")
    return load_tool("data.recipes").cook, load_tool("shared.errors").Mistake, text.tidy, text.squeezed


# ---- the exam --------------------------------------------------------------------------------------------------------


def examine(files, tools):
    """What must hold of the files of any set; of a vocabulary or of images nothing but that they are not empty."""
    _, _, tidy, squeezed = tools
    assert files
    for name, content in files.items():
        assert Path(name).name == name and isinstance(content, str | bytes) and content
    parts = {}
    if "train.txt" in files:
        assert set(files) == {"train.txt", "val.txt", "test.txt"}
        for name, text in files.items():
            assert text.endswith(f"\n{END}\n")
            parts[name] = text.split(f"\n{END}\n")[:-1]
            for document in parts[name]:
                assert document.strip() and END not in document and document == tidy(document, blank=2)
        part_of = {}  # a run of 200 characters -> the file that has it
        for name, documents in parts.items():
            for flat in map(squeezed, documents):
                for run in {flat[i : i + 200] for i in range(len(flat) - 199)}:
                    assert part_of.setdefault(run, name) == name, f"{name} and {part_of[run]} share {run!r}"
    elif "train.jsonl" in files:
        assert set(files) == {"train.jsonl", "test.jsonl"}
        for name, text in files.items():
            rows = [json.loads(line) for line in text.removesuffix("\n").split("\n")]
            assert all(list(row) == ["prompt", "response"] and row["prompt"] and row["response"] for row in rows)
            assert END not in text
            parts[name] = [row["prompt"] for row in rows]
    keys = [squeezed(text) for texts in parts.values() for text in texts]
    assert len(keys) == len(set(keys))


def test_every_recipe_sits_the_exam_and_makes_a_set():
    """A recipe without a source here is not examined, and one that no row of data.toml names is dead."""
    assert sorted(SOURCES) == RECIPES == sorted({item["recipe"] for item in CATALOGUE.values()})


@pytest.mark.parametrize("name", RECIPES)
def test_the_files_are_those_of_data_toml_and_whole(name, tools):
    """No empty document, no separator in a text, no text in two files; and the names that the catalogue promises."""
    files = tools[0](name, source_of(name))
    examine(files, tools)
    if name != "plain":  # which keeps whatever names the source has
        assert {frozenset(files)} == {frozenset(row["output"]) for row in CATALOGUE.values() if row["recipe"] == name}


@pytest.mark.parametrize("name", RECIPES)
def test_the_same_source_gives_the_same_bytes(name, tools):
    """Twice, and with its files in another order: else no sha256 could be pinned."""
    source = source_of(name)
    files = tools[0](name, source)
    assert tools[0](name, dict(reversed(source.items()))) == files == tools[0](name, source)


ODD = {
    "empty": lambda content: b"",
    "a page": lambda content: b"<html><body>404: Not Found</body></html>\n",
    "a list": lambda content: b"[1]",
    "cut": lambda content: content[: len(content) // 2],
    "latin": lambda content: b"caf\xe9\n" + content,
    "separators": lambda content: content.replace(b"x3", f"\n{END}\n".encode()),
    "separator": lambda content: content.replace(b"x3", f" {END} ".encode()),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", [name for name in RECIPES if name not in ("plain", "cl100k", "mnist")])
def test_odd_sources_are_refused_or_still_give_a_whole_set(name, odd, tools):
    """Another file in the place of the right one: a sentence, or files that pass the exam; never a library's error."""
    cook, mistake, *_ = tools
    try:
        files = cook(name, {path: ODD[odd](content) for path, content in source_of(name).items()})
    except mistake as error:
        assert len(str(error)) > 20 and "\n" not in str(error)
        return
    if all(files.values()):  # the engine refuses a set with an empty file
        examine(files, tools)


@pytest.mark.parametrize("name", ["bible", "cookbook"])
def test_a_parsers_error_becomes_a_sentence(name, tools):
    """These read with `ast` and `json`, whose errors name no file."""
    cook, mistake, *_ = tools
    with pytest.raises(mistake, match=f"the recipe {name} cannot read x.y .*, so the source is not the one that"):
        cook(name, {"x.y": b"<html>"})


def test_an_unknown_recipe_lists_the_known_ones(tools):
    """A slip in data.toml."""
    cook, mistake, *_ = tools
    with pytest.raises(mistake, match="there is no recipe 'trek'; give .* one of bible, .*, trec"):
        cook("trek", {})


@pytest.mark.parametrize(
    ("damage", "files"),
    [
        ("separator", {"train.txt": f"a {END} b\n{END}\n"}),
        ("empty", {"train.txt": f"a\n{END}\n \n{END}\n"}),
        ("unended", {"train.txt": "a\n"}),
        ("leak", {"train.txt": f"{words(1)}\n{END}\n", "val.txt": f"b {words(1)}\n{END}\n"}),
        ("copy", {"train.txt": f"A b.\n{END}\n", "val.txt": f"a  b\n{END}\n"}),
        ("rows", {"train.jsonl": '{"prompt": "a", "response": ""}\n', "test.jsonl": '{"prompt": "b"}\n'}),
        ("folder", {"../x": "a"}),
        ("nothing", {}),
    ],
)
def test_the_exam_can_be_failed(damage, files, tools):
    """An examiner who lets everybody pass examines nothing."""
    if "train.txt" in files:
        files = {"val.txt": f"v\n{END}\n", "test.txt": f"t\n{END}\n", **files}
    with pytest.raises(AssertionError):
        examine(files, tools)


# ---- the next recipe -------------------------------------------------------------------------------------------------


TOY = '''"""A document a line."""

from ..documents import split
from ..text import decode


def recipe(files):
    lines = [line for name, content in files.items() for line in decode(name, content).splitlines()]
    return split([(line, line) for line in lines], seed="toy")
'''
ROW = """
[toy]
about = "lines"
origin = "a test"
licence = "public domain"
recipe = "toy"
megabytes = 0.1
sources = [{ kind = "url", url = "%s" }]
output = ["train.txt", "val.txt", "test.txt"]
"""


def test_a_recipe_is_a_file_and_a_row(tmp_path, tools):
    """Nothing else is edited: the command finds the recipe by its name, and what it makes passes the exam."""
    ignore = shutil.ignore_patterns("__pycache__", "tests")
    shutil.copytree(TOOLS, tmp_path / "tools", ignore=ignore)
    lines = tmp_path / "lines.txt"
    lines.write_text("".join(f"{words(k)}\n" for k in range(200)))
    (tmp_path / "tools/data/recipes/toy.py").write_text(TOY)
    with (tmp_path / "tools/data.toml").open("a") as catalogue:
        catalogue.write(ROW % lines.as_uri())
    command = [sys.executable, "tools/data", "make", "toy"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    files = {path.name: path.read_text() for path in (tmp_path / "data/toy").glob("*.txt")}
    examine(files, tools)
    assert sum(text.count(END) for text in files.values()) == 200
    assert re.search(r"^toy .* made ", subprocess.run(
        [*command[:2], "list"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout, re.M)  # fmt: skip
