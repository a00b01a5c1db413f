"""The Makefile: names of weeks, order of work, set-up once, and a status that tells success from misuse.

A toy repository with a stub in the place of .venv/bin/python, which prints how it was called: nothing is installed.
"""

import os
import re
import shutil
import subprocess
import time

import pytest

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")

STUB = """#!/bin/sh
echo "python $*"
case "$*" in
  "tools/data make "*) mkdir -p "data/$3" && echo '{}' > "data/$3/ORIGIN.json" ;;
  *fails.py*) exit 1 ;;
esac
"""


@pytest.fixture
def tree(tmp_path, repo_root):
    shutil.copy(repo_root / "Makefile", tmp_path)
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text("")
    for week in ("week07-08", "week09"):
        (tmp_path / "weeks" / week / "tests").mkdir(parents=True)
        (tmp_path / "weeks" / week / "train.py").write_text("")
    (tmp_path / "weeks/week09/figures.py").write_text("")
    (tmp_path / "tools").mkdir()
    sets = ("shakespeare", "bible", "recipes", "code", "gpt2", "cl100k", "smollm2-135m", "names", "mnist")
    toml = "".join(f"[{name}]\nx = 1\n" for name in sets)
    (tmp_path / "tools/data.toml").write_text(toml)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").write_text(STUB)
    (tmp_path / ".venv/bin/python").chmod(0o755)
    (tmp_path / ".venv/.core").write_text(str(tmp_path))
    (tmp_path / ".venv/.test").write_text("")
    return tmp_path


def make(tree, *args):
    # The make that runs these tests exports its own.
    ours = ("MAKE", "MFLAGS", "PRESET", "SEED", "ARGS", "WEEK", "CHASE_IMPL")
    env = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    done = subprocess.run(["make", *args], cwd=tree, env=env, capture_output=True, text=True)
    calls = [line for line in done.stdout.splitlines() if line.startswith("python ")]
    return done.returncode, calls, done.stdout + done.stderr


def own(week):
    """The options that make a week's figures those of a user's own run."""
    return f"--results runs/{week}/results --out runs/{week}/figures"


@pytest.mark.parametrize("name", ["week07", "week08", "week07-08"])
def test_double_week_has_three_names(tree, name):
    """All three run the same script, after the data sets that it reads."""
    status, calls, _ = make(tree, name)
    assert status == 0
    assert calls == ["python tools/data make shakespeare", "python tools/data make names",
                     "python weeks/week07-08/train.py --preset default"]  # fmt: skip


def test_both_halves_at_once_run_once(tree):
    """`make week07 week08` is one week, not two runs of minutes."""
    assert len(make(tree, "week07", "week08")[1]) == 3


def test_options_reach_the_script_and_figures_follow(tree):
    """PRESET, SEED and ARGS go to train.py; figures.py draws from what it wrote, below runs/ as that."""
    _, calls, _ = make(tree, "week09", "PRESET=full", "SEED=3", "ARGS=--threads 1")
    assert calls[-2] == "python weeks/week09/train.py --preset full --seed 3 --threads 1"
    assert calls[-1] == f"python weeks/week09/figures.py --preset full {own('week09')}"
    full = ("bible", "cl100k", "code", "gpt2", "recipes", "shakespeare")
    assert sorted(calls[:-2]) == [f"python tools/data make {name}" for name in full]


def test_two_weeks_in_one_room_have_a_job_each(tree):
    """week01 must not wait for week 2's images, and figures are those of the run that was asked for."""
    (tree / "weeks/week01-02").mkdir()
    (tree / "weeks/week01-02/figures.py").write_text("")
    assert make(tree, "week01", "SEED=3")[1] == [
        "python weeks/week01-02/train.py moons --preset default --seed 3",
        f"python weeks/week01-02/figures.py --preset default {own('week01-02')}",
    ]
    assert make(tree, "week02", "PRESET=smoke")[1] == [
        "python tools/data make mnist", "python weeks/week01-02/train.py mnist --preset smoke",
    ]  # fmt: skip
    assert len(make(tree, "week01-02")[1]) == 4


@pytest.mark.parametrize("week", ["9", "09", "week09"])
def test_results_alone_writes_what_the_pages_quote(tree, week):
    """The committed results, then the pages' figures (no option: as the pages say), then the pages' numbers."""
    assert make(tree, "results", f"WEEK={week}", "PRESET=full", "SEED=3")[1][-3:] == [
        "python weeks/week09/train.py --preset full --seed 3 --out weeks/week09/results",
        "python weeks/week09/figures.py",
        "python tools/docs.py sync",
    ]


