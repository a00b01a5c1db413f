"""Day 66: one step, however its batch is cut. Accumulation, masked targets, clipping, bf16, the ramp, the compiler."""

import math

import pytest
import torch
import torch.nn.functional as F
from scaling import step as module
from scaling.optimizers import make
from scaling.step import Alone, autocast, compiled, compiler, cut, ramp, set_rate, step
from torch import nn
from week10_small import distance, small, text, weights

pytestmark = pytest.mark.day(66)


def masked(rows=8, seed=1):
    """A batch whose rows judge unequally many targets, as padded rows or questions and answers do."""
    inputs, targets = text(rows, seed=seed)
    keep = (
        torch.rand(targets.shape, generator=torch.Generator().manual_seed(2)) < torch.linspace(0.02, 1, rows)[:, None]
    )
    keep[0] = False  # a row that judges nothing at all
    return inputs, torch.where(keep, targets, -100)


def trained(batches, steps=3, **options):
    """The weights after some steps of SGD, where a wrong size of the gradient shows, and what the last step said."""
    model = small()
    optimizer = make("sgd", model, lr=0.1)
    for _ in range(steps):
        done = step(model, optimizer, batches, **options)
    return weights(model), done


# --- accumulation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 2, 3, 8, 99])
@pytest.mark.parametrize("batch", [text(8), masked()], ids=["all judged", "masked"])
def test_accumulation_equals_the_large_batch(batch, rows):
    """However the rows are cut, with a last part that is smaller too. The loss is summed in float32: 1e-6 at most."""
    whole, one = trained([batch])
    parts, many = trained(cut(*batch, rows))
    assert distance(whole, parts) < 1e-7
    assert many.loss == pytest.approx(one.loss, abs=1e-6) and many.norm == pytest.approx(one.norm, abs=1e-6)
    assert many.judged == one.judged == int((batch[1] != -100).sum())


def test_the_mean_is_over_all_judged_targets():
    """The trap: a mean of the micro-batches' means is another loss as soon as they judge unequally many targets."""
    inputs, targets = masked()
    model = small()
    logits, _ = model(inputs)
    right = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="sum")
    right = (right / (targets != -100).sum()).item()
    means = [model(x, y)[1].item() for x, y in cut(inputs[1:], targets[1:], 1)]  # row 0 would give nan
    wrong = sum(means) / len(means)
    assert abs(wrong - right) > 1e-3
    done = step(model, make("sgd", model, lr=0.0), cut(inputs, targets, 1))
    assert done.loss == pytest.approx(right, abs=1e-6)


def test_the_gradient_is_that_of_the_mean():
    """Against autograd on the whole batch in one expression, with the norm that it has before clipping."""
    inputs, targets = masked()
    model = small()
    (expected,) = torch.autograd.grad(model(inputs, targets)[1], [model.blocks[0].mlp.up.weight])
    done = step(model, make("sgd", model, lr=0.0), cut(inputs, targets, 3), clip=None)
    torch.testing.assert_close(model.blocks[0].mlp.up.weight.grad, expected, rtol=0, atol=1e-8)
    norm = math.sqrt(sum(p.grad.square().sum().item() for p in model.parameters()))
    assert done.norm == pytest.approx(norm, abs=1e-9)


def test_a_step_begins_without_the_gradient_of_the_last():
    """At a rate of 0 nothing moves, so the same rows give the same gradient again, to the bit."""
    model = small()
    optimizer = make("sgd", model, lr=0.0)
    first, second = (step(model, optimizer, cut(*text(), 2), clip=None) for _ in range(2))
    assert second == first


def test_a_step_that_judges_nothing_is_told():
    """Its mean would be nan; no weight has moved."""
    model = small()
    inputs, targets = text()
    before = weights(model)
    with pytest.raises(ValueError, match="none of the targets of this step is judged: all of them are -100"):
        step(model, make("sgd", model, lr=0.1), cut(inputs, targets.fill_(-100), 2))
    assert distance(weights(model), before) == 0
    with pytest.raises(ValueError, match="a micro-batch of 0 rows holds nothing; give 1 or more"):
        cut(inputs, targets, 0)


@pytest.mark.parametrize(
    ("batches", "clip", "sentence"),
    [
        ([], 1.0, "a step of no batches learns nothing; give one or more"),
        ([text()], -1.0, r"clip is -1.0, but it bounds a norm; give a number above 0, or None"),
        ([text()], math.nan, "clip is nan, but"),
    ],
)
def test_a_step_that_cannot_be_made_moves_nothing(batches, clip, sentence):
    """A bound below 0 would turn the gradient around, and one of nan would make all weights nan."""
    model = small()
    before = weights(model)
    with pytest.raises(ValueError, match=sentence):
        step(model, make("sgd", model, lr=0.1), batches, clip=clip)
    assert distance(weights(model), before) == 0


class Twice(Alone):
    """A world of two that see the same rows: its sums are twice as large, its mean of gradients is either's."""

    size = 2

    def __init__(self):
        self.told = []

    def total(self, numbers):
        return numbers * 2

    def quiet(self, model):
        self.told.append("quiet")
        return super().quiet(model)


def test_a_world_of_several():
    """Counts and losses add over processes; all backwards but the last are quiet. The numbers are those of one."""
    world = Twice()
    alone, one = trained([masked()], steps=1)
    pair, two = trained(cut(*masked(), 2), steps=1, world=world)
    assert distance(alone, pair) < 1e-7 and world.told == ["quiet"] * 3
    assert two.loss == pytest.approx(one.loss, abs=1e-6) and two.judged == 2 * one.judged


