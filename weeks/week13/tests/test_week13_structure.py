"""What defines the methods that give weights away for good (PackNet, HAT), and those that average or merge them."""

import pytest
import torch
from continual import Learner, Shuffle, Strategy, Task, all_judged, judge, learn_sequence, make, step
from continual.vendor.gpt.model import GPT, GPTConfig
from torch import nn
from torch.nn.functional import cross_entropy

pytestmark = pytest.mark.day(90)

V, T = 11, 5


def gpt():
    torch.manual_seed(0)
    return Learner(GPT(GPTConfig(V, T, n_layer=1, n_head=2, n_embd=8)))


class Chain(nn.Module):
    """Three layers in a row, so that one matrix stands between two choices of units."""

    def __init__(self):
        super().__init__()
        self.wte = nn.Embedding(V, 8)
        self.layers = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, V))

    def forward(self, tokens, targets=None):
        logits = self.layers(self.wte(tokens))
        return logits, None if targets is None else cross_entropy(logits.flatten(0, 1), targets.flatten())


def chain():
    torch.manual_seed(0)
    return Learner(Chain())


def tasks(n=3):
    g = torch.Generator().manual_seed(0)
    return [Task(f"t{i}", all_judged(torch.randint(0, V, (12, T + 1), generator=g))) for i in range(n)]


def adamw(named):
    return torch.optim.AdamW(named.values(), lr=1e-2, weight_decay=0.1)


def weights(learner):
    return {name: p.detach().clone() for name, p in learner.model.named_parameters()}


def run(learner, strategy, tasks, steps=8):
    """The matrix of losses on the training rows: what was learned is what must stay."""
    return learn_sequence(
        learner, strategy, tasks, evaluate=lambda learner, task: learner.loss(task.train), baseline=False,
        higher_is_better=False, steps=steps, batch_size=4, make_optimizer=adamw,
    ).rows  # fmt: skip


HELD = {
    "packnet": ("packnet", dict(prune_step=5), gpt),
    "packnet-pruned-at-the-end": ("packnet", dict(prune_step=99), gpt),
    "hat": ("hat", dict(anneal_steps=5), gpt),
    "hat-chain": ("hat", dict(anneal_steps=5, units="layers.0>layers.2 layers.2>layers.4"), chain),
}


@pytest.mark.parametrize("case", HELD)
def test_what_is_held_keeps_its_score_to_the_bit(case):
    """BWT is exactly 0 inside the view, AdamW's momentum and decay notwithstanding; outside of it nothing is kept."""
    name, config, build = HELD[case]
    learner, strategy = build(), make(name, config)
    rows = run(learner, strategy, tasks())
    assert [rows[2][j] for j in range(3)] == [rows[j][j] for j in range(3)]
    assert rows[1][0] == rows[0][0]
    assert len({rows[2][0], *(learner.loss(tasks()[0].train).item() for _ in "a")}) == 2, "the view does nothing"
    assert strategy.needs_task


@pytest.mark.parametrize("case", HELD)
def test_what_is_held_still_learns(case):
    """The second task is learned in what the first one left: its loss falls."""
    name, config, build = HELD[case]
    rows = run(build(), make(name, config), tasks(2), steps=60)
    assert rows[1][1] < rows[0][1] - 0.1  # nats; it falls by 0.3 to 1.0


@pytest.mark.parametrize("case", HELD)
def test_the_weights_and_the_state_serve_every_task(case):
    """In new objects, without a start in between: what a server does. The model's own names are all it needs."""
    name, config, build = HELD[case]
    learner, strategy = build(), make(name, config)
    rows = run(learner, strategy, tasks())
    other, served = build(), make(name, config)
    saved = {k: t for k, t in learner.model.state_dict().items() if ".hat_" not in k}
    other.model.load_state_dict(saved)
    served.load(strategy.state())
    assert judge(other, served, tasks(), lambda learner, task: learner.loss(task.train)) == rows[2]


@pytest.mark.parametrize("name", ["packnet", "hat"])
def test_a_task_that_is_held_cannot_be_learned_again(name):
    """Its weights are given away: training them once more would change what they are promised to keep."""
    learner, strategy = gpt(), make(name)
    run(learner, strategy, tasks(2), steps=2)
    with pytest.raises(ValueError, match="'t0' was learned before and is held as it is; give the new rows a name"):
        strategy.start(learner, tasks()[0])


def test_packnet_gives_back_the_smallest():
    """Of each matrix the largest (1 - prune) of what is free become the task's own, the others 0; biases stay."""
    learner, strategy = gpt(), make("packnet", dict(prune=0.75))
    strategy.start(learner, tasks()[0])
    before = weights(learner)
    strategy.finish(learner, tasks()[0])
    for name, p in learner.model.named_parameters():
        if p.dim() == 1:
            assert torch.equal(p, before[name])
            continue
        owned = strategy.owner[name] == 1
        assert owned.sum() == p.numel() - int(0.75 * p.numel())
        assert torch.equal(p[owned], before[name][owned]) and not p[~owned].any()
        assert before[name][owned].abs().min() >= before[name][~owned].abs().max()


