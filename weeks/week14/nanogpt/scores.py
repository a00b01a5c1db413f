"""What a model is worth: bits per byte of a text, comparable across vocabularies, and the share of right answers."""

import math

import torch
import torch.nn.functional as F

from .answers import asked_ids, response_ids
from .tasks import begin_id, encode, end_id
from .vendor.continual.rows import Rows
from .vendor.shared.progress import bar
from .vendor.shared.text import documents

LONGEST = 1024
LOGITS = 2**26  # numbers at most in one forward pass: a quarter of a gigabyte


@torch.no_grad()
def bits_per_byte(learner, tokenizer, text, *, batch_size=16, progress=None):
    """Bits per byte of `text` (lower is better; 8 is a uniform guess of bytes), as the learner predicts it.

    Every byte of every document counts once, the first one too: it is predicted from <|endoftext|>. The separators
    themselves are neither predicted nor counted. Windows do not overlap, so a token sees block_size - 1 earlier ones
    at most and on average half of that: an upper bound of what the model could do with a sliding window. Of a very
    long context only windows of LONGEST tokens are used, since attention over them costs the square of their length.
    """
    config = learner.model.config
    block = min(config.block_size, LONGEST)
    batch_size = max(1, min(batch_size, LOGITS // (block * config.vocab_size)))
    tokens = encode(tokenizer, text)
    targets = torch.cat([tokens[1:], tokens.new_tensor([-100])])
    targets[(targets == end_id(tokenizer)) | (targets == begin_id(tokenizer))] = -100
    count = math.ceil(len(tokens) / block)
    padding = count * block - len(tokens)
    x = F.pad(tokens, (0, padding)).view(count, block)  # (N, T)
    y = F.pad(targets, (0, padding), value=-100).view(count, block)  # (N, T)
    judged = F.pad(y != -100, (1, 0), value=True)  # (N, T+1): the first token of a window is no prompt
    rows, nats = Rows(ids=torch.cat([x, y[:, -1:].clamp(min=0)], dim=1), judged=judged), 0.0
    with learner.evaluating():
        for part in bar(rows.split(batch_size), progress, disable=progress is None):
            if n := learner.count(part):
                nats += n * learner.loss(part).item()
    return nats / math.log(2) / sum(len(d.encode()) for d in documents(text))


def answer_all(learner, template, rows, *, length, batch_size=64, most=None, progress=None):
    """The model's greedy answer to each row's prompt, as texts; prompts are cut to fit `length` as in training.

    `most` bounds the new tokens: by default two more than the longest response that is wanted.
    """
    most = most or 2 + max(len(response_ids(template, row)) for row in rows)
    prompts = [asked_ids(template, row, length, learner.model.config.block_size) for row in rows]
    with bar(total=len(rows), label=progress, unit="row", disable=progress is None) as line:
        ids = learner.generate(prompts, most, batch=batch_size, stop=template.stop_ids, ended=line.update)
    return [template.tokenizer.decode(answer) for answer in ids]


def exact_match(answers, rows):
    """Share of answers that are the wanted response, blanks around them aside."""
    return sum(answer.strip() == row.response.strip() for answer, row in zip(answers, rows, strict=True)) / len(rows)