# --- clipping, and losses that are not finite -------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [None, 1e-3, 1e3])
def test_clipping_bounds_the_whole_norm(clip):
    """One factor for all parameters, so the direction stays; what is small enough keeps its bytes."""
    free, clipped = small(), small()
    step(free, make("sgd", free, lr=0.0), [text()], clip=None)
    done = step(clipped, make("sgd", clipped, lr=0.0), [text()], clip=clip)
    factor = min(1.0, (clip or math.inf) / (done.norm + 1e-6))
    for p, q in zip(free.parameters(), clipped.parameters()):
        torch.testing.assert_close(q.grad, p.grad * factor, rtol=1e-12, atol=0)
    assert done.norm > 0.1  # as it was before clipping


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_what_is_not_finite_never_reaches_the_weights(where):
    """The sentence has the learning rate; the optimizer has not moved, and goes on with good rows."""
    model = small()
    optimizer = make("adamw", model, lr=0.25)
    step(model, optimizer, [text()])
    before, memory = weights(model), [state["m"].clone() for state in optimizer.state.values()]
    if where == "loss":
        handle = model.head.register_forward_hook(lambda *args: args[2] * math.nan)
    else:
        handle = model.wte.weight.register_hook(lambda grad: grad * math.inf)
    what = "loss" if where == "loss" else "norm of the gradient"
    with pytest.raises(
        FloatingPointError, match=f"the {what} is (nan|inf) at a learning rate of 0.25; the weights are"
    ):
        step(model, optimizer, cut(*text(), 2))
    handle.remove()
    assert distance(weights(model), before) == 0 and all(p.grad is None for p in model.parameters())
    assert all(torch.equal(state["m"], m) for state, m in zip(optimizer.state.values(), memory))
    assert math.isfinite(step(model, optimizer, [text()]).loss)


# --- precision, rates, the ramp, the compiler -------------------------------------------------------------------------


def test_bf16_trains_as_float32_does():
    """Matmuls in bf16, weights and their gradients in float32; the losses agree as well as 8 bits allow."""
    ends = {}
    for half in ("float32", "bf16"):
        model = small(dtype=torch.float32, width=32)
        optimizer = make("adamw", model, lr=1e-2)
        first = step(model, optimizer, [text()], half=half).loss
        assert all(p.dtype == p.grad.dtype == torch.float32 for p in model.parameters())
        ends[half] = first, [step(model, optimizer, [text(seed=i)], half=half).loss for i in range(40)][-1]
    assert ends["bf16"][0] == pytest.approx(ends["float32"][0], abs=2e-3) and ends["bf16"][0] != ends["float32"][0]
    assert ends["bf16"][1] == pytest.approx(ends["float32"][1], abs=0.1)
    assert ends["bf16"][1] < 0.5 * ends["bf16"][0]
    with autocast("cpu", "bf16"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    with pytest.raises(ValueError, match="there is no precision 'fp16'; choose float32 or bf16"):
        autocast("cpu", "fp16")


def test_each_group_has_a_peak_of_its_own():
    """The share is of the peak, not of the rate of the step before; the peak survives saving and loading."""
    optimizer = make("muon", small(), lr=0.02, rest={"lr": 1e-3})
    for share in (0.5, 0.1, 1.0, 0.25):
        set_rate(optimizer, share)
        assert {group["lr"] for group in optimizer.param_groups} == {0.02 * share, 1e-3 * share}
    again = make("muon", small(), lr=7.0)
    again.load_state_dict(optimizer.state_dict())
    set_rate(again, 0.5)
    assert {group["lr"] for group in again.param_groups} == {0.01, 5e-4}


def test_the_ramp_grows_in_whole_micro_batches():
    """From first to last, never down, always a multiple; the last is reached at the end of the ramp and stays."""
    course = [ramp(i, first=8, last=64, steps=100, multiple=8) for i in range(120)]
    assert course[0] == 8 and course[100:] == [64] * 20 and course == sorted(course) and len(set(course[:100])) == 7
    assert all(rows % 8 == 0 for rows in course)
    assert course[50] == 32 and ramp(50, first=10, last=20, steps=100) == 15
    assert ramp(0, first=4, last=4, steps=0) == 4 and ramp(0, first=1, last=9, steps=0) == 9
    for wrong in ({"first": 0}, {"first": 65}, {"multiple": 3}, {"multiple": 0}, {"last": 60, "multiple": 8}):
        with pytest.raises(ValueError, match="a batch cannot grow from .* rows in multiples of"):
            ramp(0, **{"first": 8, "last": 64, "steps": 10, **wrong})
    with pytest.raises(ValueError, match="step -1 of a ramp of 10 steps cannot be counted"):
        ramp(-1, first=1, last=2, steps=10)


def test_compiled_is_the_same_model():
    """Names and numbers stay. aot_eager traces forward and backward as the real compiler does, but writes no C++."""
    plain, fast = small(layers=1), compiled(small(layers=1), backend="aot_eager")
    assert list(plain.state_dict()) == list(fast.state_dict())
    for model in (plain, fast):
        optimizer = make("sgd", model, lr=0.1)
        step(model, optimizer, cut(*masked(), 4))
    assert distance(weights(plain), weights(fast)) < 1e-7


def test_without_a_compiler_the_sentence_says_what_is_lacking(monkeypatch):
    """torch itself would fail in the first forward, pages deep. CXX comes first, as torch has it."""
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    assert compiler() is None
    with pytest.raises(
        ValueError, match="torch.compile needs a C\\+\\+ compiler; install g\\+\\+ or set CXX, or train"
    ):
        compiled(nn.Linear(2, 2))
    monkeypatch.setattr(module.shutil, "which", lambda name: f"/bin/{name}" if name == "mine" else None)
    monkeypatch.setenv("CXX", "mine")
    assert compiler() == "mine"
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    assert compiler("cuda") is None
