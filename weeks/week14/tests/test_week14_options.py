"""One exam for every row of COMMANDS: its help, its examples, and each of its options at values nobody should give.

What is tried goes by the type of an option, so a new option, and a new command, is examined unasked.
"""

import ast
import contextlib
import importlib
import os
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Literal, Union, get_args, get_origin, get_type_hints

import pytest
import torch
from nanogpt import cli, commands
from nanogpt.commands import COMMANDS
from nanogpt.vendor.shared.errors import entry
from tyro.conf import Positional
from week14_tiny import publish

pytestmark = pytest.mark.day(100)

SIZES = "--vocab-size 280 --block-size 16 --n-layer 2 --n-head 2 --n-kv-head 1 --n-embd 16".split()
QUICK = "--steps 1 --batch-size 2 --warmup 0 --precision float32".split()
RUNS = {  # for each command, words with which it does its work in a moment
    "train": ["cats.txt", "--out", "new", *SIZES, *QUICK],
    "learn": ["dogs.txt", "--out", "new", "--model", "m", *QUICK],
    "undo": ["taught"],
    "sample": ["--model", "m", "--prompt", "The cat", "--max-tokens", "2"],
    "chat": ["--model", "m", "--max-tokens", "2"],
    "eval": ["cats.txt", "--model", "m"],
    "info": ["--model", "m"],
    "import": ["hf", "--out", "new"],
    "export": ["new", "--model", "hf"],
}
FILES = {
    "cats.txt": b"The cat sat on the mat and looked at the moon.\n" * 40,
    "dogs.txt": b"A dog ran over the hill, barking at a 4x4.\n" * 40,
    "empty.txt": b"",
    "blank.txt": b" \n\t\n",
    "binary.dat": b"\x89PNG\0\xff",
    "latin.txt": b"caf\xe9\n" * 50,
    "utf16.txt": "The cat sat.\n".encode("utf-16"),
    "ends.txt": b"<|endoftext|>\n" * 3,
    "line.txt": b"cat " * 25_000,
    "surrogate.jsonl": b'{"prompt": "a", "response": "gre\\ud83dat"}\n' * 9,
    "list.jsonl": b"[1, 2]\n",
    "numbers.jsonl": b'{"prompt": 1, "response": "2"}\n',
    "nested.jsonl": b"[" * 100_000,
    "list.json": b"[1, 2]",
    "word.gguf": b"GGUF",
    "foreign/theirs.txt": b"not ours\n",
    "odd/checkpoint.json": b"[1]",
    "bare/config.json": b'{"model_type": "llama"}',
}
TYPED = ["", "  ", "a\0b", "\udce9", "no such", "x" * 300]
ODD = {
    int: ["", "x", "nan", "1.5", "-1", "0", str(2**63), str(2**64), "9" * 5000],
    float: ["", "x", "nan", "inf", "-1", "0", "1e-40", "1e300", "1e999"],
    str: [*TYPED, "cat " * 3000, "<|endoftext|>"],
    Path: [*TYPED, *FILES, "foreign", "hf", "odd", "bare", "m", "cats.txt/x", "/dev/full", "/dev/null/x"],
    Literal: ["", "magic"],
}
ADVICE = (  # words of a way out
    r"\b(must be|must not be|lie between|expected|needs at least|give|judge|start|choose|try|use|make|check|convert"
    r"|type|run|write|shorten|get|put|restore|name|ask|download|take)\b"
)
FOREIGN = r"Traceback|Errno|invalid literal|codec|Expected one of|object has no|\[enforce"  # words of libraries


def flat(cls):
    """name -> (option as it is typed, its types, whether it is positional) of a command's dataclass."""
    found = {}
    for name, hint in get_type_hints(cls, include_extras=True).items():
        marks = getattr(hint, "__metadata__", ())
        kinds = kinds_of(hint)
        if is_dataclass(kinds[0]):
            found |= flat(kinds[0])
        else:
            positional = Positional[int].__metadata__[0] in marks
            found[name] = ("--" + name.replace("_", "-"), kinds, positional)
    assert cls.__dataclass_fields__.keys() == {f.name for f in fields(cls)}
    return found


