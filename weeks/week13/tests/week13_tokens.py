"""Tasks of disjoint tokens, for the tests of methods whose prompts choose the weights."""

import torch
from continual import Learner, Task, all_judged
from continual.vendor.gpt.model import GPT, GPTConfig

V, T = 12, 6


def gpt(**options):
    """A model whose tokens are as different as in a trained one: fresh, all its states are nearly 0."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(V, T, n_layer=1, n_head=2, n_embd=8))
    with torch.no_grad():
        model.wte.weight *= 30
    return Learner(model, **options)


def tasks(prompt=3):
    """Two tasks of tokens 0-5 and 6-11; of each row so many tokens are not judged."""
    g = torch.Generator().manual_seed(0)
    rows = [all_judged(torch.randint(start, start + 6, (16, T + 1), generator=g)) for start in (0, 6)]
    for part in rows:
        part.judged[:, :prompt] = False
    return [Task("low", rows[0]), Task("high", rows[1])]


def settings(steps=12):
    return dict(steps=steps, batch_size=4, make_optimizer=lambda named: torch.optim.AdamW(named.values(), lr=2e-2))
