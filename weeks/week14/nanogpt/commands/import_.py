"""`nanogpt import`: bring in a published model."""

from dataclasses import dataclass

from tyro.conf import Positional

from .. import checkpoint
from ..sources import open_model
from ..vendor.shared.errors import Mistake
from .options import Folder


@dataclass
class Import:
    """Bring a published model into a folder of our own: a Hugging Face folder (GPT-2 or Llama family) or a GGUF file.

    Other commands also read such a model where it lies; an imported one opens faster, and stands alone.

    examples:
      nanogpt import ~/models/gpt2 --out checkpoints/gpt2
      nanogpt import model.gguf --out checkpoints/other
    """

    source: Positional[str]
    """Folder with config.json and safetensors, a .gguf file, or a name such as smollm2-135m."""
    out: Folder

    def run(self):
        if self.out.exists() and any(self.out.iterdir()):
            raise Mistake(f"{self.out} is not empty; give another --out")
        loaded = open_model(self.source)
        if loaded.record is not None:
            raise Mistake(f"{self.source} is a model of nanogpt already; use it with --model {self.source}")
        checkpoint.save(self.out, loaded.model, loaded.tokenizer, {"from": self.source}, chat=loaded.special)
        print(f"{loaded.model.n_params():,} parameters, {loaded.tokenizer.vocab_size:,} tokens: saved in {self.out}")
        print(f"try: nanogpt {'chat' if loaded.chat else 'sample'} --model {self.out}")
