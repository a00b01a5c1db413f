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


def test_what_was_trained_never_lies_among_committed_results(results, tmp_path):
    """`make results` says --out weeks/<week>/results: weights there would be one `git add` from a commit."""
    script, ours = tmp_path / "weeks/week05/train.py", tmp_path / "runs/week05/models"
    for out in (None, tmp_path / "weeks/week05/results", tmp_path / "runs/week05/results"):
        assert results.models_folder(script, out) == ours
    assert results.models_folder(script, tmp_path / "else") == tmp_path / "else/models"


def test_a_figure_script_reads_a_results_file_or_says_what_writes_it(results, mistake, tmp_path):
    """The command must write that very file: without --out a run writes somewhere else."""
    path, command = tmp_path / "full.json", "python weeks/week05/train.py --preset full"
    with pytest.raises(mistake, match=f"full.json does not exist.*run: {command} --out {tmp_path}$"):
        results.read_metrics(path, command)
    for content in ("{", "[]", "{}", "3"):
        path.write_text(content)
        with pytest.raises(mistake, match=f"full.json is not a results file .*; run: {command} --out {tmp_path}$"):
            results.read_metrics(path, command)
    path.write_text('{"metrics": {"a": 1}}')
    assert results.read_metrics(path, command) == {"a": 1}


def test_a_script_ends_with_its_results_file(results, tmp_path, capsys):
    """One line says where it lies; the file is named after its preset, and its command repeats the run."""
    script, metrics = tmp_path / "weeks/week05/train.py", {"loss": 0.5}
    args = results.parser("a script").parse_args(["--preset", "smoke", "--seed", "3"])
    assert results.finish(script, args, ["--preset", "smoke"], metrics, seconds=1.26, threads=2) is metrics
    path = tmp_path / "runs/week05/results/smoke.json"
    assert capsys.readouterr().out == f"results: {path}\n"
    record = json.loads(path.read_text())
    assert record["command"] == "python weeks/week05/train.py --preset smoke"
    assert [record[key] for key in ("preset", "seed", "seconds", "metrics")] == ["smoke", 3, 1.3, metrics]
    assert record["machine"]["threads"] == 2


@pytest.mark.parametrize(
    ("named", "file", "preset"),
    [
        ({"preset": "bench"}, "results/bench.json", "bench"),
        ({"name": "race-smoke"}, "results/race-smoke.json", "smoke"),
        ({"name": "race", "preset": "bench"}, "results/race.json", "bench"),
        ({"name": "smoke-interrupted", "folder": "models"}, "models/smoke-interrupted.json", "smoke"),
    ],
)
def test_a_run_is_saved_where_its_script_says(results, tmp_path, monkeypatch, named, file, preset):
    """Without arguments of its own the command is what was typed."""
    monkeypatch.setattr(sys, "argv", ["train.py", "a file"])
    args = results.parser("a script").parse_args(["--preset", "smoke", "--out", str(tmp_path / "results")])
    named = named | ({"folder": tmp_path / named["folder"]} if "folder" in named else {})
    path = results.save_run("weeks/week05/train.py", args, None, {}, seconds=0, threads=1, **named)
    record = json.loads(path.read_text())
    assert path == tmp_path / file and record["preset"] == preset
    assert record["command"] == "python weeks/week05/train.py 'a file'"


def test_what_a_command_wrote_itself_is_no_change_of_the_code(results, tmp_path):
    """A command that writes several results once called its second one's code changed: by its first one. And so did the
    next command, by the results of the one before."""
    run = lambda *words: subprocess.run(["git", "-C", str(tmp_path), *words], check=True, capture_output=True)
    code, written = tmp_path / "week/train.py", tmp_path / "week/results/full.json"
    for path in (code, written):
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
    run("init", "-q")
    run("add", "-A")
    run("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "one")
    first = results.commit(code.parent)
    assert not first.endswith("-dirty")
    written.write_text('{"a": 1}')
    results.commit.cache_clear()
    assert results.commit(code.parent) == first
    code.write_text("changed")
    assert results.commit(code.parent) == first, "as it was when the command began"
    results.commit.cache_clear()
    assert results.commit(code.parent) == f"{first}-dirty"


def test_committed_results_are_in_one_form(results, repo_root):
    """A changed matrix is a changed row in a diff, not a hundred lines."""
    files = sorted(repo_root.glob("weeks/*/results/**/*.json"))
    other = [str(p) for p in files if p.read_text() != results.to_json(json.loads(p.read_text())) + "\n"]
    assert files and not other


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


# --- several jobs -----------------------------------------------------------------------------------------------------


def test_one_job_by_its_name_or_the_usual_ones_in_a_row(capsys):
    """What follows a name is the job's own; without a name, all usual jobs get everything. --help names the jobs."""
    from shared.jobs import perform

    document, asked = "What it does.\n\npython train.py a", []

    def run(name, options):
        asked.append((name, options))
        return {name: len(asked)}

    do = lambda *argv: perform(list(argv), document, ("a", "b", "c"), ("a", "b"), run)
    assert do("c", "--seed", "1") == {"c": 1} and asked == [("c", ["--seed", "1"])]
    assert do("--seed", "1") == {"a": 2, "b": 3} and asked[1:] == [("a", ["--seed", "1"]), ("b", ["--seed", "1"])]
    with pytest.raises(SystemExit) as stopped:
        do("d")
    assert stopped.value.code == 2 and "invalid choice: 'd'" in capsys.readouterr().err and len(asked) == 3
    with pytest.raises(SystemExit) as stopped:
        do("--help")
    said = capsys.readouterr().out
    assert stopped.value.code == 0 and "python train.py a" in said and "(default: a, b)" in said and len(asked) == 3
