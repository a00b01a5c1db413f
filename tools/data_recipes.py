"""From what a source holds to the files of a data set: one function a recipe, and the split that the texts share.

A recipe takes {path in the source: bytes} and returns {file name: text or bytes}. It is deterministic: the same input
gives the same bytes on every machine and every Python, which is why the sha256 of the result can stand in data.toml.
The texts and vocabularies are made here, the rows of prompt and response in data_tasks.py, MNIST in data_mnist.py.
A text comes out as train.txt, val.txt and test.txt, each document closed by a line that holds only `<|endoftext|>`.
Left out: language detection, quality scores, fuzzy hashing. These sets are small enough to be looked at.
"""

import ast
import html
import io
import json
import re
from pathlib import PurePosixPath

import data_mnist
import data_tasks
from data_text import decode, fraction, squeezed, tidy
from shared.errors import Mistake

SEPARATOR = "<|endoftext|>"
WINDOW = 200  # characters: two documents that share so long a run are taken for copies of each other
SHARE = 0.05  # of the documents go to val, as many to test


# ---- the split ------------------------------------------------------------------------------------------------------


def side(seed, title):
    """The split that a document belongs to. No other document is asked, so one that is added later moves none."""
    u = fraction(seed, title)
    return "val" if u < SHARE else "test" if u < 2 * SHARE else "train"


def drop_copies(documents):
    """The (title, text) pairs in order of title, without empty texts and without repetitions of an earlier text."""
    seen, kept = set(), []
    for title, text in sorted(documents):
        key = squeezed(text)
        if key and key not in seen:
            seen.add(key)
            kept.append((title, text))
    return kept


def split(documents, seed):
    """{train.txt, val.txt, test.txt}: the documents shared out about 90/5/5 so that none leaks into another part.

    A document of val or test that has a run of WINDOW characters in common with train (counted as `squeezed` counts) is
    left out: a parallel chapter, a recipe entered twice, a module that quotes another. So is one of test that has one
    with val. What may remain in common is shorter: quotations, set phrases, the first lines of modules.
    """
    parts = {"train": [], "val": [], "test": []}
    for title, text in drop_copies(documents):
        if SEPARATOR in text:
            raise Mistake(f"the document {title!r} holds {SEPARATOR}, which ends a document; let its recipe remove it")
        parts[side(seed, title)].append(text)
    parts["val"] = without_leak(parts["val"], parts["train"])
    parts["test"] = without_leak(parts["test"], parts["train"] + parts["val"])
    return {f"{name}.txt": "".join(f"{text}\n{SEPARATOR}\n" for text in texts) for name, texts in parts.items()}


def without_leak(texts, others):
    """Those of `texts` that have no run of WINDOW characters in common with any of `others`.

    Wherever a run of WINDOW lies in another text, it covers one whole half-window that starts at a multiple of
    WINDOW / 2. So it is enough to look for those at every place of `texts`, and to let each find grow both ways.
    """
    half = WINDOW // 2
    texts = [(text, squeezed(text)) for text in texts]
    wanted = {flat[i : i + half] for _, flat in texts for i in range(len(flat) - half + 1)}
    found = {}
    for other in map(squeezed, others):
        for i in range(0, len(other) - half + 1, half):
            if (run := other[i : i + half]) in wanted:
                found.setdefault(run, []).append((other, i))

    def leaks(flat):
        return any(
            common_run(flat, i, other, j, half) >= WINDOW
            for i in range(len(flat) - half + 1)
            for other, j in found.get(flat[i : i + half], ())
        )

    return [text for text, flat in texts if not leaks(flat)]


def common_run(a, i, b, j, length):
    """The length of the run that holds a[i : i + length] == b[j : j + length] and cannot be made longer either way."""
    before, after = 0, length
    while i > before and j > before and a[i - before - 1] == b[j - before - 1]:
        before += 1
    while i + after < len(a) and j + after < len(b) and a[i + after] == b[j + after]:
        after += 1
    return before + after


# ---- the recipes ---------------------------------------------------------------------------------------------------


def plain(files):
    """The files as they are, without their folders: vocabularies, which nobody may clean."""
    return {PurePosixPath(name).name: content for name, content in files.items()}


def renamed(name):
    """A recipe that keeps one file as it is under the name `name`."""

    def recipe(files):
        (content,) = files.values()
        return {name: content}

    return recipe


