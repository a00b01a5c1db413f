"""What defines the penalties: where they pull to, how hard, and how each finds out which weights matter."""

import copy

import pytest
import torch
from continual import Learner, Rows, Strategy, Task, all_judged, make, step
from continual.vendor.gpt.model import GPT, GPTConfig

pytestmark = pytest.mark.day(89)

PENALTIES = ["l2", "ewc", "si", "mas"]


def setting(dtype=torch.float32):
    torch.manual_seed(0)
    ids = torch.randint(0, 7, (4, 6), generator=torch.Generator().manual_seed(1))
    return Learner(GPT(GPTConfig(7, 5, n_layer=1, n_head=2, n_embd=8)).to(dtype)), Task("a", all_judged(ids))


def train(learner, method, task, steps=3, lr=0.1):
    """A few plain steps over all rows at once, unclipped: and the task is finished."""
    rows = method.start(learner, task)
    optimizer = torch.optim.SGD(learner.parameters().values(), lr=lr)
    for _ in range(steps):
        step(learner, method, optimizer, rows, clip=None)
    method.finish(learner, task)


@pytest.mark.parametrize("name", PENALTIES)
def test_the_penalty_is_zero_at_the_anchor_and_grows_with_the_square(name):
    """A penalty that compares the weights with themselves is 0 for ever, and protects nothing."""
    learner, task = setting()
    method = make(name)
    train(learner, method, task)
    assert method.penalty(learner).item() == 0
    weight = learner.model.wpe.weight
    found = []
    for _ in range(2):
        with torch.no_grad():
            weight += 0.5  # exact in binary, but the weights it is added to round: hence a tolerance
        found.append(method.penalty(learner).item())
    assert found[0] > 0 and found[1] == pytest.approx(4 * found[0], rel=1e-4)


@pytest.mark.parametrize("name", PENALTIES)
def test_a_step_feels_the_penalty_that_finite_differences_find(name):
    """The oracle: the rise of (loss with the penalty - loss without) along a random direction, in float64."""
    learner, task = setting(torch.float64)
    method = make(name, dict(strength=3.0))
    train(learner, method, task)
    g = torch.Generator().manual_seed(2)
    named = learner.parameters()
    shift, way = ({n: torch.randn(p.shape, generator=g, dtype=p.dtype) for n, p in named.items()} for _ in "ab")

    def go(direction, size):
        with torch.no_grad():
            for name, p in named.items():
                p += size * direction[name]

    def added():
        return method.loss(learner, task.train) - learner.loss(task.train)

    go(shift, 0.1)
    values = torch.autograd.grad(added(), list(named.values()))
    slope = sum((v * way[name]).sum() for name, v in zip(named, values)).item()
    risen = []
    for size in (1e-4, -2e-4):
        go(way, size)
        risen.append(added().item())
    assert added().item() > 0
    # central differences of a square are exact but for rounding: 1e-16 * a loss of 2 / 1e-4, far below the slope
    assert slope == pytest.approx((risen[0] - risen[1]) / 2e-4, rel=1e-5)


def test_fisher_is_taken_row_by_row():
    """The oracle is plain autograd, one row at a time: the mean of squares, not the square of the mean; times the 5
    targets of a row, which makes it that of one target."""
    learner, task = setting()
    method = make("ewc")
    method.finish(learner, task)
    model = learner.model.eval()
    each = []
    for i in range(4):
        loss = model(task.train.ids[i : i + 1, :-1], task.train.ids[i : i + 1, 1:])[1]
        each.append(torch.autograd.grad(loss, model.wpe.weight)[0])
    each = torch.stack(each)
    # float32 sums of four terms in another order
    torch.testing.assert_close(method.weight["wpe.weight"], 5 * (each**2).mean(0), rtol=1e-4, atol=1e-9)
    assert not torch.allclose(method.weight["wpe.weight"], 5 * each.mean(0) ** 2, rtol=0.1, atol=0)


class Coin(torch.nn.Module):
    """Knows only how likely each of two tokens is, whatever came before: its Fisher is p(1 - p), known by hand."""

    def __init__(self, p):
        super().__init__()
        self.score = torch.nn.Parameter(torch.tensor([p / (1 - p)]).log())

    def forward(self, tokens, targets=None, cache=None):
        logits = torch.cat([torch.zeros(1), self.score]).expand(*tokens.shape, 2)
        return logits, torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def coin(p, ids, **config):
    learner, task = Learner(Coin(p)), Task("a", all_judged(torch.tensor(ids)))
    method = make("ewc", config)
    method.finish(learner, task)
    return method.weight["score"].item()


