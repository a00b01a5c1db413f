"""`nanogpt sample`: let a model continue or answer a prompt."""

import sys
from dataclasses import dataclass

from ..device import pick_device
from ..infer.generate import generate, stream
from ..sources import open_model
from ..tasks import begin_id, end_id
from ..vendor.shared.errors import Mistake
from .options import MODEL, Model, Name, Precision


@dataclass
class Sample:
    """Let a model continue a prompt, or answer it if the model has a chat template.

    examples:
      nanogpt sample --prompt "To be, or not to be"
      nanogpt sample --model smollm2-135m --prompt "Why is the sky blue?"
      nanogpt sample --model smollm2-135m --raw --prompt "Once upon a time"
    """

    model: Model = MODEL
    prompt: str = ""
    """Text to continue or to answer; empty begins a new document."""
    raw: bool = False
    """Continue the prompt as plain text even if the model has a chat template."""
    n: int = 1
    """How many samples."""
    max_tokens: int = 200
    temperature: float = 0.8
    """0 always takes the likeliest token."""
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0
    device: Name = "auto"
    precision: Precision = "auto"

    def run(self):
        if self.n < 1 or self.max_tokens < 1:
            raise Mistake(f"--n is {self.n} and --max-tokens {self.max_tokens}; both must be at least 1")
        loaded = open_model(self.model, pick_device(self.device), self.precision, fold=True)
        template, answer = loaded.template(), loaded.chat is not None and not self.raw and self.prompt
        if answer:
            ids = template.encode([{"role": "user", "content": self.prompt}])
        else:
            ids = [begin_id(loaded.tokenizer), *ordinary(loaded.tokenizer, self.prompt)]
        block = loaded.model.config.block_size
        if len(ids) > block:
            print(f"note: {len(ids)} tokens do not fit the context of {block}; using the last {block}", file=sys.stderr)
        stop = template.stop_ids | {end_id(loaded.tokenizer)}
        for i in range(self.n):
            if not answer:
                sys.stdout.write(self.prompt)
            write_answer(loaded, ids, self, seed=self.seed + i, stop=stop)


def ordinary(tokenizer, text):
    try:
        return tokenizer.encode_ordinary(text)
    except ValueError as error:
        raise Mistake(str(error)) from error


def write_answer(loaded, ids, options, *, seed, stop, context=None, within=False):
    """Print the continuation as it comes; returns it, and whether the context ended it. Ctrl-C ends it early.

    `within` keeps it inside the context; otherwise the oldest half of a full context is dropped and it goes on.
    """
    room = loaded.model.config.block_size - len(ids)
    n, pieces, count = min(options.max_tokens, room) if within else options.max_tokens, [], [0]
    try:
        tokens = generate(
            loaded.model,
            ids,
            n,
            temperature=options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
            seed=seed,
            stop=stop,
            context=context,
        )
        for piece in stream(loaded.tokenizer, counted(tokens, count)):
            pieces.append(piece)
            sys.stdout.write(piece)
            sys.stdout.flush()
    except KeyboardInterrupt:
        sys.stdout.write(" [stopped]")
    except ValueError as error:
        raise Mistake(str(error)) from error
    print(flush=True)
    return "".join(pieces), within and n < options.max_tokens and count[0] == n


def counted(tokens, count):
    for token in tokens:
        count[0] += 1
        yield token
