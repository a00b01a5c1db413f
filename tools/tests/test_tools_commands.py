"""Commands are collected from the pages as a reader would type them; one that does not work is told with its place."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import commands
from shared.errors import Mistake

ROOT = Path(__file__).resolve().parents[2]

PAGE = """# A page

Set up, then go:

```bash
source .venv/bin/activate && export A=1
# a comment alone
make week05 PRESET=full      # with a comment
python - <<'END'
print("a # is no comment here")
END
python -c "import torch
print('two lines')" \\
  --more
```

```
not a command
```

    make day DAY=1
    indented output belongs to it

- a list, whose

      text is no command

```console
$ nanogpt info
python train.py &
kill %1
```
"""


def collected(tmp_path, text):
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    return commands.commands(tmp_path)


def test_commands_of_a_page(tmp_path):
    found = collected(tmp_path, PAGE)
    assert [(c.line, c.text) for c in found] == [
        (8, "make week05 PRESET=full"),
        (9, "python - <<'END'\nprint(\"a # is no comment here\")\nEND"),
        (12, "python -c \"import torch\nprint('two lines')\" \\\n  --more"),
        (21, "make day DAY=1"),
        (22, "indented output belongs to it"),
        (29, "$ nanogpt info\npython train.py &\nkill %1"),
    ]


def test_what_sets_the_scene_holds_for_the_rest_of_the_page(tmp_path):
    first, *_, last = collected(tmp_path, PAGE)
    assert first.scene == last.scene == ("source .venv/bin/activate && export A=1",)


def test_the_beginning_of_a_line_can_set_the_scene_too(tmp_path):
    first, second = collected(
        tmp_path, "```bash\nsource .venv/bin/activate && cd weeks && make x && make y\nmake z\n```\n"
    )
    assert (first.text, second.text) == ("make x && make y", "make z")
    assert first.scene == second.scene == ("source .venv/bin/activate && cd weeks",)


def test_a_prompt_sign_is_not_typed(tmp_path):
    (found,) = collected(tmp_path, "```console\n$ make help\n```\n")
    assert (found.place, found.text) == ("README.md:2", "make help")


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("make check WEEK=01 DAY=1", commands.TODO),
        ("make check WEEK=01 DAY=2", commands.DRY),
        ("make day DAY=1", commands.RUN),
        ("python projects/gradient_kata/kata.py --check", commands.TODO),
        ("make week14", commands.DRY),
        ("nanogpt learn more.txt --out there", commands.HELP),
        ("nanogpt learn --help", commands.RUN),
        ("python weeks/week05/train.py --preset smoke", commands.RUN),
        ("python weeks/week05/train.py --preset full", commands.HELP),
    ],
)
def test_the_first_rule_that_matches_decides(text, how):
    assert commands.rule(commands.Command("README.md", 1, text))[0] == how


def test_a_command_without_a_rule_is_an_error():
    with pytest.raises(Mistake, match=r"README.md:7: no rule says how to check 'rm -rf /'; add a row to RULES"):
        commands.rule(commands.Command("README.md", 7, "rm -rf /"))


def test_every_command_of_our_pages_has_a_rule():
    found = commands.commands(ROOT)
    assert len(found) > 250, "the collector has lost commands"
    hows = {commands.rule(command)[0] for command in found}
    assert hows == {commands.RUN, commands.TODO, commands.HELP, commands.DRY}


@pytest.fixture
def clone(tmp_path):
    """A folder with a script that knows one option; no libraries, no .venv."""
    (tmp_path / "clone").mkdir()
    (tmp_path / "clone/tool.py").write_text(
        "import argparse\np = argparse.ArgumentParser()\np.add_argument('--steps', type=int)\np.parse_args()\n"
    )
    return tmp_path / "clone"


def wrong(clone, text, how):
    return commands.problem(clone, commands.Command("README.md", 1, text), how)


def test_help_must_know_the_options_of_the_page(clone):
    assert wrong(clone, "python3 tool.py --steps 3", commands.HELP) is None
    assert wrong(clone, "python3 tool.py --stop 3", commands.HELP) == (
        "python3 tool.py has no option --stop; its --help lists what it has"
    )
    assert "python3 gone.py --help ends with status 2" in wrong(clone, "python3 gone.py", commands.HELP)


def test_a_command_that_fails_is_told_with_its_last_line(clone):
    assert wrong(clone, "true", commands.RUN) is None
    assert wrong(clone, "echo first; echo last; exit 3", commands.RUN) == "it ends with status 3: last"
    assert wrong(clone, "false | true", commands.RUN) == "it ends with status 1: (it printed nothing)"


def test_a_command_that_takes_too_long_ends_with_all_that_it_started(clone, monkeypatch):
    monkeypatch.setattr(commands, "LIMIT", 0.5)
    said = wrong(clone, "(until [ -e go ]; do sleep 0.05; done; touch late) & wait", commands.RUN)
    assert said.startswith("it ends with status 124: it ran longer than 0.5 seconds; give it a row of RULES")
    (clone / "go").touch()
    time.sleep(0.3)
    assert not (clone / "late").exists()


def test_a_starter_must_say_todo_and_fail(clone):
    assert wrong(clone, "echo TODO: build it; exit 1", commands.TODO) is None
    assert wrong(clone, "echo passed", commands.TODO) == "it names no TODO of the starter: passed"


def test_make_is_asked_what_it_would_do(clone):
    (clone / "Makefile").write_text("there:\n\t@exit 9\n")
    assert wrong(clone, "make there", commands.DRY) is None
    assert "No rule to make target" in wrong(clone, "make gone", commands.DRY)


def test_the_clone_stands_alone(clone):
    """No PYTHONPATH comes in, /tmp of a page is a folder beside the clone, your package is the reference."""
    commands.shell(clone, ("export WHERE=projects/week05",), "echo $WHERE $PYTHONPATH > /tmp/said")
    assert (clone.parent / "scratch/said").read_text() == "weeks/week05\n"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("make check", "projects/week05"),
        ("make check && make check", "projects/week05projects/week05"),
        ("make check && python3 - <<'END'\nprint(end='projects/week05')\nEND", "weeks/week05weeks/week05"),
    ],
)
def test_make_alone_works_on_your_package_and_a_program_on_the_reference(clone, text, where):
    (clone / "Makefile").write_text("check:\n\t@printf %s $(WHERE)\n")
    status, said = commands.shell(clone, ("export WHERE=projects/week05",), text)
    assert (status, said) == (0, where)


def test_a_fresh_clone_has_the_last_commit_and_a_venv_of_its_own(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    git = ["git", "-C", str(source), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    (source / "page.md").write_text("committed")
    (source / ".gitignore").write_text("data/\n")
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-qm", "first"], check=True)
    (source / "page.md").write_text("changed")
    (source / "data/set").mkdir(parents=True)
    for name in ("ORIGIN.json", "text.txt"):
        (source / "data/set" / name).write_text("here")
    commands.fresh_clone(source, tmp_path / "clone")
    assert (tmp_path / "clone/page.md").read_text() == "committed"
    assert (tmp_path / "clone/.venv/.core").read_text() == str(tmp_path / "clone")
    assert (tmp_path / "clone/data/set/text.txt").samefile(source / "data/set/text.txt")
    assert not (tmp_path / "clone/data/set/ORIGIN.json").samefile(source / "data/set/ORIGIN.json")
    status, said = commands.shell(tmp_path / "clone", (), ".venv/bin/python -c 'import numpy, sys; print(sys.prefix)'")
    assert (status, said) == (0, f"{tmp_path}/clone/.venv\n")


def test_a_part_gives_no_number_of_the_whole(tmp_path):
    with pytest.raises(Mistake, match="--only checks a part, and --out writes the number of all; leave out one"):
        commands.main(["--only", "day", "--out", str(tmp_path)])
