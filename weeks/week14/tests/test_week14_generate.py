"""Generation: the cache changes nothing, text comes out whole, contexts overflow without harm."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nanogpt.infer.generate import generate
from nanogpt.model import GPT, GPTConfig
from nanogpt.vendor.bpe.fast import Tokenizer
from nanogpt.vendor.bpe.stream import decode_stream

pytestmark = pytest.mark.day(97)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    net = GPT(GPTConfig(320, block_size=16, n_layer=2, n_head=4, n_kv_head=2, n_embd=32)).eval()
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(4)  # sharper choices, so that a wrong logit changes a token
    return net


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train("the cat sat on the mat, the cat 😀 sat 漢字 " * 20, 279)


@pytest.mark.parametrize("options", [{"temperature": 0}, {"temperature": 1.0, "top_k": 20}, {"top_p": 0.9}])
@pytest.mark.parametrize("prompt", [[5], list(range(16)), list(range(40))], ids=["one", "full", "too-long"])
def test_cached_equals_uncached(model, options, prompt):
    """Token for token, past the end of the context too; a cache that is off by one position shows here."""
    cached = list(generate(model, prompt, 40, seed=7, **options))
    plain = list(generate(model, prompt, 40, seed=7, cached=False, **options))
    assert cached == plain and len(cached) == 40


def test_greedy_equals_transformers(tokenizer):
    """The same weights must give the same greedy continuation in other code."""
    from nanogpt.formats.hf import read_config, read_tensors
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(5)
    sizes = {"hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "max_position_embeddings": 64}
    heads = {"num_attention_heads": 6, "num_key_value_heads": 2}
    config = LlamaConfig(vocab_size=97, bos_token_id=None, eos_token_id=None, **sizes, **heads)
    theirs = LlamaForCausalLM(config).eval()
    ours = GPT(read_config(theirs.config.to_dict())).eval()
    ours.load_state_dict(read_tensors(ours.config, theirs.state_dict()))
    prompt = [3, 14, 15, 92]
    expected = theirs.generate(torch.tensor([prompt]), max_new_tokens=30, do_sample=False, pad_token_id=0)[
        0, 4:
    ].tolist()
    assert list(generate(ours, prompt, 30, temperature=0)) == expected


def test_stops_at_a_stop_token(model):
    """The stop token ends the answer and is not part of it."""
    first = list(generate(model, [5], 10, temperature=0))
    stop = first[4]
    assert list(generate(model, [5], 10, temperature=0, stop={stop})) == first[: first.index(stop)]


def test_seed_decides(model):
    """The same seed must give the same text; another seed another."""
    texts = [list(generate(model, [5], 20, temperature=1.5, seed=s)) for s in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_empty_prompt_is_refused(model):
    """A model has no distribution before its first token."""
    with pytest.raises(ValueError, match="begin with at least one token"):
        next(generate(model, [], 5))


@given(st.text(max_size=60))
@settings(max_examples=80, deadline=None)
def test_stream_never_breaks_a_character(tokenizer, text):
    """Pieces are whole characters and add up to the text, whatever tokens its bytes are cut into."""
    pieces = list(decode_stream(tokenizer, tokenizer.encode_ordinary(text)))
    assert "".join(pieces) == text and "\ufffd" not in "".join(pieces).replace("\ufffd" * text.count("\ufffd"), "")


def test_stream_holds_back_half_a_character(tokenizer):
    """😀 has four bytes: as single-byte tokens nothing may be shown before the fourth."""
    table = {
        tokenizer.token_bytes(i): i for i in range(tokenizer.vocab_size) if i not in tokenizer.special_tokens.values()
    }
    ids = [table[bytes([b])] for b in "😀!".encode()]
    shown = []
    for n in range(1, len(ids) + 1):
        shown.append("".join(p for p in decode_stream(tokenizer, ids[:n]) if "\ufffd" not in p))
    assert shown == ["", "", "", "😀", "😀!"]
    assert list(decode_stream(tokenizer, ids[:2])) == ["\ufffd"]  # what never became whole is shown as such, at the end
