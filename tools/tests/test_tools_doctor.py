"""tools/doctor.py: every line has a verdict, a lack is [FAIL] and ends with what to do, and the status says it."""

import subprocess
import sys

import pytest


@pytest.fixture
def doctor(load_tool):
    return load_tool("doctor")


@pytest.mark.parametrize(("version", "verdict"), [((3, 10, 9), "FAIL"), ((3, 11, 0), "OK"), ((4, 0, 0), "OK")])
def test_python(doctor, version, verdict):
    """3.11 is the line: tomllib and a good part of the syntax are missing below it."""
    assert doctor.python_line(version)[0] == verdict


@pytest.mark.parametrize(
    ("line", "argument", "verdict"),
    [
        ("memory_line", 2**40, "OK"),
        ("memory_line", 2**28, "FAIL"),
        ("memory_line", None, "WARN"),
        ("disk_line", 2**40, "OK"),
        ("disk_line", 2**20, "FAIL"),
        ("thread_line", 1, "WARN"),
        ("thread_line", 8, "OK"),
    ],
)
def test_thresholds(doctor, line, argument, verdict):
    """Too little memory or disk stops the main job, so it fails here; one thread is only slow, so it warns."""
    assert getattr(doctor, line)(argument)[0] == verdict


def test_missing_torch_is_said_with_what_to_do(doctor, monkeypatch):
    """The doctor is called when something is missing: it must survive that."""
    monkeypatch.setitem(sys.modules, "torch", None)  # makes `import torch` raise ImportError
    for verdict, sentence in (doctor.torch_line(), *doctor.speed_lines(0.01)):
        assert verdict == "FAIL" and "run: make week14" in sentence


def test_rate_counts_operations(doctor, monkeypatch):
    """The rate is its definition, 2 n^3 operations a product over the time: here two products in three ticks."""
    import torch

    ticks = iter(range(9))
    monkeypatch.setattr(doctor.time, "perf_counter", lambda: next(ticks))
    assert doctor.matmul_rate(torch.float32, seconds=3, size=8) == pytest.approx(2 * 8**3 * 2 / 3, rel=1e-12)


def test_whole_report(doctor, monkeypatch, capsys):
    """Status 0 when nothing fails, 1 when anything does; one verdict a line."""
    monkeypatch.setattr(doctor, "findings", lambda: [("OK", "a"), ("WARN", "b")])
    doctor.main([])
    assert capsys.readouterr().out == "[OK]   a\n[WARN] b\n"
    monkeypatch.setattr(doctor, "findings", lambda: [("FAIL", "c"), ("OK", "d")])
    with pytest.raises(SystemExit) as stopped:
        doctor.main([])
    assert stopped.value.code == 1
    assert capsys.readouterr().out == "[FAIL] c\n[OK]   d\n"


def test_without_site_packages(repo_root):
    """Run by a bare Python, as before the first install: lines, no traceback, status 1."""
    program = "import sys; sys.path.insert(0, 'tools'); import doctor; doctor.main([])"
    command = [sys.executable, "-I", "-S", "-c", program]
    done = subprocess.run(command, cwd=repo_root, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == ""
    assert "[FAIL] torch cannot be imported" in done.stdout
