"""The site: no page is lost from its tree, every link is followed, and a browser draws it without a network.

What needs Sphinx or a browser is skipped where they are not installed: `make site` installs the one, the extra
`browser` and a Chromium of the system are the other.
"""

import importlib.util
import json
import re
import struct
import subprocess
import sys
import zlib

import pytest
from shared.errors import Mistake
from website import build, commands, links, look, pages

needs_sphinx = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in build.NEEDED), reason="the site's libraries: make .venv/.site"
)
needs_browser = pytest.mark.skipif(not look.program(), reason="a Chromium, and pip install '.[browser]'")

# --- the tree ---------------------------------------------------------------------------------------------------------

SOME = ["LICENSE.md", "PLAN.md", "README.md", "checkpoints/README.md", "notes/README.md", "notes/blog.md",
        "notes/day001.md", "notes/day002.md", "notes/day008.md", "notes/day099.md", "notes/glossary.md",
        "notes/week01.md", "notes/week02.md", "papers/README.md", "papers/hu2021_lora.md", "projects/README.md",
        "projects/kata/README.md", "weeks/week01-02/README.md", "weeks/week01-02/play.ipynb",
        "weeks/week10/README.md", "weeks/week10/launch/README.md"]  # fmt: skip


def names(branches):
    return [path for branch in branches for _, path in branch.pages]


def test_a_page_finds_its_place_by_its_path():
    """Days and reflections in the order of reading, below their week; then what else lies in the week's folder."""
    tree = pages.tree(SOME)
    assert [branch.caption for branch in tree["README.md"]] == ["The course", "Weeks", "Beside the weeks"]
    assert names(tree["README.md"]) == [
        "PLAN.md", "notes/README.md", "notes/glossary.md", "notes/blog.md", "notes/day099.md", "LICENSE.md",
        "weeks/week01-02/README.md", "weeks/week10/README.md",
        "projects/README.md", "papers/README.md", "checkpoints/README.md",
    ]  # fmt: skip
    assert names(tree["weeks/week01-02/README.md"]) == [
        "notes/day001.md", "notes/day002.md", "notes/week01.md", "notes/day008.md", "notes/week02.md",
        "weeks/week01-02/play.ipynb",
    ]  # fmt: skip
    assert names(tree["weeks/week10/README.md"]) == ["weeks/week10/launch/README.md"]
    assert "checkpoints/README.md" not in tree  # nothing stands below it


def test_every_page_of_the_repository_is_in_the_tree_once(repo_root):
    """No page is left out, none stands in two places: else the sidebar, and the order of reading, are wrong."""
    found = pages.all_pages(repo_root)
    below = [path for branches in pages.tree(found).values() for path in names(branches)]
    assert sorted([*below, "README.md"]) == found
    assert {"notes/day062.md", "papers/hu2021_lora.md", "projects/README.md", "weeks/week05/README.md"} < set(found)


def test_the_tree_is_written_for_sphinx():
    text = pages.toctree([pages.Branch("Weeks", [("Week 1", "weeks/week01/README.md"), (None, "PLAN.md")])])
    assert text == "\n```{toctree}\n:hidden:\n:caption: Weeks\n\nWeek 1 </weeks/week01/README>\n/PLAN\n```\n"


# --- links ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def judge(tmp_path):
    """judge(html of the front page, css): the sentences about a site with one more page, notes/a.html."""

    def check(html, css=""):
        (tmp_path / "notes").mkdir()
        (tmp_path / "index.html").write_text(html)
        (tmp_path / "notes/a.html").write_text('<h2 id="one">One</h2><a href="../index.html">back</a>')
        (tmp_path / "site.css").write_text(css)
        return links.judged(tmp_path)

    return check


def test_a_sound_site(judge):
    """A page of the web may be linked, for nothing is fetched before someone clicks."""
    html = '<img src="data:,x"><a href="notes/a.html#one">a</a><a href="#">top</a><a href="https://a.org">b</a><math/>'
    counts, sentences = judge(html, 'a { background: url("notes/a.html"); b: url(data:,x) }')
    assert sentences == []
    assert counts == {"site_pages": 1, "formulas": 0, "links": 3}


