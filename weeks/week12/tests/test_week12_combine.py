"""Merging adapters into one: an exam for every row of MERGES, what each row promises, and `peft` beside them."""

import pytest
import torch
from lora import MERGES, LoRAConfig, adapters, attach, combine, detach, load, save, using
from lora.combine import agreed, at_random, cut, largest
from week12_models import Net, bytes_of, same_bytes, shake

X = torch.linspace(-1, 1, 18).view(3, 6)
PEFTS = {"linear": "linear", "cat": "cat", "svd": "svd", "ties": "ties_svd", "dare": "dare_linear_svd",
         "dare_ties": "dare_ties_svd"}  # fmt: skip


def two(rank=3, other=3, **settings):
    """A Net with two adapters, as if trained."""
    model = Net()
    for seed, (name, size) in enumerate({"a": rank, "b": other}.items()):
        attach(model, name, LoRAConfig(rank=size, alpha=2 * size + seed, **settings))
        shake(model, name, seed=seed)
    return model


def options(how):
    return {"density": 0.5} if MERGES[how].thins else {}


@pytest.fixture(params=MERGES)
def how(request):
    return request.param


# --- the exam of every row --------------------------------------------------------------------------------------------


@pytest.mark.day(82)
def test_an_adapter_alone_comes_back(how):
    """One adapter at share 1, with nothing thinned out, is itself (float32; an SVD in between: 1e-5)."""
    model = two()
    combine(model, "c", {"a": 1.0}, how, **({"density": 1.0} if MERGES[how].thins else {}))
    with using(model, "a"):
        expected = model(X)
    assert (model(X) - expected).abs().max() < 1e-5


@pytest.mark.day(83)
def test_peft_makes_the_same(how, tmp_path):
    """The outputs of peft's add_weighted_adapter (float32, two SVDs: 1e-4), negative share included.

    The random rows draw from the same stream: peft from torch's own generator, ours from one with the same seed.
    """
    peft = pytest.importorskip("peft")
    model = two()
    for name in "ab":
        save(model, name, tmp_path / name)
    theirs = peft.PeftModel.from_pretrained(Net(), tmp_path / "a", adapter_name="a")
    theirs.load_adapter(tmp_path / "b", adapter_name="b")
    shares = {"a": 0.7, "b": -0.4}
    inject = theirs.base_model.inject_adapter

    def then_seed(*args, **kwargs):  # making room draws numbers, too
        inject(*args, **kwargs)
        torch.manual_seed(7)

    theirs.base_model.inject_adapter = then_seed
    theirs.base_model.add_weighted_adapter(
        list(shares), list(shares.values()), "c", combination_type=PEFTS[how], svd_rank=None, **options(how)
    )
    theirs.set_adapter("c")
    combine(model, "c", shares, how, **options(how), seed=7)
    assert (model(X) - theirs.eval()(X)).abs().max() < 1e-4
    assert (model(X) - Net()(X)).abs().max() > 1e-2


@pytest.mark.day(83)
def test_the_others_and_the_base_stay(how, tmp_path):
    """Not one byte of the base moves, the adapters stay, and the new one is saved and read like any."""
    before = bytes_of(Net())
    model = two()
    with using(model, "a"):
        alone = model(X)
    combine(model, "c", {"a": 0.5, "b": 0.5}, how, **options(how))
    assert list(adapters(model)) == ["a", "b", "c"]
    made = model(X)
    with using(model, "a"):
        assert torch.equal(model(X), alone)
    save(model, "c", tmp_path)
    again = Net()
    load(again, tmp_path, "c")
    assert torch.equal(again(X), made)
    for name in "abc":
        detach(model, name)
    assert same_bytes(bytes_of(model), before)


@pytest.mark.day(82)
def test_one_seed_one_merge(how):
    """The same call gives the same bits, whatever torch's own generator holds."""
    outputs = []
    for noise in (1, 2):
        model = two()
        torch.manual_seed(noise)
        combine(model, "c", {"a": 0.5, "b": 0.5}, how, **options(how), seed=3)
        outputs.append(model(X))
    assert torch.equal(*outputs)


# --- what each promises -----------------------------------------------------------------------------------------------


@pytest.mark.day(82)
def test_cat_is_the_sum_exactly():
    """Stacked factors compute what using() sums (float32, 1e-5), also of two ranks, and where one has no part."""
    model = Net()
    attach(model, "a", LoRAConfig(rank=2))
    attach(model, "b", LoRAConfig(rank=5, alpha=3, targets=("up",)))
    shake(model, "a"), shake(model, "b", seed=4)
    shares = {"a": 0.5, "b": -2.0}
    with using(model, shares):
        expected = model(X)
    assert combine(model, "c", shares, "cat") == ["up", "inner.up", "inner.down"]
    assert (model(X) - expected).abs().max() < 1e-5
    config = adapters(model)["c"]
    assert [config.for_layer(path)[0] for path in ("up", "inner.up", "inner.down")] == [7, 7, 2]


@pytest.mark.day(82)
@pytest.mark.parametrize("ranks", [(2, 1, 3), (2, 3, 3), (3, 1, 2)])
def test_ranks_of_paths_that_are_ends_of_others(ranks):
    """ "up" is a layer and the end of "inner.up": each gets the rank of its own (float32, 1e-5)."""
    model, shares = Net(), dict.fromkeys("abc", 1.0)
    for name, rank, path in zip("abc", ranks, ("up", "inner.up", "inner.down"), strict=True):
        attach(model, name, LoRAConfig(rank=rank), paths=[path])
        shake(model, name)
    with using(model, shares):
        expected = model(X)
    combine(model, "d", shares, "cat")
    assert (model(X) - expected).abs().max() < 1e-5


