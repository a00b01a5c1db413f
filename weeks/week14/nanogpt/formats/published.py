"""What every reader of a published model returns, whatever file it came from."""

from dataclasses import dataclass

from torch import Tensor

from ..model import GPTConfig
from ..vendor.bpe.fast import Tokenizer


@dataclass
class Published:
    """A model as it was published. `tensors` bear nanogpt's own names (`GPT(config).state_dict()`), and hold no
    "head.weight" where `config.tie`. `bos` and `eos` are texts of special tokens of `tokenizer`, "" for none."""

    config: GPTConfig
    tensors: dict[str, Tensor]
    tokenizer: Tokenizer
    chat_template: str | None = None  # Jinja source; see chat.py
    bos: str = ""
    eos: str = ""