@pytest.mark.parametrize(
    ("html", "css", "sentence"),
    [
        ('<a href="notes/b.html">a</a>', "", "index.html: the link to notes/b.html leads nowhere"),
        ('<img src="c.png">', "", "the link to c.png leads nowhere"),
        ('<a href="notes/a.html#two">a</a>', "", "notes/a.html#two names a place that its page does not have"),
        ('<a href="#two">a</a>', "", "#two names a place"),
        ('<script src="https://a.org/x.js"></script>', "", "https://a.org/x.js would be fetched from the network"),
        ('<img src="//a.org/x.png">', "", "//a.org/x.png would be fetched"),
        ('<link rel="stylesheet" href="https://a.org/x.css">', "", "would be fetched"),
        ("", "a { background: url(https://a.org/x.png) }", "site.css: https://a.org/x.png would be fetched"),
        ("", '@import "https://a.org/x.css";', "site.css: https://a.org/x.css would be fetched"),
    ],
)
def test_a_link_that_does_not_hold(judge, html, css, sentence):
    assert sentence in judge(html, css)[1][0]


# --- formulas ---------------------------------------------------------------------------------------------------------


@needs_sphinx
def test_formulas_become_mathml():
    """What is read aloud, and copied, is the LaTeX."""
    from website.formulas import mathml

    element = mathml(r"\frac{a}{b} < c", "block")
    assert re.search(r"<mfrac>.*<mi>a</mi>.*<mi>b</mi>.*</mfrac>", element)
    assert 'alttext="\\frac{a}{b} &lt; c"' in element
    assert 'display="block"' in element


@needs_sphinx
@pytest.mark.parametrize(
    ("latex", "drawn"),
    [
        (r"\overline{ab}", '<mo stretchy="true">&#x0203E;</mo>'),
        (r"\mathbb{1}", "<mi>&#x1D7D9;</mi>"),
        (r"a \sim b", "<mo>&#x0223C;</mo>"),
        (r"a \mathrel{+}= b", "<mo>+=</mo>"),
        (r"o\log p", '<mi>o</mi><mspace width="0.17em"/><mi>log</mi><mspace width="0.17em"/><mi>p</mi>'),
        (r"\log(p)", '<mi>log</mi><mo stretchy="false">'),
        (r"\log_2 p", "<msub><mi>log</mi><mn>2</mn></msub>"),
    ],
)
def test_what_the_translation_of_formulas_lacks_is_mended(latex, drawn):
    """A newer translator may write these otherwise; then browsers would draw them badly, and nobody would look."""
    from website.formulas import mathml

    assert drawn in mathml(latex, "inline")


@needs_sphinx
@pytest.mark.parametrize("latex", [r"\nosuchcommand{a}", "a_b_c"])
def test_a_formula_that_cannot_be_shown(latex):
    """It is refused, never shown as half a formula."""
    from website.formulas import mathml

    with pytest.raises(ValueError, match="write it in simpler LaTeX") as caught:
        mathml(latex, "inline")
    assert repr(latex) in str(caught.value)


# --- a small site -----------------------------------------------------------------------------------------------------

WEEK = """# Week 1: slopes

It took <!--r:week01.default.seconds|.0f-->77<!--/r--> s, see [the day](../../notes/day001.md#see) and `--steps 5 $a$`.

$$L = \\frac{1}{N} \\sum_i \\max(0,\\; 1 - y_i s_i) + \\boxed{\\lambda \\sum_j p_j^2} \\qquad aaaaaaaaaaaaaaaaaaaaaaa$$

| loss | where |
|--:|:--|
| <!--r:week01.default.loss\\|.2f-->0.25<!--/r--> | $x_{ij}$ |

<details><summary>Answer</summary>

It is **marmalade**.
</details>

![a dot](figures/dot.png)
"""
README = "# Toy\n\nOne [week](weeks/week01/README.md), the [licence](LICENSE), five -- or $5 and $6.\n"
DAY = "# Day 1. Areas\n\n## See\n\n```bash\nmake day DAY=1\n```\n"


