"""Many prompts at once: what all begin with is read once, each goes on at its own length, and leaves when it ends.

A batch has a number of slots. A row that ends frees its slot for the next prompt, as Orca does (Yu et al. 2022,
"iteration-level scheduling"), so that no product is spent on rows that have ended. Prompts are read longest first, in
groups of like length: little padding, and what a layer hands to the next stays in the processor's own memory.
On a processor nearly all the time that is left goes to products with the weights, which are packed for it (packed.py).
So what would not help is left out: query, key and value in one product (measured: no faster).
Left out: paging (a slot has room for the longest row), and reading a prompt in pieces between the steps of others.
"""

from contextlib import contextmanager

import torch
from torch.nn.utils.rnn import pad_sequence

from ..vendor.gpt.cache import KVCache
from ..vendor.gpt.sampling import penalise_repetition, sample
from ..vendor.lora.adapter import layers, merge, unmerge
from . import packed
from .slots import Slots

FREE = 1 / 4  # of the slots that are free before prompts are read: many at once read faster, and free slots cost little
READ = 512  # tokens of prompts in one forward: enough for fast products, few enough for the cache of a processor


@torch.no_grad()
def generate_batch(
    model,
    prompts,
    n,
    *,
    batch=64,
    temperature=0.0,
    top_k=None,
    top_p=None,
    repetition_penalty=1.0,
    seed=None,
    stop=(),
    ended=None,
):
    """Up to `n` new token ids for each prompt (a list of lists of ids), as a list of lists in the same order.

    `batch` is how many go on side by side: it bounds the memory, and changes no row's answer but by rounding. A row
    ends before an id in `stop`, and where the context ends: a prompt of T tokens gets block_size - T at most. With the
    same `seed` each row draws the same numbers. `ended`, if given, is called with 1 for each row that ends. An adapter
    that runs on the model is merged meanwhile, and the base weights are put back byte for byte.
    Raises ValueError for a prompt that does not fit the context; nothing is cut here.
    """
    if not prompts or not all(prompts):
        raise ValueError("give at least one prompt, and at least one token in each")
    if type(batch) is not int or batch < 1:
        raise ValueError(f"batch is {batch!r}; give the number of rows that go on side by side, 1 or more")
    block, device = model.config.block_size, model.embed.weight.device
    longest = max(map(len, prompts))
    if longest > block:
        raise ValueError(f"a prompt of {longest} tokens does not fit this model's context of {block}; shorten it")
    room = [min(n, block - len(p)) for p in prompts]
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    uniform = torch.rand(max(1, *room), len(prompts), generator=generator)  # one number a token, so that a row's
    answers, rows, state = [[] for _ in prompts], [], None  # draws do not depend on who else is in the batch

    def draw(state):
        logits = model.logits(state).float()  # (B, V): of the last position only
        if repetition_penalty != 1:
            said = [torch.tensor(prompts[row] + answers[row]) for row in rows]
            said = pad_sequence(said, batch_first=True, padding_value=-1).to(device)  # (B, L)
            logits = penalise_repetition(logits, said, repetition_penalty)
        u = torch.stack([uniform[len(answers[row]), row] for row in rows]).to(device)  # (B,)
        return sample(logits, temperature=temperature, top_k=top_k, top_p=top_p, uniform=u).tolist()

    with merged(model), packed.using(packed.packs(model, max(room))):
        prefix = read_prefix(model, prompts)
        queue = sorted((row for row, left in enumerate(room) if left), key=lambda row: len(prompts[row]))
        most = max(len(p) + left for p, left in zip(prompts, room, strict=True))
        slots = Slots(model.config, min(batch, len(prompts)), most, prefix.k.dtype, device)
        while queue or rows:
            states = [state] if rows else []
            enough = batch - len(rows) >= FREE * batch
            while queue and enough and len(rows) < batch:  # 1) the next prompts take the free slots
                width = len(prompts[queue[-1]]) - prefix.offset
                count = min(len(queue), batch - len(rows), max(1, READ // width))
                group = [queue.pop() for _ in range(count)]
                rows += group
                states.append(read(model, prefix, [prompts[row] for row in group], slots))
            tokens = draw(torch.cat(states))  # 2) one token for each row
            for slot in reversed(range(len(rows))):
                row, token = rows[slot], tokens[slot]
                if token not in stop:
                    answers[row].append(token)
                if token in stop or len(answers[row]) == room[row]:  # 3) who is done leaves; the last one moves up
                    slots.drop(slot)
                    rows[slot] = rows[-1]
                    rows.pop()
                    if ended:
                        ended(1)
            if rows:  # 4) and the others' new tokens are read
                new = torch.tensor([answers[row][-1:] for row in rows], device=device)  # (B, 1)
                state = model.hidden(new, slots, slots.positions(), slots.mask())[:, -1]  # (B, C)
    return answers


def common_prefix(prompts):
    """How many tokens all prompts begin with, leaving at least one of each."""
    most = min(map(len, prompts)) - 1
    for i in range(most):
        if any(p[i] != prompts[0][i] for p in prompts):
            return i
    return most


def read_prefix(model, prompts):
    """A cache of one row that has read what all prompts begin with, with room for the longest."""
    weight, shared = model.embed.weight, common_prefix(prompts)
    cache = KVCache.of(model.config, 1, weight.dtype, weight.device, max(map(len, prompts)))
    if shared:
        model.hidden(torch.tensor([prompts[0][:shared]], device=weight.device), cache)
    return cache


def read(model, prefix, prompts, slots):
    """Read the rest of some prompts into slots; the states (b, C) of their last tokens.

    They are padded to the longest: what lies behind a row's end is seen by no one.
    """
    cache, device = prefix.clone(len(prompts)), slots.k.device
    rest = [torch.tensor(p[prefix.offset :], device=device) for p in prompts]
    lengths = torch.tensor([len(p) for p in prompts], device=device)  # (b,)
    states = model.hidden(pad_sequence(rest, batch_first=True), cache)  # (b, T, C)
    slots.admit(cache, lengths)
    return states[torch.arange(len(prompts), device=device), lengths - prefix.offset - 1]


@contextmanager
def merged(model):
    """While the block runs, the adapter that runs on `model` is part of its weights: as fast as the base.

    Where merging would round (weights of 16 or 8 bits), or several adapters are summed, they run beside the weights as
    ever. The merged state is the model's, so other threads that use the model see it too.
    """
    found = list(layers(model).values())
    if any(isinstance(layer.active, tuple) for layer in found):
        raise ValueError(
            "using() gave one adapter a row, but rows change places here as others end; generate for each adapter alone"
        )
    active = {name: share for layer in found for name, share in layer.active.items() if name in layer.adapters}
    exact = all(layer.merged is None and p.dtype == torch.float32 for layer in found for p in own_weights(layer))
    if list(active.values()) != [1] or not exact:
        yield
        return
    merge(model, *active)
    try:
        yield
    finally:
        unmerge(model)


def own_weights(layer):
    """What a layer computes with, its adapters left out."""
    return [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
