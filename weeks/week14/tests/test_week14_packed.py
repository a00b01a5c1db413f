"""Packed weights: the same products, and nothing of it is left. Where a processor does not pack, a stand-in does."""

import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from nanogpt.infer import packed
from nanogpt.infer.batch import generate_batch
from nanogpt.infer.generate import generate
from nanogpt.model import GPT, GPTConfig
from nanogpt.vendor.lora import adapter

pytestmark = pytest.mark.day(98)
HERE = packed.possible()


@pytest.fixture
def model():
    return built()


def built():
    torch.manual_seed(0)
    made = GPT(GPTConfig(90, block_size=40, n_layer=2, n_head=2, n_embd=32, bias=True)).bfloat16().eval()
    with torch.no_grad():
        for p in made.parameters():
            p.mul_(4)
    return made


@pytest.fixture
def counted(monkeypatch):
    """Packs on any processor: each product with a packed weight adds its rows to the list, and is the plain one."""
    rows = []

    def product(x, weight, bias):
        rows.append(x.shape[-2])
        return F.linear(x, weight, bias)

    monkeypatch.setattr(packed, "possible", lambda: True)
    monkeypatch.setattr(packed, "reordered", lambda weight: weight)
    monkeypatch.setattr(packed, "product", product)
    return rows


@pytest.mark.skipif(not HERE, reason="this processor gains nothing from packed weights, so none are made")
@pytest.mark.parametrize("rows", [1, 3, 70])
def test_a_packed_product_is_the_plain_one(model, rows):
    """With a bias and without one, and for other shapes of x; bfloat16 has 8 bits."""
    packs = packed.pack(model)
    assert len(packs) == 2 * 7 + 1
    with torch.no_grad():
        for layer, weight in packs.items():
            x = torch.randn(2, rows, weight.shape[1]).bfloat16()
            plain = layer(x)
            with packed.using(packs):
                assert layer.weight is weight
                torch.testing.assert_close(layer(x), plain, rtol=1e-2, atol=1e-2)


def test_every_product_of_a_step_reads_packed_weights_from_the_eighth_step_on(model, counted):
    plain = list(generate(model, [1, 2, 3], 20, temperature=0, cached=False))
    assert not counted
    assert list(generate(model, [1, 2, 3], 20, temperature=0)) == plain
    assert counted == [1] * (20 - packed.PAYS) * (2 * 7 + 1)


def test_nothing_of_it_is_left_behind(model, counted):
    names = [name for name, _ in model.named_parameters()]
    with pytest.raises(KeyError), packed.using(packed.pack(model)):
        assert isinstance(model.head.weight, packed.Packed)
        raise KeyError
    assert type(model.head.weight) is torch.nn.Parameter and "weight" not in model.head.__dict__
    assert [name for name, _ in model.named_parameters()] == names


@pytest.mark.parametrize("change", ["in place", "put in its place"])
def test_weights_that_have_changed_are_packed_anew(model, counted, change):
    """And only then: another text reads what the first one has packed, from its first token on."""
    list(generate(model, [1], 12, temperature=0))
    old = packed.packs(model, 0)
    assert packed.packs(model, 100) is old
    with torch.no_grad():
        if change == "in place":
            model.head.weight.mul_(-1)
        else:
            model.head.weight.data = -model.head.weight.data
    counted.clear()
    list(generate(model, [1], 3, temperature=0))
    new = packed.packs(model, 0)[model.head]
    assert counted == [1] * 3 * (2 * 7 + 1) and new is not old[model.head]
    assert torch.equal(new.packed, model.head.weight)


def test_the_packed_weights_go_with_their_model(counted):
    model = built()
    gone = weakref.ref(packed.packs(model, 100)[model.head])
    assert packed.packs(model, 0)
    del model
    gc.collect()
    assert gone() is None


def test_an_adapter_reads_them_too(model, counted):
    adapter.attach(model, "a", adapter.LoRAConfig(rank=2, alpha=4))
    for p in adapter.parameters(model, "a").values():
        torch.nn.init.normal_(p, std=0.3)
    model.bfloat16().eval()
    plain = list(generate(model, [1, 2], 16, temperature=0, cached=False))
    assert not counted
    assert list(generate(model, [1, 2], 16, temperature=0)) == plain
    assert len(counted) == (16 - packed.PAYS) * (2 * 7 + 1)
    assert generate_batch(model, [[1, 2], [1, 2]], 16) == [plain] * 2


def test_what_gains_nothing_is_not_packed(model, counted, monkeypatch):
    """Weights of 32 bits, weights that are too large to be held twice, another processor."""
    assert packed.pack(model)
    monkeypatch.setattr(packed, "MOST", 1000)
    assert packed.pack(model) == {}
    monkeypatch.undo()
    assert packed.pack(model.float()) == {}
    monkeypatch.setattr(packed, "possible", lambda: False)
    assert packed.pack(model.bfloat16()) == {}


def test_a_short_answer_is_not_worth_packing(model, counted):
    """A batch knows how long its answers may become."""
    generate_batch(model, [[1, 2, 3]], packed.PAYS - 1)
    assert not counted
    generate_batch(model, [[1, 2, 3]], packed.PAYS)
    assert counted