def kinds_of(hint):
    """The types that a value of this annotation may have, None aside."""
    if get_origin(hint) is Annotated:
        return kinds_of(get_args(hint)[0])
    if get_origin(hint) is Literal:
        return [Literal]
    if get_origin(hint) is tuple:
        return kinds_of(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return [kind for part in get_args(hint) if part is not NoneType for kind in kinds_of(part)]
    return [hint]


def base_class(name):
    module, cls, _ = COMMANDS[name]
    return getattr(importlib.import_module(f"nanogpt.commands.{module}"), cls)


def command_class(name):
    """The class whose fields are the options; where they depend on the words, as without any."""
    return base_class(name).of([]) if hasattr(base_class(name), "of") else base_class(name)


def cases():
    return [
        (name, option)
        for name in COMMANDS
        for option, (_, kinds, _) in flat(command_class(name)).items()
        if kinds[0] is not bool
    ]


def words_with(name, option, value):
    """RUNS[name] with this option at `value`."""
    typed, _, positional = flat(command_class(name))[option]
    words = list(RUNS[name])
    if positional:
        return [name, *words[1:], "--", value] if value.startswith("-") else [name, value, *words[1:]]
    if typed in words:
        at = words.index(typed)
        del words[at : at + 2]
    return [name, *words, f"{typed}={value}"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files of every odd content, a model that was trained here, and a published one."""
    here = tmp_path_factory.mktemp("odd")
    for name, content in FILES.items():
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_bytes(content)
    publish(here / "hf")
    words = ["train", str(here / "cats.txt"), "--out", str(here / "m"), *SIZES, *QUICK]
    assert entry(cli.main, words) == 0
    words = ["learn", str(here / "dogs.txt"), "--model", str(here / "m"), "--out", str(here / "taught"), *QUICK]
    assert entry(cli.main, words) == 0
    return here


def state(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def too_long(number, frame):
    raise TimeoutError("a command hung")


def status_of(words):
    """The exit status; any other exception than those of `entry` is a traceback, and fails the test."""
    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(120)  # by the wall, for a wait takes no processor; long, for the machine may have other work
    try:
        return entry(cli.main, words)
    except SystemExit as stop:
        return stop.code
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        torch.set_num_threads(1)


def told(text):
    """What was said as one line: without the box around it."""
    return re.sub(r"\s+", " ", re.sub(r"[│╭╮╰╯─]", " ", text))


def examine(name, option, value, folder, capsys):
    """Run the command with the option at `value`, judge what it said and what it left, and put all back."""
    before = state(folder)
    try:
        status = status_of(words_with(name, option, value))
        out = capsys.readouterr()
        after = state(folder)
        asked = folder / value if option == "out" and status == 0 else None  # a course may be taught where it lies
        assert all(after.get(p) == c for p, c in before.items() if asked not in p.parents), "something was lost"
        assert status in (0, 1, 2)
        if status:
            said, shown = told(out.err), value[:20]
            assert "rror" in said and not re.search(FOREIGN, said), said
            assert any(word in said for word in quoted(shown)), said
            assert re.search(ADVICE, said), said
            assert not (folder / "new" / "checkpoint.json").exists()
            advice_exists(name, said)
    finally:
        for path in state(folder).keys() - before.keys():
            path.unlink()
        for path, content in before.items():
            if not path.is_file() or path.read_bytes() != content:
                path.write_bytes(content)


def quoted(value):
    """How a sentence may show what was given: as it was typed, as Python writes it, a file by its name, a number."""
    words = {value.strip() or "''", repr(value)[1:-1], Path(value).stem if value.strip() else "''"}
    with contextlib.suppress(ValueError):
        words.add(str(float(value)))
    return {" ".join(word.split()) for word in words}


def advice_exists(name, said):
    """Every option that a sentence names is one of that command; every command is a row."""
    known = {typed for typed, _, _ in flat(command_class(name)).values()} | {"--help"}
    others = re.findall(r"nanogpt ([a-z]+)", said)
    assert set(others) <= COMMANDS.keys(), said
    for other in others:
        known |= {typed for typed, _, _ in flat(command_class(other)).values()}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", said)) <= known, said


@pytest.mark.parametrize(("name", "option"), cases())
def test_odd_values_get_a_sentence(name, option, folder, capsys, monkeypatch):
    """Wrong or right: the command ends by itself, without a library's error, and takes nothing that was there."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr("builtins.input", lambda prompt: (_ for _ in ()).throw(EOFError))
    failed = []
    for value in dict.fromkeys(v for kind in flat(command_class(name))[option][1] for v in ODD[kind]):
        try:
            examine(name, option, value, folder, capsys)
        except (Exception, AssertionError) as error:
            failed.append(f"{option}={value[:30]!r}: {type(error).__name__}: {str(error)[:400]}")
    assert not failed, "\n".join(failed)


# --- help, and what no command understands ----------------------------------------------------------------------------


def run_in_a_shell(line, **options):
    """(status, stdout, stderr) of a command line; `nanogpt` is the one that is tested."""
    home = str(Path(cli.__file__).parents[1])
    script = f'nanogpt() {{ {sys.executable} -c "from nanogpt.cli import script; script()" "$@"; }}; {line}'
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": home, "COLUMNS": "100", "PATH": "/usr/bin:/bin"},
        **options,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_a_screen_and_its_examples_parse(name, monkeypatch, capsys):
    """Where a newcomer looks first: every line of the examples is one that this command takes."""
    monkeypatch.setenv("COLUMNS", "100")
    assert status_of([name, "--help"]) == 0
    text = capsys.readouterr().out
    lines = sum(1 + len(line) // 101 for line in text.splitlines())
    assert lines <= (60 if len(flat(command_class(name))) > 20 else 50)
    examples = [
        shlex.split(line)[1:] for line in text.split("examples:")[1].splitlines() if line.startswith("  nanogpt")
    ]
    assert examples and all(words[0] == name for words in examples)
    for words in examples:
        assert isinstance(cli.parse(words), base_class(name))


def test_the_examples_of_the_first_help_parse():
    """`nanogpt` alone shows what to type."""
    examples = re.findall(r"^  nanogpt (.*)$", cli.USAGE, re.MULTILINE)
    assert len(examples) >= 4
    for words in map(shlex.split, examples):
        assert type(cli.parse(words)) is command_class(words[0])


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_not_understood_is_wrong_use(name, capsys):
    """Status 2, and what was typed is in the answer."""
    option = max((typed for typed, _, _ in flat(command_class(name)).values()), key=len)
    for words, said in (([*RUNS[name], "--magic"], "--magic"), ([*RUNS[name], option], option)):
        assert status_of([name, *words]) == 2
        assert said in told(capsys.readouterr().err)
    assert status_of([name + "s"]) == 2
    assert f"no command '{name}s'; choose one of: train, " in capsys.readouterr().err


HEAVY = {"train", "learn", "eval"}  # their options still stand in modules that compute


@pytest.mark.parametrize("name", ["", *sorted(COMMANDS.keys() - HEAVY)])
def test_help_starts_without_torch(name):
    """--help must answer at once: torch alone takes a second to import."""
    code = f"""import sys; from nanogpt import cli
try: cli.main({[name, "--help"] if name else ["--help"]})
except SystemExit: print('torch' in sys.modules)"""
    env = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[1])}  # the one that is tested
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False" and f"nanogpt {name}" in done.stdout


def test_a_command_is_a_file_and_a_row(tmp_path, monkeypatch, capsys):
    """Adding one touches nothing else: it is listed, has its help, and its options are read as all others."""
    (tmp_path / "toy.py").write_text(
        "from dataclasses import dataclass\nfrom nanogpt.commands.options import Count\n\n\n@dataclass\nclass Toy:\n"
        '    """Count.\n\n    examples:\n      nanogpt toy --n 3\n    """\n\n    n: Count = 1\n\n'
        "    def run(self):\n        print(list(range(self.n)))\n"
    )
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path)])
    monkeypatch.setitem(COMMANDS, "toy", ("toy", "Toy", "count to a number"))
    monkeypatch.setitem(sys.modules, "nanogpt.commands.toy", None)
    del sys.modules["nanogpt.commands.toy"]
    assert status_of(["toy", "--n", "3"]) == 0 and capsys.readouterr().out == "[0, 1, 2]\n"
    assert status_of(["toy", "--n", "0"]) == 2 and "'0' cannot be used" in capsys.readouterr().err
    assert status_of([]) == 2 and "  toy     count to a number\n" in capsys.readouterr().out


