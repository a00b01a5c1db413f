"""Every ingredient of the config, each choice by itself and all together: one exam, a row for each.

Weights are random and loud, so that a part that is left out on one of two ways shows. The two ways sum in another
order, so float32 differs by rounding: 1e-5 of the largest logit is ten times what was seen.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from nanogpt.answers import AnswerLearner
from nanogpt.formats.hf import family
from nanogpt.infer.batch import generate_batch
from nanogpt.infer.generate import generate
from nanogpt.model import GPT, GPTConfig, blank, build
from nanogpt.runs import Runs
from nanogpt.vendor.continual.learner import Learner
from nanogpt.vendor.continual.rows import Rows
from nanogpt.vendor.gpt.cache import KVCache

ROWS = {
    "rope": {},
    "learned": {"position": "learned"},
    "sinusoidal": {"position": "sinusoidal"},
    "no positions": {"position": "none"},
    "layernorm": {"norm": "layernorm"},
    "layernorm, bias": {"norm": "layernorm", "bias": True},
    "gelu": {"mlp": "gelu"},
    "relu2": {"mlp": "relu2"},
    "untied": {"tie": False},
    "no sharing of heads": {"n_kv_head": 4},
    "qk_norm": {"qk_norm": True},
    "value_embed": {"value_embed": True},
    "value_embed, bias, untied": {"value_embed": True, "bias": True, "tie": False},
    "zero_init": {"zero_init": True},
    "softcap": {"softcap": 2.0},
    "ngram": {"ngram": 4, "ngram_rows": 60},
    "all of them": {
        "mlp": "relu2",
        "qk_norm": True,
        "value_embed": True,
        "zero_init": True,
        "softcap": 2.0,
        "bias": True,
        "ngram": 3,
        "ngram_rows": 60,
    },
}
LAST_DAY = {"sinusoidal"}  # its code is built on day 100
EACH = [pytest.param(name, marks=pytest.mark.day(100 if name in LAST_DAY else 92)) for name in ROWS]
PACKED = [pytest.param(name, marks=pytest.mark.day(100 if name in LAST_DAY else 98)) for name in ROWS]


def config_of(name, **changes):
    sizes = {"block_size": 24, "n_layer": 2, "n_head": 4, "n_kv_head": 2, "n_embd": 16, "n_hidden": 24}
    return GPTConfig(31, **{**sizes, **ROWS[name], **changes})


def loud(name, **changes):
    """Weights so large that every part moves the logits."""
    torch.manual_seed(1)
    model = GPT(config_of(name, **changes)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.4 * torch.randn(p.shape) + (p.dim() == 1))
    return model


def close(a, b):
    torch.testing.assert_close(a, b, atol=1e-5 * b.abs().max().item(), rtol=0)


@pytest.mark.parametrize("name", EACH)
def test_a_cache_changes_nothing(name):
    """What is read in pieces must be what is read at once, or a chat would drift from what training saw."""
    model = loud(name)
    tokens = torch.randint(0, 31, (2, 24), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        whole, _ = model(tokens)
        cache = KVCache.of(model.config, batch=2)
        parts = [model(part, cache=cache)[0] for part in tokens.split([9, 1, 4, 10], dim=1)]
    close(torch.cat(parts, dim=1), whole)


@pytest.mark.parametrize("name", EACH)
def test_the_future_does_not_reach_back(name):
    """No ingredient may let a later token move an earlier logit, by one bit."""
    model = loud(name)
    tokens = torch.randint(0, 31, (1, 24), generator=torch.Generator().manual_seed(3))
    other = tokens.clone()
    other[0, 15] = (other[0, 15] + 1) % 31
    with torch.no_grad():
        a, b = model(tokens)[0], model(other)[0]
    assert torch.equal(a[:, :15], b[:, :15]) and not torch.equal(a[:, 15], b[:, 15])


@pytest.mark.parametrize("name", PACKED)
def test_packing_changes_nothing(name):
    """Rows as one sequence, what they share only once: the oracle is the loss of padded rows, gradients included."""
    ids = torch.randint(1, 31, (5, 20), generator=torch.Generator().manual_seed(4))
    ids[:3, :6] = ids[0, :6]  # a common beginning
    judged = torch.zeros(5, 20, dtype=torch.bool)
    for row, end in enumerate([20, 9, 14, 12, 20]):
        judged[row, end - 4 : end] = True
        ids[row, end:] = 0
    rows, found = Rows(ids=ids, judged=judged), []
    for kind in (Learner, AnswerLearner):
        model = loud(name)
        kind(model).loss(rows).backward()
        found.append({name: p.grad for name, p in model.named_parameters()})
    plain, packed = found
    assert plain.keys() == packed.keys()
    for part, gradient in plain.items():
        if gradient is None:  # this part is not used
            assert packed[part] is None
        else:
            close(packed[part], gradient)


@pytest.mark.parametrize("name", PACKED)
def test_a_batch_answers_as_one_row_does(name):
    """Rows that stand at different places in one batch: the same tokens as each gets alone."""
    model = loud(name)
    prompts = [[3, 4, 5], [3, 4, 9, 10, 11, 12], [3, 30]]
    alone = [list(generate(model, prompt, 8, temperature=0)) for prompt in prompts]
    assert generate_batch(model, prompts, 8, batch=2, temperature=0) == alone


@pytest.mark.parametrize("name", EACH)
def test_blank_is_the_model_without_numbers(name):
    """A checkpoint is checked against `blank` before anything is built: it must name what the class would have."""
    model = GPT(config_of(name))
    wanted = {part: p.shape for part, p in model.named_parameters()}  # a tied head has one name here
    found = blank(model.config)
    assert {part: t.shape for part, t in found.items()} == wanted
    assert all(t.is_meta for t in found.values())
    rebuilt = build(model.config, {part: p.detach().clone() for part, p in model.named_parameters()})
    tokens = torch.arange(20)[None]
    with torch.no_grad():
        assert torch.equal(rebuilt(tokens)[0], model.eval()(tokens)[0])


REFUSED = {
    "sinusoidal": "position is 'sinusoidal', not 'rope'",
    "no positions": "position is 'none', not 'rope'",
    "layernorm": "norm is 'layernorm', not 'rmsnorm'",
    "relu2": "mlp is 'relu2', not 'swiglu'",
    "qk_norm": "qk_norm is True, not False",
    "value_embed": "value_embed is True, not False",
    "softcap": "softcap is 2.0, not 0.0",
    "ngram": "ngram is 4, not 1",
    "all of them": "mlp is 'relu2', not 'swiglu', bias is True, not False, qk_norm is True, not False, value_embed is",
}


@pytest.mark.day(93)
@pytest.mark.parametrize("name", REFUSED)
def test_an_export_names_what_no_published_family_has(name):
    """A model written without an ingredient would be another model, and say nothing."""
    with pytest.raises(ValueError, match=f"next to the llama family, .*{REFUSED[name]}"):
        family(config_of(name))


@pytest.mark.day(93)
def test_first_weights_are_no_matter_of_the_family():
    """zero_init says how a training begins; the finished model is an ordinary one."""
    assert family(config_of("zero_init")) == "llama"


@pytest.mark.day(92)
def test_zero_init_begins_as_nothing():
    """With all writers at 0 the residual stream is the embedding, whatever the blocks would say."""
    model = GPT(config_of("all of them", softcap=0.0)).eval()
    tokens = torch.arange(20)[None]
    with torch.no_grad():
        expected = model.head(model.norm(model.embed(tokens)))
        assert torch.equal(model(tokens)[0], expected)
    assert model.embed.weight.std() > 0.01


@pytest.mark.day(92)
def test_first_weights_have_the_spread_that_the_docstring_says():
    """0.02, and for the two writers of each of 8 blocks a fourth of it: 16 of them then add up to one."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(500, block_size=8, n_layer=8, n_head=4, n_embd=64, n_hidden=128, bias=True, norm="layernorm"))
    for name, p in model.named_parameters():
        if p.dim() == 2:  # 4,096 numbers and more: their spread is exact to 1.1 %, so 5 % is over four times that
            wanted = 0.02 / 4 if name.endswith(("proj.weight", "down.weight")) else 0.02
            assert math.isclose(p.std().item(), wanted, rel_tol=0.05), name
        else:
            assert torch.equal(p, torch.zeros_like(p) if name.endswith("bias") else torch.ones_like(p)), name


