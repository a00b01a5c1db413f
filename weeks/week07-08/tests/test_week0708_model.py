"""The GPT against transformers' GPT-2, and what must hold of any causal language model."""

import math

import pytest
import torch
import torch.nn.functional as F
from gpt.cache import KVCache
from gpt.model import GPT, Attention, GPTConfig
from gpt.steps import fused_heads
from gpt2_oracle import as_gpt2, pairs

CONFIG = GPTConfig(vocab_size=97, block_size=24, n_layer=3, n_head=4, n_embd=32)


def model_and_tokens(config=CONFIG, B=2, T=17, seed=0):
    torch.manual_seed(seed)
    model = GPT(config)
    with torch.no_grad():
        for p in model.parameters():  # biases and norms too: at 0 and 1 they could be left out and nobody would see
            p.add_(0.1 * torch.randn_like(p))
    return model.eval(), torch.randint(config.vocab_size, (B, T))


@pytest.mark.day(50)
def test_logits_and_loss_equal_transformers_gpt2():
    """The outside oracle of the week. float32, logits of size about 5, 3 layers: 1e-5, ten times the noise seen."""
    model, tokens = model_and_tokens()
    theirs = as_gpt2(model)
    labels = tokens.clone()
    labels[0, 5:9] = -100
    expected = theirs(tokens, labels=labels)  # transformers shifts inside: position t is judged on label t + 1
    targets = torch.cat([labels[:, 1:], torch.full((2, 1), -100)], dim=1)
    logits, loss = model(tokens, targets)
    torch.testing.assert_close(logits, expected.logits, rtol=0, atol=1e-5)
    torch.testing.assert_close(loss, expected.loss, rtol=0, atol=1e-5)


@pytest.mark.day(50)
def test_gradients_equal_transformers_gpt2():
    """Every parameter: equal losses do not mean equal gradients (tying is half of it). float32: 1e-5."""
    model, tokens = model_and_tokens()
    theirs = as_gpt2(model)
    targets = torch.cat([tokens[:, 1:], torch.full((2, 1), -100)], dim=1)
    model(tokens, targets)[1].backward()
    theirs(tokens, labels=tokens).loss.backward()
    ours, expected = dict(model.named_parameters()), dict(theirs.named_parameters())
    rows = list(pairs(CONFIG))
    assert len(rows) == len(ours)
    for our, their, transposed in rows:
        grad = expected[their].grad
        torch.testing.assert_close(ours[our].grad, grad.T if transposed else grad, rtol=0, atol=1e-5)


@pytest.mark.day(47)
def test_the_future_cannot_be_seen():
    """Changing token t must leave every logit before t as it was (same shapes, same order of sums: bit-equal)."""
    model, tokens = model_and_tokens()
    before = model(tokens)[0]
    for t in (1, 8, 16):
        changed = tokens.clone()
        changed[:, t] = (changed[:, t] + 1) % CONFIG.vocab_size
        after = model(changed)[0]
        assert torch.equal(after[:, :t], before[:, :t])
        assert not torch.allclose(after[:, t:], before[:, t:])


@pytest.mark.day(47)
def test_heads_read_their_own_columns():
    """Against each head alone, from its columns of the map to q, k, v. Sums in float32: 1e-5."""
    attention = model_and_tokens()[0].blocks[0].attn
    x = torch.randn(2, 9, 32)
    q, k, v = (part.split(8, dim=-1) for part in attention.qkv(x).split(32, dim=-1))  # four heads of width 8
    heads = [F.scaled_dot_product_attention(*one, is_causal=True) for one in zip(q, k, v)]
    torch.testing.assert_close(attention(x), attention.proj(torch.cat(heads, dim=-1)), rtol=0, atol=1e-5)


@pytest.mark.day(47)
def test_the_last_step_is_the_attention_of_the_model():
    """model.py keeps all maps of all heads in one matrix, (3 * H * D, C), and adds a map after the heads.

    float64, sums in another order: 1e-12.
    """
    attention = Attention(GPTConfig(5, 6, 1, 2, 8)).double()
    x = torch.randn(2, 6, 8, dtype=torch.float64)
    with torch.no_grad():
        attention.qkv.bias.zero_()
        weights = attention.qkv.weight.view(3, 2, 4, 8).transpose(-2, -1)  # (3, H, C, D)
        expected = attention.proj(fused_heads(x, *weights))
        torch.testing.assert_close(attention(x), expected, rtol=0, atol=1e-12)


