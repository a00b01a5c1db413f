"""The rules of the house, counted: what must stay so in every week, whoever writes the next one.

Each rule is a function from a repository to the list of its breaches, so that it can be tried on a toy repository
which breaks it: a rule that cannot fail guards nothing.
"""

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter, defaultdict
from pathlib import Path

import pytest

LONGEST = 400  # lines of a file
LARGEST = 5 * 2**20  # bytes of a file under git
SHIPPED = 20 * 2**20  # of one below checkpoints/shipped: a model that comes with the repository

# The calls of `.backward(` in the weeks' own code: one a training step. A new row belongs to a new training loop.
BACKWARDS = {
    "weeks/week01-02/play.py": 3,  # graphs that are only looked at
    "weeks/week01-02/figures.py": 1,  # a drawing of a graph shows its gradients; nothing is trained
    "weeks/week01-02/claims.py": 2,  # the sweeps of a paper of 1986 (a squared error), and a race of optimizers by step
    "weeks/week01-02/autograd/moons.py": 1,
    "weeks/week01-02/autograd/training.py": 1,
    "weeks/week03-04/claims.py": 1,  # a gradient that is only looked at: how much of it comes 50 letters back
    "weeks/week05/claims.py": 1,  # SGD with momentum, as in the three papers; fit has AdamW
    "weeks/week03-04/makemore/fit.py": 1,  # what weeks 3 to 6 train with
    "weeks/week07-08/bench_engines.py": 2,  # gradients that are only compared: NumPy's beside torch's
    "weeks/week07-08/microgpt.py": 1,  # the peer of the scalar GPT, with its own loop
    "weeks/week07-08/gpt/engines.py": 2,  # the same steps on arrays and in torch
    "weeks/week07-08/gpt/induction.py": 1,  # new random sequences at every step, no text to cut windows from
    "weeks/week07-08/gpt/loop.py": 1,
    "weeks/week07-08/gpt/numpy_gpt.py": 1,
    "weeks/week07-08/gpt/plain_step.py": 1,  # the peer of the loop: nanoGPT's step, written anew
    "weeks/week07-08/gpt/scalar_gpt.py": 1,
    "weeks/week10/scaling/step.py": 1,  # accumulation, and gradients of several processes
    "weeks/week13/continual/loop.py": 1,
}

# Imports inside nanogpt go downwards only; modules of one layer do not meet. A new module gets a place here first.
LAYERS = [
    {"errors", "vendor", "jinja", "config"},
    {"runs"},
    {
        "model",
        "packing",
        "chat",
        "device",
        "upgrades",
        "feed",
        "optimizers",
    },  # the merge of vendored pieces that everything above computes with
    {"tasks", "checkpoint", "formats", "quant"},
    {"train", "infer", "sources"},
    {"answers"},
    {"scores", "presets"},
    {"kinds"},
    {"workspace"},
    {"serve", "report"},
    {"commands"},
    {"cli"},
]
ANYTHING_MAY_PICKLE = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


# --- reading code -----------------------------------------------------------------------------------------------------


def own_code(root, *patterns):
    """Python files written here, as relative paths: no copies, nothing that git ignores by the names we use."""
    skipped = {"vendor", "build", "__pycache__"}
    files = {path for pattern in patterns for path in root.glob(pattern)}
    return sorted(path for path in files if not skipped & set(path.relative_to(root).parts))


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(path, package=()):
    """(line, dotted name as parts) of every import; relative ones resolved within `package`, the file's own place."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, tuple(alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            base = tuple(package[: len(package) - node.level + 1]) if node.level else ()
            base += tuple((node.module or "").split(".")) if node.module else ()
            for alias in node.names:
                yield node.lineno, (*base, alias.name)


def packages(root):
    """Package name -> week, for every package of every week."""
    return {p.parent.name: p.parent.parent.name for p in root.glob("weeks/*/*/__init__.py")}


def name(path, root):
    return path.relative_to(root).as_posix()


def calls(path):
    """(node, dotted name) of every call of something with a name: `torch.load(x)` -> "torch.load"."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
            yield node, ast.unparse(node.func)


# --- the rules --------------------------------------------------------------------------------------------------------


def weeks_that_import_others(root):
    """A week stands alone: it imports neither another week, nor the tools, nor a script by its bare name."""
    home, wrong = packages(root), []
    for path in sorted(root.glob("weeks/*/**/*.py")):
        week = path.relative_to(root).parts[1]
        for line, (top, *_) in imports(path, path.relative_to(root / "weeks" / week).parts[:-1]):
            other = home.get(top, week)
            if other != week:
                wrong.append(f"{name(path, root)}:{line} imports {top} of {other}; vendor the piece instead")
            if top in ("tools", "data", "shared", "conftest", "weeks"):
                wrong.append(f"{name(path, root)}:{line} imports {top}; a week vendors what it needs")
            if top in ("train", "figures", "bench") and path.name != "bench.py":  # which no test loads
                wrong.append(f"{name(path, root)}:{line} imports {top}, but every week has one; use load_script")
    return wrong


