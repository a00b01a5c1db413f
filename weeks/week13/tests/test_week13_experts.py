"""What defines the experts: naive training, prompts that go to the weights of their own task, and Bayes' rule for text
that has no prompt."""

import math

import pytest
import torch
from continual import Learner, all_judged, judge, learn, learn_sequence, make
from continual.vendor.gpt.model import GPT
from week13_tokens import T, gpt, settings, tasks

pytestmark = pytest.mark.day(90)


def learned(tasks, **options):
    learner, strategy = gpt(**options), make("experts")
    learn_sequence(learner, strategy, tasks, evaluate=lambda *_: 0.0, higher_is_better=False, **settings())
    return learner, strategy


def snapshots(tasks):
    """The models of naive training after each task."""
    learner, found = gpt(), []
    for task in tasks:
        learn(learner, make("naive"), task, **settings())
        model = GPT(learner.model.config)
        model.load_state_dict(learner.model.state_dict())
        found.append(Learner(model.eval()))
    return found


def test_a_prompt_is_answered_by_the_weights_of_its_task():
    """To the bit what naive training was when that task ended, whichever task is named."""
    both = tasks(prompt=3)
    learner, strategy = learned(both)
    for task, own in zip(both, snapshots(both)):
        for name in ("low", "high", "never learned"):
            with strategy.view(learner, name):
                assert torch.equal(learner.predict(task.train)[0], own.predict(task.train)[0])
    assert not strategy.needs_task


def test_a_batch_may_hold_both_and_plain_text():
    """Rows of two tasks and rows without a prompt in one batch: each as it is alone, the loss the mean of all."""
    both = tasks(prompt=3)
    learner, strategy = learned(both)
    mixed = all_judged(torch.cat([both[0].train.ids[:2], both[1].train.ids[:2]])[[0, 2, 1, 3]])
    mixed.judged[:2, :3] = False  # one of each task has a prompt
    with strategy.view(learner, "low"), torch.no_grad():
        assert strategy.nearest(learner, mixed[:2]).tolist() == [0, 1]
        logits, loss = learner.predict(mixed)
        alone = [learner.predict(mixed[i : i + 1]) for i in range(4)]
    # another batch size sums in another order: float32 leaves 1e-6 of logits of about 1
    assert torch.allclose(logits, torch.cat([part for part, _ in alone]), atol=1e-5)
    counts = [len(part) for part, _ in alone]
    mean = sum(part.item() * n for (_, part), n in zip(alone, counts)) / sum(counts)
    assert counts == [4, 4, 6, 6] and loss.item() == pytest.approx(mean, rel=1e-5)


def test_plain_text_is_predicted_by_bayes_rule():
    """The oracle: the probability of a whole row is the mean of what the first model and each expert give it."""
    both = tasks(prompt=0)
    learner, strategy = learned(both)
    owns = [gpt(), *snapshots(both)]
    for task in both:
        for row in task.train[:5].split(1):
            with strategy.view(learner, task.name), torch.no_grad():
                logits, loss = learner.predict(row)
            each = torch.tensor([-own.loss(row).item() * T for own in owns], dtype=torch.float64)  # log-probabilities
            wanted = torch.logsumexp(each, 0).item() - math.log(3)
            assert -loss.item() * T == pytest.approx(wanted, rel=1e-5)
            assert torch.allclose(logits.exp().sum(1), torch.ones(T)), "a distribution at each position"
            assert -loss.item() * T > each.max().item() - math.log(3) - 1e-4  # a row costs at most log2(3) bits more


def test_what_comes_later_changes_no_earlier_prediction():
    """The weights of the experts look back only: the first tokens of two rows that part later are predicted alike."""
    both = tasks(prompt=0)
    learner, strategy = learned(both)
    one, other = (both[0].train[:1].map(torch.clone) for _ in "ab")
    other.ids[0, 4:] = both[1].train.ids[0, 4:]
    with strategy.view(learner, "low"), torch.no_grad():
        assert torch.equal(learner.predict(one)[0][:4], learner.predict(other)[0][:4])


def test_answers_are_written_by_the_expert_of_the_prompt():
    """Generation is routed too; the answers come back in the order of the prompts."""
    held = []

    def who(model, prompts, n, **options):
        held.append(model.wte.weight.detach().clone())
        return [[*prompt, len(held)] for prompt in prompts]

    both = tasks(prompt=3)
    learner, strategy = learned(both, generate=who)
    with strategy.view(learner, "high"):
        answers = learner.generate([[7, 8, 9], [1, 2], [10, 6, 7], [3, 4, 5]], 1, stop=())
        assert learner.generate([], 1, stop=()) == []
    assert answers == [[7, 8, 9, 2], [1, 2, 1], [10, 6, 7, 2], [3, 4, 5, 1]]
    assert [torch.equal(t, strategy.experts[i]["wte.weight"]) for i, t in enumerate(held)] == [True, True]


def test_text_is_continued_by_whoever_finds_it_likeliest():
    """Without prompts to be like, the beginning itself decides; of a single token nobody can say, and the newest goes
    on. What the model knew before it learned anything counts too."""
    both = tasks(prompt=0)
    learner, strategy = learned(both)
    owns = [gpt(), *snapshots(both)]
    with torch.no_grad():  # text that only the first model expects
        other = [3]
        for _ in range(5):
            logs = torch.stack([own.model(torch.tensor([other]))[0][0, -1].log_softmax(-1) for own in owns])
            other.append((logs[0] - logs[1:].max(0).values).argmax().item())
    prompts = [both[0].train.ids[0, :5].tolist(), both[1].train.ids[0, :5].tolist(), other, [4]]
    assert strategy.chosen(learner, learner.forward, prompts).tolist() == [0, 1, -1, 1]
    with strategy.view(learner, "low"):
        answers = learner.generate(prompts, 1, stop=())
    assert answers == [own.generate([ids], 1, stop=())[0] for ids, own in zip(prompts, (owns[i] for i in (1, 2, 0, 2)))]
    for prompt, own in zip(prompts, [owns[1], owns[2], owns[0], owns[2]]):
        with strategy.serving(learner, prompt), torch.no_grad():
            assert torch.equal(learner.model(torch.tensor([prompt]))[0], own.model(torch.tensor([prompt]))[0])


def test_no_expert_learns_more():
    """A gradient would belong to weights that are no longer there."""
    both = tasks(prompt=3)
    learner, strategy = learned(both)
    with strategy.view(learner, "low"):
        assert not learner.loss(both[0].train).requires_grad
    assert learner.loss(both[0].train).requires_grad


def test_a_task_under_way_is_answered_by_the_weights_as_they_are():
    """Judged in the middle of a task, the model that learns is the expert of that task."""
    low, high = tasks(prompt=3)
    learner, strategy = gpt(), make("experts")
    learn(learner, strategy, low, **settings())
    strategy.start(learner, high)
    with torch.no_grad():
        learner.model.wpe.weight += 1.0
        wanted = learner.predict(high.train)[0]
        before = judge(learner, strategy, [low], lambda learner, task: learner.loss(task.train))
    with strategy.view(learner, "high"):
        assert torch.equal(learner.predict(high.train)[0], wanted)
    with torch.no_grad():
        learner.model.wpe.weight -= 0.5
    assert before == judge(learner, strategy, [low], lambda learner, task: learner.loss(task.train))


def test_settings_that_cannot_be():
    with pytest.raises(ValueError, match="router_rows is 1; use 2 or more, for a spread needs two"):
        make("experts", dict(router_rows=1))