@pytest.mark.day(47)
def test_a_block_adds_to_the_stream():
    """Its two parts, called from here in the order of pre-norm: the same operations, so the same bits."""
    block = model_and_tokens()[0].blocks[1]
    x = torch.randn(2, 9, 32)
    middle = x + block.attn(block.norm1(x))
    assert torch.equal(block(x), middle + block.mlp(block.norm2(middle)))


@pytest.mark.day(47)
def test_order_matters_from_the_first_layer():
    """One layer and one token repeated: only the position tells the places apart."""
    model, _ = model_and_tokens(GPTConfig(97, 24, 1, 4, 32))
    logits = model(torch.full((1, 6), 5))[0][0]
    assert (logits[1:] - logits[:-1]).abs().amax(dim=-1).min() > 1e-3


@pytest.mark.day(47)
def test_rows_of_a_batch_are_independent():
    """A row alone gives what it gives in company. Matmul may sum in another order for another batch: 1e-5."""
    model, tokens = model_and_tokens(B=3)
    torch.testing.assert_close(model(tokens[1:2])[0], model(tokens)[0][1:2], rtol=0, atol=1e-5)


@pytest.mark.day(47)
def test_loss_is_the_mean_over_targets_that_count():
    """-100 leaves a target out of the sum *and* of the count. Against a mean over the rest; float32: 1e-6."""
    model, tokens = model_and_tokens()
    targets = tokens.roll(-1, dims=1)
    targets[:, ::3] = -100
    logits, loss = model(tokens, targets)
    log_probs = F.log_softmax(logits, dim=-1)
    terms = [-log_probs[b, t, targets[b, t]] for b in range(2) for t in range(17) if targets[b, t] != -100]
    torch.testing.assert_close(loss, torch.stack(terms).mean(), rtol=0, atol=1e-6)
    assert model(tokens)[1] is None


@pytest.mark.day(47)
def test_a_fresh_model_knows_nothing():
    """The first loss must be near ln V: far above means an initialisation that is sure of wrong things.

    With N(0, 0.02) and width 32, logits have deviation 0.02 * sqrt(32) = 0.11, which adds 0.11^2 / 2 = 0.006 to ln V;
    0.05 leaves room for the luck of 400 targets (0.11 / sqrt(400) = 0.006 more).
    """
    torch.manual_seed(0)
    model = GPT(CONFIG)
    tokens, targets = torch.randint(97, (2, 20, 20))
    assert abs(model(tokens, targets)[1].item() - math.log(97)) < 0.05


@pytest.mark.day(47)
def test_initial_deviations():
    """All matrices 0.02, but the two writers to the residual stream 0.02 / sqrt(2 n_layer).

    The deviation of n draws is uncertain by 1 / sqrt(2 n); 64 * 64 draws: 1.1 %, so 5 % is over four sigma.
    """
    torch.manual_seed(0)
    model = GPT(GPTConfig(128, 64, 3, 4, 64))
    for name, p in model.named_parameters():
        if p.dim() == 2:
            writes = name.endswith(("attn.proj.weight", "mlp.down.weight"))
            expected = 0.02 / math.sqrt(6) if writes else 0.02
            assert p.std().item() == pytest.approx(expected, rel=0.05), name
        else:
            assert torch.equal(
                p, torch.ones_like(p) if "norm" in name and name.endswith("weight") else torch.zeros_like(p)
            )


@pytest.mark.day(50)
def test_head_is_tied_and_counted_once():
    """One tensor under two names; and n_params must agree with transformers' count, which knows of tying."""
    model, _ = model_and_tokens()
    assert model.head.weight is model.wte.weight
    assert model.n_params() == as_gpt2(model).num_parameters()
    assert model.n_params(embeddings=False) == model.n_params() - 97 * 32 - 24 * 32


