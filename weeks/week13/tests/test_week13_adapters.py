"""What defines the methods that learn in adapters: a base that never changes, which adapters run, which one answers."""

import pytest
import torch
from continual import METHODS, Learner, Task, all_judged, judge, learn, learn_sequence, make
from continual.methods.gate import folded
from continual.methods.grown import Grown
from continual.vendor.lora.adapter import LoRAConfig, adapters, attach, base_state, layers
from week13_tokens import V, gpt, settings, tasks

pytestmark = pytest.mark.day(90)

SMALL = dict(rank=2, alpha=4)
FAMILY = [name for name, (_, method) in METHODS.items() if issubclass(method, Grown)]


def of_both():
    """Three rows of each task, of tasks 0, 1, 0, 1, 1, 0."""
    low, high = (task.train[:3] for task in tasks())
    return all_judged(torch.cat([low.ids, high.ids])[[0, 3, 1, 4, 5, 2]])


def run(learner, strategy, tasks, steps=8):
    return learn_sequence(
        learner, strategy, tasks, evaluate=lambda learner, task: learner.loss(task.train),
        higher_is_better=False, **settings(steps),
    ).rows  # fmt: skip


def loss_of(learner, strategy, task):
    return judge(learner, strategy, [task], lambda learner, task: learner.loss(task.train))[0]


@pytest.mark.parametrize("name", FAMILY)
def test_the_base_never_changes(name):
    """Byte for byte, under its own names; all that learns is in the adapters."""
    learner = gpt()
    before = {k: t.clone() for k, t in learner.model.state_dict().items()}
    run(learner, make(name, SMALL), tasks())
    after = base_state(learner.model)
    assert after.keys() == before.keys() and all(torch.equal(after[k], t) for k, t in before.items())
    assert all(".adapters." in key for key in learner.parameters())


@pytest.mark.parametrize("name", FAMILY)
def test_the_state_and_the_base_are_the_model(name):
    """A bare base and a loaded state serve the same bits, with no start in between: what a server does."""
    learner, strategy = gpt(), make(name, SMALL)
    run(learner, strategy, tasks())
    served = make(name, SMALL)
    served.load(strategy.state())
    bare = gpt()
    for task in tasks():
        assert loss_of(bare, served, task) == loss_of(learner, strategy, task)
    assert loss_of(bare, served, tasks()[0]) != gpt().loss(tasks()[0].train), "or nothing was served"


@pytest.mark.parametrize("name", FAMILY)
def test_it_learns(name):
    """Each task is better after its turn than before it, as served."""
    rows = run(gpt(), make(name, SMALL | (dict(decay=0.8) if name == "slow-lora" else {})), tasks(), steps=40)
    assert rows[1][1] < rows[0][1] - 0.2  # nats; they fall by 0.4 and more


def test_sequential_lora_has_one_adapter():
    learner = gpt()
    run(learner, make("sequential-lora", SMALL), tasks(), steps=2)
    assert list(adapters(learner.model)) == ["task0"]


@pytest.mark.parametrize("name", ["inc-lora", "o-lora", "routed-lora"])
def test_old_adapters_are_frozen(name):
    learner, strategy = gpt(), make(name, SMALL)
    low, high = tasks()
    learn(learner, strategy, low, **settings(4))
    before = strategy.state()
    learn(learner, strategy, high, **settings(4))
    after = strategy.state()
    old = [key for key in before if key.startswith("adapter0.")]
    assert old and all(torch.equal(before[key], after[key]) for key in old)
    assert list(adapters(learner.model)) == ["task0", "task1"]


def test_inc_lora_sums_all_adapters():
    """The served model is the base with every change added to its weights."""
    learner, strategy = gpt(), make("inc-lora", SMALL)
    run(learner, strategy, tasks())
    rows, bare = tasks()[1].train, gpt()
    with torch.no_grad():
        for path, layer in layers(learner.model).items():
            weight = bare.model.get_submodule(path).weight
            for adapter in layer.adapters.values():
                weight += 4 / 2 * adapter.lora_B @ adapter.lora_A
        with strategy.view(learner, "low"):
            # the same sums in another order, on logits of about 1: float32 leaves 1e-6
            assert torch.allclose(learner.logits(rows), bare.logits(rows), atol=1e-5)