def test_two_rows_of_opposite_gradient_have_a_fisher():
    """Heads pulls up, tails down, just as hard: the batch's gradient is 0, and the weight matters all the same."""
    assert coin(0.5, [[0, 1], [0, 0]]) == pytest.approx(0.25, rel=1e-6)


@pytest.mark.parametrize("p", [0.5, 0.9])
def test_the_fisher_of_a_coin(p):
    """All labels: p(1 - p) exactly, for rows of 1 and of 9 targets. Drawn labels: the same on average. The data's own
    labels: another number, where the data are not what the model expects."""
    exact = p * (1 - p)
    for length in (1, 9):
        rows = [[1] * (length + 1)] * 4
        assert coin(p, rows, labels="all") == pytest.approx(exact, rel=1e-5)  # float32
    # one row's value deviates by 1.7 times the mean where one side is rare: 12 % over 200 rows
    assert coin(p, [[1] * 10] * 200, labels="model", fisher_rows=200) == pytest.approx(exact, rel=0.35)
    assert coin(p, [[0, 1]] * 4) == pytest.approx((1 - p) ** 2, rel=1e-5)


def test_all_labels_is_refused_where_it_would_take_hours():
    learner = Learner(GPT(GPTConfig(300, 5, n_layer=1, n_head=2, n_embd=8)))
    task = Task("a", all_judged(torch.zeros(2, 6, dtype=torch.long)))
    with pytest.raises(ValueError, match="labels is 'all', but a row has 5 targets of 300 classes.*use 'model'"):
        make("ewc", dict(labels="all")).start(learner, task)  # before the task is learned
    task.train.judged[0, 2:] = False  # the first row alone would be cheap
    method = make("ewc", dict(labels="all"))
    method.start(learner, task)
    with pytest.raises(ValueError, match="labels is 'all', but a row has 5 targets of 300 classes.*use 'model'"):
        method.finish(learner, task)


def three_tasks(**config):
    """EWC after three tasks, and after each of them the weights and what was added to the Fisher."""
    learner, task = setting(torch.float64)
    method, seen, before = make("ewc", config), [], {}
    for i in range(3):
        train(learner, method, Task("t", task.train[i : i + 2]), lr=1.0)
        added = {n: w - method.gamma * before[n] if before else w for n, w in method.weight.items()}
        before = copy.deepcopy(method.weight)
        seen.append(({n: p.detach().clone() for n, p in learner.parameters().items()}, added))
    return learner, method, seen


@pytest.mark.parametrize("anchors, equal", [("each", True), ("last", False)])
def test_a_penalty_for_each_task_fits_into_one_anchor(anchors, equal):
    """The oracle is the paper's sum, with the Fisher and the weights of all three tasks kept: the same up to a
    constant, so its differences between places are ours. With the last anchor they are not."""
    learner, method, seen = three_tasks(anchors=anchors)

    def paper():
        named = learner.parameters()
        return sum((f[n] * (p - old[n]) ** 2).sum() for old, f in seen for n, p in named.items()).item()

    constants = []
    for i in range(3):
        constants.append(method.penalty(learner).item() - paper())
        with torch.no_grad():
            for p in learner.parameters().values():
                p += torch.randn(p.shape, generator=torch.Generator().manual_seed(i), dtype=p.dtype)
    spread = (max(constants) - min(constants)) / paper()
    assert spread < 1e-12 if equal else spread > 1e-9, spread  # float64, sums of a thousand terms


@pytest.mark.parametrize("name", PENALTIES)
def test_importance_adds_up_over_tasks_but_for_l2(name):
    """EWC, SI and MAS know what each task needs, and sum it. L2 knows nothing: after ten tasks it pulls as after 1."""
    learner, task = setting()
    method, seen = make(name), []
    for _ in range(2):
        train(learner, method, task)
        seen.append(method.weight["wpe.weight"].clone())
    if name == "l2":
        assert (seen[1] == 1).all()
    else:
        assert (seen[1] >= seen[0]).all() and (seen[1] > seen[0]).any()
    assert all(torch.equal(method.anchor[n], p) for n, p in learner.parameters().items()), "the pull is to the last"


