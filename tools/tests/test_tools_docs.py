"""tools/docs.py: each kind of number, link or word that does not hold is caught, and nothing else is."""

import json
import subprocess
import sys

import pytest

RECORD = {
    "command": "python weeks/week05/train.py",
    "date": "2026-11-22",
    "machine": {"cpu": "A (B)", "threads": 2},
    "seconds": 141.2,
    "metrics": {
        "bn_val": 2.09312,
        "steps": 12345,
        "cut": 0.7034,
        "matrix": [[1.25, 1.5], [2.5, 3.125]],
        "by.name": 7,
        "table": {"a.b": 5, "c": {"d": "text"}, "x=0.5,y=1": {"acc": 8}},
        "seconds_of": 1,
        "told": "Jam\n\n- 1 cup\n",
    },
}


@pytest.fixture
def docs(load_tool):
    return load_tool("docs")


@pytest.fixture
def tree(tmp_path):
    results = tmp_path / "weeks/week05/results"
    results.mkdir(parents=True)
    (results / "default.json").write_text(json.dumps(RECORD))
    (tmp_path / "weeks/week05/README.md").write_text("<!--r:week05.default.bn_val|.3f-->2.093<!--/r-->\n")
    return tmp_path


@pytest.fixture
def said(tree, docs):
    """said(text): the sentences about a README of that text."""

    def check(text):
        (tree / "README.md").write_text(text)
        return docs.page_problems(tree, tree / "README.md")

    return check


def filled(tree, docs, text):
    page = tree / "README.md"
    page.write_text(text)
    docs.sync_page(tree, page)
    return page.read_text()


@pytest.mark.parametrize(
    ("marker", "shown"),
    [
        ("week05.default.bn_val|.3f", "2.093"),
        ("week05.default.bn_val", "2.09312"),
        ("week05.default.steps|,d", "12,345"),
        ("week05.default.cut|.1%", "70.3%"),
        ("week05.default.matrix.1.0|.2f", "2.50"),
        ("week05.default.matrix.-1.-1", "3.125"),
        ("week05.default.by.name", "7"),
        ("week05.default.table.x=0.5,y=1.acc", "8"),
        ("week05.default.table.a.b", "5"),
        ("week05.default.table.c.d", "text"),
        ("week05.default.seconds|.0f", "141"),
        ("week05.default.machine.cpu", "A (B)"),
        ("week05.default.date", "2026-11-22"),
    ],
)
def test_values_are_found_and_formatted(tree, docs, marker, shown):
    """Names first (dots inside them too), then nested values, then the file's own fields."""
    text = f"before <!--r:{marker}-->stale<!--/r--> after\n"
    result = filled(tree, docs, text)
    assert result == f"before <!--r:{marker}-->{shown}<!--/r--> after\n"
    assert docs.page_problems(tree, tree / "README.md") == []


def test_a_text_of_several_lines_is_one_line_of_a_page(tree, docs, said):
    """A marker ends on its line."""
    text = filled(tree, docs, "It wrote: <!--r:week05.default.told-->x<!--/r-->\n")
    assert text == "It wrote: <!--r:week05.default.told-->Jam / - 1 cup<!--/r-->\n" and not said(text)


def test_sync_changes_only_what_is_between_markers(tree, docs):
    """Several markers on one line, odd spacing and a missing last newline survive a sync to the byte."""
    open_a, open_b = "<!--r:week05.default.steps-->", "<!--r:week05.default.seconds-->"
    text = f"#  A\t\n{open_a}1<!--/r-->  of{open_b}<!--/r--> s\n\n\n\ttail"
    expected = f"#  A\t\n{open_a}12345<!--/r-->  of{open_b}141.2<!--/r--> s\n\n\n\ttail"
    assert filled(tree, docs, text) == expected
    assert filled(tree, docs, expected) == expected


