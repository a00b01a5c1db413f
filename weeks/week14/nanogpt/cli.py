"""The `nanogpt` command: choose, parse, run. Heavy imports wait until a command is chosen."""

import importlib
import inspect
import sys

from .commands import COMMANDS
from .vendor.shared.errors import entry

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
    usage = USAGE.format(commands="\n".join(f"  {name:8}{about}" for name, (_, _, about) in COMMANDS.items()))
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage)
        sys.exit(0 if argv else 2)
    if argv[0] not in COMMANDS:
        print(f"error: no command {argv[0]!r}; choose one of: {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)

    import tyro

    module, name, _ = COMMANDS[argv[0]]
    command = getattr(importlib.import_module(f".commands.{module}", __package__), name)
    tyro.cli(command, prog=f"nanogpt {argv[0]}", args=argv[1:], description=inspect.getdoc(command)).run()


def script():
    """The console entry point: an expected failure becomes one sentence and a status."""
    sys.exit(entry(main))
