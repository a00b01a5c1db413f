"""What defines LwF and FINCH: what the old model said pulls, and the rate follows the loss."""

import math

import pytest
import torch
from continual import Learner, Shuffle, Strategy, Task, all_judged, learn, make, step
from continual.vendor.gpt.model import GPT, GPTConfig
from continual.weights import holding

pytestmark = pytest.mark.day(89)


def setting():
    torch.manual_seed(0)
    ids = torch.randint(0, 7, (6, 6), generator=torch.Generator().manual_seed(1))
    rows = all_judged(ids)
    rows.judged[3:, 1:3] = False  # prompts
    return Learner(GPT(GPTConfig(7, 5, n_layer=1, n_head=2, n_embd=8))), Task("a", rows)


def slopes(learner, value):
    named = learner.parameters()
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, list(named.values()))])


def shaken(learner):
    with torch.no_grad():
        for i, p in enumerate(learner.parameters().values()):
            p += 0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(i))


def test_where_nothing_has_changed_the_old_model_does_not_pull():
    """At the first step of the second task both models are one: half the loss is left, and half its gradient."""
    learner, task = setting()
    method = make("lwf")
    method.finish(learner, task)
    method.start(learner, task)
    loss, plain = method.loss(learner, task.train), learner.loss(task.train)
    assert loss.item() == pytest.approx(plain.item() / 2, rel=1e-6)  # float32
    # the softmax's backward takes p * sum(p), and sum(p) is 1 within 1e-7
    torch.testing.assert_close(slopes(learner, loss), slopes(learner, plain) / 2, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("t", [2, 3, 10])
def test_the_loss_of_task_t(t):
    """The oracle is the formula: (1/t) * loss + (1 - 1/t) * T^2 * KL at temperature T, the mean over judged targets of
    the old model's distributions, on rows of which some tokens are prompt."""
    learner, task = setting()
    method = make("lwf", dict(temperature=3.0))
    with torch.no_grad():
        old = learner.logits(task.train)
    for _ in range(t - 1):
        method.finish(learner, task)
    shaken(learner)
    method.start(learner, task)
    logits, plain = learner.forward(task.train)
    p, q = ((z / 3).softmax(-1) for z in (old, logits))
    kl = (p * (p / q).log()).sum(-1)[task.train.judged[:, 1:]].mean()
    expected = plain / t + (1 - 1 / t) * 9 * kl
    loss = method.loss(learner, task.train)
    assert kl > 0.01
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)  # float32, other formulas
    torch.testing.assert_close(slopes(learner, loss), slopes(learner, expected), rtol=1e-4, atol=1e-6)


def test_the_old_model_speaks_without_dropout_and_leaves_no_trace():
    """Its weights are held for one forward pass: not in the gradient, not afterwards, and no random number is drawn."""
    learner, task = setting()
    learner.model.train()
    method = make("lwf")
    method.finish(learner, task)
    shaken(learner)
    method.start(learner, task)
    before = {name: p.detach().clone() for name, p in learner.parameters().items()}
    random = torch.get_rng_state()
    method.loss(learner, task.train)
    assert torch.equal(torch.get_rng_state(), random) and learner.model.training
    assert all(torch.equal(p, before[name]) for name, p in learner.parameters().items())
    with pytest.raises(KeyError), holding(learner, method.old):
        assert not torch.equal(learner.model.wpe.weight, before["wpe.weight"])
        raise KeyError
    assert all(torch.equal(p, before[name]) for name, p in learner.parameters().items())


def test_what_is_not_judged_is_not_distilled():
    """Padding and prompts: the old model's word on them would hold the model to what nobody asked of it."""
    learner, task = setting()
    method = make("lwf")
    method.finish(learner, task)
    shaken(learner)
    method.start(learner, task)
    short, padded = task.train[:1], all_judged(task.train.ids[:1].clone())
    padded.judged[:, 4:] = False
    short = all_judged(short.ids[:, :4])
    # float32, sums over other lengths
    assert method.loss(learner, padded).item() == pytest.approx(method.loss(learner, short).item(), rel=1e-5)


class OnlyJudged(Learner):
    """Gives logits (n, V) at the judged positions alone, as learners with a large vocabulary do."""

    def forward(self, rows):
        logits, loss = super().forward(rows)
        return logits[rows.judged[:, 1:]], loss


