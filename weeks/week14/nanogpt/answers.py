"""From prompt/response rows to training rows, and the learner whose loss counts the responses only.

A task file is JSONL: {"prompt": "...", "response": "..."} on each line, and an optional "system". A training row holds
the ids of both; only the response is judged. Shorter rows are filled up with id 0, which nothing judged attends to.
"""

import json
from collections import Counter
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .chat import ordinary
from .infer.batch import generate_batch
from .packing import Packing
from .tasks import about
from .vendor.continual.learner import Learner
from .vendor.continual.rows import Rows
from .vendor.continual.task import Task
from .vendor.shared.errors import Mistake
from .vendor.shared.text import read_text

EXAMPLE = '{"prompt": "...", "response": "..."}'


@dataclass(frozen=True)
class Row:
    """One thing to learn: what is asked, and what should be answered."""

    prompt: str
    response: str
    system: str = ""

    def messages(self):
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": self.prompt}]


def read_rows(path):
    """The rows of a JSONL file; a Mistake names the line that is broken, and what was expected there."""
    return parse_rows(read_text(path), path)


def parse_rows(text, path):
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            with about(where):
                fields = json.loads(line, object_pairs_hook=_once)
        except (json.JSONDecodeError, RecursionError) as error:
            why = getattr(error, "msg", "too deeply nested")
            raise Mistake(f"{where} is not JSON ({why}); expected {EXAMPLE}") from None
        if not isinstance(fields, dict) or not {"prompt", "response"} <= set(fields) <= set(Row.__annotations__):
            found = ", ".join(map(repr, fields)) if isinstance(fields, dict) else type(fields).__name__
            raise Mistake(f'{where} holds {found}; expected "prompt" and "response", and "system" if there is one')
        for name, value in fields.items():
            if not isinstance(value, str):
                raise Mistake(f'{where}: "{name}" is {json.dumps(value)[:40]}; it must be a text in quotes')
            if any("\ud800" <= c <= "\udfff" for c in value):
                raise Mistake(f'{where}: "{name}" holds half a character (such as \\ud83d alone); write it whole')
            if not value.strip() and name != "system":
                raise Mistake(f'{where}: "{name}" is empty; write one, or delete the line')
        rows.append(Row(**fields))
    if not rows:
        raise Mistake(f"{path} has no rows; each line should be one like {EXAMPLE}")
    return rows


def _once(pairs):
    """A dict of the names and values of a JSON object; JSON itself would keep the last of two that have one name."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        name = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise Mistake(f"{name[:40]!r} is there twice; keep one of the two")
    return fields


def write_rows(rows):
    """Rows as JSONL text: what `parse_rows` reads."""
    fields = ({name: value for name, value in vars(row).items() if value or name != "system"} for row in rows)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in fields)


def hold_out_rows(rows, fraction=0.1, most=100):
    """`(train, exam)`: rows spread evenly over the file are held out, at least one. What repeats one is in neither."""
    if len(rows) < 2:
        raise Mistake("the task has only one row, so none can be held out as its exam; give more, or --exam FILE")
    count = min(max(1, int(len(rows) * fraction)), most)
    held = {int((i + 0.5) * len(rows) / count) for i in range(count)}
    exam = [row for i, row in enumerate(rows) if i in held]
    asked = set(exam)
    train = [row for row in rows if row not in asked]  # a row that is learned tells nothing as an exam
    if not train:
        raise Mistake("the task has one row, many times: none can be held out as its exam; give more, or --exam FILE")
    return train, exam


def prompt_ids(template, row, most):
    """Ids of the row's prompt up to where the reply begins, in at most `most` tokens; a long prompt loses its end."""
    ids = template.encode(row.messages())
    tokenizer, content = template.tokenizer, row.prompt
    while len(ids) > most:
        kept = ordinary(tokenizer, content)
        kept = kept[: len(kept) - (len(ids) - most)]
        if not kept:
            raise Mistake(f"nothing is left of the prompt {row.prompt[:40]!r} in {most} tokens; allow longer rows")
        content = tokenizer.decode(kept).rstrip("\ufffd")  # a character may have been cut in half
        ids = template.encode(Row(content, row.response, row.system).messages())
    return ids


def response_ids(template, row):
    """Ids of the row's response and of the token that ends it."""
    return [*ordinary(template.tokenizer, row.response), template.end_of_reply]


def asked_ids(template, row, length, block):
    """Ids of the row's prompt as an exam asks it: cut as in training, and the context has room for one token more."""
    reply = len(response_ids(template, row))
    if reply > length:
        raise Mistake(
            f"a response of {reply} tokens leaves no place for its prompt in a row of {length}; "
            "shorten it, or allow longer rows with --row-length"
        )
    return prompt_ids(template, row, min(length + 1 - reply, block - 1))


def make_task(name, rows, template, length):
    """A Task of training rows (N, length + 1), and how many prompts were cut to fit."""
    ids, cut = torch.zeros(len(rows), length + 1, dtype=torch.long), 0
    judged = torch.zeros_like(ids, dtype=torch.bool)
    for i, row in enumerate(rows):
        with about(f"{name}, row {i + 1}"):
            reply = response_ids(template, row)
            if len(reply) > length // 2:
                raise Mistake(
                    f"a response of {len(reply)} tokens takes more than half of a row of {length}; "
                    "shorten it, or allow longer rows with --row-length"
                )
            most = length + 1 - len(reply)
            prompt = prompt_ids(template, row, most)
        cut += len(prompt) == most and prompt != template.encode(row.messages())
        end = len(prompt) + len(reply)
        ids[i, :end], judged[i, len(prompt) : end] = torch.tensor([*prompt, *reply]), True
    return Task(name, Rows(ids=ids, judged=judged)), cut


class AnswerLearner(Learner):
    """A learner whose rows are those of `make_task`: the loss is the mean over response tokens."""

    def __init__(self, model, *, generate=generate_batch, **options):
        super().__init__(model, generate=generate, **options)

    def forward(self, rows):
        """Rows of ids (B, T+1) -> logits (M, V) at the M judged positions, and their mean cross-entropy.

        The head is the dearest matrix of a small model with a large vocabulary, so it is asked only where there is
        something to judge, and so is all behind the last attention. No padding is computed, nothing after a row's last
        judged token, and what rows begin with alike only once.
        """
        rows = rows.to(self.model.embed.weight.device)
        judged = rows.judged[:, 1:]  # (B, T)
        some = judged.any(dim=1)
        ids, targets, judged = rows.ids[some, :-1], rows.ids[some, 1:], judged[some]
        lengths = (judged * torch.arange(1, judged.shape[1] + 1, device=judged.device)).amax(dim=1)  # (B,)
        longest = int(lengths.max())
        packing = Packing(ids[:, :longest], lengths)
        with self.autocast():
            keep = packing.place[judged[:, :longest]]  # (M,)
            places = packing.positions[None]
            states = self.model.hidden(packing.ids[None], positions=places, packing=packing, keep=keep)
            logits = self.model.logits(states[0])  # (M, V)
        return logits, F.cross_entropy(logits.float(), targets[judged])

    def states(self, ids, lengths):
        """As the learner's own, but no padding is computed, and what prompts begin with alike only once."""
        packing = Packing(ids, lengths)
        with self.autocast():
            states = self.model.hidden(packing.ids[None], positions=packing.positions[None], packing=packing)[0]
        return states[packing.place]  # (B, T, C)
