"""Answers for many prompts, from any model of the contract. What is faster must equal it.

Prompts of one length go through the model together, and a cache keeps what attention has computed of them.
Left out: rows of different lengths in one batch, and new prompts in the place of rows that ended (week 14 has both).
"""

import torch

from .vendor.gpt.cache import KVCache
from .vendor.gpt.sampling import penalise_repetition, sample

BATCH = 64  # prompts read at once


@torch.no_grad()
def generate(model, prompts, n, *, temperature=0.0, top_p=None, repetition_penalty=1.0, seed=None, stop=()):
    """Up to `n` new ids for each prompt (a list of lists of ids), as a list of lists in the same order.

    A row ends before an id in `stop`, and where the model's context ends. The same seed gives the same answers.
    """
    if not all(prompts):
        raise ValueError("a prompt is empty; give at least one token in each")
    device = next(model.parameters()).device
    generator = None if seed is None else torch.Generator(device).manual_seed(seed)
    block = context(model)
    answers = [[] for _ in prompts]
    lengths = [len(prompt) for prompt in prompts]
    for length in sorted(set(lengths)):
        if length > block:
            raise ValueError(f"a prompt of {length} tokens does not fit this model's context of {block}; shorten it")
        group = [i for i, other in enumerate(lengths) if other == length]
        for start in range(0, len(group), BATCH):
            rows = group[start : start + BATCH]
            ids = torch.tensor([prompts[i] for i in rows], device=device)  # (B, T)
            room = min(n, block - length)
            cache = fresh_cache(model, len(rows), length + room)
            for _ in range(room):
                unread = ids if cache is None else ids[:, cache.offset :]
                logits = model(unread, cache=cache)[0][:, -1].float()  # (B, V)
                if repetition_penalty != 1.0:
                    logits = penalise_repetition(logits, ids, repetition_penalty)
                new = sample(logits, temperature=temperature, top_p=top_p, generator=generator)  # (B,)
                go_on = torch.tensor([token not in stop for token in new.tolist()], device=device)
                rows = [i for i, on in zip(rows, go_on.tolist()) if on]
                ids = torch.cat([ids, new[:, None]], dim=1)[go_on]
                for i, row in zip(rows, ids[:, -1].tolist()):
                    answers[i].append(row)
                if not rows:
                    break
                if cache is not None and not go_on.all():
                    cache.k, cache.v = cache.k[:, go_on], cache.v[:, go_on]
    return answers


def fresh_cache(model, batch, length):
    """A cache of `batch` rows with room for `length` tokens; None where the model's config does not tell its shape."""
    config, weight = getattr(model, "config", None), next(model.parameters())
    if not hasattr(config, "n_layer"):
        return None  # every new token reads the whole row again
    return KVCache.of(config, batch, weight.dtype, weight.device, length)


def context(model):
    """Tokens that the model can read at once; without a `config.block_size` there is no bound."""
    return getattr(getattr(model, "config", None), "block_size", 2**31)
