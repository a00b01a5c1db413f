"""Invent names: start at the border, draw a letter, append it, go on until the border is drawn.

Left out: top-k and top-p (weeks 7 and 8), and a state that is carried along: each letter reads the name anew.
"""

import torch


@torch.no_grad()
def sample(model, names, count, generator, temperature=1.0, longest=None):
    """`count` invented names, drawn side by side. `longest`: cut there (default: twice the longest known name).

    The model, in evaluation mode, is shown borders alone first: `model.context` of them if it takes windows, else one.
    Then at each letter the last `model.context` tokens, or the whole rows. The temperature divides the logits. Drawing
    stops when every name has ended; `names.decode` cuts what was drawn behind the ends. The model is left in the mode
    in which it came.
    Raises ValueError: "a temperature of 0 cannot divide the logits; give one above 0".
    """
    if not temperature > 0:
        raise ValueError(f"a temperature of {temperature} cannot divide the logits; give one above 0")
    was_training = model.training
    model.eval()
    before = model.context if model.takes == "windows" else 1
    tokens = torch.zeros(count, before, dtype=torch.long)  # nothing but borders
    for _ in range(longest or 2 * names.longest):
        if model.takes == "windows":
            logits, _ = model(tokens[:, -model.context :])  # (count, V)
        else:
            logits = model(tokens)[0][:, -1]  # (count, V)
        drawn = torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)  # (count, 1)
        tokens = torch.cat([tokens, drawn], dim=1)
        if (tokens[:, before:] == 0).any(dim=1).all():  # every name has ended
            break
    model.train(was_training)
    return [names.decode(row) for row in tokens[:, before:]]


def sort_samples(invented, names):
    """{"seen": ..., "held_out": ..., "new": ...}: shown in training; real, but kept for val or test; in no part.

    Three lists, in the order of `invented`, copies included. A name that stands in training and in val was shown.
    A model that only recites fills the first, one that has learnt how names are made finds some of the second.
    """
    seen, held_out = set(names.train), {*names.val, *names.test}
    sorted_into = {"seen": [], "held_out": [], "new": []}
    for name in invented:
        sorted_into["seen" if name in seen else "held_out" if name in held_out else "new"].append(name)
    return sorted_into
