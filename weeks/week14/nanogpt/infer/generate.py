"""From a prompt to text, one token at a time, each handed out as soon as it is known."""

import codecs

import torch

from ..vendor.cache import KVCache
from ..vendor.sampling import sample


@torch.no_grad()
def generate(model, tokens, n, *, temperature=0.8, top_k=None, top_p=None, seed=None, stop=(), cached=True):
    """Yield up to `n` token ids that continue the list `tokens`; ends early at an id in `stop`, which is not yielded.

    A context that has grown to the model's block_size is cut to its last half and read again, so that the cost of
    reading is paid once in block_size / 2 tokens. `cached=False` computes everything anew for each token: slower,
    the same tokens, and the way to check the cache.
    """
    if not tokens:
        raise ValueError("the prompt is empty; begin with at least one token, such as <|endoftext|>")
    block, device = model.config.block_size, next(model.parameters()).device
    generator = None if seed is None else torch.Generator(device).manual_seed(seed)
    context = list(tokens[-block:])
    cache = KVCache.of(model.config, device=device) if cached else None
    new = context  # 1) what the cache has not seen: at first the whole prompt, later the newest token
    for _ in range(n):
        if len(context) > block:  # 2) full: keep the last half, read it again from position 0
            context = context[-max(1, block // 2) :]
            new = context
            if cache is not None:
                cache.reset()
        read = context if cache is None else new
        logits, _ = model(torch.tensor([read], device=device), cache=cache)  # (1, T, V)
        token = sample(logits[:, -1].float(), temperature=temperature, top_k=top_k, top_p=top_p, generator=generator)
        token = token.item()  # 3) one token of the distribution after the last position
        if token in stop:
            return
        yield token
        context.append(token)  # 4) and it becomes the newest token of the context
        new = [token]


def stream(tokenizer, ids):
    """Turn token ids into pieces of text; a character whose bytes are spread over tokens waits until it is whole."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for token in ids:
        piece = decoder.decode(tokenizer.token_bytes(token))
        if piece:
            yield piece
    rest = decoder.decode(b"", final=True)
    if rest:
        yield rest