def test_o_lora_is_inc_lora_and_a_penalty():
    """With strength 0 the same bits; with more of it the new adapter reads other directions than the old one."""
    overlaps, states = {}, {}
    for strength in (None, 0, 0.5):
        strategy = make("inc-lora", SMALL) if strength is None else make("o-lora", SMALL | dict(strength=strength))
        run(gpt(), strategy, tasks(), steps=30)
        states[strength] = strategy.state()
        ask = make("o-lora", SMALL)
        ask.adapters = strategy.adapters
        overlaps[strength] = ask.overlap().item()
    assert all(torch.equal(t, states[0][k]) for k, t in states[None].items() if torch.is_tensor(t))
    assert overlaps[0] == overlaps[None] and overlaps[0.5] < overlaps[0] / 3


def test_o_lora_overlap_by_hand():
    """Sum over layers, old adapters and pairs of rows of |a . b|."""
    learner, strategy = gpt(), make("o-lora", SMALL)
    for i in range(3):
        strategy.start(learner, Task(f"t{i}", tasks()[0].train))
    expected = 0.0
    for layer in layers(learner.model).values():
        first, second, new = (layer.adapters[f"task{i}"].lora_A.tolist() for i in range(3))
        for a in first + second:
            for b in new:
                expected += abs(sum(x * y for x, y in zip(a, b)))
    assert strategy.overlap().item() == pytest.approx(expected, rel=1e-5)  # float32 against float64


def test_slow_lora_trains_as_sequential_lora_and_serves_the_average():
    slow, plain = make("slow-lora", SMALL | dict(decay=0.9)), make("sequential-lora", SMALL)
    learner = gpt()
    run(learner, slow, tasks())
    run(gpt(), plain, tasks())
    assert all(torch.equal(p, plain.adapters[0][k]) for k, p in slow.adapters[0].items())
    with slow.view(learner, "low"):
        assert all(torch.equal(p, slow.slow[k]) for k, p in learner.parameters().items())
    assert not all(torch.equal(p, slow.slow[k]) for k, p in learner.parameters().items())


# --- the router -----------------------------------------------------------------------------------------------------


def test_what_is_routed_right_is_never_forgotten():
    """Every row of a task goes to its own adapter here, so each score stays to the bit."""
    learner, strategy = gpt(), make("routed-lora", SMALL)
    rows = run(learner, strategy, tasks())
    assert [strategy.routed(learner, task.name, task.train) for task in tasks()] == [1.0, 1.0]
    assert rows[1][0] == rows[0][0] and not strategy.needs_task


def test_each_row_is_answered_by_the_adapter_it_is_nearest_to():
    """A batch of both tasks: logits of each row as its own adapter alone gives them, the loss the mean over all."""
    learner, strategy = gpt(), make("routed-lora", SMALL)
    run(learner, strategy, tasks())
    mixed = of_both()
    mixed.judged[:, :3] = False
    with strategy.view(learner, "low"), torch.no_grad():
        assert strategy.nearest(learner, mixed).tolist() == [0, 1, 0, 1, 1, 0]
        logits, loss = learner.forward(mixed)
        one_by_one = [learner.forward(mixed[i : i + 1]) for i in range(6)]
        # another batch size sums in another order: float32 leaves 1e-6 of logits of about 1
        assert torch.allclose(logits, torch.cat([part for part, _ in one_by_one]), atol=1e-5)
        assert loss.item() == pytest.approx(sum(part.item() for _, part in one_by_one) / 6, rel=1e-5)
    for i, (number, row) in enumerate(zip([0, 1, 0, 1, 1, 0], mixed.split(1))):
        for layer in layers(learner.model).values():
            layer.active = {f"task{number}": 1.0}
        assert torch.allclose(learner.predict(row)[0], logits.view(6, 4, V)[i], atol=1e-5)


class Sparing(Learner):
    """A learner that gives the logits of the targets alone, (M, V), as week 14's does for answers."""

    def forward(self, rows):
        logits, loss = super().forward(rows)
        return logits[self.mask(rows)], loss


def test_a_learner_may_give_the_logits_of_targets_alone():
    """Rows of one and of three targets, of both tasks: the same logits and the same loss as with all of them."""
    learner, strategy = gpt(), make("routed-lora", SMALL)
    run(learner, strategy, tasks())
    mixed = of_both()
    mixed.judged[:, :4] = False
    mixed.judged[[1, 2], 4:6] = False  # one target in these
    found = []
    for who in (learner, Sparing(learner.model)):
        with strategy.view(who, "low"), torch.no_grad():
            found.append(who.predict(mixed))
    (logits, loss), (sparing, same) = found
    assert logits.shape == sparing.shape == (4 * 3 + 2, V) and torch.equal(logits, sparing) and loss == same


