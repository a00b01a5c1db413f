"""The loop and the learner: equal to a plain torch loop bit for bit, and safe where a loss breaks."""

import copy
import math
import re
from pathlib import Path

import pytest
import torch
from continual import Learner, Shuffle, Strategy, Task, all_judged, learn, learn_sequence, step, windows
from continual.rows import cat
from continual.vendor.gpt.model import GPT, GPTConfig
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.day(86)

V, T = 13, 6


def tiny(seed=0, dropout=0.1):
    """A GPT of 1,000 parameters, with dropout: so a draw from the global generator at a wrong moment shows."""
    torch.manual_seed(seed)
    return GPT(GPTConfig(vocab_size=V, block_size=T, n_layer=1, n_head=2, n_embd=8, dropout=dropout))


def rows(n, seed=0):
    return all_judged(torch.randint(V, (n, T + 1), generator=torch.Generator().manual_seed(seed)))


def adamw(named):
    return torch.optim.AdamW(named.values(), lr=1e-2)


def test_learn_is_a_plain_torch_loop_bit_for_bit():
    """The default Strategy is ordinary training: the loop adds no operation, and draws no random number of its own."""
    task, ours, plain = Task("a", rows(10)), tiny(), tiny()
    warm = lambda i: min(1, (i + 1) / 3)  # noqa: E731
    torch.manual_seed(1)
    seen = []
    learn(Learner(ours), Strategy(), task, steps=7, batch_size=4, make_optimizer=adamw, schedule=warm, clip=0.5, seed=2,
          on_step=lambda i, info: seen.append(info))  # fmt: skip

    torch.manual_seed(1)
    optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-2)
    shuffle = Shuffle(10, 4, seed=2)
    for i in range(7):
        optimizer.param_groups[0]["lr"] = 1e-2 * warm(i)
        batch = task.train[shuffle.at(i)].ids
        _, loss = plain(batch[:, :-1], batch[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
        optimizer.step()
        assert seen[i] == {"loss": loss.item(), "grad_norm": norm.item(), "lr": 1e-2 * warm(i)}
    for (name, a), b in zip(ours.named_parameters(), plain.parameters()):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("parts", [2, 3, 4, 8])
def test_micro_batches_add_up_to_the_whole_batch(parts):
    """Accumulation must change memory, not the update: in parts the gradient of 8 rows is that of 8, also where some
    rows judge one token and others six. The mean of the parts' means is another number."""
    batch, moved = rows(8), {}
    batch.judged[:3, 1:T] = False
    batch.judged[7] = False  # nothing at all to learn here
    for n in (1, parts):
        model = tiny(dropout=0.0)
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        info = step(Learner(model), Strategy(), optimizer, batch, parts=n, clip=None)
        moved[n] = info["loss"], torch.cat([p.detach().flatten() for p in model.parameters()])
    assert moved[1][0] == pytest.approx(moved[parts][0], rel=1e-6)  # float32, sums in another order
    assert torch.allclose(moved[1][1], moved[parts][1], atol=1e-6)
    if parts == 4:
        learner = Learner(tiny(dropout=0.0))
        mean_of_means = sum(learner.loss(part).item() for part in batch[:6].split(2)) / 3
        assert mean_of_means != pytest.approx(learner.loss(batch[:6]).item(), rel=1e-3), "this batch shows nothing"


class Diary(Strategy):
    """Writes down what the loop calls; adds a parameter in start."""

    def __init__(self):
        self.calls, self.extra = [], 1.0

    def start(self, learner, task):
        self.calls.append("start")
        learner.model.extra = torch.nn.Parameter(torch.ones(1))
        return task.train

    def loss(self, learner, batch):
        self.calls.append("loss")
        return learner.loss(batch) + learner.model.extra.sum()

    def grads(self, learner):
        norm = torch.cat([p.grad.flatten() for p in learner.parameters().values()]).norm()
        self.calls.append(f"grads before clipping: {norm > 1e-3}")

    def stepped(self, learner):
        extra = learner.model.extra.item()
        self.calls.append(f"stepped after the update: {extra < self.extra}")
        self.extra = extra

    def finish(self, learner, task):
        self.calls.append("finish")


def test_the_order_of_calls():
    """start, then the optimizer (so it holds the new parameter), then loss, grads, update, stepped; finish last."""
    diary = Diary()

    def make(named):
        diary.calls.append("optimizer with extra: " + str("extra" in named))
        return torch.optim.SGD(named.values(), lr=1.0)

    learn(Learner(tiny()), diary, Task("a", rows(4)), steps=2, batch_size=2, make_optimizer=make, clip=1e-3)
    one = ["loss", "grads before clipping: True", "stepped after the update: True"]
    assert diary.calls == ["start", "optimizer with extra: True", *one, *one, "finish"]


class Broken(Strategy):
    """A loss (or only its gradient) that breaks at one micro-batch."""

    def __init__(self, at, how):
        self.at, self.how, self.n = at, how, 0

    def loss(self, learner, batch):
        loss = learner.loss(batch)
        self.n += 1
        if self.n - 1 != self.at:
            return loss
        # the second: a finite loss whose gradient is infinite, for d sqrt(x)/dx at 0 is
        return loss * float("nan") if self.how == "loss" else loss + (loss - loss.detach()).abs().sqrt()


@pytest.mark.parametrize("how, at", [("loss", 2), ("loss", 3), ("gradient", 2)])
def test_a_broken_loss_stops_before_the_update(how, at):
    """NaN must never reach the weights: not in the first micro-batch, not in a later one, not through the gradient."""
    model = tiny()
    learner, optimizer, strategy = Learner(model), torch.optim.AdamW(model.parameters(), lr=1e-2), Broken(at, how)
    step(learner, strategy, optimizer, cat([rows(2), rows(2, 1)]), parts=2)
    good, state = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())
    with pytest.raises(FloatingPointError, match=f"the {how}.* is (nan|inf); the weights are those of the step before"):
        step(learner, strategy, optimizer, cat([rows(2), rows(2, 1)]), parts=2)
    assert all(torch.equal(good[k], v) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    for k, v in optimizer.state_dict()["state"].items():
        assert all(torch.equal(v[n], state["state"][k][n]) for n in v)


@given(st.integers(1, 20), st.integers(1, 25), st.integers(0, 5), st.lists(st.integers(0, 40), min_size=1))
def test_shuffle_is_a_pure_function_of_the_step(n, batch, seed, asked):
    """Whatever was asked before, step s gives the same rows; end to end, the steps are permutation upon permutation."""
    shuffle = Shuffle(n, batch, seed)
    for s in asked:
        assert torch.equal(shuffle.at(s), Shuffle(n, batch, seed).at(s))
    stream = torch.cat([shuffle.at(s) for s in range(3 * n)])  # 3 * n * batch rows: 3 * batch whole epochs
    assert stream.view(-1, n).sort(dim=1).values.eq(torch.arange(n)).all()


def test_epochs_and_seeds_shuffle_differently():
    """The same order each epoch would pass the test above, and would be no shuffling at all."""
    s = Shuffle(100, 100, seed=0)
    assert not torch.equal(s.at(0), s.at(1)) and not torch.equal(s.at(0), Shuffle(100, 100, seed=1).at(0))
    with pytest.raises(ValueError, match="batches of 4 from 0 rows"):
        Shuffle(0, 4)


class Veil(Strategy):
    """A view that swaps a weight while a task is judged."""

    def view(self, learner, name):
        from contextlib import contextmanager

        @contextmanager
        def swapped():
            weight = learner.model.wte.weight
            kept = weight.detach().clone()
            weight.data.zero_()
            try:
                yield
            finally:
                weight.data.copy_(kept)

        return swapped()


def test_judging_is_inside_the_view_in_eval_mode_without_gradients():
    """A score under dropout, or without the strategy's own weights, would be a score of something else."""
    model = tiny()
    learner = Learner(model)
    tasks = [Task("a", rows(4)), Task("b", rows(4, 1))]
    seen = []

    def evaluate(learner, task):
        seen.append((model.training, torch.is_grad_enabled(), model.wte.weight.abs().sum().item()))
        return learner.loss(task.train).item()

    model.train()
    order = []
    matrix = learn_sequence(learner, Veil(), tasks, evaluate=evaluate, steps=1, batch_size=2, make_optimizer=adamw,
                            on_task=lambda i, row: order.append(i))  # fmt: skip
    assert seen == [(False, False, 0.0)] * 6  # the baseline and two tasks, two scores each
    assert model.training and model.wte.weight.abs().sum() > 0 and order == [-1, 0, 1]
    assert matrix.names == ["a", "b"] and len(matrix.rows) == 2 and len(matrix.baseline) == 2
    model.eval()
    learn_sequence(learner, Strategy(), tasks, evaluate=evaluate, steps=1, batch_size=2, make_optimizer=adamw)
    assert not model.training, "the mode that the caller had set was not given back"


def test_the_mode_survives_an_error():
    """A caller who catches the error and samples from the model must not sample with dropout."""
    model = tiny().eval()
    with pytest.raises(FloatingPointError):
        learn(Learner(model), Broken(0, "loss"), Task("a", rows(4)), steps=1, batch_size=2, make_optimizer=adamw)
    assert not model.training


def test_gradient_equals_backward_and_leaves_grad_alone():
    """Learner.gradient is what EWC and A-GEM will read: the same numbers as backward, without touching a step's own."""
    model, batch = tiny(dropout=0.0), rows(4)
    learner = Learner(model)
    model.wpe.weight.requires_grad_(False)
    learner.loss(batch).backward()
    kept = {name: p.grad.clone() for name, p in learner.parameters().items()}
    with torch.no_grad():
        got = learner.gradient(batch)
        learner.gradient(rows(4, 9))
    assert got.keys() == kept.keys() and "wpe.weight" not in got
    for name, g in got.items():
        assert torch.equal(g, kept[name]) and torch.equal(model.get_parameter(name).grad, kept[name]), name
    assert not any(g.requires_grad for g in got.values())


def test_what_is_not_judged_changes_nothing():
    """Rows of different lengths share a batch: a padded row has the loss of the row without padding."""
    learner = Learner(tiny(dropout=0.0))
    row = rows(1)
    padded = rows(1)
    padded.ids[:, 4:], padded.judged[:, 4:] = 0, False
    short = all_judged(row.ids[:, :4])
    assert learner.count(padded) == learner.count(short) == 3
    assert learner.loss(padded).item() == pytest.approx(learner.loss(short).item(), rel=1e-6)  # other sum lengths
    assert torch.allclose(learner.logits(padded)[:, :3], learner.logits(row)[:, :3], atol=1e-6)


def test_rows_are_taken_and_joined_together():
    """A row's ids and what is judged of them must never part."""
    both = cat([rows(3), rows(2, 1)])
    assert len(both) == 5 and both.split(2)[2].ids.shape == (1, T + 1)
    assert torch.equal(both[torch.tensor([3])].ids, rows(2, 1).ids[:1])
    assert not both.judged[:, 0].any() and both.judged[:, 1:].all()
    other = rows(3)
    other.judged[0, 1] = False
    assert rows(3).digest() == rows(3).digest() != other.digest()
    with pytest.raises(ValueError, match="cut or pad all tasks to one length"):
        cat([rows(3), all_judged(rows(3).ids[:, :4])])
    with pytest.raises(AttributeError, match="these rows have ids, judged, no label"):
        _ = rows(3).label


def test_windows_predict_each_token_once():
    """Overlapping targets would count some bytes twice in bits per byte; gaps would hide some."""
    tokens = torch.arange(23)
    cut = windows(tokens, 5)
    assert cut.ids[:, 1:].flatten().tolist() == list(range(1, 21))
    assert torch.equal(cut.ids[:, :-1] + 1, cut.ids[:, 1:])
    assert not cut.judged[:, 0].any() and cut.judged[:, 1:].all()
    with pytest.raises(ValueError, match="3 tokens.* 5"):
        windows(torch.arange(3), 5)


def test_only_the_loop_calls_backward():
    """Methods return values, one loop acts: a second backward is a second training loop in hiding."""
    package = Path(__file__).parents[1] / "continual"
    files = [f for f in package.rglob("*.py") if "vendor" not in f.parts]
    lines = [f"{f.name}: {line.strip()}" for f in files for line in f.read_text().splitlines()
             if re.search(r"\.backward\(", line)]  # fmt: skip
    assert lines == ["loop.py: loss.backward()"]


class Slow(Strategy):
    """Asks for a share of each step's learning rate, and notes the losses that it is asked with."""

    def __init__(self, factor):
        self.factor, self.losses = factor, []

    def rate(self, loss):
        self.losses.append(loss)
        return self.factor


def moved_by(strategy, steps=1):
    """The weights' move from the same start, by SGD in two micro-batches, and what each step said of itself."""
    model = tiny(dropout=0.0)
    before = torch.cat([p.detach().flatten() for p in model.parameters()])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.25)
    info = [step(Learner(model), strategy, optimizer, rows(4, i), parts=2) for i in range(steps)]
    assert optimizer.param_groups[0]["lr"] == 0.25, "the factor is of one step: the schedule's rate stays"
    return torch.cat([p.detach().flatten() for p in model.parameters()]) - before, info


def test_a_method_may_ask_for_a_share_of_the_learning_rate():
    """Factor 1 is plain training bit for bit; SGD moves half as far at factor 1/2. It is asked once a step, however
    many micro-batches there are, with the loss of the whole step."""
    plain, info = moved_by(Strategy(), steps=3)
    slow = Slow(1.0)
    same, told = moved_by(slow, steps=3)
    assert torch.equal(plain, same) and told == info and slow.losses == [one["loss"] for one in info]
    once, half = moved_by(Strategy())[0], moved_by(Slow(0.5))
    assert half[1][0]["lr"] == 0.125
    assert torch.allclose(half[0], once / 2, rtol=0, atol=2e-7)  # weights near 1 round to 6e-8, on both sides


@pytest.mark.parametrize("factor", [math.nan, math.inf])
def test_a_broken_factor_stops_before_the_update(factor):
    """It multiplies every weight's move: NaN there is NaN everywhere."""
    model = tiny()
    good, optimizer = copy.deepcopy(model.state_dict()), torch.optim.SGD(model.parameters(), lr=0.25)
    with pytest.raises(FloatingPointError, match="the factor of the learning rate is (nan|inf); the weights are those"):
        step(Learner(model), Slow(factor), optimizer, rows(4))
    assert all(torch.equal(good[k], v) for k, v in model.state_dict().items())


def test_the_rate_is_put_back_also_where_the_optimizer_fails():
    """A caller who catches the error and goes on must not go on at half the rate."""
    model = tiny()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.25)

    def fail():
        assert optimizer.param_groups[0]["lr"] == 0.125
        raise RuntimeError("out of memory")

    optimizer.step = fail
    with pytest.raises(RuntimeError, match="out of memory"):
        step(Learner(model), Slow(0.5), optimizer, rows(4))
    assert optimizer.param_groups[0]["lr"] == 0.25
