"""A network's weights in a file: an .npz, a zip of plain arrays. No pickle is written, and none is ever opened."""

import io
import zipfile
import zlib
from pathlib import Path

import numpy as np

from .vendor.shared.files import atomic_write


def save(path, model):
    """Write the parameters of `model` to `path`, whole or not at all."""
    buffer = io.BytesIO()
    np.savez(buffer, **model.state())
    atomic_write(path, buffer.getvalue())


def load(path, model):
    """Give `model` the parameters that `save` wrote, and return it.

    Raises ValueError for a file that is no .npz of plain arrays, or one of another network.
    """
    try:
        with np.load(io.BytesIO(Path(path).read_bytes()), allow_pickle=False) as file:
            state = {name: np.asarray(file[name]) for name in file.files}
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):  # NumPy's own words would advise pickle
        raise ValueError(
            f"{path} is not a whole .npz of plain arrays: it was cut short or is something else; train again"
        ) from None
    try:
        model.load_state(state)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return model
