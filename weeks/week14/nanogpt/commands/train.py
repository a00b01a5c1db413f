"""`nanogpt train`: a model from scratch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from .. import checkpoint
from ..device import pick_device
from ..model import GPTConfig
from ..tasks import END, documents
from ..train import TrainConfig
from ..vendor.bpe.fast import Tokenizer
from ..vendor.shared.errors import Mistake
from ..workspace.learn import new_course
from ..workspace.store import open_course
from .learn import read_domain, taught
from .options import Device, Folder, Threads


@dataclass
class Shape:
    """The model's size. n_head must divide n_embd, and n_kv_head must divide n_head."""

    vocab_size: int = 2048
    """Tokens in the vocabulary that is trained on your text."""
    block_size: int = 256
    """Longest context in tokens."""
    n_layer: int = 5
    n_head: int = 6
    n_kv_head: int = 2
    """Key/value heads; fewer than n_head means grouped-query attention."""
    n_embd: int = 192
    dropout: float = 0.0


@dataclass
class Train:
    """Train a model from scratch on a text file.

    examples:
      nanogpt train data/shakespeare/train.txt --out checkpoints/mine
      nanogpt train notes.txt --out checkpoints/mine --n-embd 192 --steps 300
      nanogpt train notes.txt --out checkpoints/mine --resume
    """

    text: Positional[Path]
    """UTF-8 text; documents are separated by lines holding only <|endoftext|>."""
    out: Folder
    """Folder for the model."""
    exam: Path | None = None
    """Held-out text that judges the model; by default the last tenth of TEXT is held out."""
    shape: Annotated[Shape, arg(name="")] = field(default_factory=Shape)
    train: Annotated[TrainConfig, arg(name="")] = field(default_factory=TrainConfig)
    keep_rows: int = 512
    """Training rows to keep for later replay, whatever is learned afterwards; 0 keeps none."""
    save_every: int = 100
    """Steps between checkpoints."""
    resume: bool = False
    """Go on with a run that was stopped: the same command plus --resume."""
    device: Device = "auto"
    threads: Threads = None

    def run(self):
        device = pick_device(self.device)
        domain = read_domain(self.text, self.exam)
        if self.resume:
            course = open_course(self.out, device, seed=self.train.seed)
            if not course.progress:
                raise Mistake(f"{self.out} is complete: there is nothing to resume. To teach it more: nanogpt learn")
        else:
            if checkpoint.exists(self.out):
                raise Mistake(f"{self.out} already holds a model; give --resume to go on, or another --out")
            sizes = dict(vars(self.shape))
            try:
                GPTConfig(**sizes)  # before minutes go into a vocabulary
                text = "\n".join(documents(domain.train))
                tokenizer = Tokenizer.train(text, sizes.pop("vocab_size"), special_tokens=(END,), progress=True)
                config = GPTConfig(tokenizer.vocab_size, **sizes)
            except ValueError as error:
                raise Mistake(str(error)) from error
            course = new_course(config, tokenizer, seed=self.train.seed, keep_rows=self.keep_rows, device=device)
            course.exams[domain.name] = domain.exam
        task = domain.task(course.tokenizer, course.row_length, progress=True)
        taught(course, task, self.train, self, device)
