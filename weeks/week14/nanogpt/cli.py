"""The `nanogpt` command: choose, parse, run. Heavy imports wait until a command is chosen."""

import inspect
import sys

from .vendor.shared.errors import entry

COMMANDS = {
    "train": "train a model from scratch on a text file",
    "learn": "teach a model one more kind of text or one more task, without losing the old ones",
    "sample": "let a model continue or answer a prompt",
    "chat": "talk to a model, line by line",
    "eval": "bits per byte of any text, or exact answers to a file of rows",
    "info": "what a model is, what it was taught, what it forgot",
    "import": "bring in a published model: a Hugging Face folder (GPT-2, Llama) or a GGUF file",
    "export": "write a model as a folder that transformers loads",
}
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
    usage = USAGE.format(commands="\n".join(f"  {name:8}{about}" for name, about in COMMANDS.items()))
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage)
        sys.exit(0 if argv else 2)
    if argv[0] not in COMMANDS:
        print(f"error: no command {argv[0]!r}; choose one of: {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)

    import tyro

    from . import commands

    command = getattr(commands, argv[0].capitalize())
    tyro.cli(command, prog=f"nanogpt {argv[0]}", args=argv[1:], description=inspect.getdoc(command)).run()


def script():
    """The console entry point: an expected failure becomes one sentence and a status."""
    sys.exit(entry(main))