@pytest.mark.parametrize("name", ["lwf", "mas", "ewc"])
def test_a_learner_may_give_the_judged_logits_alone(name):
    """The same loss, the same importance: what nobody asks for need not be computed."""
    found = []
    for kind in (Learner, OnlyJudged):
        learner, task = setting()
        learner = kind(learner.model)
        method = make(name, {"ewc": dict(labels="model"), "mas": {}, "lwf": {}}[name])
        method.finish(learner, task)
        shaken(learner)
        method.start(learner, task)
        found.append(method.loss(learner, task.train).item())
    assert found[0] == found[1]


def test_finch_is_slow_where_the_loss_is_high():
    """By hand: a fifth at the first loss; at a quarter of it twice that; never more than the schedule allows."""
    finch = make("finch", dict(first_rate=0.2, smoothing=0.0))
    assert [finch.rate(loss) for loss in (4.0, 1.0)] == [1.0, 1.0], "the first task is plain training"
    finch.finish(None, None)
    # the small number that keeps a loss of 0 from having no rate is 1e-6 of these losses
    assert [finch.rate(loss) for loss in (4.0, 1.0, 16.0)] == pytest.approx([0.2, 0.4, 0.1], rel=1e-5)
    assert finch.rate(1e-9) == finch.rate(0.0) == 1.0
    finch.finish(None, None)
    assert finch.rate(9.0) == pytest.approx(0.2), "each task begins with its own first loss"
    smooth = make("finch", dict(first_rate=0.2))
    smooth.finish(None, None)
    assert [smooth.rate(loss) for loss in (4.0, 1.0)] == pytest.approx([0.2, 0.2 * math.sqrt(4 / 3.7)], rel=1e-5)


def test_finch_is_plain_training_at_that_rate():
    """The oracle: naive steps at the rates that FINCH took, given by a schedule: the same weights bit for bit."""
    weights, took = [], []
    for method in ("finch", "naive"):
        learner, task = setting()
        strategy = make(method)
        strategy.finish(learner, task)
        learn(
            learner, strategy, task, steps=5, batch_size=2, on_step=lambda i, info: took.append(info["lr"]),
            schedule=None if method == "finch" else lambda i: took[i],
            make_optimizer=lambda named: torch.optim.SGD(named.values(), lr=1.0),
        )  # fmt: skip
        weights.append([p.detach().clone() for p in learner.parameters().values()])
    assert took[:5] == took[5:] and took[0] == 0.2 and len(set(took)) > 1
    assert all(torch.equal(a, b) for a, b in zip(*weights))


@pytest.mark.parametrize("name", ["lwf", "finch"])
def test_less_is_forgotten(name):
    """Random rows of other tokens, then these: the defaults forget less of the first rows than naive training does."""
    g = torch.Generator().manual_seed(3)
    first, second = (Task("t", all_judged(torch.randint(v, v + 4, (8, 6), generator=g))) for v in (0, 4))
    rise = []
    for strategy in (Strategy(), make(name)):
        torch.manual_seed(0)
        learner = Learner(GPT(GPTConfig(8, 5, n_layer=1, n_head=2, n_embd=16)))
        after = []
        for task in (first, second):
            rows = strategy.start(learner, task)
            optimizer = torch.optim.AdamW(learner.parameters().values(), lr=1e-2)
            for i in range(20):
                step(learner, strategy, optimizer, rows[Shuffle(8, 8).at(i)])
            strategy.finish(learner, task)
            after.append(learner.loss(first.train).item())
        rise.append(after[1] - after[0])
    assert rise[0] > 1.0 and rise[1] < 0.7 * rise[0], rise


@pytest.mark.parametrize("name, config, said", [
    ("lwf", dict(strength=2), "strength is 2; use 0 .no distillation. to 1"),
    ("lwf", dict(temperature=0), "temperature is 0; use a number above 0"),
    ("finch", dict(first_rate=0), "first_rate is 0; use a share above 0"),
    ("finch", dict(smoothing=1), "smoothing is 1; use 0"),
])  # fmt: skip
def test_what_cannot_be_is_refused(name, config, said):
    with pytest.raises(ValueError, match=said):
        make(name, config)
