"""The `nanogpt` command: choose, parse, run. Heavy imports wait until a command runs."""

import importlib
import inspect
import os
import shutil
import sys

from .commands import COMMANDS
from .vendor.shared.errors import Mistake, entry
from .vendor.shared.results import thread_count

NARROWEST = 40  # columns of a help text: where none are left between its borders, tyro folds lines for ever
USAGE = """usage: nanogpt COMMAND [options]

Small language models that keep learning without forgetting.

{commands}

examples:
  nanogpt train data/shakespeare/train.txt --out checkpoints/mine
  nanogpt learn data/bible/train.txt --model checkpoints/mine --out checkpoints/mine
  nanogpt sample --model checkpoints/mine --prompt "To be"
  nanogpt chat --model smollm2-135m
  nanogpt learn spam.jsonl --model smollm2-135m --out checkpoints/helper

`nanogpt COMMAND --help` lists a command's options."""


def main(argv):
    """Run one command; wrong use prints what to do and exits with 2."""
    command = parse(argv)
    if getattr(command, "threads", None) is not None:
        import torch

        torch.set_num_threads(thread_count(command.threads))
    try:
        command.run()
    except (MemoryError, RuntimeError) as error:
        told = str(error).partition("\n")[0]
        if isinstance(error, RuntimeError) and not any(word in told for word in ("memory", "overflow")):
            raise
        raise Mistake(f"there is not enough memory ({told or 'MemoryError'}); ask for something smaller") from error


def parse(argv):
    """The chosen command's dataclass, its options filled in."""
    usage = USAGE.format(commands="\n".join(f"  {name:8}{about}" for name, (_, _, about) in COMMANDS.items()))
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage)
        sys.exit(0 if argv else 2)
    if argv[0] not in COMMANDS:
        refuse(f"no command {argv[0]!r}; choose one of: {', '.join(COMMANDS)}")

    import tyro

    from .commands.options import BROKEN, REGISTRY

    for word in argv:
        if BROKEN.search(word):
            refuse(f"{word[:80]!r} is not UTF-8 text; type it without what is shown as \\udc.. or \\x00")
    if shutil.get_terminal_size().columns < NARROWEST:
        os.environ["COLUMNS"] = str(NARROWEST)
    module, name, _ = COMMANDS[argv[0]]
    command = getattr(importlib.import_module(f".commands.{module}", __package__), name)
    described = inspect.getdoc(command)
    command = command.of(argv) if hasattr(command, "of") else command  # with options that depend on what was chosen
    return tyro.cli(
        command,
        prog=f"nanogpt {argv[0]}",
        args=argv[1:],
        description=described,
        config=(tyro.conf.FlagCreatePairsOff,),
        registry=REGISTRY,
    )


def refuse(sentence):
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(2)


def script():
    """The console entry point: an expected failure becomes one sentence and a status."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed, as by `<&-` or a supervisor: nothing comes, and nobody reads
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))
    for stream in (sys.stdin, sys.stdout):
        stream.reconfigure(errors="replace")  # what a terminal cannot show, or a pipe brings damaged, is no failure
    sys.exit(entry(main))
