"""Day 69: a large vocabulary's loss in parts, the presets, their text."""

import numpy as np
import pytest
import torch
from scaling import large
from scaling.distributed.run import Job, make_optimizer
from scaling.large import PRESETS, fused_adamw, matmul_rate, peak_bytes, preset
from scaling.loss import LeanGPT, linear_loss, plain_loss
from scaling.memory import Peak
from scaling.vendor.gpt.loop import Recipe
from scaling.vendor.gpt.model import GPT, GPTConfig
from scaling.vendor.shared.errors import Mistake
from week10_small import distance, small, text, weights

pytestmark = pytest.mark.day(69)


def case(n=13, c=5, v=11, seed=0):
    g = torch.Generator().manual_seed(seed)
    x, w = (torch.randn(*size, generator=g, dtype=torch.float64, requires_grad=True) for size in ((n, c), (v, c)))
    targets = torch.randint(v, (n,), generator=g)
    targets[[0, 6, 7]] = -100
    return x, w, targets


# --- the loss ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 4, 13, 99])
def test_the_loss_in_parts_is_the_plain_one(rows):
    """Value and both gradients, in float64, where only the order of sums differs: 1e-12. The upstream is no 1."""
    x, w, targets = case()
    upstream = torch.tensor(-1.7, dtype=torch.float64)
    plain, lean = plain_loss(x, w, targets), linear_loss(x, w, targets, rows)
    assert lean.item() == pytest.approx(plain.item(), abs=1e-12)
    for a, b in zip(torch.autograd.grad(plain, (x, w), upstream), torch.autograd.grad(lean, (x, w), upstream)):
        assert (a - b).abs().max() < 1e-12


def test_the_gradients_of_the_loss_against_finite_differences():
    x, w, targets = case()
    assert torch.autograd.gradcheck(lambda x, w: linear_loss(x, w, targets, 4), (x, w))


def test_large_logits_do_not_overflow():
    """exp(1000) is infinite: the largest logit of a row must be taken off first."""
    x, w, targets = case()
    with torch.no_grad():
        assert linear_loss(1000 * x, w, targets, 4).item() == pytest.approx(plain_loss(1000 * x, w, targets).item())


def test_a_batch_without_judged_targets_costs_nothing_and_moves_nothing():
    x, w, targets = case()
    loss = linear_loss(x, w, torch.full_like(targets, -100), 4)
    assert loss.item() == 0.0
    assert all((g == 0).all() for g in torch.autograd.grad(loss, (x, w)))


def test_parts_of_no_rows_are_refused():
    with pytest.raises(ValueError, match="parts of 0 rows hold nothing; give 1 or more"):
        linear_loss(*case(), rows=0)


@pytest.mark.parametrize("target", [-1, -101, 11])
def test_a_target_that_is_no_token_is_refused(target):
    """Only -100 is not judged; -1 read as token 0 would be learned as if it were the answer."""
    x, w, targets = case()
    targets[3] = target
    with pytest.raises(ValueError, match=f"there is no token {target} among 11; give 0 to 10, or -100"):
        linear_loss(x, w, targets)


@pytest.mark.parametrize("n", [12, 14])
def test_every_row_has_one_target(n):
    """With fewer targets than rows, the gradient of the rest would be whatever lay in memory."""
    x, w, _ = case()
    with pytest.raises(ValueError, match=rf"x has 13 rows, but the targets have the shape \({n},\); give one a row"):
        linear_loss(x, w, torch.zeros(n, dtype=torch.long))


def test_the_logits_are_never_whole():
    """1,024 x 1,000 float64 logits are 8 MB, and the plain loss keeps several of them; parts of 32 rows are 0.3 MB."""
    x, w, targets = case(1024, 8, 1000)
    with Peak() as plain:
        plain_loss(x, w, targets).backward()
    with Peak() as lean:
        linear_loss(x, w, targets, 32).backward()
    assert plain.peak > 16e6 and lean.peak < 2e6


def test_the_lean_model_trains_as_the_plain_one():
    """The same weights, loss and gradients by name, the tied matrix included; float64, sums in another order: 1e-12.

    The plain model sums its loss in float32, so its own number is known to 1e-6 only, and its gradients to 1e-7.
    """
    plain, (inputs, targets) = small(), text()
    lean = LeanGPT(plain.config).double()
    lean.load_state_dict(plain.state_dict())
    logits, loss = lean(inputs, targets)
    _, expected = plain(inputs, targets)
    assert logits.shape == (4, 0, 20) and loss.item() == pytest.approx(expected.item(), abs=1e-6)
    loss.backward(), expected.backward()
    grads = [{name: p.grad for name, p in model.named_parameters()} for model in (plain, lean)]
    assert distance(*grads) < 1e-7
    assert torch.equal(lean(inputs)[0], plain(inputs)[0])


