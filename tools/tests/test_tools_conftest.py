"""The root conftest.py: it grades the code it says it grades, refuses anything else, and keeps tests off the network.

Each test runs pytest in a process of its own on a toy repository, for a guard that is wrong would judge itself.
"""

import os
import shutil
import socket
import subprocess
import sys

import pytest

TEST = '''
import pytest

def test_double():
    """Doubling is what the week is about."""
    from toy.core import double
    assert double(4) == 8

def test_half():
    """Halves must be exact."""
    from toy.core import half
    assert half(8) == 4
'''
REFERENCE = "def double(x):\n    return 2 * x\n\n\ndef half(x):\n    return x / 2\n"


@pytest.fixture
def tree(tmp_path, repo_root):
    shutil.copy(repo_root / "conftest.py", tmp_path / "conftest.py")
    (tmp_path / "tools/course").mkdir(parents=True)
    for name in ("__init__.py", "grader.py"):
        shutil.copy(repo_root / "tools/course" / name, tmp_path / "tools/course" / name)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --quiet\n")
    write(tmp_path, "weeks/week01/toy", REFERENCE)
    (tmp_path / "weeks/week01/tests").mkdir()
    (tmp_path / "weeks/week01/tests/test_week01_toy.py").write_text(TEST)
    (tmp_path / "weeks/week01/train.py").write_text("from toy.core import double\nRESULT = double(21)\n")
    write(tmp_path, "weeks/week02/other", "x = 1\n")
    (tmp_path / "weeks/week02/tests").mkdir()
    test = "def test_x():\n    import other.core\n    assert other.core.x == 1\n"
    (tmp_path / "weeks/week02/tests/test_week02_other.py").write_text(test)
    (tmp_path / "tools/tests").mkdir(parents=True)
    (tmp_path / "tools/tests/test_tools_x.py").write_text("def test_tool():\n    assert True\n")
    (tmp_path / "projects").mkdir()
    return tmp_path


def write(tree, package, core):
    (tree / package).mkdir(parents=True)
    (tree / package / "__init__.py").write_text("")
    (tree / package / "core.py").write_text(core)


def grade(tree, *args, impl="projects"):
    env = os.environ | {"CHASE_IMPL": impl, "PYTHONPATH": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *args]
    done = subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_reference_passes_and_is_named(tree):
    """Without the switch everything runs, the tools' tests too, and the first line says whose code it is."""
    status, output = grade(tree, impl="weeks")
    assert status == 0 and "4 passed" in output
    assert output.splitlines()[0] == f"chase: grading {tree / 'weeks'}"


def test_empty_learner_folder_is_refused(tree):
    """The silent failure this guard exists for: nothing of the learner's is there, and everything is green."""
    (tree / "projects/week01").mkdir()
    status, output = grade(tree)
    assert status == 4 and "passed" not in output
    assert "refusing to grade the wrong code" in output and "projects/week01/toy/__init__.py does not exist" in output


def test_package_without_init_is_refused(tree):
    """A folder without __init__.py imports as a namespace, which another folder of that name could fill."""
    write(tree, "projects/week01/toy", REFERENCE)
    (tree / "projects/week01/toy/__init__.py").unlink()
    status, output = grade(tree)
    assert status == 4 and "does not exist, so there is nothing of yours to grade" in output


@pytest.mark.parametrize("when", ["collection", "test"])
def test_reference_that_slips_in_is_refused(tree, when):
    """With the reference on the path too, an import may find it first: at collection or inside a test."""
    write(tree, "projects/week01/toy", REFERENCE)
    trick = "    import sys\n    sys.path.insert(0, str(__file__).replace('tests/test_week01_toy.py', ''))\n"
    path = tree / "weeks/week01/tests/test_week01_toy.py"
    lines = trick.replace("    ", "") + "import toy.core\n" if when == "collection" else f"def test_aaa():\n{trick}\n"
    path.write_text(lines + TEST)
    status, output = grade(tree)
    assert status != 0
    assert f"not from {tree / 'projects/week01'}" in output
    assert ("refusing to grade" if when == "collection" else "graded the wrong code") in output


def test_correct_learner_code_passes_and_other_weeks_are_left_out(tree):
    """A learner who began week 1 is graded on week 1; what was left out is said."""
    write(tree, "projects/week01/toy", REFERENCE)
    status, output = grade(tree)
    assert status == 0 and "2 passed" in output
    assert "not begun, so not graded: week02" in output and "test_tools_x" not in output


def test_the_learners_code_is_what_runs(tree):
    """A wrong answer must fail although the reference is right, and say why the test exists."""
    write(tree, "projects/week01/toy", REFERENCE.replace("x / 2", "x // 3"))
    status, output = grade(tree)
    assert status == 1 and "1 failed, 1 passed" in output
    assert "why this test exists" in output and "Halves must be exact." in output


