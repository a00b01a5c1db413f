"""Stop strings: generation ends where the text holds one of them, and no part of it is ever shown.

A stop string can be longer than a token, so the start of one is held back until it is clear what it becomes.
`until` knows pieces of text alone; `write` gives it those of a model. Left out: several texts at once.
"""

import torch

from .generate import stream


def until(pieces, stops):
    """Yield the text of `pieces` (an iterable of str) up to the first stop string; then ask for no further piece.

    First is the one that is complete first, and of those complete together the longest. So the text does not depend
    on how it was cut into pieces. An empty stop string, or a bare str in place of a list of them, raises ValueError.
    """
    if isinstance(stops, str) or not all(isinstance(stop, str) and stop for stop in stops):
        raise ValueError(f"stop strings are {stops!r}; give a list of strings of one character or more, as ['\\n\\n']")
    starts = {stop[:n] for stop in stops for n in range(1, len(stop) + 1)}  # what may not be shown yet
    held = ""  # the longest end of the text so far that is in `starts`
    for piece in pieces:
        shown = ""
        for character in piece:
            held += character
            if any(held.endswith(stop) for stop in stops):
                longest = max(len(stop) for stop in stops if held.endswith(stop))
                if shown := shown + held[:-longest]:
                    yield shown
                return
            safe = next(at for at in range(len(held) + 1) if at == len(held) or held[at:] in starts)
            shown, held = shown + held[:safe], held[safe:]
        if shown:
            yield shown
    if held:
        yield held


def write(model, characters, prompt, n, *, stops=(), **options):
    """Yield, piece by piece, the text with which a model goes on from `prompt` (str): n tokens, or up to a stop string.

    characters encodes and decodes; `options` go to `stream`. The prompt itself is not searched, and not shown again.
    """
    tokens = torch.tensor([characters.encode(prompt)])  # (1, T)
    return until((characters.decode(ids) for ids in stream(model, tokens, n, **options)), stops)