@pytest.mark.day(50)
def test_flops_of_gpt2_small():
    """GPT-2 small at 1,024: 6 * (matrices without wpe) + 12 * L * C * T, with the matrices counted here by hand."""
    with torch.device("meta"):  # shapes only: no memory
        model = GPT(GPTConfig(50_257, 1_024, 12, 12, 768))
    assert model.n_params() == 124_439_808  # the published size
    matrices = 12 * 12 * 768**2 + 50_257 * 768  # 4 C^2 attention + 8 C^2 MLP a layer, and the head
    assert model.flops_per_token() == 6 * matrices + 12 * 12 * 768 * 1_024
    assert model.flops_per_token(1) == 6 * matrices + 12 * 12 * 768


@pytest.mark.day(47)
def test_dropout_is_off_in_eval_and_on_in_train():
    """Evaluation must repeat itself; training not. Attention's dropout is a call, no module: easily forgotten."""
    model, tokens = model_and_tokens(GPTConfig(97, 24, 2, 4, 32, dropout=0.5))
    assert torch.equal(model(tokens)[0], model(tokens)[0])
    model.drop.p = 0.0
    for block in model.blocks:
        block.drop.p = 0.0
    model.train()  # only the attention's dropout is left
    assert not torch.equal(model(tokens)[0], model(tokens)[0])


@pytest.mark.day(47)
def test_without_biases_there_are_none():
    """bias=False must reach every layer."""
    names = [name for name, _ in GPT(GPTConfig(97, 24, 2, 4, 32, bias=False)).named_parameters()]
    assert not [name for name in names if name.endswith("bias")]


@pytest.mark.day(51)
@pytest.mark.parametrize("cuts", [[1] * 17, [16, 1], [5, 7, 1, 4], [17]])
def test_cache_gives_the_logits_of_one_long_forward(cuts):
    """Whatever the pieces, also several new tokens over a part-filled cache, where is_causal alone would be wrong.

    float32, other shapes of matmul: 1e-5.
    """
    model, tokens = model_and_tokens()
    cache = KVCache.of(CONFIG, batch=2)
    with torch.no_grad():
        pieces = [model(piece, cache=cache)[0] for piece in tokens.split(cuts, dim=1)]
        torch.testing.assert_close(torch.cat(pieces, dim=1), model(tokens)[0], rtol=0, atol=1e-5)
    assert cache.offset == 17


@pytest.mark.day(47)
@pytest.mark.parametrize(
    "change, sentence",
    [
        (dict(n_head=5), r"n_head = 5 does not divide n_embd = 32, .* choose n_embd = 30 or 35"),
        (dict(n_layer=0), r"n_layer is 0, .* give 1 or more"),
        (dict(n_embd=-32), r"n_embd is -32, .* give 1 or more"),
        (dict(block_size=2.5), r"block_size is 2.5, .* whole number"),
        (dict(vocab_size=True), r"vocab_size is True"),
        (dict(n_head=64), r"with 64 heads choose n_embd = 64"),
        (dict(dropout=1.0), r"dropout is 1.0, .* below 1"),
        (dict(dropout=float("nan")), r"dropout is nan"),
    ],
)
def test_absurd_sizes_are_refused_with_a_sentence(change, sentence):
    """A wrong size must be told with its number and the way out, before any memory is taken."""
    sizes = dict(vocab_size=97, block_size=24, n_layer=3, n_head=4, n_embd=32) | change
    with pytest.raises(ValueError, match=sentence):
        GPTConfig(**sizes)


@pytest.mark.day(47)
def test_too_long_input_names_block_size():
    """The position table ends somewhere; an index error from inside an embedding tells nobody where."""
    model, _ = model_and_tokens()
    with pytest.raises(ValueError, match=r"25 tokens are more than block_size = 24.* give the last 24"):
        model(torch.zeros(1, 25, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"shape \(3,\); give \(batch, time\)"):
        model(torch.zeros(3, dtype=torch.int64))


@pytest.mark.day(51)
def test_too_long_input_counts_what_the_cache_holds():
    """The cache fills the position table too, and the sentence says how much of it."""
    model, _ = model_and_tokens()
    cache = KVCache.of(CONFIG)
    with torch.no_grad():
        model(torch.zeros(1, 20, dtype=torch.int64), cache=cache)
        with pytest.raises(ValueError, match=r"5 tokens on top of 20 in the cache"):
            model(torch.zeros(1, 5, dtype=torch.int64), cache=cache)