def picture():
    """One grey pixel as a PNG (its specification's section 5: signature, then chunks with length and CRC)."""
    chunks = ((b"IHDR", struct.pack(">2I5B", 1, 1, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(b"\0\x80")), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def notebook():
    output = {"output_type": "stream", "name": "stdout", "text": ["seven\n"]}
    prose = {"cell_type": "markdown", "source": ["# Play\n", "with [a day](../../notes/day001.md)"]}
    code = {"cell_type": "code", "source": ["raise 7"], "execution_count": 1, "outputs": [output]}
    cells = [{"id": name, "metadata": {}} | cell for name, cell in (("a", prose), ("b", code))]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5})


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    root = tmp_path_factory.mktemp("toy")
    for name in ("weeks/week01/figures", "notes"):
        (root / name).mkdir(parents=True)
    for name, text in {"README.md": README, "notes/day001.md": DAY, "notes/week01.md": "# Week 1\n\nWhat we learned.\n",
                       "weeks/week01/README.md": WEEK, "weeks/week01/play.ipynb": notebook(), "LICENSE": "MIT"
                       }.items():  # fmt: skip
        (root / name).write_text(text)
    (root / "weeks/week01/figures/dot.png").write_bytes(picture())
    return root


@pytest.fixture(scope="module")
def site(toy):
    built = toy / "build/site"
    assert build.build(toy, built)["site_pages"] == 5
    return built


@needs_sphinx
def test_what_github_shows_the_site_shows(site):
    """Links between Markdown files, tables with markers, folded answers, formulas; dollars of a price are none."""
    week, front = (site / "weeks/week01/README.html").read_text(), (site / "README.html").read_text()
    assert 'href="../../notes/day001.html#see"' in week
    assert week.count("<math ") == 2
    assert re.search(r"<td[^>]*><p>(<!--r:[^>]*-->)0.25(<!--/r-->)</p></td>", week)
    assert "<details><summary>Answer</summary>" in week and "<strong>marmalade</strong>" in week
    assert "--steps" in week.replace("</span>", "").replace('<span class="pre">', "")
    assert "five -- or $5 and $6" in front and "<math" not in front
    assert "seven" in (site / "weeks/week01/play.html").read_text()  # its stored output; `raise 7` was not run
    assert (site / "index.html").read_text() == front
    assert 'href="notes/day001.html"' in front and "Looking back at week 1" in front  # the sidebar
    assert "marmalad" in (site / "searchindex.js").read_text()  # the word's stem


@needs_sphinx
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# A\n\n[b](missing.md)\n", "missing.md"),
        ("# A\n\n[b](day001.md#nowhere)\n", "nowhere"),
        ("# A\n\n$\\nosuchcommand{a}$\n", "has a command that MathML lacks"),
    ],
)
def test_a_page_that_does_not_hold_ends_the_build(toy, site, text, said, capsys):
    """The sentence names the page; the site of the last build is left as it was."""
    page, before = toy / "notes/a.md", (site / "index.html").read_text()
    page.write_text(text)
    try:
        with pytest.raises(Mistake, match="mend them, then run: make site"):
            build.build(toy, site)
    finally:
        page.unlink()
    told = capsys.readouterr().err
    assert said in told and "notes/a.md" in told
    assert (site / "index.html").read_text() == before


def test_without_its_libraries_the_site_says_what_to_run(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "NEEDED", ("sphinx_that_nobody_has",))
    with pytest.raises(Mistake, match="sphinx_that_nobody_has, which this Python does not have; run: make site"):
        build.build(tmp_path, tmp_path / "site")


# --- in a browser -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def opened():
    with look.browser() as browser:
        yield browser


@pytest.fixture
def show(opened, site):
    """show(page, size, scheme): a page of the toy site in Chromium, without a fault."""

    def open_page(name, size=(1280, 800), scheme="light"):
        page, said = look.tab(opened, size, scheme)
        page.goto(f"file://{site}/{name}")
        assert list(look.faults(page, said)) == []
        return page

    return open_page


