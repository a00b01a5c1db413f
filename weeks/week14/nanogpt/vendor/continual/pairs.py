# vendored from weeks/week13/continual/pairs.py, sha256 6f5990def105e3e4dd9a065b7be3f8bbfc70f52445f03bfd25b4bf2eeedcaab6; edit there, then run: make vendor
"""Text as pairs: what is asked, and what should be answered; and how a pair becomes a row of ids and back.

    Pair("2 + 2 =", "4")  --Format.rows-->  ids     [ prompt_ids ... | encode(response) | end | 0 0 ]
                                            judged  [ F F F F F F F  | T T T T T T T T  |  T  | F F ]

A task file is JSONL: {"prompt": "...", "response": "..."} on each line.
Left out: a "system" text and a conversation of several turns; what a prompt is wrapped in is `prompt_ids`'s business.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from os.path import commonprefix  # of any two sequences, paths or not

import torch

from .rows import Rows
from ..shared.errors import Mistake
from ..shared.text import read_text

EXAMPLE = '{"%s": "...", "%s": "..."}'
HALF = re.compile("[\ud800-\udfff]")  # half of a surrogate pair, which JSON can hold and UTF-8 cannot


@dataclass(frozen=True)
class Pair:
    prompt: str
    response: str


@dataclass(frozen=True)
class Format:
    """How a model's vocabulary writes a pair.

    encode(text) -> list of ids; decode(list of ids) -> text; prompt_ids(text) -> ids of a prompt, with all that the
    model wants around it (a chat template), up to where the answer begins. `end` is the id that closes an answer, and
    `length` the tokens that a row predicts: rows are `length` + 1 wide.
    """

    encode: Callable
    decode: Callable
    prompt_ids: Callable
    end: int
    length: int

    def rows(self, pairs):
        """Rows (N, length + 1) of which only the response and its end are judged. A prompt too long loses its end.

        A Mistake that begins with the number of the pair, "pair 1: ...", where a response is empty or fills the row.
        """
        ids = torch.zeros(len(pairs), self.length + 1, dtype=torch.long)
        judged = torch.zeros_like(ids, dtype=torch.bool)
        for i, pair in enumerate(pairs):
            response = [*self.encode(pair.response), self.end]
            room = self.length + 1 - len(response)
            if room < 1 or not pair.response:
                raise Mistake(
                    f"pair {i + 1}: the response {pair.response[:40]!r} has {len(response)} tokens with its end, in "
                    f"rows of {self.length + 1}; a row needs a response, and one token of prompt before it"
                )
            prompt = self.fit(pair.prompt, room)
            ids[i, : len(prompt)] = torch.tensor(prompt)
            ids[i, len(prompt) : len(prompt) + len(response)] = torch.tensor(response)
            judged[i, len(prompt) : len(prompt) + len(response)] = True
        return Rows(ids=ids, judged=judged)

    def fit(self, prompt, most):
        """Ids of the prompt in at most `most` tokens: what is cut off is the end of its text, never what wraps it."""
        ids = self.prompt_ids(prompt)
        while len(ids) > most:
            kept = self.encode(prompt)
            kept = kept[: max(0, len(kept) - (len(ids) - most))]
            if not kept:
                raise Mistake(f"nothing is left of the prompt {prompt[:40]!r} in {most} tokens; allow longer rows")
            prompt = self.decode(kept).rstrip("\ufffd")  # a character may have been cut in half
            ids = self.prompt_ids(prompt)
        if not ids:
            raise Mistake(f"the prompt {prompt[:40]!r} has no token; a row needs at least one before its response")
        return ids

    def pairs(self, rows):
        """The pairs that lie in rows: prompt and response are what `rows` was given, where nothing was cut."""
        before, after = self.wrapping()
        found = []
        for prompt, response in zip(self.prompts(rows), self.responses(rows)):
            text = self.decode(prompt).removeprefix(before)
            found.append(Pair(text.removesuffix(after) if after else text, self.decode(response)))
        return found

    def prompts(self, rows):
        """For each row the list of ids before the first judged one: what a model is asked."""
        firsts = rows.judged.int().argmax(dim=1).tolist()  # of equal values the first
        return [ids[:first] for ids, first in zip(rows.ids.tolist(), firsts)]

    def responses(self, rows):
        """For each row the list of its judged ids, without the end."""
        found = [ids[judged].tolist() for ids, judged in zip(rows.ids, rows.judged)]
        return [ids[:-1] if ids and ids[-1] == self.end else ids for ids in found]

    def wrapping(self):
        """(text before, text after) that `prompt_ids` puts around every prompt: what two prompts have in common."""
        one, other = (self.decode(self.prompt_ids(prompt)) for prompt in TWO)
        before = commonprefix([one, other])
        return before, commonprefix([one[::-1], other[::-1]])[::-1]

    def opening(self):
        """Ids that every prompt begins with, before its own text; the end of another text where there are none."""
        return commonprefix([self.prompt_ids(prompt) for prompt in TWO]) or [self.end]


TWO = ("a", "b")  # prompts that differ in every letter


def read_pairs(path):
    """The pairs of a JSONL file; a Mistake names the line that is broken, and what was expected there."""
    return [Pair(**fields) for fields in read_fields(path, ("prompt", "response"), strict=True)]


def read_fields(path, names, strict=False):
    """[{name: text}] of a JSONL file's lines; a Mistake names the line that is broken, and what was expected there.

    `strict`: a line has no other fields, and no text is blank. Else others are left out.
    """
    rows, example = [], EXAMPLE % names
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            fields = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise Mistake(
                f"{where} is not JSON ({getattr(error, 'msg', 'too deeply nested')}); expected {example}"
            ) from None
        if not isinstance(fields, dict) or not set(names) <= set(fields) or strict and len(fields) > len(names):
            found = ", ".join(map(repr, fields)) if isinstance(fields, dict) else type(fields).__name__
            raise Mistake(f"{where} holds {found or 'nothing'}; expected {example}")
        rows.append({name: fields[name] for name in names})
        for name, value in rows[-1].items():
            if not isinstance(value, str) or strict and not value.strip():
                raise Mistake(
                    f'{where}: "{name}" is {json.dumps(value)[:40]}; write a text in quotes, or drop the line'
                )
            if HALF.search(value):
                raise Mistake(
                    f'{where}: "{name}" holds {ascii(HALF.search(value)[0])[1:-1]}, half of a character, which no '
                    "text file can hold; write the character itself, or drop the line"
                )
    if not rows:
        raise Mistake(f"{path} has no pairs; each line should be one like {example}")
    return rows
