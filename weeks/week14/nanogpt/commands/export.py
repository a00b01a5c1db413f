"""`nanogpt export`: write a model as a folder that transformers loads."""

from dataclasses import dataclass

from tyro.conf import Positional

from ..vendor.shared.errors import Mistake
from .options import MODEL, Folder, Model, new_folder


@dataclass
class Export:
    """Write a model as a Hugging Face folder that `transformers` loads, tokenizer and chat template included.

    An adapter is added to the weights of its base. A model that was trained here has ingredients that transformers
    lacks, but for one that began as: nanogpt train TEXT --out DIR --set mlp=swiglu ngram=1 qk_norm=false
    One that was taught with `experts` has several sets of weights, and stays here.

    examples:
      nanogpt export exported/mine --model checkpoints/mine
      nanogpt export exported/helper --model checkpoints/helper
    """

    out: Positional[Folder]
    """New folder."""
    model: Model = MODEL

    def run(self):
        from .. import formats  # in here, for torch takes a second and --help does not need it
        from ..sources import fold_in
        from ..vendor.continual.learner import Learner
        from ..workspace.store import opened

        new_folder(self.out)
        loaded, method = opened(self.model)
        if method.needs_prompt:
            raise Mistake(
                f"{self.model} has weights for each task and chooses by the prompt, which transformers cannot; export "
                "a model that was taught with another method, such as replay"
            )
        with method.view(Learner(loaded.model), ""):
            if loaded.base and method.needs_view:
                fold_in(loaded.model)
            formats.write("huggingface", self.out, loaded.published())
        print(f"wrote {self.out}; in Python: AutoModelForCausalLM.from_pretrained({str(self.out)!r})")