def test_the_lean_model_refuses_what_the_plain_one_refuses():
    with pytest.raises(ValueError, match="17 tokens are more than block_size = 16"):
        LeanGPT(small().config)(torch.zeros(1, 17, dtype=torch.long), torch.zeros(1, 17, dtype=torch.long))


# --- presets and parts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, count", [("gpt2-124m", 124_439_808), ("gpt2-50m", 51_475_968)])
def test_the_presets_have_the_sizes_that_they_promise(name, count):
    """124,439,808 is GPT-2 small with its tied head (Radford et al. 2019; transformers counts the same)."""
    with torch.device("meta"):
        assert GPT(PRESETS[name]).n_params() == count


def test_an_unknown_preset_is_refused():
    with pytest.raises(Mistake, match="there is no model 'gpt3'; choose from tiny, gpt2-50m, gpt2-124m"):
        preset("gpt3")


def test_the_fused_optimizer_is_the_weeks_own_adamw():
    """20 steps along the same gradients, in float32, at rates of 1e-3: roundings differ, 1e-6 a weight at most."""
    job, ends = Job(Recipe(20, 4)), []
    for make in (make_optimizer, fused_adamw):
        model = small(dtype=torch.float32)
        optimizer, g = make(model, job), torch.Generator().manual_seed(1)
        for _ in range(20):
            for p in model.parameters():
                p.grad = torch.randn(p.shape, generator=g)
            optimizer.step()
        ends.append(weights(model))
    assert distance(*ends) < 1e-6
    assert distance(ends[0], weights(small(dtype=torch.float32))) > 1e-3  # they did move


def test_another_fused_optimizer_is_refused():
    with pytest.raises(Mistake, match="there is no fused 'lion'; choose adamw"):
        fused_adamw(small(), Job(Recipe(20, 4, optimizer="lion")))


def test_the_rate_is_the_best_of_all_shapes():
    rate = matmul_rate(GPTConfig(20, 4, 1, 2, 8), square=16, repeats=1)
    assert rate.best == max(row[-1] for row in rate.rows) > 0
    assert [row[:3] for row in rate.rows] == [[16] * 3, [4, 8, 24], [4, 8, 32], [4, 32, 8], [4, 8, 20]]


def test_the_peak_is_in_bytes():
    """A Python process with torch in it holds more than 50 MB, and on no machine of today 10 TB."""
    assert 50e6 < peak_bytes() < 1e13


# --- text -------------------------------------------------------------------------------------------------------------


class Bytes:
    """A vocabulary of one id a letter, in the place of GPT-2's, whose files a test may not have."""

    special_tokens = {"<|endoftext|>": 50256}

    def encode_ordinary(self, text):
        return [ord(letter) for letter in text]


def test_each_set_gives_its_share_and_the_cache_is_used(tmp_path, monkeypatch):
    monkeypatch.setattr(large.vocabularies, "gpt2", lambda folder: Bytes())
    for i, name in enumerate(large.SETS):
        (tmp_path / name).mkdir()
        for part in ("train.txt", "val.txt"):
            (tmp_path / name / part).write_text("abcdefgh"[i] * 2 + "\n<|endoftext|>\n" + "abcdefgh"[i] * 9 + "\n")
    ids = large.tokens(tmp_path, tmp_path / "cache", letters=30)  # 5 of each: 2 and 3, each closed
    expected = []
    for i in range(len(large.SETS)):
        expected += [97 + i] * 2 + [50256] + [97 + i] * 3 + [50256]
    assert ids.tolist() == expected and ids.dtype == torch.int64
    monkeypatch.undo()
    assert large.tokens(tmp_path, tmp_path / "cache", letters=30).tolist() == expected
    (path,) = (tmp_path / "cache").glob("*.npy")
    path.write_bytes(np.arange(3).tobytes())
    with pytest.raises(Mistake, match="holds a broken copy of the corpus .*; delete it and start again"):
        large.tokens(tmp_path, tmp_path / "cache", letters=30)