@pytest.mark.day(92)
def test_soft_capped_logits_keep_their_order_below_the_cap():
    """The oracle is tanh by hand, over logits that a model without the cap gives."""
    capped, plain = loud("softcap"), loud("rope")
    with torch.no_grad():
        raw = plain(torch.arange(20)[None])[0]
        logits = capped(torch.arange(20)[None])[0]
    assert raw.abs().max() > 4  # so that the cap has something to do
    torch.testing.assert_close(logits, 2 * torch.tanh(raw / 2), atol=1e-6, rtol=1e-6)  # rounding of one product
    assert logits.abs().max() <= 2


@pytest.mark.day(92)
def test_the_three_mlps_by_hand():
    """In float64 with random weights: each formula written out, exact to rounding (1e-12)."""
    x = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for kind, name in (("swiglu", "rope"), ("gelu", "gelu"), ("relu2", "relu2")):
        mlp = loud(name).double().blocks[0].mlp
        up = x @ mlp.up.weight.T
        if kind == "swiglu":
            gate = x @ mlp.gate.weight.T
            inside = gate / (1 + (-gate).exp()) * up
        elif kind == "gelu":
            inside = F.gelu(up, approximate="tanh")
        else:
            inside = torch.where(up > 0, up * up, 0.0)
        with torch.no_grad():
            torch.testing.assert_close(mlp(x), inside @ mlp.down.weight.T, atol=1e-12, rtol=1e-12)


@pytest.mark.day(92)
def test_norm_of_queries_bounds_attention():
    """With queries and keys of length sqrt(head_dim), a logit of attention is at most sqrt(head_dim), however large the
    weights: scaling q and k by 100 moves no logit by more than norm_eps does (1e-3), and without the norm by 1."""
    moved = {}
    for name in ("qk_norm", "rope"):
        model, tokens = loud(name), torch.arange(20)[None]
        with torch.no_grad():
            before = model(tokens)[0]
            for block in model.blocks:
                block.attn.q.weight.mul_(100)
                block.attn.k.weight.mul_(100)
            moved[name] = (model(tokens)[0] - before).abs().max()
    assert moved["qk_norm"] < 1e-3 and moved["rope"] > 1


