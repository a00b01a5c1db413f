"""From a prompt to text, one token at a time, each handed out as soon as it is known."""

import torch

from ..vendor.gpt.cache import KVCache
from ..vendor.gpt.sampling import sample
from . import packed


class Context:
    """What a model has read: token ids and their keys and values, so that a longer text costs only its new tokens.

    A chat keeps one: the next prompt begins with the last one, and only what follows is read.
    """

    def __init__(self, model):
        self.model, self.ids, self.cache = model, [], None
        self.steps = 0  # single tokens read so far

    def read(self, ids, room=0):
        """Logits (V,) of the token after the list `ids`; what is already in the cache is not read again.

        `room` is how many tokens may follow: the cache is given that much at once, for growing it copies it.
        """
        same = 0
        while same < min(len(self.ids), len(ids) - 1) and self.ids[same] == ids[same]:
            same += 1
        weight = self.model.embed.weight
        block = self.model.config.block_size
        if self.cache is None or self.cache.block_size < len(ids):
            grown = KVCache.of(self.model.config, 1, weight.dtype, weight.device, min(block, len(ids) + room))
            if same:
                grown.k[..., :same, :] = self.cache.k[..., :same, :]
                grown.v[..., :same, :] = self.cache.v[..., :same, :]
                grown.advance(same)
            self.cache = grown
        self.cache.crop(same)
        new = torch.tensor([ids[same:]], device=weight.device)  # (1, T)
        self.steps += new.shape[1] == 1
        self.ids = []  # a Ctrl-C in the next line would leave them wrong
        with packed.using(packed.packs(self.model, self.steps)):
            state = self.model.hidden(new, self.cache)[:, -1]  # (1, C): the head is needed once, not T times
            logits = self.model.logits(state)[0].float()  # (V,)
        self.ids = list(ids)
        return logits


@torch.no_grad()
def generate(
    model, tokens, n, *, temperature=0.8, top_k=None, top_p=None, seed=None, stop=(), cached=True, context=None
):
    """Yield up to `n` token ids that continue the list `tokens`; ends early at an id in `stop`, which is not yielded.

    A context that has grown to the model's block_size is cut to its last half and read again, so that the cost of
    reading is paid once in block_size / 2 tokens. `cached=False` computes everything anew for each token: slower,
    the same tokens, and the way to check the cache. Give the `context` of an earlier call to go on from it.
    """
    if not tokens:
        raise ValueError("the prompt is empty; begin with at least one token, such as <|endoftext|>")
    block, device = model.config.block_size, next(model.parameters()).device
    generator = None if seed is None else torch.Generator(device).manual_seed(seed)
    context, ids = context or Context(model), list(tokens[-block:])
    for i in range(n):
        if len(ids) > block:  # 1) full: keep the last half, read it again from position 0
            ids = ids[-max(1, block // 2) :]
        # 2) the distribution after the last position; only what the cache has not seen is read
        logits = (context if cached else Context(model)).read(ids, room=n - i)[None]  # (1, V)
        token = sample(logits, temperature=temperature, top_k=top_k, top_p=top_p, generator=generator).item()
        if token in stop:  # 3) one token of it
            return
        yield token
        ids.append(token)  # 4) and it becomes the newest of the text