def test_prompts_are_answered_by_the_adapter_they_are_nearest_to():
    """Generation is routed too: the answers come back in the order of the prompts."""

    def who(model, prompts, n, **options):
        (active,) = {tuple(layer.active) for layer in layers(model).values()}
        return [[*prompt, int(active[0].removeprefix("task"))] for prompt in prompts]

    learner, strategy = gpt(generate=who), make("routed-lora", SMALL)
    run(learner, strategy, tasks())
    prompts = [[7, 8, 9], [1, 2], [10, 6, 7, 8], [3, 4, 5]]
    with strategy.view(learner, "low"):
        answers = learner.generate(prompts, 1, stop=())
        assert learner.generate([], 1, stop=()) == []
    assert answers == [[*prompt, number] for prompt, number in zip(prompts, (1, 0, 1, 0))]


class Embeds(Learner):
    """A learner whose rows are their own embeddings."""

    def embed(self, rows):
        return rows.ids.float()


def test_the_router_looks_past_what_all_tasks_vary_in():
    """Prompts scatter by 100 along (1, 1) in every task, and the tasks lie 10 apart along (1, -1)."""
    g = torch.Generator().manual_seed(0)
    learner, strategy = Embeds(gpt().model), make("routed-lora", SMALL)
    for i, offset in enumerate([5, -5]):
        along, across = 100 * torch.randn(2, 200, generator=g)
        across = across / 100 + offset
        rows = all_judged(torch.stack([along + across, along - across], dim=1))
        strategy.start(learner, Task(f"t{i}", rows))
    assert strategy.routed(learner, "t1", rows) == 1.0
    plain = torch.cdist(rows.ids.float(), torch.stack(strategy.gate.means)).argmin(1)
    assert (plain == 1).float().mean() < 0.9, "here plain distances would do as well, so nothing was shown"


def test_the_router_folds_wide_embeddings():
    """What is wider than 1024 is summed down to it, or a vocabulary would need a matrix of its square."""
    rows = all_judged(torch.arange(2 * 2500).view(2, 2500))
    found = folded(rows.ids.float())
    assert found.shape == (2, 1024) and torch.equal(found[:, 7], rows.ids[:, 7::1024].sum(1).float())


def test_the_router_lets_go_of_the_learner():
    learner, strategy = gpt(), make("routed-lora", SMALL)
    run(learner, strategy, tasks(), steps=2)
    forward = learner.forward
    with pytest.raises(KeyError), strategy.view(learner, "low"):
        assert learner.forward != forward
        raise KeyError
    assert learner.forward == forward


# --- what is refused ------------------------------------------------------------------------------------------------


def test_a_model_with_an_adapter_of_its_own_is_refused():
    """Its parameters would be trained beside those of the method, or silently left out."""
    learner = gpt()
    attach(learner.model, "mine", LoRAConfig(rank=2))
    with pytest.raises(ValueError, match="already has an adapter 'mine', and IncLoRA grows its own on a bare model"):
        make("inc-lora", SMALL).start(learner, tasks()[0])


def test_a_state_of_another_rank_is_refused():
    strategy = make("inc-lora", SMALL)
    strategy.start(gpt(), tasks()[0])
    other = make("inc-lora", dict(rank=3))
    other.load(strategy.state())
    with pytest.raises(ValueError, match="adapter 0 of the state has 8 tensors that do not fit this model and rank 3"):
        other.start(gpt(), tasks()[0])


@pytest.mark.parametrize(
    ("name", "config", "said"),
    [
        ("inc-lora", dict(rank=0), "rank must be a whole number from 1 up, got 0"),
        ("sequential-lora", dict(targets=""), "targets must name at least one layer"),
        ("o-lora", dict(strength=-1.0), r"strength is -1.0; use 0 \(no penalty\) or more"),
        ("slow-lora", dict(decay=1.0), "decay is 1.0; use a share from 0"),
        ("routed-lora", dict(router_rows=1), "router_rows is 1; use 2 or more"),
    ],
)
def test_adapter_settings_that_cannot_be(name, config, said):
    with pytest.raises(ValueError, match=said):
        make(name, config)


def test_targets_may_be_several():
    learner, strategy = gpt(), make("inc-lora", SMALL | dict(targets="mlp.up,attn.qkv"))
    strategy.start(learner, tasks()[0])
    assert sorted(layers(learner.model)) == ["blocks.0.attn.qkv", "blocks.0.mlp.up"]