def shakespeare(files):
    """Plays in Markdown: a document is a play; a speaker stands on a line of its own, a stage direction in brackets."""
    plays = []
    for name, content in files.items():
        title = PurePosixPath(name).stem
        text = html.unescape(decode(name, content))
        if not text.startswith("# "):
            text = f"# {title.replace('-', ' ').title()}\n\n{text}"
        plays.append((title, tidy("\n\n".join(map(play_block, re.split(r"\n\s*\n", text))))))
    # With 38 documents a share of 5 % is luck. This is the first seed that gives val and test two plays each of about
    # that size, and a comedy and a history to both; it was taken before anything was trained.
    return split(plays, seed="shakespeare-144")


ERRATA = {"_Burthen _[": "_Burthen ", "sha$l": "shall", "& C:": "&c:", "Senators, & C ": "Senators:\n", "& c": "&c"}


def play_block(block):
    """One paragraph of a play (a heading, a speech or a stage direction) without its Markdown."""
    block = re.sub(r"\\(.)", r"\1", block.strip())  # backslashes guard brackets and dashes
    if heading := re.fullmatch(r"#+ *(.*)", block):
        return heading[1]
    block = re.sub(r"^\*\*(.+?)\*\* *(?=\n|$)", r"\1:", block, flags=re.M)
    for wrong, right in ERRATA.items():
        block = block.replace(wrong, right)
    block = re.sub(r"[_*]* *\[([^]]*)\] *[_*]*", lambda m: direction(m[1]), block)
    block = re.sub(r"[_*]+([^_*]+)[_*]*", lambda m: direction(m[1]), block)
    return block.replace("—", "--")


def direction(text):
    """A stage direction on one line, in brackets; nothing where the edition left it empty."""
    words = " ".join(text.split())
    return f"[{words}]" if words else ""


def bible(files):
    """A Bible that comes as Python source: a document is a chapter, its name first, then a verse a line.

    The source is a call: its second argument is the text, and the two after it map a verse (the number BBCCCVVV means
    book, chapter, verse) to its first and its last character. They count characters of the *source*, where a backslash
    takes two, so the text is cut as it stands there, before Python would read it. Nothing is imported or run.
    """
    ((name, content),) = files.items()
    source = decode(name, content)
    (call,) = [node.value for node in ast.parse(source).body if isinstance(node, ast.Assign)]
    raw = source.split('"""')[1]
    start, end = ast.literal_eval(call.args[2]), ast.literal_eval(call.args[3])
    books = [ast.literal_eval(value) for value in call.args[5].values]
    chapters = {}
    for verse in sorted(start):
        book, chapter = verse // 10**6, verse // 10**3 % 10**3
        lines = chapters.setdefault((book, chapter), [f"{books[book - 1]} {chapter}", ""])
        lines.append(verse_text(raw[start[verse] : end[verse]]))
    documents = [(f"{b:02}-{c:03}", tidy("\n".join(lines))) for (b, c), lines in chapters.items()]
    return split(documents, seed="bible")


def verse_text(raw):
    """A verse without its marks: a second numbering between backslashes, brackets, asterisks for a gap."""
    text = re.sub(r"\\+(\d+:\d+\\+)?", " ", raw)
    text = re.sub(r"[\[\]+]", "", text).replace("***", "...")
    return " ".join(text.split()) if re.search(r"[A-Za-z]", text) else ""


def cookbook(files):
    """Recipes from JSON: a document is a recipe, its title, its ingredients, its numbered steps."""
    ((name, content),) = files.items()
    documents = []
    for key, recipe in json.loads(decode(name, content)).items():
        title = recipe["title"].removeprefix("Cookbook:")
        ingredients = [line for item in recipe["ingredients"] for line in wiki_lines(item)]
        steps = [line for item in recipe["steps"] for line in wiki_lines(item)]
        text = "\n".join(
            [title, "", "Ingredients:", *(f"- {line}" for line in ingredients), "", "Method:"]
            + [f"{n}. {line}" for n, line in enumerate(steps, 1)]
        )
        if ingredients and steps and not LEFTOVER.search(text):
            documents.append((key, tidy(text)))
    return split(documents, seed="recipes")


# What tells that a page was not read well: markup, an address, a template whose value is lost ("preheat the oven to.").
LEFTOVER = re.compile(
    r"\[\[|\]\]|\{[{|]|[|}]\}|</?[a-z]+[ >]|https?:|\|"
    r"|\b([Hh]eat|[Pp]reheat|[Rr]aise|[Cc]ook|[Bb]ake|[Ff]ry|[Ss]et|oven|fryer)\b[^.\n]*\b(to|at)[,.](?!\S)|\bregisters,"
)


