"""tools/shared: what every room uses, as far as the weeks' own tests do not see it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def results(load_tool):
    return load_tool("shared.results")


@pytest.fixture
def text(load_tool):
    return load_tool("shared.text")


@pytest.fixture
def mistake(load_tool):
    return load_tool("shared.errors").Mistake


# --- results ----------------------------------------------------------------------------------------------------------


def test_seeds_that_every_library_takes(results):
    """From 0 on, in 63 bits: random, NumPy and torch all take those."""
    parser = results.parser("a script")
    assert [parser.parse_args(["--seed", text]).seed for text in ("0", str(2**63 - 1))] == [0, 2**63 - 1]


@pytest.mark.parametrize("given", ["-1", str(2**63), "99999999999999999999", "0.5", "x", ""])
def test_what_is_no_seed_is_wrong_use(results, given, capsys):
    """Otherwise it would end in a traceback, after the data was read."""
    with pytest.raises(SystemExit) as stop:
        results.parser("a script").parse_args([f"--seed={given}"])
    assert stop.value.code == 2
    assert f"{given!r} is no seed; give a whole number from 0 to" in capsys.readouterr().err


@pytest.mark.parametrize(("asked", "said"), [(0, "leaves nobody to compute"), (10**6, "more than a machine can start")])
def test_threads_that_no_machine_has(results, mistake, asked, said):
    """OpenMP would end the process."""
    with pytest.raises(mistake, match=said):
        results.thread_count(asked)
    assert results.thread_count(2) == 2


@pytest.mark.parametrize("code", ["print('x' * 10**6)", "print('x'); raise SystemExit(0)"])
@pytest.mark.parametrize(
    ("output", "status", "said"), [("pipe", 141, ""), ("full", 1, "error: no space left on device")]
)
def test_output_that_nobody_takes(repo_root, code, output, status, said):
    """`| head -1` has seen enough, and a full disk is one sentence; Python adds no complaint of its own."""
    program = f"import sys; from shared.errors import entry\ndef main(argv): {code}\nsys.exit(entry(main))"
    if output == "pipe":
        end, out = os.pipe()
        os.close(end)
    else:
        out = os.open("/dev/full", os.O_WRONLY)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, cwd=repo_root / "tools")
    os.close(out)
    assert done.returncode == status and done.stderr.strip().split(";")[0] == said


def test_a_path_that_cannot_be_used_is_a_sentence(load_tool, capsys):
    """The system's own words have a number, and no way out."""

    def main(argv):
        open("/no/such/folder/file")

    assert load_tool("shared.errors").entry(main, []) == 1
    said = "error: '/no/such/folder/file': no such file or directory; free what is in the way, or give another path\n"
    assert capsys.readouterr().err == said


def test_json_with_its_innermost_lists_on_one_line(results):
    """A matrix is read row by row; the content is that of plain JSON, strings with brackets in them too."""
    record = {"a": [[1, 2.5], [None, "x]["]], "b": {}, "c": [], "d": {"e": [1, 2, 3]}, "f": [{"g": [0]}], "h": "[\n1]"}
    written = results.to_json(record)
    assert json.loads(written) == record
    assert '    [1, 2.5],\n    [null, "x]["]' in written
    assert '"e": [1, 2, 3]' in written
    with pytest.raises(ValueError):
        results.to_json({"a": [float("nan")]})


def test_a_run_writes_where_git_does_not_look(results, tmp_path):
    """A user's run must not change the results that the pages quote; --out says where else."""
    script = tmp_path / "weeks/week05/train.py"
    assert results.results_folder(script) == tmp_path / "runs/week05/results"
    assert results.results_folder(script, "elsewhere") == Path("elsewhere")


# --- files ------------------------------------------------------------------------------------------------------------

