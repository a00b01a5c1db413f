"""The GPT class against transformers, which computes the same two families in other code."""

import pytest
import torch
from nanogpt.formats.hf import LLAMA, LLAMA_OUTSIDE, read_config, read_tensors
from nanogpt.model import GPT, GPTConfig
from nanogpt.vendor.gpt.cache import KVCache

# float32 sums of some hundred products in another order: differences of 1e-7 to 2e-6 were seen
TOLERANCE = 1e-5


def ours_from(theirs):
    """Our model with the weights of a transformers model."""
    config = read_config(theirs.config.to_dict())
    model = GPT(config)
    tensors = read_tensors(config, theirs.state_dict())
    missing, unknown = model.load_state_dict(tensors, strict=False)
    assert not unknown and set(missing) <= {"head.weight"}
    return model.eval()


def llama_by_hand(theirs):
    """The same for a Llama, by the table of names alone: its layout is ours."""
    config, tensors = read_config(theirs.config.to_dict()), {}
    for name, t in theirs.state_dict().items():
        short = name.removeprefix("model.")
        for part, own in LLAMA.items():
            short = short.replace(f".{part}.", f".{own}.")
        tensors[LLAMA_OUTSIDE.get(short, short.replace("layers.", "blocks."))] = t
    model = GPT(config)
    model.load_state_dict(tensors)
    return model.eval()


def tiny_llama(n_head, n_kv_head, tie):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(n_kv_head)
    config = LlamaConfig(
        vocab_size=97,
        hidden_size=48,
        intermediate_size=80,
        num_hidden_layers=3,
        num_attention_heads=n_head,
        num_key_value_heads=n_kv_head,
        max_position_embeddings=40,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
        tie_word_embeddings=tie,
    )
    model = LlamaForCausalLM(config).eval()
    loud(model)
    return model


def loud(model):
    """Random weights large enough that every part moves the logits: at 0.02 attention is all but uniform."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(1 + 0.3 * torch.randn_like(p) if "norm" in name or "ln_" in name else 0.25 * torch.randn_like(p))


@pytest.mark.day(92)
@pytest.mark.parametrize(("n_head", "n_kv_head"), [(6, 6), (6, 2), (6, 1)], ids=["ratio-1", "ratio-3", "one-kv-head"])
@pytest.mark.parametrize("tie", [True, False], ids=["tied", "untied"])
def test_llama_family_equals_transformers(n_head, n_kv_head, tie):
    """RoPE, grouped queries, RMSNorm, SwiGLU and the head must be Llama's, or its weights would give nonsense."""
    theirs = tiny_llama(n_head, n_kv_head, tie)
    tokens = torch.randint(0, 97, (2, 40), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = theirs(tokens).logits
        logits, _ = llama_by_hand(theirs)(tokens)
    assert expected.std() > 0.1
    torch.testing.assert_close(logits, expected, atol=TOLERANCE * expected.abs().max().item(), rtol=0)


@pytest.mark.day(93)
@pytest.mark.parametrize("tie", [True, False], ids=["tied", "untied"])
def test_llama_names_become_ours(tie):
    """The oracle is the table of names, applied by hand: the same tensor stands at each place, bit for bit."""
    theirs = tiny_llama(6, 2, tie)
    ours, expected = ours_from(theirs).state_dict(), llama_by_hand(theirs).state_dict()
    assert all(torch.equal(ours[name], t) for name, t in expected.items())


@pytest.mark.day(93)
def test_gpt2_family_equals_transformers():
    """Learned positions, LayerNorm, tanh-GELU, biases and transposed linears must be GPT-2's."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    theirs = GPT2LMHeadModel(GPT2Config(vocab_size=97, n_positions=40, n_embd=48, n_layer=3, n_head=4)).eval()
    loud(theirs)
    tokens = torch.randint(0, 97, (2, 40), generator=torch.Generator().manual_seed(1))
    targets = tokens.clone()
    targets[:, :5] = -100
    with torch.no_grad():
        theirs_out = theirs(tokens, labels=torch.cat([tokens[:, :1], targets[:, :-1]], dim=1))  # they shift labels
        logits, loss = ours_from(theirs)(tokens[:, :-1], targets[:, :-1])
    expected = theirs_out.logits[:, :-1]
    torch.testing.assert_close(logits, expected, atol=TOLERANCE * expected.abs().max().item(), rtol=0)
    torch.testing.assert_close(loss, theirs_out.loss, atol=1e-5, rtol=1e-5)


@pytest.mark.day(92)
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_cached_pieces_equal_one_pass(family):
    """A prompt read in one go, in chunks or token by token must leave the same logits (float32, 1e-5)."""
    sizes = {"block_size": 24, "n_layer": 2, "n_head": 4, "n_embd": 32}
    config = GPTConfig(61, n_kv_head=2, **sizes) if family == "llama" else GPTConfig.gpt2(61, **sizes)
    torch.manual_seed(3)
    model = GPT(config).eval()
    loud(model)
    tokens = torch.randint(0, 61, (2, 24))
    with torch.no_grad():
        whole, _ = model(tokens)
        for pieces in ([1] * 24, [10, 1, 5, 8], [23, 1]):
            cache = KVCache.of(config, batch=2)
            parts = [model(part, cache=cache)[0] for part in tokens.split(pieces, dim=1)]
            torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-5 * whole.abs().max().item(), rtol=0)
    assert cache.offset == 24


@pytest.mark.day(92)
def test_future_tokens_do_not_reach_back():
    """Causality: changing a later token must not move an earlier logit by one bit."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(50, block_size=16, n_layer=2, n_head=4, n_kv_head=2, n_embd=32)).eval()
    a = torch.randint(0, 50, (1, 16))
    b = a.clone()
    b[0, 9] = (b[0, 9] + 1) % 50
    with torch.no_grad():
        x, y = model(a)[0], model(b)[0]
    assert torch.equal(x[:, :9], y[:, :9]) and not torch.equal(x[:, 9], y[:, 9])


@pytest.mark.day(92)
def test_rope_sees_only_distance():
    """q at m and k at n must meet with a score that depends on m - n alone (RoFormer, section 3.2)."""
    from nanogpt.model import rope_tables, rotate

    config = GPTConfig(10, block_size=64, n_head=1, n_embd=16, n_layer=1)
    cos, sin = rope_tables(config, config.block_size)
    q, k = torch.randn(2, 16, generator=torch.Generator().manual_seed(0)).double()

    def score(m, n):
        turned = [
            rotate(v.view(1, 1, 1, 16), cos[p : p + 1].double(), sin[p : p + 1].double()) for v, p in ((q, m), (k, n))
        ]
        return (turned[0] * turned[1]).sum()

    # float32 tables: 1e-5 of a score of order 1
    torch.testing.assert_close(score(40, 33), score(12, 5), atol=1e-5, rtol=0)
    assert abs(score(40, 33) - score(40, 30)) > 1e-3


@pytest.mark.day(92)
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"n_head": 5}, "n_head 5 does not divide n_embd 32"),
        ({"n_kv_head": 3}, "n_kv_head 3 does not divide n_head 4"),
        ({"n_layer": 0}, "n_layer is 0"),
        ({"block_size": -1}, "block_size is -1"),
        ({"ngram": 0}, "ngram is 0; it must be a whole number from 1 to 16"),
        (
            {"vocab_size": 65, "n_embd": 8, "n_head": 8, "position": "none", "ngram": 2},
            "= 1 channels are too few for 65",
        ),
        ({"vocab_size": 0}, "vocab_size is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"norm": "batchnorm"}, "choose one of: rmsnorm, layernorm"),
        ({"n_embd": 12}, "make it even"),
    ],
)
def test_absurd_sizes_get_a_sentence(change, sentence):
    """A wrong size must be told before any tensor exists."""
    with pytest.raises(ValueError, match=sentence):
        GPTConfig(**{"vocab_size": 50, "n_embd": 32, "n_head": 4, **change})


