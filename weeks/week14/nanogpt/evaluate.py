"""Bits per byte: how many bits the model needs for each byte of a text. Comparable across vocabularies."""

import math

import torch
import torch.nn.functional as F
from tqdm import tqdm

from .tasks import END, documents, encode


@torch.no_grad()
def bits_per_byte(learner, tokenizer, text, *, batch_size=16, progress=None):
    """Bits per byte of `text` under `learner.model` (lower is better; 8 is a uniform guess of bytes).

    Every byte of every document counts once, the first one too: it is predicted from <|endoftext|>. The separators
    themselves are neither predicted nor counted. Windows do not overlap, so a token sees block_size - 1 earlier ones
    at most and on average half of that: an upper bound of what the model could do with a sliding window.
    """
    model = learner.model
    device, block = next(model.parameters()).device, model.config.block_size
    tokens = encode(tokenizer, text)
    targets = torch.cat([tokens[1:], tokens.new_tensor([-100])])
    targets[targets == tokenizer.special_tokens[END]] = -100
    count = math.ceil(len(tokens) / block)
    padding = count * block - len(tokens)
    x = F.pad(tokens, (0, padding)).view(count, block)  # (N, T)
    y = F.pad(targets, (0, padding), value=-100).view(count, block)  # (N, T)
    was_training, nats = model.training, 0.0
    model.eval()
    try:
        for start in tqdm(range(0, count, batch_size), desc=progress, disable=progress is None, leave=False):
            with learner.autocast():
                logits, _ = model(x[start : start + batch_size].to(device))
            losses = F.cross_entropy(
                logits.float().flatten(0, 1), y[start : start + batch_size].flatten().to(device), reduction="none"
            )
            nats += losses.double().sum().item()  # positions whose target is -100 contribute 0
    finally:
        model.train(was_training)
    return nats / math.log(2) / sum(len(d.encode()) for d in documents(text))