def weeks_that_need_more(root):
    """What a week imports is in pyproject's core dependencies: the oracles are for tests and benchmarks alone."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    core = {re.split(r"[^\w.-]", text)[0] for text in project["dependencies"]}
    allowed, wrong = core | set(sys.stdlib_module_names) | set(packages(root)), []
    for path in own_code(root, "weeks/*/*.py", "weeks/*/*/**/*.py"):
        parts = path.relative_to(root).parts
        if "tests" in parts or path.name == "bench.py":
            continue
        for line, (top, *_) in imports(path, parts[2:-1]):
            beside = len(parts) == 3 and path.with_name(f"{top}.py").is_file()  # a script of the same week
            if top not in allowed and not beside:
                wrong.append(f"{name(path, root)}:{line} imports {top}, which is no core dependency of pyproject.toml")
    return wrong


def upward_imports(root):
    """Inside nanogpt, a module imports only from layers below its own, or from its own folder."""
    top, wrong = root / "weeks/week14/nanogpt", []
    layer = {module: number for number, modules in enumerate(LAYERS) for module in modules}
    for path in sorted(top.rglob("*.py")):
        inside = path.relative_to(top)
        here = inside.parts[0].removesuffix(".py")
        if here in ("__init__", "__main__"):
            continue
        if here not in layer:
            wrong.append(f"{name(path, root)} has no layer; give {here} a place in LAYERS of {Path(__file__).name}")
            continue
        for line, parts in imports(path, ("nanogpt", *inside.parts[:-1])):
            there = parts[1] if parts[0] == "nanogpt" and len(parts) > 1 else here
            if there != here and layer.get(there, len(LAYERS)) >= layer[here]:
                wrong.append(f"{name(path, root)}:{line} imports {there}, which is not below {here}; turn it round")
    return wrong


def long_files(root):
    """A file is one idea, readable in one sitting."""
    files = own_code(root, "*.py", "weeks/**/*.py", "tools/**/*.py")
    counts = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    return [f"{name(p, root)} has {n} lines, at most {LONGEST}; split it" for p, n in counts.items() if n > LONGEST]


def pickles(root):
    """Weights are safetensors, all else text: a pickle runs code when it is opened."""
    wrong = []
    for path in own_code(root, "*.py", "weeks/**/*.py", "tools/**/*.py"):
        for line, (top, *_) in imports(path, ("",) * 9):
            if top in ANYTHING_MAY_PICKLE:
                wrong.append(f"{name(path, root)}:{line} imports {top}; write safetensors or JSON")
        for node, called in calls(path):
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if called == "torch.save":
                wrong.append(f"{name(path, root)}:{node.lineno} calls torch.save; write safetensors")
            if called == "torch.load" and given.get("weights_only") != "True":
                wrong.append(f"{name(path, root)}:{node.lineno} calls torch.load without weights_only=True")
            if called.endswith(".load") and given.get("allow_pickle", "False") != "False":
                wrong.append(f"{name(path, root)}:{node.lineno} loads with allow_pickle; write safetensors or JSON")
    return wrong


def backward_calls(root):
    """How often each file of the weeks' own code calls `.backward(`."""
    count = Counter()
    for path in own_code(root, "weeks/*/*.py", "weeks/*/*/**/*.py"):
        if "tests" not in path.relative_to(root).parts and path.name != "bench.py":
            for _, called in calls(path):
                count[name(path, root)] += called.endswith(".backward")
    return {path: n for path, n in count.items() if n}


