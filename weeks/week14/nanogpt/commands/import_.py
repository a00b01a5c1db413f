"""`nanogpt import`: bring in a published model."""

import shlex
from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional

from ..vendor.shared.errors import Mistake
from ..vendor.shared.files import locked
from .options import Folder, new_folder, words


@dataclass
class Import:
    """Bring a published model into a folder of our own: a Hugging Face folder (GPT-2 or Llama family) or a GGUF file.

    Other commands also read such a model where it lies; an imported one opens faster, and stands alone.

    examples:
      nanogpt import ~/models/gpt2 --out checkpoints/gpt2
      nanogpt import model.gguf --out checkpoints/other
    """

    source: Annotated[Positional[str], words(str, "SOURCE")]
    """Folder with config.json and safetensors, a .gguf file, or a name such as smollm2-135m."""
    out: Folder
    """New folder."""

    def run(self):
        from .. import checkpoint, formats  # in here, for torch takes a second and --help does not need it
        from ..sources import find, open_model

        new_folder(self.out)
        path = find(self.source)
        if not checkpoint.exists(path) and not formats.row_of(path):
            formats.read(path)  # says what can be read; that one may train a model is no help here
        loaded = open_model(self.source)
        if loaded.record is not None:
            again = shlex.join(["nanogpt", "sample", "--model", self.source])
            raise Mistake(f"{self.source} is one of our own models already; use it as it is: {again}")
        said = {"chat": loaded.special, "sample": loaded.sample}
        with locked(self.out):
            new_folder(self.out)  # once more, for another command may have been quicker
            checkpoint.save(self.out, loaded.model, loaded.tokenizer, {"from": self.source}, **said)
        print(f"{loaded.model.n_params():,} parameters, {loaded.tokenizer.vocab_size:,} tokens: saved in {self.out}")
        print("try:", shlex.join(["nanogpt", "chat" if loaded.chat else "sample", "--model", str(self.out)]))