def test_bar_inside_a_table_is_escaped(tree, docs, said):
    """GitHub splits a table row at every bare bar, inside comments too, so the marker would break the table."""
    row = "| loss | <!--r:week05.default.bn_val|.3f-->2.093<!--/r--> |\n"
    assert "ends the table's cell" in said(row)[0]
    mended = filled(tree, docs, row)
    assert mended == "| loss | <!--r:week05.default.bn_val\\|.3f-->2.093<!--/r--> |\n"
    assert docs.page_problems(tree, tree / "README.md") == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("<!--r:week05.default.bn_val|.3f-->2.094<!--/r-->", "shows '2.094', but the results file says '2.093'"),
        ("<!--r:week05.default.bn_val|.3f--><!--/r-->", "shows ''"),
        ("<!--r:week77.default.bn_val-->1<!--/r-->", "no week 'week77'"),
        ("<!--r:week05.full.bn_val-->1<!--/r-->", "make results WEEK=week05 PRESET=full"),
        ("<!--r:week05.bench.bn_val-->1<!--/r-->", "run: make results WEEK=week05 JOB=bench"),
        ("<!--r:week05.defualt.bn_val-->1<!--/r-->", "correct the name"),
        ("<!--r:week05.default.bnval-->1<!--/r-->", "has no metric 'bnval' (it has: bn_val"),
        ("<!--r:week05.default.matrix.9.0-->1<!--/r-->", "has no metric 'matrix.9.0'"),
        ("<!--r:week05.default.matrix-->1<!--/r-->", "is not one value"),
        ("<!--r:week05.default-->1<!--/r-->", "is not week.preset.metric"),
        ("<!--r:week05.default.machine.cpu|.3f-->1<!--/r-->", "does not fit"),
        ("<!--r:week05.default.steps-->12345", "is not closed"),
        ("<!--r:week05.default.steps-->\n12345<!--/r-->", "is not closed"),
        ("<!--r:week05.default.steps--><!--r:week05.default.steps-->12345<!--/r-->", "stands inside"),
        ("12345<!--/r-->", "never opened"),
        ("<!-- r:week05.default.steps -->12345<!--/r-->", "is not written as"),
        ("<!--r:week05.default.steps-->12345<!-- /r -->", "is not written as"),
        ("1<!--r:week05.default.steps-->12345<!--/r-->", "a digit is glued"),
        ("1.<!--r:week05.default.steps-->12345<!--/r-->", "a digit is glued"),
        ("<!--r:week05.default.steps-->12345<!--/r-->6", "a digit is glued"),
        ("<!--r:week05.default.steps-->12345<!--/r-->.6", "a digit is glued"),
        ("[a](missing.md)", "the link to missing.md leads nowhere"),
        ("![a](weeks/week05/figures/none.png)", "leads nowhere"),
        ('<img src="none.png" width="5">', "leads nowhere"),
        ("[a](weeks/week05)", "the link to weeks/week05 leads to a folder"),
        ("[a](#titel)", "the link to #titel names a heading that is not there"),
        ("[a](weeks/week05/README.md#b)", "the link to weeks/week05/README.md#b names a heading"),
        ("a TODO here", "placeholder TODO"),
        ("see NOTEBOOK_LINK_HERE", "placeholder NOTEBOOK_LINK_HERE"),
        ("Lorem ipsum dolor", "placeholder Lorem ipsum"),
        (r"$\operatorname{Var}(z)$", r"write \mathrm"),
    ],
)
def test_each_failure_is_caught(said, text, problem):
    """One line of each kind of mistake; the sentence begins with the file and the line."""
    found = said(f"# Title\n\n{text}\n")
    assert any(problem in sentence for sentence in found), found
    assert all(sentence.startswith("README.md:") for sentence in found)
    assert any(sentence.startswith("README.md:3:") for sentence in found)


def test_places_are_named_as_github_names_them(docs):
    """Checked against what MyST, another program that imitates GitHub, writes into the site: make site."""
    text = (
        "# A *B* `c_d`: e-f, 3 + 4!\n```bash\n# none\n```\n## See\n### See\n## [Day 1](a.md), <!--r:x-->7<!--/r--> é\n"
    )
    assert docs.places(text) == ["a-b-c_d-e-f-3--4", "see", "see-1", "day-1-7-é"]
    assert docs.places("## `nanogpt.COMMANDS`\n") == ["nanogptcommands"]  # a heading that is code from end to end


def test_links_to_headings(tree, said):
    (tree / "weeks/week05/README.md").write_text("# Week 5\n\n## See it\n")
    assert (
        said("# Title\n\n[a](#title) [b](weeks/week05/README.md#see-it) [c](weeks/week05/results/default.json#x)\n")
        == []
    )


STEPS = "<!--r:week05.default.steps-->12345<!--/r-->"


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        (f"It took\n{STEPS} *steps*.", f"It\ntook {STEPS} *steps*."),
        (f"- a b\n  {STEPS} of c d\n  {STEPS}.", f"- a\n  b {STEPS} of c\n  d {STEPS}."),
        (f"of all {STEPS}\n{STEPS} a", f"of\nall {STEPS} {STEPS} a"),
        (f"`a` b\n{STEPS} c", f"`a`\nb {STEPS} c"),
    ],
)
def test_a_marker_that_begins_a_line(tree, docs, said, text, mended):
    """Markdown takes a line that begins with a comment for HTML: sync puts a word before it."""
    assert "HTML for Markdown" in said(text)[0]
    assert filled(tree, docs, text) == mended
    assert docs.page_problems(tree, tree / "README.md") == []