def large_files(root):
    """A clone stays small. Files that are not committed yet are counted too, so that the test comes in time."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is not a git checkout")
    files = [root / file for file in listed.stdout.split("\0") if file]
    sizes = {file: file.stat().st_size for file in files if file.is_file() and not file.is_symlink()}
    most = lambda file: SHIPPED if file.is_relative_to(root / "checkpoints" / "shipped") else LARGEST
    return [f"{name(f, root)} has {n / 2**20:.1f} MiB; ignore or shrink it" for f, n in sizes.items() if n > most(f)]


def test_names(root):
    """Test files of all weeks share one process, so their names must differ, and tests/ must not be a package."""
    wrong, seen = [], defaultdict(list)
    for path in sorted(root.glob("weeks/*/tests/**/*.py")) + sorted(root.glob("tools/tests/**/*.py")):
        seen[path.name].append(name(path, root))
        part = path.relative_to(root).parts
        if path.name == "__init__.py":
            wrong.append(f"{name(path, root)} makes tests a package, and those of all weeks would be one; delete it")
        elif part[0] == "weeks" and path.name.startswith("test_"):
            numbers = part[1].removeprefix("week").split("-")
            fitting = {f"test_week{n}_" for n in (*numbers, "".join(numbers), "_".join(numbers))}
            if not path.name.startswith(tuple(fitting)):
                wrong.append(f"{name(path, root)} should begin with one of {sorted(fitting)}")
    return wrong + [f"{paths} have the same name" for paths in seen.values() if len(paths) > 1]


test_names.__test__ = False


def plan_against_folders(root):
    """PLAN.md says of each week whether it is built; a week is built when it has a train.py."""
    row = re.compile(r"^\| [\d-]+ \| `weeks/(week[\d-]+)` \| `(\w+)` \|.*\| ([^|]+) \|$", re.MULTILINE)
    rows = row.findall((root / "PLAN.md").read_text(encoding="utf-8"))
    planned = {week: (package, status.split(":")[0]) for week, package, status in rows}
    makefile = re.search(r"^WEEKS\s*:=\s*(.*)$", (root / "Makefile").read_text(), re.M)[1].split()
    wrong = [] if list(planned) == makefile else [f"PLAN.md lists {list(planned)}, the Makefile {makefile}"]
    for week, (package, status) in planned.items():
        built = (root / "weeks" / week / "train.py").is_file() and (root / "weeks" / week / package).is_dir()
        if status != ("built" if built else "planned"):
            wrong.append(f"PLAN.md calls {week} {status!r}, but it is {'built' if built else 'not built'}; correct it")
    strays = {p.name for p in (root / "weeks").iterdir() if p.is_dir() and any(p.rglob("*.py"))} - set(planned)
    return wrong + [f"weeks/{week} is not in the table of PLAN.md" for week in sorted(strays)]


RULES = [
    weeks_that_import_others, weeks_that_need_more, upward_imports, long_files, pickles, large_files, test_names,
    plan_against_folders,
]  # fmt: skip


# --- the house, and a house that breaks every rule --------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_its_rules(rule, repo_root):
    """The rule holds in this repository; its docstring says why it is one."""
    assert rule(repo_root) == [], rule.__doc__


def test_one_backward_a_training_loop(repo_root):
    """Strategies and adapters return values, one loop acts: else clipping must be written many times."""
    assert backward_calls(repo_root) == BACKWARDS


def test_importing_does_nothing(repo_root):
    """Importing any module of any week prints nothing, draws no random number and changes no global setting."""
    modules = [
        ".".join(path.relative_to(repo_root).parts[2:]).removesuffix(".py").removesuffix(".__init__")
        for path in sorted(repo_root.glob("weeks/*/*/**/*.py"))
        if path.relative_to(repo_root).parts[2] in packages(repo_root)
    ]
    paths = sorted(str(path) for path in repo_root.glob("weeks/*/"))
    program = f"""
import importlib, logging, os, random, signal, sys, warnings
sys.path[:0] = {paths!r}
import numpy, torch
def state():
    return (torch.get_rng_state().tolist(), torch.get_num_threads(), torch.get_default_dtype(), random.getstate(),
            str(numpy.random.get_state()), torch.are_deterministic_algorithms_enabled(), logging.root.handlers[:],
            signal.getsignal(signal.SIGINT), os.getcwd(), dict(os.environ), warnings.filters[:], sys.path[:])
before = state()
for module in {modules!r}:
    importlib.import_module(module)
    assert state() == before, f"importing {{module}} changed a global setting"
assert "matplotlib.pyplot" not in sys.modules, "matplotlib belongs into figures.py"
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.fixture
def toy(tmp_path):
    """A small house in order: two weeks, a product, a plan."""
    files = {
        "pyproject.toml": '[project]\nname = "x"\ndependencies = ["torch>=2", "numpy>=1.26"]\n',
        "Makefile": "WEEKS := week01 week14\n",
        "PLAN.md": "| 1 | `weeks/week01` | `a` | x | built |\n| 14 | `weeks/week14` | `nanogpt` | y | built: core |\n",
        "weeks/week01/train.py": "from a.core import f\n",
        "weeks/week01/a/__init__.py": "",
        "weeks/week01/a/core.py": "import torch\n\n\ndef f(x):\n    x.backward()\n",
        "weeks/week01/tests/test_week01_a.py": "import a\nimport pytest\n",
        "weeks/week14/train.py": "import nanogpt\n",
        "weeks/week14/nanogpt/__init__.py": "from .cli import main\n",
        "weeks/week14/nanogpt/cli.py": "from . import train\nfrom .infer.engine import go\n",
        "weeks/week14/nanogpt/train.py": "from .vendor.shared.errors import entry\nfrom nanogpt.model import GPT\n",
        "weeks/week14/nanogpt/model.py": "from .vendor.shared import errors\n",
        "weeks/week14/nanogpt/infer/engine.py": "from ..model import GPT\nfrom . import blocks\n",
        "weeks/week14/nanogpt/infer/blocks.py": "import numpy as np\n",
        "weeks/week14/nanogpt/vendor/shared/errors.py": "import json\n" * 500,
    }
    for file, text in files.items():
        write(tmp_path, file, text)
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    return tmp_path