@pytest.mark.day(82)
def test_linear_compares_ranks_layer_by_layer():
    """Two adapters of one rank pattern can be added; their ranks differ from layer to layer, not from each other."""
    model, config = Net(), LoRAConfig(rank=2, rank_pattern={"inner.down": 4})
    attach(model, "a", config), attach(model, "b", config)
    shake(model, "a"), shake(model, "b", seed=4)
    combine(model, "c", {"a": 1.0, "b": 1.0}, "linear")
    found = adapters(model)["c"]
    assert [found.for_layer(path)[0] for path in ("up", "inner.up", "inner.down")] == [2, 2, 4]


@pytest.mark.day(82)
def test_svd_is_the_best_of_its_rank():
    """The error of the cut is the singular values that were left out (Eckart and Young 1936); float64, 1e-10."""
    change = torch.randn(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(change)
    for rank in range(1, 8):
        A, B = cut(change, rank)
        assert (A.shape, B.shape) == ((rank, 5), (7, rank))
        error = (change - B @ A).norm()
        torch.testing.assert_close(error, values[rank:].norm(), rtol=0, atol=1e-10)


@pytest.mark.day(82)
def test_ties_by_hand():
    """Four places: agreed, outvoted by size, one alone, and none left. Exact: halves and whole numbers."""
    a = torch.tensor([[4.0, 3.0, 1.0, 0.5]])
    b = torch.tensor([[2.0, -1.0, -8.0, 0.25]])
    assert largest(a, 0.5).tolist() == [[4.0, 3.0, 0.0, 0.0]]
    assert largest(b, 0.5).tolist() == [[2.0, 0.0, -8.0, 0.0]]
    merged = agreed([largest(a, 0.5), largest(b, 0.5)], [1.0, 1.0])
    assert merged.tolist() == [[3.0, 3.0, -8.0, 0.0]]
    assert agreed([a, b], [1.0, 1.0]).tolist() == [[3.0, 3.0, -8.0, 0.375]]


@pytest.mark.day(82)
def test_dare_keeps_the_mean():
    """Over 4,000 draws the mean comes back: within 5 standard errors of |x| sqrt((1 - p) / p / n)."""
    x, density, n = torch.tensor([1.0, -2.0, 0.5]), 0.25, 4000
    g = torch.Generator().manual_seed(0)
    draws = torch.stack([at_random(x, density, g) for _ in range(n)])
    assert set((draws / x).unique().tolist()) == {0.0, 4.0}
    bound = 5 * x.abs() * ((1 - density) / density / n) ** 0.5
    assert ((draws.mean(0) - x).abs() < bound).all()


@pytest.mark.day(82)
def test_a_pissa_or_fused_adapter_can_be_combined():
    """What has the change of a plain LoRA takes part, whatever its kind (float32, 1e-5)."""
    model = Net()
    attach(model, "a", LoRAConfig(rank=2, variant="pissa"))
    attach(model, "b", LoRAConfig(rank=2, variant="fused"))
    shake(model, "a"), shake(model, "b", seed=4)
    with using(model, {"a": 1.0, "b": 0.5}):
        expected = model(X)
    combine(model, "c", {"a": 1.0, "b": 0.5}, "cat")
    assert (model(X) - expected).abs().max() < 1e-5


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.day(82)
@pytest.mark.parametrize(
    "shares, how, settings, sentence",
    [
        ({"a": 1}, "mean", {}, "no merge 'mean'; choose from linear, cat, svd, ties"),
        ({"a": 1, "z": 1}, "svd", {}, "no adapter 'z'; it has 'a', 'b'"),
        ({}, "svd", {}, "must be {name: share}, got {}"),
        (["a"], "svd", {}, r"must be {name: share}, got \['a'\]"),
        ({"a": 0}, "svd", {}, "share of 'a' must be a number other than 0, got 0"),
        ({"a": float("nan")}, "svd", {}, "got nan"),
        ({"a": 1, "b": 1}, "linear", {}, r"one rank, got ranks \[3, 4\] in up; use svd"),
        ({"a": 1}, "cat", {"rank": 4}, "rank 4 is of no use to cat"),
        ({"a": 1}, "svd", {"rank": 0}, "rank must be a whole number from 1 up, got 0"),
        ({"a": 1}, "svd", {"density": 0.5}, "density 0.5 is of no use to svd"),
        ({"a": 1}, "ties", {}, "density must be above 0 and at most 1, got None; 0.5"),
        ({"a": 1}, "dare", {"density": 0}, "density must be above 0 and at most 1, got 0"),
    ],
)
def test_what_cannot_be_combined(shares, how, settings, sentence):
    """Nothing is attached, and the sentence says what to give instead."""
    model = two(3, 4)
    with pytest.raises(ValueError, match=sentence):
        combine(model, "c", shares, how, **settings)
    assert list(adapters(model)) == ["a", "b"]


@pytest.mark.day(82)
@pytest.mark.parametrize(
    "settings, what",
    [({"variant": "dora"}, "DoRA"), ({"bias": "lora_only"}, "LoRA"), ({"modules_to_save": ("inner.down",)}, "Whole")],
)
def test_more_than_two_factors_is_refused(settings, what):
    """A magnitude, a bias or a whole module is no product B A; leaving it out would lose what was learned."""
    model = Net()
    attach(model, "a", LoRAConfig(targets=("up", "inner.up"), **settings))
    with pytest.raises(ValueError, match=rf"'a' changes .* by more than a product of two factors \({what}\)"):
        combine(model, "c", {"a": 1.0})
