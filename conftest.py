"""One pytest for all weeks: where the code comes from, and what is refused.

CHASE_IMPL names the folder whose code is graded: `weeks` (the reference, the default) or `projects` (your own).
The tests are the same files in both cases; only `sys.path` differs, so the wrong code could be graded by accident.
Whatever would let that happen is refused, loudly. tools/course/grader.py chooses tests by day, and says what failed.
"""

import importlib.util
import ipaddress
import os
import random
import signal
import socket
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent
REFERENCE = ROOT / "weeks"
sys.path.append(str(ROOT / "tools"))
pytest_plugins = ["course.grader"]

# Read when numpy or torch is first imported, so set before any test can import them. Most tests multiply tiny
# matrices, where a second thread only waits (a two-layer GPT trained twenty times slower with it on a busy machine of
# two cores); sums in one order also make runs repeat.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


# --- whose code is graded ---------------------------------------------------------------------------------------------


def graded_folder(root=ROOT):
    """The folder that CHASE_IMPL names, which must be one inside the repository."""
    name = os.environ.get("CHASE_IMPL") or "weeks"
    folder = (root / name).resolve()
    if root not in folder.parents or not folder.is_dir():
        raise pytest.UsageError(
            f"CHASE_IMPL={name!r} is not a folder of {root}; use CHASE_IMPL=projects for your own code, "
            "or leave it out for the reference"
        )
    return folder


def week_of(path, reference=REFERENCE):
    """The week folder's name that `path` (a test file) belongs to, or None: weeks/week09/tests/x.py -> week09."""
    path = Path(path)
    return path.relative_to(reference).parts[0] if reference in path.parents else None


def packages(week, reference=REFERENCE):
    """Names of the packages that the reference has for `week`; these are what its tests import."""
    return sorted(p.parent.name for p in (reference / week).glob("*/__init__.py") if p.parent.name != "tests")


def lacking(week, graded, reference=REFERENCE):
    """Sentences about packages of `week` that the graded folder does not have."""
    return [
        f"{graded / week / name / '__init__.py'} does not exist, so there is nothing of yours to grade; "
        f"create it (what belongs there: {reference / week / name}), or delete {graded / week} to leave the week out"
        for name in packages(week, reference)
        if not (graded / week / name / "__init__.py").is_file()
    ]


def nothing_of(graded, week):
    begun = ", ".join(sorted(folder.name for folder in graded.glob("week*"))) or "none"
    return f"there is no folder {graded / week} (weeks begun: {begun}); create it with your package in it"


def strangers(weeks, graded, modules, reference=REFERENCE):
    """Sentences about imported modules that carry the name of a graded package but lie somewhere else."""
    home = {name: (graded / week).resolve() for week in weeks for name in packages(week, reference)}
    wrong = []
    for name, module in sorted(modules.items()):
        folder = home.get(name.split(".")[0])
        if folder is None:
            continue
        file = getattr(module, "__file__", None)
        if file is None or folder not in Path(file).resolve().parents:
            wrong.append(f"the tests imported {name} from {file or 'a folder without __init__.py'}, not from {folder}")
    return wrong


# --- pytest's hooks ---------------------------------------------------------------------------------------------------

state = pytest.StashKey()


def pytest_configure(config):
    graded = graded_folder()
    for folder in sorted(graded.glob("week*"), reverse=True):
        if folder.is_dir():
            sys.path.insert(0, str(folder))
    config.stash[state] = {"graded": graded, "weeks": set(), "skipped": set(), "lacking": []}
    block_network()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts background jobs with Ctrl-C switched off; tests send it to themselves and to what they start.
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionstart(session):
    """Printed first, always: pytest's own header would disappear under --quiet."""
    graded = session.config.stash[state]["graded"]
    other = "" if graded == REFERENCE else ", with the tests of weeks/; the tests of tools/ are left out"
    if reporter := session.config.pluginmanager.get_plugin("terminalreporter"):
        reporter.write_line(f"chase: grading {graded}{other}")
    for argument in session.config.args:
        week = week_of((session.config.invocation_params.dir / argument.split("::")[0]).resolve())
        if week and not (graded / week).is_dir():
            raise pytest.UsageError(f"nothing to grade: {nothing_of(graded, week)}")


def pytest_ignore_collect(collection_path, config):
    """Where a learner's code is graded: only the weeks that were begun, and not the tools."""
    here = config.stash[state]
    graded, week = here["graded"], week_of(collection_path)
    if graded == REFERENCE:
        return None
    if week is None:
        return True if ROOT / "tools" in collection_path.parents else None
    if not (graded / week).is_dir():
        here["skipped"].add(week)
        return True
    if week not in here["weeks"] and (REFERENCE / week).is_dir():
        here["lacking"] += lacking(week, graded)
    here["weeks"].add(week)
    return True if here["lacking"] else None


