"""Generation: with and without the cache the same tokens, also beyond the context."""

import pytest
import torch
from gpt.generate import generate, stream
from gpt.model import GPT, GPTConfig
from gpt2_oracle import as_gpt2


def model(block_size=16, seed=0):
    torch.manual_seed(seed)
    net = GPT(GPTConfig(53, block_size, 2, 2, 16))
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(5.0 if p.dim() == 2 else 1.0)  # sharper logits than a fresh model's: no near-ties for greedy
    return net


# every setting, alone; then all of them at once
OPTIONS = {
    "greedy": dict(temperature=0),
    "drawn": dict(),
    "temperature": dict(temperature=0.7),
    "top-k": dict(top_k=5),
    "top-p": dict(top_p=0.9),
    "min-p": dict(min_p=0.1),
    "repetition penalty": dict(repetition_penalty=1.5),
    "greedy, repetition penalty": dict(temperature=0, repetition_penalty=1.5),
    "stop": dict(stop=7),
    "all": dict(temperature=1.2, top_k=30, top_p=0.95, min_p=0.01, repetition_penalty=1.2, stop=7),
}


@pytest.mark.day(54)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("length", [1, 7, 16, 30])
def test_cached_equals_uncached(options, length):
    """Token for token, for prompts shorter than, as long as and longer than the context, and 40 tokens past its end."""
    net = model()
    prompt = torch.randint(53, (3, length), generator=torch.Generator().manual_seed(length))
    plain, cached = (
        generate(net, prompt, 40, cached=c, generator=torch.Generator().manual_seed(1), **options)
        for c in (False, True)
    )
    assert torch.equal(plain, cached) and torch.equal(plain[:, :length], prompt)
    assert plain.shape == (3, length + 40) or "stop" in options


@pytest.mark.day(54)
def test_beyond_the_context_only_the_last_tokens_count():
    """What stands more than block_size back must not matter: two prompts with the same last 16 tokens go on alike."""
    net = model()
    tail = torch.randint(53, (1, 16))
    one, two = (torch.cat([torch.randint(53, (1, n)), tail], dim=1) for n in (3, 9))
    assert torch.equal(generate(net, one, 20, temperature=0)[:, 3:], generate(net, two, 20, temperature=0)[:, 9:])


@pytest.mark.day(54)
@pytest.mark.parametrize("penalty", [1.0, 1.3, 0.8])
def test_greedy_equals_transformers_generate(penalty):
    """The outside oracle for the loop itself: transformers' own generate with our weights, greedy.

    It also settles which tokens the repetition penalty weighs on: the prompt's and all since.
    """
    net = model(block_size=40).eval()
    prompt = torch.randint(53, (2, 5))
    theirs = as_gpt2(net).generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=30,
        do_sample=False,
        repetition_penalty=penalty,
        pad_token_id=0,
        eos_token_id=None,
    )
    assert torch.equal(generate(net, prompt, 30, temperature=0, repetition_penalty=penalty), theirs)


@pytest.mark.day(54)
def test_stop_ends_each_row_and_then_all():
    """A row that met `stop` repeats it; when the last row has met it, nothing more is computed."""
    net = model()
    prompt = torch.randint(53, (4, 3))
    ids = generate(net, prompt, 400, stop=7, generator=torch.Generator().manual_seed(0))[:, 3:]
    first = [(row == 7).nonzero()[0].item() for row in ids]
    assert all((row[at:] == 7).all() for row, at in zip(ids, first))
    assert ids.shape[1] == max(first) + 1 < 400


@pytest.mark.day(54)
def test_the_model_is_left_as_it_was():
    """Samples drawn during training must not leave dropout off, even where the stream is left early."""
    net = model().train()
    tokens = stream(net, torch.zeros(1, 1, dtype=torch.int64), 5)
    assert not next(tokens).requires_grad
    assert net.training
    tokens.close()
    assert generate(net, torch.zeros(1, 1, dtype=torch.int64), 0).shape == (1, 1)


@pytest.mark.day(54)
def test_nothing_to_continue_is_refused():
    """An empty prompt has no last position to read logits from."""
    with pytest.raises(ValueError, match="at least one token"):
        generate(model(), torch.zeros(1, 0, dtype=torch.int64), 3)
    with pytest.raises(ValueError, match="cannot generate -1 tokens"):
        generate(model(), torch.zeros(1, 1, dtype=torch.int64), -1)