def test_packnet_heals_in_what_it_keeps():
    """After the pruning step the given-back weights stay 0 while the task's own go on learning."""
    learner, strategy = gpt(), make("packnet", dict(prune_step=2))
    rows = strategy.start(learner, tasks()[0])
    optimizer = adamw(learner.parameters())
    for i in range(4):
        step(learner, strategy, optimizer, rows[Shuffle(12, 4).at(i)])
        if i == 1:
            at_pruning = weights(learner)
    for name, owner in strategy.owner.items():
        now = dict(learner.model.named_parameters())[name]
        assert not now[owner == 0].any()
        assert not torch.equal(now[owner == 1], at_pruning[name][owner == 1])


def test_packnet_biases_belong_to_the_first_task():
    learner, strategy = gpt(), make("packnet")
    run(learner, strategy, tasks(1), steps=2)
    strategy.start(learner, tasks()[1])
    assert all(p.dim() > 1 for p in learner.parameters().values())


def test_hat_hardens():
    """s goes from 1 / s_max to s_max in anneal_steps steps and stays there; after the task a unit is on or off."""
    learner, strategy = gpt(), make("hat", dict(anneal_steps=4, s_max=50))
    rows = strategy.start(learner, tasks()[0])
    optimizer, seen = adamw(learner.parameters()), []
    (reader,) = strategy.joints
    for i in range(6):
        seen.append(strategy.hardness())
        if i == 0:
            assert (strategy.mask(reader) - 0.5).abs().max() < 0.05, "at first every unit is half on"
        step(learner, strategy, optimizer, rows[Shuffle(12, 4).at(i)])
    assert seen[0] == 1 / 50 and seen[4] == seen[5] == 50 and seen == sorted(seen)
    strategy.finish(learner, tasks()[0])
    mask = strategy.mask(reader)
    assert set(mask.unique().tolist()) == {0.0, 1.0}


def test_hat_gives_a_hard_choice_the_gradient_of_a_soft_one():
    """However hard the sigmoid is, e gets d sigmoid(e) / de times what the unit is worth: equation 5 without s_max."""
    learner, strategy = gpt(), make("hat", dict(sparsity=0.0))
    strategy.start(learner, tasks()[0])
    (reader,) = strategy.joints
    e, worth = strategy.choices[0][reader], torch.arange(32.0) / 32
    with torch.no_grad():
        e.clamp_(-2, 2)
    for strategy.steps in (1, 5):  # s = 4 and s = 20: s * e stays where float32 resolves the sigmoid's slope
        e.grad = torch.autograd.grad((strategy.mask(reader) * worth).sum(), e)[0]
        strategy.grads(learner)
        soft = e.detach().clone().requires_grad_()
        (expected,) = torch.autograd.grad((torch.sigmoid(soft) * worth).sum(), soft)
        # 1 - sigmoid(s e) loses digits as it nears 0: float32 keeps 1e-7 of 1, a slope at |s e| = 10 is 5e-5
        near = (strategy.hardness() * e).abs() < 10
        assert near.sum() > 8 and torch.allclose(e.grad[near], expected[near], rtol=1e-2)


def test_hat_asks_only_for_units_that_are_free():
    """The penalty is the used share of what no earlier task has, so a unit that is shared costs nothing."""
    learner, strategy = gpt(), make("hat")
    run(learner, strategy, tasks(1), steps=2)
    strategy.start(learner, tasks()[1])
    (reader,) = strategy.joints
    strategy.steps = strategy.config.anneal_steps
    taken = strategy.taken(reader).bool()
    assert 0 < taken.sum() < len(taken)
    with torch.no_grad():
        strategy.choices[-1][reader].copy_(torch.where(taken, 6.0, -6.0))
    assert strategy.units_used().item() == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        strategy.choices[-1][reader].fill_(6.0)
    assert strategy.units_used().item() == pytest.approx(1, abs=1e-6)


# --- weights that are averaged or merged ----------------------------------------------------------------------------


def test_interpolation_goes_part_of_the_way():
    """w <- keep w_before + (1 - keep) w_after, from the second task on."""
    learner, naive = gpt(), gpt()
    strategy = make("interpolation", dict(keep=0.3))
    first, second = tasks(2)
    run(learner, strategy, [first])
    run(naive, Strategy(), [first])
    before = weights(naive)
    assert all(torch.equal(p, before[name]) for name, p in weights(learner).items()), "nothing came before it"
    run(learner, strategy, [second])
    run(naive, Strategy(), [second])
    after = weights(naive)
    for name, p in weights(learner).items():
        assert torch.allclose(p, 0.3 * before[name] + 0.7 * after[name], atol=1e-6)  # float32, sums in another order


