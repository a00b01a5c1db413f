"""What every reader of a published model returns, whatever file it came from, and how it asks for a setting."""

from dataclasses import dataclass, field

from torch import Tensor

from ..model import GPTConfig
from ..vendor.bpe.fast import Tokenizer


@dataclass
class Published:
    """A model as it was published. `tensors` bear nanogpt's own names (`model.blank(config)`), no "head.weight" where
    `config.tie`. `bos`, `eos` and `begin`, which stands before every text that is no conversation, are texts of special
    tokens of `tokenizer`, "" for none. `sample` is how it is drawn from, as far as that is told: checkpoint.DRAWN."""

    config: GPTConfig
    tensors: dict[str, Tensor]
    tokenizer: Tokenizer
    chat_template: str | None = None  # Jinja source; see chat.py
    bos: str = ""
    eos: str = ""
    begin: str = ""
    sample: dict = field(default_factory=dict)


def take(fields, key, kind, *default):
    """fields[key], which must be of the type `kind`; a ValueError names the key. None counts as not there, and then the
    default is the answer, where one is given."""
    value = fields.get(key)
    if value is None:
        if default:
            return default[0]
        raise ValueError(f"it has no {key}, without which it cannot be read; get another copy of the model")
    if not isinstance(value, kind) or (isinstance(value, bool) and kind in (int, int | float)):
        raise ValueError(f"{key} is {str(value)[:40]!r}, which is of the wrong type; get another copy of the model")
    return value


def several(items, most=8):
    """What is wrong, as one text: all of it, or the first `most` and how many more."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return "; ".join(items[:most]) + more