def wiki_lines(item):
    """The lines of one ingredient or step, without wiki markup, bullets and what a lost template leaves behind."""
    text = html.unescape(item)
    text = re.sub(r"<ref\b[^>]*/>|<ref\b.*?</ref>|<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r"</?(br|p|div|li|ul|ol)\b[^>]*>|<br", "\n", text)
    text = re.sub(r"</?(i|b|u|em|strong|small|big|sup|sub|span|nowiki|section|s)\b[^>]*>", "", text)
    text = re.sub(r"'{2,}", "", text)
    text = text.replace("˚", "°").replace("º", "°").replace("\u00a0", " ")
    text = re.sub(r"\(\s*[/,;]?\s*\)", "", text)  # "1 package () mushrooms": the weight was in a template
    text = re.sub(r"\s*/\s*\)", ")", text)
    text = re.sub(r"\(\s*[/,;]\s*", "(", text)
    text = re.sub(r"[^\S\n]+", " ", text)
    text = re.sub(r" +([,.;:)])", r"\1", text)
    lines = (line.strip().lstrip("*#•:- ").strip() for line in text.split("\n"))
    return [line for line in lines if line and not line.startswith("Category:")]


SKIPPED = set(
    "test tests idlelib lib2to3 turtledemo tkinter encodings pydoc_data distutils ensurepip msilib __phello__".split()
)
LARGEST_MODULE, LARGEST_CODE = 100_000, 6_000_000  # characters: no table fills the set, and every Python gives as much


def python_modules(files):
    """Python source: a document is a module. Tests, tables and what an interpreter may lack are left out."""
    modules = []
    for name, content in files.items():
        path = PurePosixPath(name)
        if SKIPPED & set(path.parts) or path.name.startswith("_sysconfigdata") or len(content) > LARGEST_MODULE:
            continue
        try:
            text = tidy(decode(name, content), blank=2)
        except Mistake:  # another encoding, declared in its first lines: a handful of modules
            continue
        if SEPARATOR not in text:
            modules.append((name, text))
    modules.sort(key=lambda module: fraction("order", module[0]))
    kept, total = [], 0
    for name, text in modules:
        if total + len(text) <= LARGEST_CODE:
            kept.append((name, text))
            total += len(text)
    return split(kept, seed="code")


YEAR = 2017  # the last year of the table


def names(files):
    """First names in lower case, one a line, as in makemore's names.txt: those of girls, then of boys, by frequency.

    The source is the table of all years (Parquet) or the list of one year (lines `Emma,F,19738`); both hold the names
    that the US Social Security Administration counted five times or more. No newline closes the last line.
    """
    ((name, content),) = files.items()
    rows = parquet_names(name, content) if name.endswith(".parquet") else listed_names(name, decode(name, content))
    ordered = [row[2] for row in sorted((sex, -count, first) for sex, first, count in rows)]
    if not ordered:
        raise Mistake(f"{name} holds no name of {YEAR}, so it is not what data.toml means")
    if odd := next((first for first in ordered if not (first.isascii() and first.isalpha())), None):
        raise Mistake(f"{name} holds the name {odd!r}, but names of letters a to z alone were expected")
    return {"names.txt": "\n".join(ordered).lower()}


def parquet_names(name, content):
    """(sex, name, count) of YEAR from the columns year, sex, name and n of a Parquet table."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise Mistake(f"{name} is a Parquet table, which needs pyarrow; run: python -m pip install pyarrow") from None
    try:
        only = [("year", "==", YEAR)]
        table = parquet.read_table(io.BytesIO(content), columns=["sex", "name", "n"], filters=only)
    except (pyarrow.ArrowException, OSError) as error:  # OSError: a page that cannot be unpacked
        reason = str(error).partition("\n")[0]
        raise Mistake(f"{name} is not the table year, sex, name, n that data.toml means ({reason})") from None
    return zip(*(table[column].to_pylist() for column in ("sex", "name", "n")))


def listed_names(name, text):
    """(sex, name, count) from lines `Emma,F,19738`."""
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if not (fields := re.fullmatch(r"([^,]+),([FM]),(\d+)", line)):
            raise Mistake(f"{name}, line {number}: {line[:60]!r} is not NAME,SEX,COUNT; data.toml means another file")
        rows.append((fields[2], fields[1], int(fields[3])))
    return rows


RECIPES = {
    "plain": plain,
    "cl100k": renamed("cl100k_base.tiktoken"),
    "shakespeare": shakespeare,
    "bible": bible,
    "cookbook": cookbook,
    "python_modules": python_modules,
    "names": names,
    "mnist": data_mnist.mnist,
    "reuters_r8": data_tasks.reuters_r8,
    "trec": data_tasks.trec,
    "sms_spam": data_tasks.sms_spam,
    "sarcasm": data_tasks.sarcasm,
}