def test_ema_is_the_moving_average():
    """The recurrence by hand over the weights of a naive run; the view holds it and nothing else."""
    learner, strategy = gpt(), make("ema", dict(decay=0.8))
    rows = strategy.start(learner, tasks()[0])
    optimizer, slow = adamw(learner.parameters()), None
    for i in range(60):
        step(learner, strategy, optimizer, rows[Shuffle(12, 4).at(i)])
        decay = min(0.8, (i + 1) / (i + 3))
        now = weights(learner)
        slow = now if slow is None else {k: decay * slow[k] + (1 - decay) * now[k] for k in now}
        if i in (3, 59):  # early, where the average is short, and late
            with strategy.view(learner, "t0"):
                assert all(torch.allclose(p, slow[k], atol=1e-5) for k, p in weights(learner).items())  # 60 roundings
    assert not torch.equal(learner.model.wte.weight, slow["wte.weight"])


def test_ema_without_decay_serves_the_newest_weights():
    learner, strategy = gpt(), make("ema", dict(decay=0))
    run(learner, strategy, tasks(1))
    plain = learner.loss(tasks()[0].train)
    with strategy.view(learner, "t0"):
        assert torch.equal(learner.loss(tasks()[0].train), plain)


def changes(n):
    """The changes of n naive tasks against the first weights, one dict each."""
    learner, found = gpt(), []
    first = weights(learner)
    for task in tasks(n):
        run(learner, Strategy(), [task])
        found.append({k: p - first[k] for k, p in weights(learner).items()})
    return first, found


def served(strategy, n):
    learner = gpt()
    run(learner, strategy, tasks(n))
    with strategy.view(learner, "t0"):
        return weights(learner)


def test_magmax_takes_the_largest_change():
    """In each place, over all tasks; from one vector, which holds as much after three tasks as after one."""
    strategy = make("magmax", dict(scale=0.5))
    merged, (first, found) = served(strategy, 3), changes(3)
    for name, p in merged.items():
        stack = torch.stack([change[name] for change in found])
        best = stack.gather(0, stack.abs().argmax(0, keepdim=True))[0]
        assert torch.allclose(p, first[name] + 0.5 * best, atol=1e-6)
    one = make("magmax")
    served(one, 1)
    assert len(one.state()) == len(strategy.state())


def test_ties_trims_elects_and_averages():
    """Each place by itself, in plain Python: keep the largest 30 %, elect the sign of the sum, average what has it."""
    strategy = make("ties", dict(density=0.3))
    merged, (first, found) = served(strategy, 2), changes(2)
    flat = [torch.cat([t.flatten() for t in change.values()]) for change in found]
    for vector in flat:
        smallest = vector.abs().sort(descending=True).values[int(0.3 * len(vector)) - 1]
        vector[vector.abs() < smallest] = 0
    expected = []
    for place in zip(*(vector.tolist() for vector in flat)):
        sign = 1 if sum(place) >= 0 else -1
        agree = [x for x in place if x * sign > 0]
        expected.append(sum(agree) / len(agree) if agree else 0.0)
    given = torch.cat([(merged[k] - first[k]).flatten() for k in first])
    assert torch.allclose(given, torch.tensor(expected), atol=1e-6)  # adding the first weights rounds


@pytest.mark.parametrize("name", ["ema", "ties", "magmax"])
def test_a_loaded_average_serves_the_same(name):
    """What is served is in the state, or made from it: the same bits after loading."""
    learner, strategy = gpt(), make(name)
    run(learner, strategy, tasks(2))
    other = make(name)
    other.load(strategy.state())
    scores = [judge(learner, s, tasks(2), lambda learner, task: learner.loss(task.train)) for s in (strategy, other)]
    assert scores[0] == scores[1]


@pytest.mark.parametrize(
    ("name", "config", "said"),
    [
        ("packnet", dict(prune=1.0), "prune is 1.0; use a share between 0 and 1"),
        ("packnet", dict(prune_step=0), "prune_step is 0; use 1 or more"),
        ("hat", dict(units="mlp.up"), "units holds 'mlp.up'; write layer>layer"),
        ("hat", dict(units=" "), "units is empty; name at least one pair"),
        ("hat", dict(s_max=0.5), "s_max is 0.5; use 1 or more"),
        ("hat", dict(anneal_steps=0), "anneal_steps is 0; use 1 or more"),
        ("hat", dict(sparsity=-1.0), r"sparsity is -1.0; use 0 \(take what helps\)"),
        ("interpolation", dict(keep=1.5), r"keep is 1.5; use a share from 0 \(plain training\)"),
        ("ema", dict(decay=1.0), r"decay is 1.0; use a share from 0 \(serve the newest weights\)"),
        ("ties", dict(density=0.0), "density is 0.0; use a share above 0"),
        ("magmax", dict(scale=-1.0), "scale is -1.0; use 0"),
    ],
)
def test_settings_that_cannot_be(name, config, said):
    with pytest.raises(ValueError, match=said):
        make(name, config)


@pytest.mark.parametrize(
    ("units", "said"),
    [
        ("mlp.up>mlp.out", r"'mlp.up>mlp.out' names 1 layers that write and 0 that read, of the Linear layers blocks"),
        ("attn.qkv>attn.proj", "blocks.0.attn.proj does not read the units of blocks.0.attn.qkv: their numbers differ"),
    ],
)
def test_units_that_do_not_fit(units, said):
    with pytest.raises(ValueError, match=said):
        make("hat", dict(units=units)).start(gpt(), tasks()[0])
