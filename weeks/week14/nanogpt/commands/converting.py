"""`nanogpt import` and `nanogpt export`."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from .. import checkpoint
from ..models import open_model
from ..tasks import end_id
from ..vendor.shared.errors import Mistake
from .options import MODEL, Folder, Model


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
        checkpoint.save(self.out, loaded.model, loaded.tokenizer, {"from": self.source}, chat=loaded.chat)
        print(f"{loaded.model.n_params():,} parameters, {loaded.tokenizer.vocab_size:,} tokens: saved in {self.out}")
        print(f"try: nanogpt {'chat' if loaded.chat else 'sample'} --model {self.out}")


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
        from ..formats import hf_folder
        from ..formats.published import Published

        loaded = open_model(self.model, fold=True)
        special = {i: text for text, i in loaded.tokenizer.special_tokens.items()}
        chat = loaded.chat or {"template": None, "bos": "", "eos": special[end_id(loaded.tokenizer)]}
        tensors = checkpoint.weights(loaded.model)
        hf_folder.write(
            self.out,
            Published(loaded.model.config, tensors, loaded.tokenizer, chat["template"], chat["bos"], chat["eos"]),
        )
        print(f"wrote {self.out}; in Python: AutoModelForCausalLM.from_pretrained({str(self.out)!r})")
