"""Weeks 7 and 8: what two papers claim about attention, asked of small models.

    python weeks/week07-08/claims.py vaswani-root                     # trains nothing
    python weeks/week07-08/claims.py vaswani-heads vaswani-order      # small GPTs on Shakespeare
    python weeks/week07-08/claims.py olsson-layers olsson-second      # models that only attend learn to copy

The pages are those of papers/; the predictions are in papers/claims.toml. Claims that look at the same models share
them: name them in one command.
"""

import sys
from functools import cache
from pathlib import Path

import torch
from gpt import text
from gpt.ablations import build
from gpt.attention import attention_weights
from gpt.induction import Copying, copying_accuracy, head_scores, repeated_rows, train_copier
from gpt.loop import Recipe, evaluate, train
from gpt.model import GPTConfig
from gpt.vendor.shared import claims
from gpt.vendor.shared.errors import entry
from gpt.vendor.shared.files import need

DATA = Path(__file__).resolve().parents[2] / "data/shakespeare"
STEPS, WIDTH, JUDGED = 400, 64, 20_000  # of the small GPTs; tokens of validation text
COPYING = Copying(32, 24, 4, 2, 64, steps=3_000, batch_size=64, lr=3e-3)


# --- Vaswani et al. 2017 ----------------------------------------------------------------------------------------------


def vaswani_root(seed, run):
    """Gradient of a row's scores (its norm, the median over rows) with the root of D, over that without; D is 512.

    Queries, keys and what comes back from above are random with variance 1, as in the paper's footnote. 128 positions.
    """
    generator = torch.Generator().manual_seed(seed)
    q, k = torch.randn(2, 1, 8, 128, 512, generator=generator)
    above = torch.randn(1, 8, 128, 128, generator=generator)  # dL / d shares

    def size(factor):
        shares = attention_weights(q[None, 0] * factor, k[None, 0])
        grad = shares * (above - (above * shares).sum(dim=-1, keepdim=True))
        return grad[..., 1:, :].norm(dim=-1).median().item()  # the first position has one share, and no choice

    rooted, plain = size(1.0), size(512**0.5)
    return {"value": rooted / plain, "with": rooted, "without": plain}


@cache
def shakespeare():
    """(number of ids, training tokens, the first JUDGED tokens of validation)."""
    characters, training, validation = text.load(need(DATA, "make data/shakespeare"))
    return len(characters), training.tokens, validation.tokens[:JUDGED]


@claims.once
def learned(run, seed, name, heads):
    """Validation loss of a small GPT, nats a character; `name` is a row of ABLATIONS."""
    size, tokens, judged = shakespeare()
    steps = run.steps(STEPS)
    torch.manual_seed(seed)
    model = build(name, GPTConfig(size, 64, 2, heads, WIDTH))
    recipe = Recipe(steps, 16, lr=3e-3, min_lr=3e-4, warmup=min(40, steps))
    for _ in run.bar(train(model, tokens, recipe, seed=seed), steps, f"{name}, {heads} heads"):
        pass
    return evaluate(model, judged)


def differ(run, seed, one, other):
    """Validation loss of (name, heads) `one` less that of `other`."""
    first, second = learned(run, seed, *one), learned(run, seed, *other)
    return {"value": first - second, "one": first, "other": second}


def vaswani_heads(seed, run):
    """One head of width 64 less four of width 16."""
    return differ(run, seed, ("whole", 1), ("whole", 4))


def vaswani_order(seed, run):
    """Without positions less with them."""
    return differ(run, seed, ("no position", 4), ("whole", 4))


# --- Olsson et al. 2022 -----------------------------------------------------------------------------------------------


@claims.once
def copier(run, seed, layers):
    """(share of the known tokens that are right, the best induction score of each layer), on rows never trained on."""
    task = Copying(**{**vars(COPYING), "steps": run.steps(COPYING.steps)})
    *_, (_, _, model) = run.bar(train_copier(task, layers, seed), task.steps, f"{layers} layers")
    rows = repeated_rows(task, 256, torch.Generator().manual_seed(1_000 + seed))
    return copying_accuracy(model, task, *rows), head_scores(model, task, *rows)["induction"].amax(dim=1).tolist()


def olsson_layers(seed, run):
    """Share of the known tokens that are right: two layers less one."""
    two, one = copier(run, seed, 2)[0], copier(run, seed, 1)[0]
    return {"value": two - one, "two": two, "one": one}


def olsson_second(seed, run):
    """In the model of two layers: the best head's attention on what followed the token, second layer less first."""
    first, second = copier(run, seed, 2)[1]
    return {"value": second - first, "second": second, "first": first}


CLAIMS = {
    "vaswani-root": vaswani_root, "vaswani-heads": vaswani_heads, "vaswani-order": vaswani_order,
    "olsson-layers": olsson_layers, "olsson-second": olsson_second,
}  # fmt: skip


def main(argv=None):
    return claims.main(__file__, CLAIMS, __doc__, argv)


if __name__ == "__main__":
    sys.exit(entry(main))