@pytest.mark.parametrize(
    "text", [f"# Title\n{STEPS} a", f"word\n{STEPS} a", f"a\n\n{STEPS} b", f"- {STEPS} a", f"> {STEPS} a"]
)
def test_a_marker_at_a_line_s_begin_that_sync_cannot_mend(tree, docs, said, text):
    """There is no word above that could come down. The page stays as it is, and the sentence says what to do."""
    assert "put a word before it" in said(text)[0]
    assert filled(tree, docs, text) == text


@pytest.mark.parametrize("text", [f"a b\n\n{STEPS}\n", f"```\na b\n{STEPS} c\n```", f"> a\n>\n> {STEPS}\n"])
def test_a_marker_that_may_begin_its_line(tree, docs, said, text):
    """By itself it is text all the same, and in code it is none."""
    assert said(text) == []
    assert filled(tree, docs, text) == text


@pytest.mark.parametrize(
    ("typed", "caught"),
    [
        ("the loss is 2.093", True),
        ("the loss is 2.0931", True),
        ("the loss is 2.09", True),
        ("the loss (2.09)", True),
        ("the loss is 2.09.", True),
        ("the loss is 2.1", False),
        ("the loss is 2.08", False),
        ("version 2.09.1", False),
        ("Python 2.09 or newer", False),
        ("a_2.09", False),
        ("[2.09](weeks)", True),
        ("[here](weeks/week05/README.md#2.09)", False),
        ("https://example.org/2.09", False),
        ("`2.093`", False),
        ("```\n2.093\n```", False),
    ],
)
def test_a_number_typed_beside_its_marker(said, typed, caught):
    """The rule "no number is typed twice": a hand-typed copy goes stale at the next run, in silence."""
    found = said(f"<!--r:week05.default.bn_val|.3f-->2.093<!--/r-->\n\n{typed}\n")
    assert any("typed by hand" in sentence for sentence in found) == caught, found


@pytest.mark.parametrize(
    ("metric", "typed", "caught"),
    [
        ("steps", "12,345 steps", True),
        ("steps", "12345 steps", True),
        ("steps", "12,300 steps", False),
        ("cut", "cut by 70.3 %", True),
        ("cut", "cut by 70.3% at last", True),
        ("cut", "70.3 seconds", False),
        ("by.name", "7 names", False),
    ],
)
def test_thousands_percent_and_small_numbers(tree, docs, said, metric, typed, caught):
    """Thousands separators and per cent are the same number; fewer than three digits are too common to accuse."""
    filled(tree, docs, f"<!--r:week05.default.{metric}-->?<!--/r--> {typed}\n")
    found = docs.page_problems(tree, tree / "README.md")
    assert any("typed by hand" in sentence for sentence in found) == caught, found


@pytest.mark.parametrize(
    "text",
    [
        "`<!--r:nothing.at.all-->1<!--/r-->`",
        "```\n<!--r:nothing.at.all-->1\n```\n",
        "~~~~\n```\n<!--/r-->\nTODO\n~~~~\n",
        "# Title\n\na `TODO` in code, [a link](https://example.org/x), [mail](mailto:a@example.org), [up](#title)",
        "[good](weeks/week05/README.md) and [a file](weeks/week05/results/default.json#L3)",
        "autodoc, rlorem, TODOS",
    ],
)
def test_code_and_honest_text_are_left_alone(said, text):
    """False alarms teach people to ignore the check."""
    assert said(text) == []


def test_missing_markers_in_a_week_with_results(tree, docs):
    """A week's README that shows no number of its own results file has typed its numbers, or has none."""
    page = tree / "weeks/week05/README.md"
    page.write_text("# Week 5\n\nThe loss is low.\n")
    assert "missing marker" in docs.page_problems(tree, page)[0]


def test_status_of_the_command(tree, repo_root):
    """What make sees: check fails with a sentence, sync mends what can be mended, check passes."""

    def run(action):
        command = [sys.executable, repo_root / "tools/docs.py", action, "--root", tree]
        return subprocess.run(command, capture_output=True, text=True)

    (tree / "PLAN.md").write_text("<!--r:week05.default.steps-->0<!--/r-->\n")
    failed = run("check")
    assert failed.returncode == 1 and "Traceback" not in failed.stderr
    assert failed.stderr.splitlines()[-1].startswith("error: 1 places")
    assert run("sync").returncode == 0
    assert run("check").stdout.startswith("2 pages, 2 markers")


def test_pages_of_this_repository(repo_root, docs):
    """The check itself, on this repository: every number, link and word in its pages holds."""
    assert docs.pages(repo_root)
    assert [sentence for page in docs.pages(repo_root) for sentence in docs.page_problems(repo_root, page)] == []