def test_unwritten_function_is_a_todo_not_a_traceback(tree):
    """ "Not written yet" and "wrong" are different news."""
    write(tree, "projects/week01/toy", REFERENCE.replace("return x / 2", 'raise NotImplementedError("Day 2: half")'))
    status, output = grade(tree)
    assert status == 1 and "TODO  Day 2: half" in output and "Traceback" not in output and "raise Not" not in output


def test_foreign_not_implemented_error_keeps_its_traceback(tree):
    """torch raises the same exception for an operation it lacks; that must not look like work to do."""
    write(tree, "projects/week01/toy", REFERENCE)
    test = "import toy.core\ndef test_foreign():\n    raise NotImplementedError('no such kernel')\n"
    (tree / "weeks/week01/tests/test_week01_toy.py").write_text(test)
    status, output = grade(tree)
    assert status == 1 and "TODO" not in output and "test_week01_toy.py:3" in output


@pytest.mark.parametrize("args", [(), ("weeks/week01/tests",), ("weeks/week01/tests/test_week01_toy.py",)])
def test_nothing_begun_is_a_failure(tree, args):
    """A grader that finds nothing to grade must fail, whether all weeks or one file was asked for."""
    status, output = grade(tree, *args)
    assert status == 4 and "passed" not in output
    assert "nothing to grade" in output and "weeks begun: none" in output


def test_no_test_collected_is_a_failure(tree):
    """Status 5 of pytest must stay a failure: a renamed folder of tests would otherwise pass for ever."""
    assert grade(tree, "-k", "no_such_test", impl="weeks")[0] == 5


@pytest.mark.parametrize("impl", ["project", "../elsewhere", "."])
def test_unknown_folder_is_refused(tree, impl):
    """A misspelt CHASE_IMPL must not fall back to the reference."""
    status, output = grade(tree, impl=impl)
    assert status == 4 and f"CHASE_IMPL={impl!r} is not a folder of" in output and "CHASE_IMPL=projects" in output


def test_load_script_uses_the_graded_code(tree):
    """The reference's train.py, run on a learner's package, must call the learner's functions."""
    write(tree, "projects/week01/toy", REFERENCE.replace("2 * x", "3 * x"))
    test = 'def test_script(load_script):\n    assert load_script("week01", "train").RESULT == 63\n'
    (tree / "weeks/week01/tests/test_week01_toy.py").write_text(test)
    assert grade(tree)[0] == 0
    assert grade(tree, impl="weeks")[0] == 1  # the reference gives 42


# --- the network, in this very process: the root conftest is at work here too -----------------------------------------


@pytest.mark.parametrize("host", ["192.0.2.1", "8.8.8.8", "::ffff:192.0.2.1", "2001:db8::1"])
@pytest.mark.parametrize("call", ["connect", "connect_ex", "sendto"])
def test_addresses_outside_are_blocked(host, call):
    """Documentation addresses that nobody answers at: the block must come before the first packet, not by timeout."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    kind = socket.SOCK_DGRAM if call == "sendto" else socket.SOCK_STREAM
    with socket.socket(family, kind) as s:
        s.settimeout(0.01)
        with pytest.raises(RuntimeError, match="tests never touch the network"):
            s.sendto(b"x", (host, 9)) if call == "sendto" else getattr(s, call)((host, 9))


@pytest.mark.parametrize("call", ["gethostbyname", "gethostbyname_ex", "getaddrinfo"])
def test_name_look_ups_are_blocked(call):
    """Asking a name server is network too, and is what a library does first."""
    with pytest.raises(RuntimeError, match="looks up the name"):
        getattr(socket, call)("example.org", *([80] if call == "getaddrinfo" else []))


def test_libraries_are_blocked_too():
    """urllib turns OSErrors into its own; the block is no OSError, so no library can mistake it for bad weather."""
    import urllib.request

    with pytest.raises(RuntimeError, match="tests never touch the network"):
        urllib.request.urlopen("http://192.0.2.1/", timeout=0.01)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_works(host):
    """The server's tests talk to themselves."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection((host, server.getsockname()[1]), timeout=5) as client:
            connection, _ = server.accept()
            with connection:
                client.sendall(b"hello")
                assert connection.recv(5) == b"hello"


def test_unix_sockets_work():
    """Sockets between processes of one machine are not network: multiprocessing uses them."""
    left, right = socket.socketpair()
    with left, right:
        left.sendall(b"x")
        assert right.recv(1) == b"x"


def test_properties_repeat():
    """Random examples and time limits would make a failure depend on the day and the machine."""
    from hypothesis import settings

    assert settings.default.derandomize and settings.default.deadline is None
