"""What a model is worth: bits per byte of a text, comparable across vocabularies, and the share of right answers."""

import math

import torch
import torch.nn.functional as F

from .answers import asked_ids, response_ids
from .infer.batch import generate_batch
from .tasks import begin_id, encode, end_id
from .vendor.shared.progress import bar
from .vendor.shared.text import documents

LONGEST = 1024
LOGITS = 2**26  # numbers at most in one forward pass: a quarter of a gigabyte


@torch.no_grad()
def bits_per_byte(learner, tokenizer, text, *, batch_size=16, progress=None):
    """Bits per byte of `text` under `learner.model` (lower is better; 8 is a uniform guess of bytes).

    Every byte of every document counts once, the first one too: it is predicted from <|endoftext|>. The separators
    themselves are neither predicted nor counted. Windows do not overlap, so a token sees block_size - 1 earlier ones
    at most and on average half of that: an upper bound of what the model could do with a sliding window. Of a very
    long context only windows of LONGEST tokens are used, since attention over them costs the square of their length.
    """
    model = learner.model
    device, block = next(model.parameters()).device, min(model.config.block_size, LONGEST)
    batch_size = max(1, min(batch_size, LOGITS // (block * model.config.vocab_size)))
    tokens = encode(tokenizer, text)
    targets = torch.cat([tokens[1:], tokens.new_tensor([-100])])
    targets[(targets == end_id(tokenizer)) | (targets == begin_id(tokenizer))] = -100
    count = math.ceil(len(tokens) / block)
    padding = count * block - len(tokens)
    x = F.pad(tokens, (0, padding)).view(count, block)  # (N, T)
    y = F.pad(targets, (0, padding), value=-100).view(count, block)  # (N, T)
    was_training, nats = model.training, 0.0
    model.eval()
    try:
        for start in bar(range(0, count, batch_size), progress, disable=progress is None):
            with learner.autocast():
                logits, _ = model(x[start : start + batch_size].to(device))
            losses = F.cross_entropy(
                logits.float().flatten(0, 1), y[start : start + batch_size].flatten().to(device), reduction="none"
            )
            nats += losses.double().sum().item()  # positions whose target is -100 contribute 0
    finally:
        model.train(was_training)
    return nats / math.log(2) / sum(len(d.encode()) for d in documents(text))


@torch.no_grad()
def answer_all(learner, template, rows, *, length, batch_size=64, most=None, progress=None):
    """The model's greedy answer to each row's prompt, as texts; prompts are cut to fit `length` as in training.

    `most` bounds the new tokens: by default two more than the longest response that is wanted.
    """
    model, tokenizer = learner.model, template.tokenizer
    most = most or 2 + max(len(response_ids(template, row)) for row in rows)
    prompts = [asked_ids(template, row, length, model.config.block_size) for row in rows]
    was_training = model.training
    model.eval()
    try:
        with bar(total=len(rows), label=progress, unit="row", disable=progress is None) as line, learner.autocast():
            ids = generate_batch(model, prompts, most, batch=batch_size, stop=template.stop_ids, ended=line.update)
    finally:
        model.train(was_training)
    return [tokenizer.decode(answer) for answer in ids]


def exact_match(answers, rows):
    """Share of answers that are the wanted response, blanks around them aside."""
    return sum(answer.strip() == row.response.strip() for answer, row in zip(answers, rows, strict=True)) / len(rows)
