"""`nanogpt export`: write a model as a folder that transformers loads."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from .. import formats
from ..sources import open_model
from .options import MODEL, Model


@dataclass
class Export:
    """Write a model as a Hugging Face folder that `transformers` loads, tokenizer and chat template included.

    An adapter is added to the weights of its base.

    examples:
      nanogpt export exported/mine --model checkpoints/mine
      nanogpt export exported/helper --model checkpoints/helper
    """

    out: Positional[Path]
    """New folder."""
    model: Model = MODEL

    def run(self):
        formats.write("huggingface", self.out, open_model(self.model, fold=True).published())
        print(f"wrote {self.out}; in Python: AutoModelForCausalLM.from_pretrained({str(self.out)!r})")