def test_gamma_lets_old_tasks_fade():
    """1 is the sum of the Fishers, 0 the last one alone."""
    _, method, seen = three_tasks(gamma=0.5)
    for name, weight in method.weight.items():
        first, second, third = (fisher[name] for _, fisher in seen)
        torch.testing.assert_close(weight, first / 4 + second / 2 + third)  # float64 defaults


class Bowl(torch.nn.Module):
    """loss = sum_k a_k / 2 * w_k^2: what each weight contributes to its fall is known by hand."""

    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor([1.0, 2.0, 3.0, 1.0]))
        self.a = torch.tensor([1.0, 0.5, 2.0, 0.0])

    def forward(self, tokens, targets=None, cache=None):
        return None, (self.a / 2 * self.w**2).sum()


def roll(strength=0.0, first=None, steps=40):
    """(SI, the weights before): down the bowl in small steps, on one row that judges one token. `first`: SI after a
    task that ended elsewhere, so that its penalty pulls."""
    learner, task = Learner(Bowl()), Task("a", all_judged(torch.zeros(1, 2, dtype=torch.long)))
    method = make("si", dict(strength=strength, damping=0.01))
    if first:
        method.anchor, method.weight = {"w": torch.full((4,), 2.0)}, {"w": torch.ones(4)}
    before = learner.model.w.detach().clone()
    method.start(learner, task)
    optimizer = torch.optim.SGD([learner.model.w], lr=0.01)
    for _ in range(steps):
        step(learner, method, optimizer, task.train, clip=None)
    return method, before, learner


def test_omega_is_what_each_weight_took_off_the_loss():
    """On a bowl, per weight; the path integral in steps of lr overshoots by lr * a / 2 of it, 1 % at most."""
    method, before, learner = roll()
    after, a = learner.model.w.detach(), learner.model.a
    assert after[3] == before[3], "a weight that the loss does not feel does not move"
    torch.testing.assert_close(method.omega["w"], a / 2 * (before**2 - after**2), rtol=0.011, atol=0)
    expected = method.omega["w"] / ((after - before) ** 2 + 0.01)
    method.finish(learner, Task("a", all_judged(torch.zeros(1, 2, dtype=torch.long))))
    torch.testing.assert_close(method.weight["w"], expected)  # the same sums in float32
    assert torch.equal(method.anchor["w"], after) and not method.omega


def test_omega_does_not_count_what_the_penalty_did():
    """The step's gradient holds the penalty's pull. Along the very path that the weights take, omega is the fall of the
    loss on the rows alone: for the last weight, which that loss does not feel and the penalty moves, it is 0."""
    method, before, learner = roll(strength=1.0, first=True)
    after, a = learner.model.w.detach(), learner.model.a
    assert (after[3] - before[3]).abs() > 0.1
    # as above, and the penalty bends the path: steps of 1 % of the distance, as slope changes by a and 1 a unit
    torch.testing.assert_close(method.omega["w"], a / 2 * (before**2 - after**2), rtol=0.04, atol=1e-6)


def test_si_sees_the_gradient_before_it_is_clipped():
    """Clipping changes how far a weight goes, not how steep its way was."""
    learner, task = Learner(Bowl()), Task("a", all_judged(torch.zeros(1, 2, dtype=torch.long)))
    method = make("si")
    method.start(learner, task)
    before = learner.model.w.detach().clone()
    step(learner, method, torch.optim.SGD([learner.model.w], lr=1.0), task.train, clip=1e-3)
    moved = learner.model.w.detach() - before
    torch.testing.assert_close(method.omega["w"], -learner.model.a * before * moved)


def test_mas_looks_at_no_target():
    """Other targets, the same importance; other inputs, another. The last token of a row is only ever a target."""
    learner, task = setting()
    ids = task.train.ids
    asked = []
    for column, by in ((5, 0), (5, 3), (0, 3)):
        changed = ids.clone()
        changed[:, column] = (changed[:, column] + by) % 7
        asked.append(make("mas").importance(learner, Task("a", all_judged(changed))))
    for name in asked[0]:
        assert torch.equal(asked[0][name], asked[1][name])
    assert any(not torch.equal(asked[0][name], asked[2][name]) for name in asked[0])
    ewc = [make("ewc").importance(learner, Task("a", all_judged(rows))) for rows in (ids, (ids + 1) % 7)]
    assert any(not torch.equal(ewc[0][name], ewc[1][name]) for name in ewc[0]), "this test would not notice targets"


