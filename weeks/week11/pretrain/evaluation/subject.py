"""Who is examined: a model and its tokenizer, as the little that an exam asks of both.

An exam never asks where a model comes from. It needs `logits, loss = model(tokens)`, text -> ids, the id that stands
before a document, and the longest context. So our GPT, a table of bigrams and a published model sit the same exam.
A model of another week, or of any package, comes in by a name that is typed: `--open nanogpt.sources:open_model`.
Left out: chat templates (week 14), several devices.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ..vendor.shared.errors import Mistake
from ..vendor.shared.opener import named, optional
from ..vendor.shared.text import END


@dataclass(frozen=True)
class Subject:
    """A model under examination."""

    model: nn.Module  # logits (B, T, V), loss = model(tokens (B, T))
    encode: Callable[[str], list[int]]  # text -> ids; nothing is added and nothing is lost
    end: int  # the id of the end of a document: what stands before the first token of the next one
    block_size: int  # the most tokens that one forward pass reads

    @property
    def device(self):
        return next(self.model.parameters()).device


def subject(model, tokenizer):
    """The Subject of a model with `config.block_size` and a tokenizer of week 9."""
    if END not in tokenizer.special_tokens:
        raise Mistake(
            f"the tokenizer has no {END}, so nothing can stand before the first word of a document; "
            f"train it with special_tokens=({END!r},)"
        )
    return Subject(model, tokenizer.encode_ordinary, tokenizer.special_tokens[END], model.config.block_size)


class Bigram(nn.Module):
    """The simplest model that has learned something: p(next | this) by counting, with `prior` added to each count.

    What a network must beat before it deserves a second look. One table (V, V) of float32: 64 MB for 4,096 ids, and
    three times that while it is made.
    """

    def __init__(self, ids, vocab_size, prior=0.01):
        """ids (N,) int64: the training text."""
        super().__init__()
        counts = torch.bincount(ids[:-1] * vocab_size + ids[1:], minlength=vocab_size**2).view(vocab_size, vocab_size)
        table = counts.float() + prior  # a row never seen becomes uniform; a row seen often forgets the prior
        self.table = nn.Parameter((table / table.sum(dim=1, keepdim=True)).log_(), requires_grad=False)

    def forward(self, tokens, targets=None, cache=None):
        """tokens (B, T) -> log-probabilities (B, T, V), which are logits too; no loss, for nothing is trained."""
        return self.table[tokens], None


class Foreign(nn.Module):
    """A model of transformers under our contract."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, tokens, targets=None, cache=None):
        return self.model(tokens, use_cache=False).logits, None


def of_transformers(path):
    """The Subject in a Hugging Face folder, through the package transformers: an oracle and a judge, not a need."""
    transformers, path = optional("transformers", "transformers"), Path(path)
    if not (path / "config.json").is_file():
        raise Mistake(f"{path} has no config.json, so it is no Hugging Face folder; give a folder that was exported")
    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    end = tokenizer.convert_tokens_to_ids(END) if END in tokenizer.get_vocab() else tokenizer.eos_token_id
    encode = lambda text: tokenizer.encode(text, add_special_tokens=False)
    return Subject(Foreign(model), encode, end, model.config.max_position_embeddings)


def opened(opener, path):
    """The Subject that `opener` finds at `path`: "transformers", or "package:function".

    function(path) returns something with `model` and `tokenizer`, such as nanogpt's `open_model`.
    """
    if opener == "transformers":
        return of_transformers(path)
    loaded = named(opener)(path)
    return subject(loaded.model, loaded.tokenizer)