HOLD = """
import sys
sys.path.insert(0, {tools!r})
from shared.files import locked
with locked({folder!r}):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_second_command_is_refused_and_a_dead_one_holds_nothing(load_tool, mistake, repo_root, tmp_path):
    """Of two commands on one folder the later is told so; the lock of a killed one is gone with it."""
    files = load_tool("shared.files")
    program = HOLD.format(tools=str(repo_root / "tools"), folder=str(tmp_path))
    other = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(mistake, match="another command is at work in"), files.locked(tmp_path):
            pytest.fail("both are in")
    finally:
        other.kill()
        other.communicate()
    with files.locked(tmp_path):
        pass


# --- text -------------------------------------------------------------------------------------------------------------

END = "<|endoftext|>"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("one", ["one"]),
        (f"one\n{END}\ntwo", ["one", "two"]),
        (f"one\n{END}\n{END}\ntwo", ["one", "two"]),  # two separators in a row
        (f"{END}\none\n{END}\n\n{END}\n{END}\n", ["one"]),
        (f"a {END} b", [f"a {END} b"]),  # not alone on its line: part of the text
        (f"{END}\n{END}", []),
        ("", []),
    ],
)
def test_documents(text, given, wanted):
    """A separator is a line of its own, however many follow each other."""
    assert text.documents(given) == wanted


def test_hold_out_takes_about_the_share(text):
    """The exam is about a tenth, whatever the shape of the text: long lines, short documents, one of both."""
    words = "word " * 100_000  # one line of 500 kB
    lines = "a line of text\n" * 30_000
    shapes = {
        "one long line": words,
        "a title and one long line": f"Title\n{words}",
        "a title as a document before it": f"Title\n{END}\n{words}",
        "a title as a document after it": f"{words}\n{END}\nTitle",
        "many lines": lines,
        "many documents": f"\n{END}\n".join(["a short document"] * 30_000),
        "no blank anywhere": "x" * 400_000,
    }
    for shape, given in shapes.items():
        train, exam = text.hold_out(given)
        size = sum(map(len, text.documents(given)))
        assert 0.04 * size < len("".join(text.documents(exam))) < 0.16 * size, shape
        assert END not in "".join(text.documents(train) + text.documents(exam)), shape
        kept = "".join(text.documents(train) + text.documents(exam))
        assert "".join(kept.split()) == "".join("".join(text.documents(given)).split()), f"{shape}: something is lost"


def test_hold_out_cuts_between_lines_or_words(text):
    """An exam that begins in the middle of a word would judge what no model could know."""
    train, exam = text.hold_out("some words\n" * 1000)
    assert train.endswith("some words") and exam.startswith("some words")
    train, exam = text.hold_out("word " * 1000)
    assert exam.startswith("word")


def test_hold_out_is_bounded(text):
    """Of a long text 200,000 characters are exam enough."""
    _, exam = text.hold_out("some words\n" * 500_000)
    assert 100_000 <= len(exam) <= 300_000


@pytest.mark.parametrize("given", ["x", "ab", "\n", f"{END}\n"])
def test_a_text_too_short_to_share(text, mistake, given):
    """Neither part may be empty."""
    with pytest.raises(mistake, match="too short to hold some of it out"):
        text.hold_out(given)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (f"{END}\n{END}\n".encode(), "holds nothing but"),
        (b"a\0b", "byte 1 is zero"),
        (b"\xff\xfea", "is not UTF-8: byte 0 is 0xff"),
        (b"\xef\xbb\xbfa\r\nb", None),
    ],
)
def test_read_text(text, mistake, tmp_path, content, said):
    """What is no text is a sentence; byte order mark and Windows line ends are taken off."""
    path = tmp_path / "file.txt"
    path.write_bytes(content)
    if said is None:
        assert text.read_text(path) == "a\nb"
    else:
        with pytest.raises(mistake, match=said):
            text.read_text(path)


def test_a_device_is_no_text(text, mistake):
    """/dev/zero never ends."""
    with pytest.raises(mistake, match="/dev/zero is a device"):
        text.read_text("/dev/zero")


# --- progress ---------------------------------------------------------------------------------------------------------


def test_a_bar_in_a_log_is_a_line_every_ten_seconds_at_most(load_tool, monkeypatch, capsys):
    """A bar that draws itself over and over fills a log; two bars together write no more than one would."""
    progress, now = load_tool("shared.progress"), [0.0]
    monkeypatch.setattr(progress.Lines, "clock", lambda: now[0])
    monkeypatch.setattr(progress.Lines, "last", -1e9)
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    for label in ("one", "two"):
        with progress.bar(range(60), label) as line:
            line._time = lambda: now[0]
            for _ in line:
                now[0] += 0.5
    said = capsys.readouterr().err
    lines = said.splitlines()
    assert "\r" not in said and all(line.strip() for line in lines)
    assert 3 <= len(lines) <= 7
    assert lines[0].startswith("one") and lines[-1].startswith("two")
