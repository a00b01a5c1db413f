"""Each ablation takes out what its name says, and nothing else."""

import math

import pytest
import torch
import torch.nn.functional as F
from gpt.ablations import ABLATIONS, build
from gpt.model import GPT, GPTConfig

pytestmark = pytest.mark.day(48)
CONFIG = GPTConfig(11, 8, 2, 2, 16, dropout=0.1)
TOKENS = torch.randint(11, (3, 8), generator=torch.Generator().manual_seed(5))


def built(name, seed=0):
    torch.manual_seed(seed)
    return build(name, CONFIG)


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_row_is_a_model_that_learns(name):
    """The exam of the table: the contract of a model, a first loss near ln V, a gradient for every weight it trains.

    A fresh model guesses nearly evenly; 1.0 nat above ln 11 = 2.4 leaves room for those without norm or scaled init.
    """
    model = built(name).eval()
    targets = TOKENS.roll(-1, dims=1)
    logits, loss = model(TOKENS, targets)
    assert logits.shape == (3, 8, 11) and abs(loss.item() - math.log(11)) < 1.0
    loss.backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in trained)
    with torch.no_grad():
        for p in trained:
            p -= 0.01 * p.grad  # so small a step downhill must lower the loss
    assert model(TOKENS, targets)[1] < loss


@pytest.mark.parametrize("name", sorted(set(ABLATIONS) - {"whole", "no dropout"}))
def test_every_row_but_the_whole_computes_something_else(name):
    """With the same seed, in eval (where dropout is off) and after one common change of the weights.

    "no tying" starts with equal values on purpose; only training tells it apart.
    """
    models = [built("whole").eval(), built(name).eval()]
    for model in models:
        with torch.no_grad():
            for key, p in model.named_parameters():
                if key != "head.weight":
                    p.mul_(10.0)  # a fresh model's scores are so small that no scaling would show
    whole, other = (model(TOKENS)[0] for model in models)
    assert not torch.allclose(whole, other, rtol=0, atol=1e-4)


def test_the_whole_is_the_model():
    torch.manual_seed(0)
    assert torch.equal(GPT(CONFIG).eval()(TOKENS)[0], built("whole").eval()(TOKENS)[0])


def test_without_residual_a_block_passes_on_its_mlp_alone():
    model = built("no residual").eval()
    block, x = model.blocks[0], torch.randn(2, 4, 16)
    assert torch.equal(block(x), block.mlp(block.norm2(block.attn(block.norm1(x)))))


def test_without_positions_the_order_of_the_past_is_lost():
    """One layer, so that only positions could tell the order: the last logits stay as the earlier tokens change places.

    float32 sums in another order: 1e-5. The whole model must tell them apart, by more than that.
    """
    config = GPTConfig(11, 8, 1, 2, 16)
    swapped = TOKENS[:, [2, 0, 1, 3, 6, 5, 4, 7]]
    for name, same in (("no position", True), ("whole", False)):
        torch.manual_seed(0)
        model = build(name, config).eval()
        last, other = (model(t)[0][:, -1] for t in (TOKENS, swapped))
        assert torch.allclose(last, other, rtol=0, atol=1e-5) is same
    torch.manual_seed(0)
    model = build("no position", config)
    model(TOKENS, TOKENS)[1].backward()
    assert model.wpe.weight.grad is None and not model.wpe.weight.any(), "training must not bring positions back"


def test_without_scaling_the_scores_are_plain_products():
    """Against attention with scale=1, in float64: 1e-12."""
    attention = built("no scaling by root D").double().blocks[0].attn
    x = torch.randn(2, 5, 16, dtype=torch.float64)
    q, k, v = attention.qkv.qkv(x).view(2, 5, 3, 2, 8).permute(2, 0, 3, 1, 4)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=1.0).transpose(1, 2).flatten(2)
    torch.testing.assert_close(attention.eval()(x), attention.proj(y), rtol=0, atol=1e-12)


def test_without_tying_there_is_one_matrix_more():
    model = built("no tying")
    assert model.head.weight is not model.wte.weight
    ours, whole = (sum(p.numel() for p in m.parameters()) for m in (model, built("whole")))
    assert ours == whole + 11 * 16


def test_without_scaled_init_the_writers_start_as_wide_as_the_rest():
    """0.02, and with 2 layers 0.02 / 2 in the whole model. 1,024 draws have a relative error of 2 %; 15 % is safe."""
    for name, deviation in (("no scaled init", 0.02), ("whole", 0.01)):
        writer = built(name).blocks[0].mlp.down.weight
        assert writer.std().item() == pytest.approx(deviation, rel=0.15)


def test_without_dropout_training_and_judging_compute_the_same():
    for name, same in (("no dropout", True), ("whole", False)):
        model = built(name)
        assert torch.equal(model.train()(TOKENS)[0], model.eval()(TOKENS)[0]) is same


def test_an_unknown_name_is_refused_with_those_known():
    with pytest.raises(ValueError, match="there is no ablation 'no soup'; choose from whole, no residual"):
        build("no soup", CONFIG)