def test_results_of_the_other_scripts(tree):
    """The benchmarks of all weeks or of one, and the assistant: below runs/ by themselves, committed by JOB."""
    (tree / "weeks/week09/bench.py").write_text("")
    (tree / "weeks/week07-08/bench.py").write_text("")
    bench = "python weeks/week09/bench.py"
    read = ("bible", "code", "gpt2", "recipes", "shakespeare")
    assert make(tree, "bench", "WEEK=9")[1] == [*(f"python tools/data make {name}" for name in read), bench]
    assert make(tree, "results", "JOB=bench", "WEEK=9")[1][-2:] == [
        f"{bench} --out weeks/week09/results", "python tools/docs.py sync"
    ]  # fmt: skip
    assert make(tree, "results", "JOB=bench", "ARGS=--pairs 2")[1][-3:-1] == [
        "python weeks/week07-08/bench.py --pairs 2 --out weeks/week07-08/results",
        f"{bench} --pairs 2 --out weeks/week09/results",
    ]
    calls = make(tree, "results", "JOB=assistant-tasks")[1]
    assert calls[-2] == "python weeks/week14/assistant.py --preset default --out weeks/week14/results"


def test_the_site_installs_its_libraries_once(tree):
    """They are an extra of their own: nobody who runs the weeks waits for them. By JOB its size is committed."""
    install, run = make(tree, "site")[1]
    assert install.startswith("python -m pip install") and install.endswith("--editable .[site]")
    assert run == "python tools/website build"
    assert make(tree, "site")[1] == [run]
    assert make(tree, "results", "JOB=site")[1] == [f"{run} --out tools/results", "python tools/docs.py sync"]


@pytest.mark.parametrize("options", [(), ("WEEK=99",), ("JOB=week09",), ("WEEK=9", "JOB=clean")])
def test_results_of_nothing_is_wrong_use(tree, options):
    """JOB must not run any target that there is; nothing runs without a name."""
    status, calls, output = make(tree, "results", *options)
    assert status == 2 and calls == [] and "name no results; type: make results WEEK=05 PRESET=full" in output


def test_smoke_draws_no_figures(tree):
    """The numbers of a run of seconds mean nothing. Nor does it wait for data that `full` alone reads."""
    *data, last = make(tree, "week09", "PRESET=smoke")[1]
    assert last == "python weeks/week09/train.py --preset smoke" and len(data) == 3


def test_made_data_and_libraries_cost_nothing(tree):
    """The second call is at work at once: no pip, no look at the data."""
    make(tree, "week09")
    _, calls, output = make(tree, "week09")
    assert [call.split()[1] for call in calls] == ["weeks/week09/train.py", "weeks/week09/figures.py"]
    assert "install" not in output


def test_changed_manifest_looks_at_the_data_again(tree):
    """A corrected hash or recipe must reach those who made the set before."""
    make(tree, "data/bible")
    assert make(tree, "data/bible")[1] == []
    later = time.time() + 5
    os.utime(tree / "tools/data.toml", (later, later))
    assert make(tree, "data/bible")[1] == ["python tools/data make bible"]


def test_unknown_data_set_is_left_to_the_tool(tree):
    """tools/data knows the names, so its sentence is the one to see."""
    assert make(tree, "data/nothing")[1] == ["python tools/data make nothing"]


@pytest.mark.parametrize("name", ["week03", "week04", "week03-04", "week14"])
def test_week_that_is_not_built(tree, name):
    """Not built yet is said in words, with status 2; nothing is installed for it."""
    status, calls, output = make(tree, name)
    assert status == 2 and calls == [] and "is not built yet" in output


@pytest.mark.parametrize("preset", ["quick", "", "smoke full", "%"])
def test_wrong_preset(tree, preset):
    """A misspelt preset must not start the default run of minutes."""
    status, calls, output = make(tree, "week09", f"PRESET={preset}")
    assert status == 2 and calls == [] and "is not a preset; use PRESET=smoke" in output


@pytest.mark.parametrize(
    ("name", "folder"),
    [("9", "week09"), ("09", "week09"), ("week09", "week09"), ("7", "week07-08"), ("08", "week07-08"),
     ("07-08", "week07-08"), ("week07-08", "week07-08")],
)  # fmt: skip
def test_names_of_a_week(tree, name, folder):
    """Whoever types a week's number in a reasonable way gets that week."""
    status, calls, _ = make(tree, "test-week", f"WEEK={name}")
    assert status == 0 and calls == [f"python -m pytest weeks/{folder}/tests"]


@pytest.mark.parametrize("name", ["", "99", "week", "9x", "05", "%"])
def test_unknown_week(tree, name):
    """An unknown or untested week lists the weeks that there are; a grader that finds nothing must fail."""
    status, calls, output = make(tree, "test-week", f"WEEK={name}")
    assert status == 2 and calls == []
    assert "weeks that have:" in output and "07-08 09" in output