@pytest.mark.day(92)
def test_a_token_brings_its_own_value():
    """Without positions and with its queries at 0, a token's output is the mean of values so far: of x and of the
    token's row in the table, by hand in float64 (1e-12)."""
    model = loud("no positions", value_embed=True).double()
    attn, tokens = model.blocks[0].attn, torch.tensor([[3, 7, 7]])
    x = torch.randn(1, 3, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        attn.q.weight.zero_()
        values = x @ attn.v.weight.T + attn.value.weight[tokens]  # (1, 3, G D)
        mean = values.cumsum(dim=1) / torch.arange(1, 4)[:, None]
        mean = mean.view(1, 3, 2, 4).repeat_interleave(2, dim=2).flatten(2)  # two query heads a group
        expected = mean @ attn.proj.weight.T
        torch.testing.assert_close(attn(x, tokens, None, None, None), expected, atol=1e-12, rtol=1e-12)


@pytest.mark.day(92)
def test_runs_of_tokens_by_hand():
    """The sum of the rows of the runs of 2 and of 3, whose hash is arithmetic modulo 2**64 in Python's own numbers."""
    table = Runs(GPTConfig(2**27 + 1, n_embd=10, n_head=1, ngram=3, ngram_rows=50))
    ids = [7, 30, 7, 2, 30, 7, 2, 2**27]

    def row(*run):  # the newest token first
        signed = lambda number: (number + 2**63) % 2**64 - 2**63
        mixed = lambda key: signed((key ^ key >> 31) * 0x5851F42D4C957F2D)
        key = run[0]
        for earlier in run[1:]:
            key = signed(mixed(key) + earlier + 2)
        return (mixed(key) >> 32) % 50

    padded = [-1, -1, *ids]
    pairs = [row(*padded[i : i - 2 : -1]) for i in range(2, 10)]
    threes = [row(padded[i], padded[i - 1], padded[i - 2]) for i in range(2, 10)]
    assert len(set(pairs)) == 6, "7 2 and 30 7 stand there twice"
    tokens = torch.tensor([ids])
    before = [torch.tensor([padded[2 - back : -back]]) for back in (1, 2)]
    with torch.no_grad():
        expected = 0.1 * (table.weight[pairs] + table.weight[threes])
        assert torch.equal(table.total(tokens, before)[0], expected)
        assert torch.equal(table(tokens)[0], expected)


@pytest.mark.day(92)
def test_runs_spread_over_the_table():
    """40,000 pairs and 27,000 threes fill no less of 16,384 rows than random draws would, 1 - exp(-runs / rows) of them
    (less 2 %, five standard deviations). A hash that forgets a token of the run fills far less."""
    table = Runs(GPTConfig(9, n_embd=6, n_head=1))
    for size, n in ((200, 2), (30, 3)):
        runs = torch.cartesian_prod(*[torch.arange(size)] * n)
        newest, *before = (part[None] for part in runs.unbind(1))
        table.zero_grad()
        (table.total(newest, before) - table.total(newest, before[:-1])).sum().backward()
        filled = (table.weight.grad[:, 0] > 0.05).sum().item()
        assert filled > 0.98 * 16_384 * (1 - math.exp(-(size**n) / 16_384))


@pytest.mark.day(92)
def test_a_cache_of_16_bits_still_knows_the_tokens():
    """Digits below 64 are exact in bfloat16, where an id such as 70,001 would be 70,144."""
    model = GPT(GPTConfig(80_000, block_size=8, n_layer=1, n_head=1, n_embd=8, ngram=3, ngram_rows=10)).bfloat16()
    tokens = torch.tensor([[70_001, 3, 79_999, 64, 0, 70_003]])
    cache = KVCache.of(model.config, dtype=torch.bfloat16)
    with torch.no_grad():
        model.hidden(tokens[:, :4], cache)
        one, two = model.runs.before(tokens[:, 4:], cache)
    assert one.tolist() == [[64, 0]] and two.tolist() == [[79_999, 64]]


@pytest.mark.day(100)
def test_sinusoids_by_hand():
    """Position 3, channels 2 and 3 of 16: sin and cos of 3 / 10000^(2/16); every position has the length of a first
    embedding, 0.02 sqrt(n_embd)."""
    waves = GPT(config_of("sinusoidal")).waves
    assert waves.shape == (24, 16)
    angle = 3 / 10_000 ** (2 / 16)
    size = 0.02 * math.sqrt(2)
    assert math.isclose(waves[3, 2].item(), size * math.sin(angle), rel_tol=1e-5)  # float32
    assert math.isclose(waves[3, 3].item(), size * math.cos(angle), rel_tol=1e-5)
    torch.testing.assert_close(waves.norm(dim=1), torch.full((24,), 0.02 * 4), atol=1e-6, rtol=0)
