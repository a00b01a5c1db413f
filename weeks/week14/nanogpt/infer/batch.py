"""Many prompts at once: what all begin with is read once, then every row goes on at its own length.

prompts   [a b c d e]        cache   [a b | c d e | x y]      the gap between a row's end and the longest row is
          [a b f]                    [a b | f . . | x y]      masked; positions count only what is there
"""

import torch
from torch.nn.utils.rnn import pad_sequence

from ..vendor.gpt.cache import KVCache
from ..vendor.gpt.sampling import sample


@torch.no_grad()
def generate_batch(model, prompts, n, *, temperature=0.0, top_k=None, top_p=None, seed=None, stop=()):
    """Up to `n` new token ids for each prompt (a list of lists of ids), as a list of lists in the same order.

    A row ends before an id in `stop`, and where the context ends: a prompt of T tokens gets block_size - T at most.
    Raises ValueError for a prompt that does not fit the context; nothing is cut here.
    """
    if not prompts or not all(prompts):
        raise ValueError("give at least one prompt, and at least one token in each")
    block, weight = model.config.block_size, model.embed.weight
    lengths = torch.tensor([len(p) for p in prompts], device=weight.device)  # (B,)
    longest, room = int(lengths.max()), [min(n, block - len(p)) for p in prompts]
    most = max(room)
    if longest > block:
        raise ValueError(f"a prompt of {longest} tokens does not fit this model's context of {block}; shorten it")
    generator = None if seed is None else torch.Generator(weight.device).manual_seed(seed)
    shared = common_prefix(prompts)
    cache = KVCache.of(model.config, 1, weight.dtype, weight.device, longest + most)
    if shared:  # 1) the common beginning, once
        model.hidden(torch.tensor([prompts[0][:shared]], device=weight.device), cache)
    cache = cache.clone(len(prompts))
    rest = pad_sequence([torch.tensor(p[shared:]) for p in prompts], batch_first=True).to(weight.device)  # (B, T)
    states = model.hidden(rest, cache)  # (B, T, C) 2) the rest of each; what lies behind a row's end is seen by no one
    state = states[torch.arange(len(prompts)), lengths - shared - 1]  # (B, C)
    slots = torch.arange(longest + most, device=weight.device)  # (S,)
    visible = (slots < lengths[:, None]) | (slots >= longest)  # (B, S)
    answers, open_rows = [[] for _ in prompts], {row for row, left in enumerate(room) if left}
    for i in range(most):
        logits = model.head(state).float()  # (B, V)
        tokens = sample(logits, temperature=temperature, top_k=top_k, top_p=top_p, generator=generator)  # (B,)
        for row in list(open_rows):  # 3) one token for each row
            token = tokens[row].item()
            if token not in stop:
                answers[row].append(token)
            if token in stop or len(answers[row]) == room[row]:
                open_rows.remove(row)
        if not open_rows:
            break
        mask = visible[:, None, None, : longest + i + 1]  # (B, 1, 1, S)
        places = (lengths + i).clamp(max=block - 1)[:, None]  # (B, 1): a row that is full runs along, unread
        state = model.hidden(tokens[:, None], cache, places, mask)[:, -1]  # (B, C)
    return answers


def common_prefix(prompts):
    """How many tokens all prompts begin with, leaving at least one of each."""
    most = min(map(len, prompts)) - 1
    for i in range(most):
        if any(p[i] != prompts[0][i] for p in prompts):
            return i
    return most
