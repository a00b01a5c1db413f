"""The family in one table, and its weights as files. To add a model: write its class, and a row here.

Files are safetensors with what is needed to build the model again beside the numbers: its name, size and alphabet.
"""

from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from .cnn import CNN
from .counts import Counts
from .mlp import MLP, Bigram
from .recurrent import GRUCell, LSTMCell, Recurrent, RNNCell

# name -> what builds it from the number of letters; the sizes are those of the results
MODELS = {
    "bigram": partial(Counts, context=1),
    "trigram": partial(Counts, context=2),
    "bigram_gradient": Bigram,
    "mlp": partial(MLP, context=3, n_embd=16, n_hidden=145),
    "rnn": partial(Recurrent, cell=RNNCell, n_embd=32, n_hidden=128, dropout=0.1),
    "gru": partial(Recurrent, cell=GRUCell, n_embd=32, n_hidden=96, dropout=0.1),
    "lstm": partial(Recurrent, cell=LSTMCell, n_embd=32, n_hidden=96, dropout=0.1),
    "cnn": partial(CNN, n_embd=64, size=3, dilations=(1, 2, 4), dropout=0.1),
}


def build(name, vocab_size, seed=0):
    """A fresh model of the table. The same seed gives the same weights, and nobody else's randomness is touched."""
    if name not in MODELS:
        raise ValueError(f"there is no model {name!r}; choose one of {', '.join(MODELS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MODELS[name](vocab_size)


def to_bytes(name, model, alphabet):
    """The weights as the bytes of a safetensors file."""
    tensors = {key: tensor.contiguous() for key, tensor in model.state_dict().items()}
    return save(tensors, {"model": name, "alphabet": alphabet})


def load(path):
    """(model, alphabet) of a file that `to_bytes` made. Raises ValueError for any other file."""
    try:
        with safe_open(Path(path), "pt") as file:
            about = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}
        model = build(about["model"], len(about["alphabet"]) + 1)
        model.load_state_dict(tensors)
    except (SafetensorError, KeyError, RuntimeError) as error:
        raise ValueError(
            f"{path} does not hold a model of this room as it is now ({str(error).splitlines()[0]}); "
            "train it again: python weeks/week03-04/train.py"
        ) from None
    return model.eval(), about["alphabet"]