def write(root, file, text):
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(text)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rules_accept_a_house_in_order(rule, toy):
    """No false alarm: downward imports, own folders, long vendored copies and tests' libraries are fine."""
    assert rule(toy) == []


@pytest.mark.parametrize(
    ("rule", "file", "text"),
    [
        (weeks_that_import_others, "weeks/week14/nanogpt/model.py", "from a.core import f\n"),
        (weeks_that_import_others, "weeks/week14/nanogpt/vendor/new.py", "def f():\n    import a\n"),
        (weeks_that_import_others, "weeks/week14/tests/test_week14_x.py", "import a\n"),
        (weeks_that_import_others, "weeks/week01/figures.py", "import tools.vendor\n"),
        (weeks_that_import_others, "weeks/week01/figures.py", "from train import main\n"),
        (weeks_that_need_more, "weeks/week01/a/core.py", "import transformers\n"),
        (upward_imports, "weeks/week14/nanogpt/model.py", "from .train import x\n"),
        (upward_imports, "weeks/week14/nanogpt/model.py", "import nanogpt.train\n"),
        (upward_imports, "weeks/week14/nanogpt/train.py", "def f():\n    from . import scores\n"),
        (upward_imports, "weeks/week14/nanogpt/infer/engine.py", "from ..cli import main\n"),
        (upward_imports, "weeks/week14/nanogpt/vendor/shared/errors.py", "from ...model import GPT\n"),
        (upward_imports, "weeks/week14/nanogpt/novelty.py", ""),
        (long_files, "weeks/week01/a/core.py", "x = 1\n" * 401),
        (long_files, "tools/data/recipes/new.py", "x = 1\n" * 401),
        (pickles, "weeks/week01/a/core.py", "import pickle\n"),
        (pickles, "tools/data/recipes/new.py", "import pickle\n"),
        (pickles, "weeks/week01/a/core.py", "import torch\ntorch.save(1, 'x')\n"),
        (pickles, "weeks/week01/a/core.py", "import torch\ntorch.load('x')\n"),
        (pickles, "weeks/week01/a/core.py", "import torch\ntorch.load('x', weights_only=False)\n"),
        (pickles, "weeks/week01/a/core.py", "import numpy as np\nnp.load('x', allow_pickle=True)\n"),
        (large_files, "weeks/week01/results/big.json", " " * (LARGEST + 1)),
        (test_names, "weeks/week14/tests/test_week01_a.py", ""),
        (test_names, "weeks/week14/tests/test_model.py", ""),
        (test_names, "weeks/week14/tests/__init__.py", ""),
        (plan_against_folders, "PLAN.md", "| 1 | `weeks/week01` | `a` | x | built |\n"),
        (plan_against_folders, "PLAN.md", "| 1 | `weeks/week01` | `a` | x | planned |\n"
                                          "| 14 | `weeks/week14` | `nanogpt` | y | built |\n"),
        (plan_against_folders, "weeks/week02/b/core.py", ""),
    ],
)  # fmt: skip
def test_rules_notice_a_breach(rule, file, text, toy):
    """One breach of each kind, in a house that is otherwise in order."""
    write(toy, file, text)
    assert len(rule(toy)) >= 1


def test_backward_is_counted(toy):
    """Calls, not names: a second one in a helper or a lambda counts, a definition or a comment does not."""
    write(toy, "weeks/week01/train.py", "def backward(x):  # .backward(\n    return [y.backward() for y in x]\n")
    assert backward_calls(toy) == {"weeks/week01/a/core.py": 1, "weeks/week01/train.py": 1}


def test_what_git_ignores_of_data_is_at_the_root_alone(repo_root):
    """`data/` is for what make fills; tools/data/ is code: under git, linted, and counted by the rules above."""

    def ignored(path):
        return subprocess.run(["git", "-C", repo_root, "check-ignore", "-q", "--no-index", path]).returncode == 0

    if not (repo_root / ".git").exists():
        pytest.skip("this is not a git checkout")
    assert ignored("data/shakespeare/train.txt") and not ignored("tools/data/recipes/new.py")
    seen = {name(path, repo_root) for path in own_code(repo_root, "tools/**/*.py")}
    assert {"tools/data/engine.py", "tools/data/recipes/trec.py"} <= seen
    lint = [sys.executable, "-m", "ruff", "check", "--show-files", "."]
    listed = subprocess.run(lint, cwd=repo_root, capture_output=True, text=True, check=True).stdout
    assert str(repo_root / "tools/data/recipes/trec.py") in listed