def test_mas_is_the_mean_of_absolute_gradients():
    """The oracle is plain autograd on the squared norm of the logits, one row at a time."""
    learner, task = setting()
    found = make("mas").importance(learner, task)["wpe.weight"]
    model, each = learner.model.eval(), []
    for i in range(4):
        logits = model(task.train.ids[i : i + 1, :-1])[0]
        each.append(torch.autograd.grad((logits**2).sum() / 5, model.wpe.weight)[0].abs())
    torch.testing.assert_close(found, torch.stack(each).mean(0), rtol=1e-4, atol=1e-7)  # float32, another order


@pytest.mark.parametrize("name", ["ewc", "mas"])
def test_a_row_counts_by_what_it_judges(name):
    """A row of 5 targets and one of 1 are 6 targets, each worth a sixth; a row that judges nothing is worth nothing."""
    learner, task = setting()
    alone = [make(name).importance(learner, Task("a", rows)) for rows in task.train.split(1)]
    mixed = Rows(**{k: t.clone() for k, t in task.train[:3].tensors.items()})
    mixed.judged[1, 2:], mixed.judged[2] = False, False
    short = make(name).importance(learner, Task("a", mixed[1:2]))
    both = make(name).importance(learner, Task("a", mixed))
    for key, value in both.items():
        torch.testing.assert_close(value, (5 * alone[0][key] + short[key]) / 6, rtol=1e-4, atol=1e-8)  # float32
    nothing = make(name).importance(learner, Task("a", mixed[2:3]))
    assert all((value == 0).all() for value in nothing.values())


@pytest.mark.parametrize("name", PENALTIES)
def test_the_mode_is_given_back(name):
    """An importance is taken without dropout; what is trained next has it again."""
    learner, task = setting()
    learner.model.train()
    train(learner, make(name), task, steps=1)
    assert learner.model.training


class Pair(torch.nn.Module):
    """Two weights: after token 0 the score of token 1 is w_0, after token 1 it is w_0 + w_1."""

    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(2))

    def forward(self, tokens, targets=None, cache=None):
        score = self.w[0] + self.w[1] * tokens  # (B, T)
        logits = torch.stack([torch.zeros_like(score), score], dim=-1)
        return logits, torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


@pytest.mark.parametrize("name, strength", [("ewc", 16.0), ("si", 30.0), ("mas", 1.4), ("l2", 3.0)])
def test_the_weight_that_matters_is_held_and_the_other_learns(name, strength):
    """The first task needs w_0 alone, the second the sum of both. Naive training moves both alike, and forgets. Who
    knows that w_1 did not matter leaves the whole move to it: nothing is forgotten, and as much learned. L2 does not
    know, and is kept from learning."""
    often, seldom = torch.tensor([[0, 1]] * 3 + [[0, 0]]), torch.tensor([[1, 0]] * 3 + [[1, 1]])
    first, second = Task("often", all_judged(often)), Task("seldom", all_judged(seldom))
    loss = {}
    for strategy in (Strategy(), make(name, dict(strength=strength))):
        learner = Learner(Pair())
        for task in (first, second):
            train(learner, strategy, task, steps=70, lr=0.3)
        loss[strategy.keeps] = [learner.loss(task.train).item() for task in (first, second)]
    best = 0.5623  # -3/4 ln 3/4 - 1/4 ln 1/4, nats
    forgot, learned = loss["nothing"]
    assert forgot > best + 0.1 and learned == pytest.approx(best, abs=0.001)
    forgot, learned = loss["weights"]
    if name == "l2":
        assert learned > best + 0.1
    else:
        assert max(forgot, learned) < best + 0.001


@pytest.mark.parametrize("name, config, said", [
    ("l2", dict(strength=-1), "strength is -1; use 0"),
    ("si", dict(strength=float("nan")), "strength is nan; use 0"),
    ("ewc", dict(fisher_rows=0), "fisher_rows is 0; use 1"),
    ("ewc", dict(gamma=1.5), "gamma is 1.5; use 1"),
    ("ewc", dict(labels="mine"), "labels is 'mine'; use one of data, model, all"),
    ("ewc", dict(anchors="first"), "anchors is 'first'; use one of last, each"),
    ("si", dict(damping=0), "damping is 0; use a number above 0"),
    ("mas", dict(importance_rows=0), "importance_rows is 0; use 1"),
])  # fmt: skip
def test_penalties_refuse_what_cannot_be(name, config, said):
    with pytest.raises(ValueError, match=said):
        make(name, config)