@pytest.mark.parametrize(("option", "asked"), [((), ""), (("WEEK=7",), " week07-08"), (("WEEK=99",), " 99")])
def test_the_course_of_one_week_or_of_all(tree, option, asked):
    """A week that there is not must not become a check of all: the tool gets the name and says so."""
    calls = make(tree, "check-course", *option)[1]
    assert calls == ["python tools/course plan-check", f"python tools/course audit{asked}"]


@pytest.mark.parametrize("target", ["start", "check", "watch", "hint", "solution", "reset", "today", "progress", "day"])
def test_the_workbench_gets_what_was_typed(tree, target):
    """The same words for each command; what was left out is not passed on as an empty argument."""
    assert make(tree, target)[1] == [f"python tools/course {target}"]
    options = ("WEEK=01", "DAY=3", "FUNCTION=Value.exp", "FORCE=1")
    wanted = f"python tools/course {target} 01 --day 3 --function Value.exp --force"
    assert make(tree, target, *options)[1] == [wanted]


def test_all_tests_run_after_all_data(tree):
    """`make test` on a fresh machine makes the data first, then starts pytest once; it shares the tests between two."""
    status, calls, _ = make(tree, "test")
    sets = re.search(r"^TEST_DATA := (.*)$", (tree / "Makefile").read_text(), re.M)[1].split()
    assert status == 0 and calls[-1] == "python -m pytest -n 2 --dist worksteal"
    assert make(tree, "test", "ARGS=-n 4")[1] == ["python -m pytest -n 2 --dist worksteal -n 4"]
    assert make(tree, "test", "CHASE_IMPL=projects")[1] == ["python -m pytest"]
    assert sorted(calls[:-1]) == sorted(f"python tools/data make {name}" for name in sets)


def test_a_copied_checkout_installs_again(tree):
    """A copy's .venv still points at the code of the place that it was copied from: it must not be trusted."""
    (tree / ".venv/.core").write_text("/somewhere/else")
    _, calls, output = make(tree, "week09")
    assert any("pip install" in call for call in calls) and "installing the libraries" in output
    assert (tree / ".venv/.core").read_text() == str(tree)
    assert not any("pip install" in call for call in make(tree, "week09")[1])


def test_changed_requirements_install_again(tree):
    """A pull that changes a pin must reach an old .venv; the product's own pyproject counts too."""
    (tree / "weeks/week14").mkdir()
    (tree / "weeks/week14/pyproject.toml").write_text("")
    later = time.time() + 5
    os.utime(tree / "weeks/week14/pyproject.toml", (later, later))
    install = [call for call in make(tree, "vendor-check")[1] if "pip install" in call]
    assert len(install) == 1 and install[0].endswith("--editable . --editable ./weeks/week14")
    assert "--constraint constraints.txt" in install[0]


def test_too_old_python(tree):
    """The first thing that a newcomer may meet is an old python3: a sentence says what to type."""
    shutil.rmtree(tree / ".venv")
    (tree / "old").write_text("#!/bin/sh\nexit 1\n")
    (tree / "old").chmod(0o755)
    status, _, output = make(tree, "week09", "PYTHON=./old")
    assert status == 2 and "is not Python 3.11 or newer; name one that is: make PYTHON=python3.12 week09" in output
    assert not (tree / ".venv/.core").exists()


def test_help_is_the_default_and_names_every_target(tree, repo_root):
    """`make` alone explains; each documented target is in it, and says which weeks are built."""
    status, _, output = make(tree)
    assert status == 0
    targets = "test test-week check-course plan-check check-commands bench results data vendor vendor-check lint"
    workbench = "start check watch hint solution reset today progress day"
    for target in [*targets.split(), *workbench.split(), "docs-sync", "docs-check", "doctor", "clean", "week14"]:
        assert f"  {target} " in output
    assert "weeks built:   week07-08 week09" in output


def test_clean_keeps_what_was_paid_for(tree):
    """clean deletes caches and runs; .venv, data, committed results and every model that was taught stay."""
    gone = ["runs/week09/results/a", "weeks/week09/__pycache__/a", ".pytest_cache/a"]
    kept = [".venv/a", "data/bible/a", "weeks/week09/results/a", "checkpoints/shipped/a", "checkpoints/mine/a"]
    for name in gone + kept:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("")
    (tree / "projects").mkdir()
    assert make(tree, "clean")[0] == 0
    assert [name for name in gone if (tree / name).exists()] == []
    assert [name for name in kept if not (tree / name).exists()] == []


def test_bench_without_benches_says_so(tree):
    """Nothing to measure is not silence."""
    status, _, output = make(tree, "bench")
    assert status == 0 and "no week has a bench.py yet" in output
    (tree / "weeks/week09/bench.py").write_text("")
    assert "python weeks/week09/bench.py" in make(tree, "bench")[1][-1]