@pytest.mark.day(92)
def test_unknown_setting_is_refused():
    """A dropped setting would give wrong logits quietly."""
    with pytest.raises(ValueError, match="sliding_window"):
        GPTConfig.from_dict({"vocab_size": 50, "sliding_window": 4})


@pytest.mark.day(92)
def test_too_long_input_is_refused():
    """One token more than the context has no position."""
    model = GPT(GPTConfig(50, block_size=8, n_layer=1, n_head=2, n_embd=8))
    with pytest.raises(ValueError, match="9 tokens do not fit into this model's context of 8"):
        model(torch.zeros(1, 9, dtype=torch.long))


@pytest.mark.day(92)
def test_parameter_count_by_hand():
    """The printed size must be the one that arithmetic gives; a tied head is counted once."""
    c = GPTConfig(100, block_size=8, n_layer=2, n_head=4, n_kv_head=2, n_embd=32, n_hidden=64)
    block = 32 * 32 * 2 + 2 * 32 * 16 + 3 * 32 * 64 + 2 * 32
    model = GPT(c)
    assert model.n_params() == 100 * 32 + 2 * block + 32
    # 6 FLOPs a matmul weight (the tied embedding is used once, as the head) + attention
    assert model.flops_per_token() == 6 * (100 * 32 + 2 * (block - 64)) + 12 * 2 * 32 * 8
    untied = GPT(GPTConfig(100, block_size=8, n_layer=2, n_head=4, n_kv_head=2, n_embd=32, n_hidden=64, tie=False))
    assert untied.n_params() == model.n_params() + 3200 and untied.flops_per_token() == model.flops_per_token()


@pytest.mark.day(93)
def test_unsupported_hugging_face_settings_are_refused():
    """RoPE scaling or attention biases change logits; reading such a model without them would be quietly wrong."""
    fields = tiny_llama(6, 2, True).config.to_dict()
    with pytest.raises(ValueError, match="attention_bias is True"):
        read_config({**fields, "attention_bias": True})
    with pytest.raises(ValueError, match="scales RoPE"):
        read_config({**fields, "rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}})
    with pytest.raises(ValueError, match="model_type 'mamba'"):
        read_config({"model_type": "mamba"})
