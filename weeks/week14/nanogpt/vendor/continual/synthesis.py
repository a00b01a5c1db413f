# vendored from weeks/week13/continual/synthesis.py, sha256 bfd1c49b4f491a013018c89dc3382992e8d8dd19045662a70e48c1bc367db3e9; edit there, then run: make vendor
"""Rows that a model makes up after a few examples, and how its text is read (Huang et al. 2024, section 3.1).

<instruction>

Input: ...        K examples
Output: ...

Input:            and the model goes on
"""

from .pairs import Pair

INPUT, OUTPUT = "Input:", "Output:"


def few_shot(instruction, examples):
    """The text that asks for one more example; `examples` are pairs without the instruction."""
    parts = [f"{instruction.strip()}\n\n"] if instruction else []
    parts += [f"{INPUT} {pair.prompt}\n{OUTPUT} {pair.response}\n\n" for pair in examples]
    return "".join([*parts, INPUT])


def parse(written):
    """(pairs, pieces): what the model wrote after `Input:`, cut at every further one.

    A piece is a pair where it holds exactly one `Output:` with something on both sides.
    """
    pieces = written.split(INPUT)
    halves = [[half.strip() for half in piece.split(OUTPUT)] for piece in pieces]
    return [Pair(*both) for both in halves if len(both) == 2 and all(both)], len(pieces)


def fits(text, pair):
    """Does this pair fill one row of the Format `text`, with nothing cut?"""
    return len(text.prompt_ids(pair.prompt)) + len(text.encode(pair.response)) + 1 <= text.length + 1


def split_instruction(instruction, prompt):
    """(beginning, input): a prompt's instruction with the blanks behind it, and what is asked."""
    rest = prompt.removeprefix(instruction).lstrip()
    return prompt[: len(prompt) - len(rest)], rest
