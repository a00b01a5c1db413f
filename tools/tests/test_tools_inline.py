"""A command inside a sentence, or in a script's own help, names files, targets and options that there are.

`make check-commands` takes the blocks of a page and runs what it can. Here nothing runs: words are looked up in the
sources.
"""

import json
import re
import shlex
import sys
from functools import cache
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import commands
from docs import pages
from shared.results import command_line, on_record

ROOT = Path(__file__).resolve().parents[2]
PYTHON = r"(?:\.venv/bin/)?python3? (?=[\w/.-]+\.py\b|tools/)"
COMMAND = re.compile(rf"(?:{PYTHON}|nanogpt (?=[a-z])|make (?=[a-z])).*", re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
HELP = re.compile(rf"^ *((?:{PYTHON}|nanogpt (?=[a-z]+ )).*?)(?: {{2,}}.*| +#.*)?$", re.MULTILINE)
VARIABLES = set("PRESET SEED ARGS PYTHON WEEK DAY FUNCTION FORCE JOB CHASE_IMPL".split())
PLACEHOLDERS = {"weekNN", "data/NAME"}  # names that stand for any name
NO_COMMAND = "make write flush write flush settle rename settle"  # what a program prints, on the page of day 74


def found_on(page):
    """(line, command) of a page or of a script."""
    text = page.read_text(encoding="utf-8")
    for match in (INLINE if page.suffix == ".md" else HELP).finditer(text):
        if COMMAND.fullmatch(match[1]) and match[1] != NO_COMMAND:
            yield text.count("\n", 0, match.start()) + 1, " ".join(match[1].split())


@cache
def source(folder):
    """All Python below a folder in one text, without its tests."""
    files = sorted((ROOT / folder).rglob("*.py"))
    return "\n".join(path.read_text(encoding="utf-8") for path in files if "tests" not in path.parts)


@cache
def knows_make():
    """The names of the Makefile's targets, of data sets, and of weeks."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {name for line in re.findall(r"^([\w -]+):(?!=)", makefile, re.MULTILINE) for name in line.split()}
    sets = re.findall(r"^\[([\w-]+)\]$", (ROOT / "tools/data.toml").read_text(encoding="utf-8"), re.MULTILINE)
    evaluated = re.findall(r"call week,([\w-]+),([\w ]*),", makefile)
    return targets | {f"data/{name}" for name in sets} | {name for each in evaluated for name in " ".join(each).split()}


def wrong_with(command):
    """What is wrong with a command, or None."""
    words = shlex.split(re.split(r" (?:\||>|&&) ", command)[0])
    if words[0] == "make":
        for word in words[1:]:
            if word.split("=")[0] not in VARIABLES and word not in knows_make() | PLACEHOLDERS:
                return f"the Makefile has no {word}"
        return None
    if words[0] == "nanogpt":
        text, field, job = source(Path("weeks/week14/nanogpt")), r"^    {}\b *[:=]", words[1:2]
    else:
        script = Path(re.sub(r"^projects/(?=week\d)", "weeks/", words[1]))
        if not (ROOT / script).exists():
            return f"there is no {script}"
        text = source(script if (ROOT / script).is_dir() else script.parent) + source(Path("tools/shared"))
        field, job = "", [word for word in words[2:3] if re.fullmatch(r"[a-z][a-z0-9-]*", word)]
    for word in job:
        if not re.search(rf'["\']{word}["\']|def {word.replace("-", "_")}\(', text):
            return f"there is no job {word}"
    for option in (word.split("=")[0] for word in words if word.startswith("--")):
        known = field.format(option[2:].replace("-", "_")) if field else rf"[\"']{option}[\"']"
        if option != "--help" and not re.search(known, text, re.MULTILINE):
            return f"there is no option {option}"
    return None


def told(command, place):
    wrong = wrong_with(command)
    return [f"{place}: `{command}`: {wrong}"] if wrong else []


def test_commands_inside_sentences_and_in_help_can_be_typed():
    """Of all pages, of their blocks too, and of each script that says itself how it is called."""
    scripts = [p for top in ("weeks", "projects", "tools") for p in sorted((ROOT / top).rglob("*.py"))]
    ours = [p for p in scripts if not {"tests", "vendor"} & set(p.parts) and not re.search(r"projects/week", str(p))]
    found = [(f"{p.relative_to(ROOT)}:{line}", c) for p in [*pages(ROOT), *ours] for line, c in found_on(p)]
    blocks = [(c.place, c.text.splitlines()[0]) for c in commands.commands(ROOT)]
    assert len(found) > 500, "the collector has lost commands"
    found += [(place, text) for place, text in blocks if COMMAND.fullmatch(text)]
    assert [said for place, command in found for said in told(command, place)] == []


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("make week99", "the Makefile has no week99"),
        ("make check WEKE=01", "the Makefile has no WEKE=01"),
        ("make data/shakespear", "the Makefile has no data/shakespear"),
        ("python weeks/week05/gone.py", "there is no weeks/week05/gone.py"),
        ("python weeks/week05/claims.py he-deeper", "there is no job he-deeper"),
        ("python projects/week13/train.py domains --method-s ewc", "there is no option --method-s"),
        ("nanogpt lear x.txt", "there is no job lear"),
        ("nanogpt learn x.txt --forgetting 0.1", "there is no option --forgetting"),
        ("nanogpt learn x.txt --max-forgetting=0.1 --resume", None),
        ("make data/names && python weeks/week05/train.py", None),
    ],
)
def test_what_is_wrong_is_named(command, wrong):
    assert wrong_with(command) == wrong


@pytest.mark.parametrize(
    ("script", "typed"),
    [
        ("/me/projects/course/weeks/week05/train.py", "python weeks/week05/train.py --seed 1"),
        ("/me/weeks/course/projects/week05/train.py", "python projects/week05/train.py --seed 1"),
        ("/else/train.py", "python train.py --seed 1"),
    ],
)
def test_a_script_says_how_it_is_called_from_the_root(script, typed):
    """A learner's copy names itself, not a train.py that lies nowhere."""
    assert command_line(script, ["--seed", "1"]) == typed


def test_a_command_on_record_names_no_place_of_one_machine(tmp_path):
    """A path that begins at the machine's root is its name alone, in what is written now and in all that is there."""
    argv = [
        "--data",
        f"{tmp_path}/text.txt",
        f"--peer={tmp_path}/peer",
        "--out",
        "weeks/week14/results",
        "ewc:strength=1",
    ]
    line = on_record(command_line(ROOT / "weeks/week14/race.py", argv))
    ours = "python weeks/week14/race.py --data text.txt --peer=peer --out weeks/week14/results ewc:strength=1"
    assert line == ours
    written = {path: json.loads(path.read_text(encoding="utf-8")) for path in ROOT.glob("weeks/*/results/*.json")}
    assert not [path.name for path, run in written.items() if re.search(r"[ =]/", run.get("command", ""))]
