"""`nanogpt eval`: judge a model on text, or on rows."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from ..device import autocast_for, pick_device
from ..kinds import KINDS, kind_of
from ..presets import ROW_LENGTH
from ..tasks import about
from ..vendor.shared.errors import Mistake
from ..workspace.store import opened
from .options import MODEL, Device, Model, Precision, Threads


@dataclass
class Eval:
    """Judge a model: bits per byte of text (lower is better), or the share of exact answers to .jsonl rows.

    examples:
      nanogpt eval data/shakespeare/test.txt data/bible/test.txt
      nanogpt eval my.txt --model smollm2-135m
      nanogpt eval data/sms-spam/test.jsonl --model checkpoints/helper
    """

    files: Positional[tuple[Path, ...]]
    """UTF-8 text files, or JSONL files of prompt/response rows."""
    model: Model = MODEL
    device: Device = "auto"
    threads: Threads = None
    precision: Precision = "auto"
    row_length: int | None = None
    """Tokens of a prompt and its response (default: as it was taught, else 256); longer prompts are cut."""

    def run(self):
        if not self.files:
            raise Mistake("no file given; name at least one: nanogpt eval FILE")
        if self.row_length is not None and self.row_length < 16:
            raise Mistake(f"--row-length is {self.row_length}; a row needs at least 16 tokens")
        if self.row_length is not None and all(kind_of(path) == "text" for path in self.files):
            raise Mistake("--row-length is for .jsonl rows, and text is read a context at a time; leave it out")
        contents = [(path, KINDS[kind_of(path)], KINDS[kind_of(path)].read(path)) for path in self.files]
        device = pick_device(self.device)
        loaded, method = opened(self.model, device, self.precision)
        autocast, _ = autocast_for(self.precision, device)
        most = loaded.model.config.block_size
        if self.row_length is not None and self.row_length > most:
            raise Mistake(f"--row-length is {self.row_length}, and the context of {self.model} holds {most}")
        length = self.row_length or (loaded.record or {}).get("row_length") or min(ROW_LENGTH, most)
        for path, kind, content in contents:  # what cannot be judged is told before anything is
            with about(path):
                kind.learner(loaded, autocast)
            kind.check(path, content, loaded, length)
        for path, kind, content in contents:
            learner = kind.learner(loaded, autocast)
            with method.view(learner, ""):
                score = kind.score(learner, loaded, content, length, progress=path.name)
            print(f"{kind.told(score, content)}  {path}", flush=True)