def pytest_collection_finish(session):
    here = session.config.stash[state]
    here["weeks"] |= {week for week in (week_of(item.path) for item in session.items) if week}
    wrong = here["lacking"] + strangers(here["weeks"], here["graded"], sys.modules)
    if here["graded"] != REFERENCE and not session.items and not session.testsfailed and not wrong:
        day = session.config.getoption("day")
        wrong = [f"nothing to grade: no test is of day {day}" if day else
                 f"nothing to grade: {nothing_of(here['graded'], 'weekNN')}"]  # fmt: skip
    if wrong:
        raise pytest.UsageError("refusing to grade the wrong code: " + "; ".join(wrong))


def pytest_terminal_summary(terminalreporter, config):
    skipped = config.stash[state]["skipped"]
    if skipped:
        terminalreporter.write_line(f"chase: not begun, so not graded: {', '.join(sorted(skipped))}")


# --- no network -------------------------------------------------------------------------------------------------------


class NetworkBlocked(RuntimeError):
    """A test tried to leave this machine. Not an OSError: code that survives a broken network must not hide it."""


def loopback(host):
    """Does `host`, a name or an address as sockets take it, stay on this machine?"""
    host = host.decode() if isinstance(host, bytes) else host
    if host in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host.split("%")[0]).is_loopback
    except ValueError:
        return False


def is_address(host):
    try:
        ipaddress.ip_address(host.decode() if isinstance(host, bytes) else host)
    except (ValueError, AttributeError):
        return False
    return True


def watch(event, args):
    """The audit hook: Python announces every connection here, whichever library asks for it."""
    if not event.startswith("socket."):
        return
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        sock, address = args[0], args[1]
        if sock.family in (socket.AF_INET, socket.AF_INET6) and address is not None and not loopback(address[0]):
            raise NetworkBlocked(f"tests never touch the network, but this one reaches for {address[0]}:{address[1]}")
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        # Looking up a name asks a server; an address needs no asking, and connecting to it is judged above.
        if not loopback(args[0]) and not is_address(args[0]):
            raise NetworkBlocked(f"tests never touch the network, but this one looks up the name {args[0]!r}")


def block_network():
    """For the whole session, fixtures and imports included. An audit hook cannot be taken off, so one is enough."""
    if not getattr(sys, "_chase_network_blocked", False):
        sys.addaudithook(watch)
        sys._chase_network_blocked = True


# --- fixtures ---------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def fixed_randomness():
    """Every test starts from the same random state and one thread, whichever tests ran before it."""
    random.seed(0)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)
        if torch.get_num_threads() != 1:
            torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def right_code_to_the_end(request):
    """The guard once more after the last test: a test may import its subject only when it runs."""
    yield
    here = request.config.stash[state]
    wrong = strangers(here["weeks"], here["graded"], sys.modules)
    if wrong:
        pytest.fail("graded the wrong code: " + "; ".join(wrong), pytrace=False)


@pytest.fixture(scope="session")
def repo_root():
    return ROOT


def load_file(path, module_name):
    """The file at `path` as a module of that name, run once a session."""
    if module_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(module_name, path)
        module = sys.modules[module_name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[module_name]
            raise
    return sys.modules[module_name]


@pytest.fixture(scope="session")
def load_tool():
    """load_tool("vendor") -> tools/vendor.py as a module, load_tool("shared.text") -> a part of the package shared."""

    def load(name):
        sys.path.insert(0, str(ROOT / "tools"))
        try:
            if "." in name:
                return importlib.import_module(name)
            return load_file(ROOT / "tools" / f"{name}.py", f"chase_tools_{name}")
        finally:
            sys.path.remove(str(ROOT / "tools"))

    return load


@pytest.fixture(scope="session")
def load_script(request):
    """load_script("week09", "train") -> weeks/week09/train.py as a module of a name of its own.

    Every week has a train.py, so `import train` could find another week's. Where a learner's code is graded and has
    no such script, the reference's is taken: what it imports is still the learner's.
    """
    graded = request.config.stash[state]["graded"]

    def load(week, name):
        path = graded / week / f"{name}.py"
        path = path if path.exists() else REFERENCE / week / f"{name}.py"
        return load_file(path, f"chase_{week}_{name}".replace("-", "_"))

    return load
