"""`nanogpt export`: write a model as a folder that transformers loads."""

from dataclasses import dataclass

from tyro.conf import Positional

from .options import MODEL, Folder, Model, new_folder


@dataclass
class Export:
    """Write a model as a Hugging Face folder that `transformers` loads, tokenizer and chat template included.

    An adapter is added to the weights of its base.

    examples:
      nanogpt export exported/mine --model checkpoints/mine
      nanogpt export exported/helper --model checkpoints/helper
    """

    out: Positional[Folder]
    """New folder."""
    model: Model = MODEL

    def run(self):
        from .. import checkpoint  # in here, for torch takes a second and --help does not need it
        from ..formats import hf_folder
        from ..formats.published import Published
        from ..sources import open_model
        from ..tasks import end_id

        new_folder(self.out)
        loaded = open_model(self.model, fold=True)
        special = {i: text for text, i in loaded.tokenizer.special_tokens.items()}
        chat = loaded.chat or {"template": None, "bos": "", "eos": special[end_id(loaded.tokenizer)]}
        tensors = checkpoint.weights(loaded.model)
        hf_folder.write(
            self.out,
            Published(loaded.model.config, tensors, loaded.tokenizer, chat["template"], chat["bos"], chat["eos"]),
        )
        print(f"wrote {self.out}; in Python: AutoModelForCausalLM.from_pretrained({str(self.out)!r})")