# --- threads, pipes, memory -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["train", "learn", "sample", "chat", "eval"])
def test_every_command_that_computes_takes_threads(name, folder, monkeypatch, capsys):
    """The number is handed on, and one below 1 is the sentence that all weeks share."""
    monkeypatch.setattr(command_class(name), "run", lambda self: print(torch.get_num_threads()))
    assert status_of([name, *RUNS[name], "--threads", "2"]) == 0 and capsys.readouterr().out == "2\n"
    assert status_of([name, *RUNS[name], "--threads", "0"]) == 1
    assert capsys.readouterr().err == "error: --threads 0 leaves nobody to compute; give 1 or more\n"


@pytest.mark.parametrize(
    "line", ["nanogpt --help | head -1", "nanogpt chat --help | head -1", "nanogpt sample --model m --n 9 | head -1"]
)
def test_a_closed_pipe_ends_quietly(line, folder):
    """The reader has seen enough; there is nothing to tell."""
    status, out, err = run_in_a_shell(line, cwd=folder)
    assert (status, err) == (0, "") and out.count("\n") == 1


def test_bytes_that_are_no_text(folder):
    """A prompt, and a line of a chat, in another encoding."""
    status, _, err = run_in_a_shell(r"nanogpt sample --model m --prompt $'caf\xe9'", cwd=folder)
    assert status == 2 and err.startswith(r"error: 'caf\udce9' is not UTF-8 text; type it")
    status, out, err = run_in_a_shell(r"printf 'caf\xe9\n' | nanogpt chat --model m --max-tokens 2", cwd=folder)
    assert (status, err) == (0, "") and "error" not in out
    status, out, err = run_in_a_shell(
        "PYTHONIOENCODING=ascii nanogpt sample --model m --prompt 漢字 --max-tokens 2", cwd=folder
    )
    assert (status, err) == (0, "") and out.startswith("??")


@pytest.mark.parametrize(
    "failure", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")]
)
def test_too_little_memory_is_a_sentence(folder, monkeypatch, capsys, failure):
    """Python and torch say it in different ways; another RuntimeError is a fault, and is shown as one."""

    def run(self):
        raise failure

    monkeypatch.setattr(command_class("info"), "run", run)
    assert status_of(["info"]) == 1
    assert re.match(r"error: there is not enough memory \(.+\); ask for something smaller\n$", capsys.readouterr().err)
    monkeypatch.setattr(command_class("info"), "run", lambda self: (_ for _ in ()).throw(RuntimeError("mat1 and mat2")))
    with pytest.raises(RuntimeError, match="mat1"):
        status_of(["info"])


@pytest.mark.parametrize("name", COMMANDS)
def test_sentences_in_the_code_advise_what_exists(name):
    """Every option in a sentence that a command's own file raises or prints is one of that command."""
    module = importlib.import_module(f"nanogpt.commands.{COMMANDS[name][0]}")
    for node in ast.walk(ast.parse(Path(module.__file__).read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            advice_exists(name, "".join(part.value for part in node.values if isinstance(part, ast.Constant)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " --" in node.value:
            advice_exists(name, node.value)
