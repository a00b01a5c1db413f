# vendored from weeks/week07-08/gpt/generate.py, sha256 95c7cceab9424cebbb615059e478946e370a2cbeb2303b1042c38222a6fcf8f0; edit there, then run: make vendor
"""Text from a model, one token at a time: plainly, and with a key-value cache. Both give the same tokens.

Plainly, each new token runs the whole context again: n tokens cost about n * T columns. With the cache each costs one
column. Beyond block_size both read the last block_size tokens only. Text and stop strings: stops.py. Left out: batches
that change.
"""

import torch

from .cache import KVCache
from .sampling import penalise_repetition, sample


def next_logits(model, tokens, cache=None):
    """Logits (B, V) for the token after `tokens` (B, T), of which a cache already holds the first `cache.offset`."""
    block_size = model.config.block_size
    if cache is None:
        return model(tokens[:, -block_size:])[0][:, -1]
    if tokens.shape[1] > block_size:
        # subtle: once the window slides, every token stands at a new position, so every key of the cache is wrong.
        # With learned positions nothing can be reused; relative ones (RoPE, week 14) are kinder.
        cache.reset()
        tokens = tokens[:, -block_size:]
    return model(tokens[:, cache.offset :], cache=cache)[0][:, -1]


def stream(model, tokens, n, *, cached=True, stop=None, repetition_penalty=None, **sampling):
    """Yield n times the next token of each row, (B,) int64; `sampling` goes to sample(). tokens: (B, T), T >= 1.

    `repetition_penalty` weighs on every token of the row so far, the prompt's too (see penalise_repetition).
    `stop` is an id that ends a row: from there on the row repeats it, and the stream ends when all rows have met it.
    """
    if tokens.dim() != 2 or tokens.shape[1] == 0:
        raise ValueError(f"tokens have shape {tuple(tokens.shape)}; give (batch, time) with at least one token")
    if n < 0:
        raise ValueError(f"cannot generate {n} tokens; give 0 or more")
    weight = next(model.parameters())
    cache = KVCache.of(model.config, tokens.shape[0], weight.dtype, weight.device) if cached else None
    ended = torch.zeros(tokens.shape[0], dtype=torch.bool, device=tokens.device)
    for _ in range(n):
        was_training = model.training
        model.eval()  # no dropout; put back before the caller sees a token
        try:
            with torch.no_grad():
                logits = next_logits(model, tokens, cache)
        finally:
            model.train(was_training)
        if repetition_penalty is not None:
            logits = penalise_repetition(logits, tokens, repetition_penalty)
        ids = sample(logits, **sampling)
        if stop is not None:
            ids = ids.masked_fill(ended, stop)
            ended = ended | (ids == stop)
        tokens = torch.cat([tokens, ids[:, None]], dim=1)  # (B, T + 1)
        yield ids
        if stop is not None and ended.all():
            return


def generate(model, tokens, n, **options):
    """tokens (B, T) -> (B, T + n), or shorter where a stop id ended every row. `options`: those of `stream`."""
    new = [ids[:, None] for ids in stream(model, tokens, n, **options)]
    return torch.cat([tokens, *new], dim=1)