@needs_sphinx
@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_draws_a_page_alone(show, scheme):
    """Nothing is fetched. A formula has its font, a fraction its height, a dark page light letters."""
    page = show("weeks/week01/README.html", scheme=scheme)
    page.wait_for_function("[...document.fonts].some(f => f.family.includes('STIX') && f.status == 'loaded')")
    assert page.locator("mfrac").bounding_box()["height"] > 1.5 * page.locator("table math").bounding_box()["height"]
    back, letters = page.evaluate("[document.body, document.querySelector('p')].map(e => getComputedStyle(e)).map("
                                  "(s, i) => i ? s.color : s.backgroundColor)")  # fmt: skip
    brightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (back, letters)]
    assert (brightness[0] < brightness[1]) == (scheme == "dark")
    assert not page.get_by_text("marmalade").is_visible()
    page.get_by_text("Answer").click()
    assert page.get_by_text("marmalade").is_visible()
    assert "r:week01" not in page.inner_text("article")


@needs_sphinx
@needs_browser
def test_a_phone_shows_a_page_without_scrolling_sideways(show):
    """A long formula scrolls inside its own box."""
    page = show("weeks/week01/README.html", (390, 800))
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    box = page.locator(".formula")
    assert box.evaluate("e => e.scrollWidth > e.clientWidth")
    assert box.bounding_box()["width"] <= 390


@needs_sphinx
@needs_browser
def test_the_sidebar_begins_where_the_reader_is(show):
    """The window is so low that the page's own entry stands far below its end."""
    page = show("weeks/week01/play.html", (1280, 200))
    box = page.locator(".sidebar-scroll")
    assert box.evaluate("e => e.scrollHeight > 1.5 * e.clientHeight")
    assert 0 < page.locator(".sidebar-tree .current-page").last.bounding_box()["y"] < 200


@needs_sphinx
@needs_browser
def test_search_finds_a_page_without_a_server(opened, site):
    """Its name at least: from a file, a browser refuses to read the page for an excerpt."""
    page, _ = look.tab(opened)
    page.goto(f"file://{site}/search.html?q=marmalade")
    page.wait_for_selector("#search-results li a")
    assert page.locator("#search-results li a").first.get_attribute("href").startswith("weeks/week01/README.html")


@needs_browser
def test_faults_of_a_page_are_told(opened, tmp_path):
    """A page wider than its window, a figure that is not there, a script from the network: each is one sentence."""
    (tmp_path / "index.html").write_text('<img src="no.png"><div style="width: 1300px">wide</div>')
    (tmp_path / "net.html").write_text('<script src="http://127.0.0.1:9/x.js"></script>')
    seen, found = look.look(opened, tmp_path, tmp_path)
    assert seen == 2
    assert sum("it is 13" in sentence for sentence in found) == 4  # both sizes, light and dark
    assert sum("no.png cannot be shown" in sentence for sentence in found) == 4
    assert "net.html (phone, light): the browser says: http://127.0.0.1:9/x.js" in found
    assert len(list(tmp_path.glob("index-*.png"))) == 4


def test_without_a_browser_looking_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(look, "PROGRAMS", ("no-such-chromium",))
    with pytest.raises(Mistake, match="no no-such-chromium or no playwright here; install both"), look.browser():
        pass


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("action", "status", "said"), [((), 2, "the following arguments are required: command"),
                                                        (("build", "--help"), 0, "folder for site.json")])  # fmt: skip
def test_the_command_answers(repo_root, action, status, said):
    """Run as make runs it, in a process of its own."""
    command = [sys.executable, "tools/website", *action]
    done = subprocess.run(command, cwd=repo_root, capture_output=True, text=True)
    assert done.returncode == status and said in done.stdout + done.stderr


@needs_sphinx
def test_the_size_of_the_site_is_written(toy, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(commands, "ROOT", toy)
    commands.main(["build", "--out", str(tmp_path)])
    record = json.loads((tmp_path / "site.json").read_text())
    assert record["metrics"]["site_pages"] == 5 and record["metrics"]["warnings"] == 0 and record["seconds"] > 0
    assert "open build/site/index.html" in capsys.readouterr().out
