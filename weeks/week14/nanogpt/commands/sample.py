"""`nanogpt sample`: let a model continue or answer a prompt."""

import sys
from dataclasses import dataclass

from ..vendor.shared.errors import Mistake
from .options import MODEL, Count, Device, Model, Precision, Seed, Temperature, Threads, TopK, TopP


@dataclass
class Sample:
    """Let a model continue a prompt, or answer it if the model has a chat template.

    examples:
      nanogpt sample --model story
      nanogpt sample --prompt "To be, or not to be"
      nanogpt sample --model smollm2-135m --prompt "Why is the sky blue?"
      nanogpt sample --model smollm2-135m --raw --prompt "Once upon a time"
    """

    model: Model = MODEL
    prompt: str = ""
    """Text to continue or to answer; empty begins a new document."""
    raw: bool = False
    """Continue the prompt as plain text even if the model has a chat template."""
    n: Count = 1
    """How many samples."""
    max_tokens: Count = 400
    """Longest continuation; past the context, the oldest half of it makes way."""
    temperature: Temperature = None
    top_k: TopK = None
    top_p: TopP = None
    seed: Seed = 0
    device: Device = "auto"
    precision: Precision = "auto"
    threads: Threads = None

    def run(self):
        from ..chat import ordinary
        from ..device import pick_device  # in here, for torch takes a second and --help does not need it
        from ..tasks import begin_id, end_id
        from ..vendor.continual.learner import Learner
        from ..workspace.store import opened

        loaded, method = opened(self.model, pick_device(self.device), self.precision)
        answer, end = loaded.chat is not None and not self.raw and self.prompt, end_id(loaded.tokenizer)
        stop = {end}
        if answer:
            template = loaded.template()
            ids, stop = template.encode([{"role": "user", "content": self.prompt}]), stop | template.stop_ids
        else:
            ids = [begin_id(loaded.tokenizer), *ordinary(loaded.tokenizer, self.prompt)]
        block = loaded.model.config.block_size
        if len(ids) > block:
            print(f"note: {len(ids)} tokens do not fit the context of {block}; using the last {block}", file=sys.stderr)
        drawn = drawing(loaded, self, {"temperature": 0.8})
        with method.serving(Learner(loaded.model), ids):
            for i in range(self.n):
                if not answer:
                    sys.stdout.write(self.prompt)
                write_answer(loaded, ids, drawn, self.max_tokens, seed=self.seed + i, stop=stop)
                print(flush=True)


def drawing(loaded, options, otherwise):
    """How tokens are drawn: as the options say, else as the model does, else as `otherwise` does."""
    from ..checkpoint import DRAWN

    given = {name: getattr(options, name) for name in DRAWN}
    return {**otherwise, **loaded.sample, **{name: value for name, value in given.items() if value is not None}}


def write_answer(loaded, ids, drawn, n, *, seed, stop, context=None, said=None):
    """Print up to `n` tokens after `ids` as they come; returns how many there were. `said`, a list, gets the pieces."""
    from ..infer import generate
    from ..vendor.bpe.stream import decode_stream

    count, said = [0], [] if said is None else said
    try:
        tokens = generate.generate(loaded.model, ids, n, **drawn, seed=seed, stop=stop, context=context)
        for piece in decode_stream(loaded.tokenizer, counted(tokens, count)):
            said.append(piece)
            sys.stdout.write(piece)
            sys.stdout.flush()
    except ValueError as error:
        raise Mistake(str(error)) from error
    return count[0]


def counted(tokens, count):
    for token in tokens:
        count[0] += 1
        yield token
