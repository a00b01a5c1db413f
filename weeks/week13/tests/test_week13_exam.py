"""The exam that every row of METHODS takes, then what defines each method. A new method adds one row to EXAM."""

import copy
import json
import re
from collections import Counter

import pytest
import torch
from continual import METHODS, Format, Learner, Shuffle, Strategy, Task, all_judged, judge, make, step
from continual.generate import generate
from continual.rows import cat
from continual.vendor.gpt.model import GPT, GPTConfig
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

pytestmark = pytest.mark.day(91)

V, T, STEPS, CONTEXT = 15, 6, 5, 32

# Tokens 0 to 11 are letters; 12 ends an answer; the last two are what SSR's prompts are made of. Others are not read.
WORDS = [*"abcdefghijkl", "", "Input:", "Output:"]


def encode(text):
    return [WORDS.index(word) for word in re.findall("Input:|Output:|[a-l]", text)]


def scribe(model, prompts, n, **settings):
    """As the learner's own, but examples that it makes up have an `Output:`: an untrained model would not find it."""
    answers = generate(model, prompts, n, **settings)
    if settings["repetition_penalty"] == 1.0:
        return answers
    return [[i % 12 for i in ids[:2]] + [14] + [i % 12 for i in ids[2:4]] for ids in answers]


TEXT = Format(encode, lambda ids: "".join(WORDS[i] for i in ids), encode, end=12, length=T)

# name -> (settings to examine, settings of strength or budget 0 that must equal naive; [] where there is no such dial)
EXAM = {
    "l2": (dict(strength=0.5), [dict(strength=0)]),
    "ewc": (dict(strength=100.0, fisher_rows=5), [dict(strength=0)]),
    "si": (dict(strength=10.0), [dict(strength=0)]),
    "mas": (dict(strength=1.0, importance_rows=5), [dict(strength=0)]),
    "lwf": ({}, [dict(strength=0)]),
    "finch": (dict(first_rate=0.3), []),
    "naive": ({}, []),
    "joint": ({}, []),
    "cumulative": ({}, []),
    "gdumb": (dict(keep_rows=6), []),
    "a-gem": (dict(keep_rows=6, reference_rows=4), [dict(keep_rows=0), dict(keep_rows=6, reference_rows=0)]),
    "der++": (
        dict(keep_rows=6, replay_rows=3, alpha=0.5, beta=0.5, top=4),
        [dict(keep_rows=0), dict(keep_rows=6, replay_rows=0), dict(keep_rows=6, alpha=0, beta=0)],
    ),
    "generic": (dict(generic_text=__file__, generic_rows=2), [dict(generic_rows=0)]),  # any text will do
    "self-labels": (dict(keep_rows=6, replay_rows=3), [dict(keep_rows=0), dict(keep_rows=6, replay_rows=0)]),
    "opr": (dict(keep_rows=6, replay_rows=3), [dict(keep_rows=0), dict(keep_rows=6, replay_rows=0)]),
    "kl-replay": (dict(samples=5, replay_rows=2, top=4), [dict(strength=0), dict(samples=0), dict(replay_rows=0)]),
    "ssr": (dict(keep_rows=6, replay_rows=3, ratio=0.2), [dict(keep_rows=0), dict(replay_rows=0)]),
    "shared-replay": (dict(keep_rows=6, replay_rows=2), [dict(keep_rows=0), dict(keep_rows=6, share=0)]),
    "distilled-replay": (dict(keep_rows=6, replay_rows=2), [dict(keep_rows=0), dict(keep_rows=6, share=0)]),
    "generative-replay": (dict(keep_rows=6, replay_rows=2), [dict(keep_rows=0), dict(keep_rows=6, share=0)]),
    "replay": (
        dict(keep_rows=6, replay_rows=3),
        [
            dict(keep_rows=0, replay_rows=3),
            dict(keep_rows=6, replay_rows=0),
            dict(keep_rows=0, replay_rows=2, memory="reservoir"),
        ],
    ),
    "packnet": (dict(prune=0.5, prune_step=3), []),
    "hat": (dict(anneal_steps=4), []),
    "interpolation": (dict(keep=0.3), [dict(keep=0)]),
    "ema": (dict(decay=0.9), [dict(decay=0), dict(decay=0.9)]),  # training is naive; the view is not
    "ties": (dict(density=0.4), [dict(density=0.4)]),
    "magmax": ({}, [{}]),
    "sequential-lora": (dict(rank=2, alpha=4), []),
    "inc-lora": (dict(rank=2, alpha=4), []),
    "o-lora": (dict(rank=2, alpha=4), []),
    "routed-lora": (dict(rank=2, alpha=4), []),
    "slow-lora": (dict(rank=2, alpha=4, decay=0.9), []),
    "experts": ({}, [{}]),  # training is naive; the view is not
}


def test_every_method_takes_the_exam():
    """A method that is in the table but not in the exam has proved nothing."""
    assert EXAM.keys() == METHODS.keys()


def fresh(name):
    return make(name, EXAM[name][0], seed=1)


def tasks():
    """Two tasks with disjoint tokens: 0-5 and 6-11, so that a row tells whose it is."""
    g = torch.Generator().manual_seed(0)
    low, high = (torch.randint(start, start + 6, (20, T + 1), generator=g) for start in (0, 6))
    high = all_judged(high)
    high.judged[:, 1:3] = False  # prompts, that are read and not judged
    return [Task("low", all_judged(low)), Task("high", high)]


class Run:
    """A training run by hand, one task at a time, one step at a time: so that it can be stopped anywhere."""

    def __init__(self, strategy):
        torch.manual_seed(0)
        self.learner = Learner(
            GPT(GPTConfig(V, CONTEXT, n_layer=1, n_head=2, n_embd=8, dropout=0.1)), text=TEXT, generate=scribe
        )
        self.strategy = strategy

    def begin(self, task):
        self.rows = self.strategy.start(self.learner, task)
        named = self.learner.parameters()
        self.optimizer = torch.optim.AdamW(named.values(), lr=1e-2)
        return named

    def steps(self, first, last, parts=2):
        shuffle = Shuffle(len(self.rows), 4, seed=3)
        self.learner.model.train()
        for i in range(first, last):
            step(self.learner, self.strategy, self.optimizer, self.rows[shuffle.at(i)], parts=parts)

    def sequence(self, tasks):
        for task in tasks:
            self.begin(task)
            self.steps(0, STEPS)
            self.strategy.finish(self.learner, task)
        return self

    def weights(self):
        return {k: v.clone() for k, v in self.learner.model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def tensors_of(state):
    return {k: v for k, v in state.items() if isinstance(v, torch.Tensor)}


def through_files(state):
    """A state as it comes back from safetensors and JSON; anything that fits neither fails here."""
    assert all(isinstance(k, str) for k in state)
    tensors = tensors_of(state)
    rest = {k: v for k, v in state.items() if k not in tensors}
    return {**load_tensors(save_tensors(tensors)), **json.loads(json.dumps(rest))}


def equal_states(a, b):
    """The same names, tensors equal bit for bit, the rest equal as JSON."""
    text = lambda s: json.dumps({k: v for k, v in s.items() if k not in tensors_of(s)}, sort_keys=True)  # noqa: E731
    return a.keys() == b.keys() and same(tensors_of(a), tensors_of(b)) and text(a) == text(b)


ZERO = [(name, zero) for name, (_, zeros) in EXAM.items() for zero in zeros]


@pytest.mark.parametrize("name, zero", ZERO, ids=[f"{n}-{i}" for i, (n, _) in enumerate(ZERO)])
def test_strength_zero_is_naive_bit_for_bit(name, zero):
    """Without its one idea a method must be nothing but plain training: no stray random draw, no extra rounding."""
    assert same(Run(make(name, zero)).sequence(tasks()).weights(), Run(Strategy()).sequence(tasks()).weights())


@pytest.mark.parametrize("name", EXAM)
@pytest.mark.parametrize("at", range(STEPS + 1))
def test_stopped_anywhere_it_goes_on_bit_for_bit(name, at):
    """Stop in the second task, when there is a past to remember; go on from files alone, in new objects."""
    first, second = tasks()
    whole = Run(fresh(name)).sequence([first])
    whole.begin(second)
    whole.steps(0, at)
    saved = dict(
        weights=load_tensors(save_tensors({k: v for k, v in whole.weights().items() if k != "head.weight"})),  # tied
        optimizer=copy.deepcopy(whole.optimizer.state_dict()),
        strategy=through_files(whole.strategy.state()),
        rng=torch.get_rng_state(),
    )
    whole.steps(at, STEPS)
    whole.strategy.finish(whole.learner, second)

    resumed = Run(fresh(name))
    resumed.strategy.load(saved["strategy"])
    resumed.begin(second)
    assert equal_states(resumed.strategy.state(), saved["strategy"]), "start moved the state of a task under way"
    assert same(resumed.rows.tensors, whole.rows.tensors)
    resumed.learner.model.load_state_dict(saved["weights"], strict=False)
    resumed.optimizer.load_state_dict(saved["optimizer"])
    torch.set_rng_state(saved["rng"])
    resumed.steps(at, STEPS)
    resumed.strategy.finish(resumed.learner, second)
    assert same(resumed.weights(), whole.weights())
    assert equal_states(resumed.strategy.state(), whole.strategy.state())


@pytest.mark.parametrize("name", EXAM)
def test_a_state_is_a_snapshot(name):
    """A state that shares memory with the living method changes while it is being written to disk."""
    run = Run(fresh(name)).sequence(tasks()[:1])
    state = run.strategy.state()
    before = copy.deepcopy(state)
    run.sequence(tasks()[1:])
    assert equal_states(state, before)


@pytest.mark.parametrize("name", EXAM)
def test_all_that_start_leaves_trainable_is_optimised(name):
    """A parameter added in start but unknown to the optimizer would sit at its first value, and nothing would fail."""
    run = Run(fresh(name)).sequence(tasks()[:1])
    named = run.begin(tasks()[1])
    held = {id(p) for group in run.optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in run.learner.parameters().values()}
    before = {k: p.detach().clone() for k, p in named.items()}
    run.steps(0, STEPS)
    assert [k for k, p in named.items() if torch.equal(p, before[k])] == []


@pytest.mark.parametrize("name", EXAM)
def test_frozen_tensors_stay_as_they_are(name):
    """What the caller froze, and every buffer, keeps its bits: weight decay and momentum included."""
    run = Run(fresh(name))
    run.learner.model.wpe.weight.requires_grad_(False)
    run.learner.model.register_buffer("still", torch.arange(3.0))
    before = run.weights()
    run.sequence(tasks())
    after = run.weights()
    assert torch.equal(before["wpe.weight"], after["wpe.weight"]) and torch.equal(before["still"], after["still"])
    moved = [name for name, t in after.items() if name not in before or not torch.equal(before[name], t)]
    assert moved, "and something was learned"


def training_rows_in(state, rows, width=T + 1):
    """How many of the rows' beginnings stand somewhere in the state, whatever shape or type it gives them."""
    wanted = Counter(tuple(row) for row in rows.ids[:, :width].tolist())
    values = [v.flatten().tolist() for v in tensors_of(state).values()]
    text = json.dumps({k: v for k, v in state.items() if k not in tensors_of(state)})
    found = {tuple(v[i : i + width]) for v in values for i in range(len(v) - width + 1)}
    return sum(row in found or str(list(row))[1:-1] in text for row in wanted)


@pytest.mark.parametrize("name", EXAM)
def test_keeps_is_honoured(name):
    """`keeps` is a promise about privacy: unless it says "rows", no training row may be found in what is stored."""
    assert METHODS[name][1].keeps in ("nothing", "weights", "rows", "synthetic")
    run = Run(fresh(name)).sequence(tasks())
    state, rows = run.strategy.state(), cat([task.train for task in tasks()])
    if METHODS[name][1].keeps == "rows":
        asked, of = (3, rows[20:]) if name == "self-labels" else (T + 1, rows)  # only what is asked is of the user
        assert training_rows_in(state, of, asked) > 0, "keeps rows, but this search finds none: the search is broken"
    else:
        assert training_rows_in(state, rows) == 0
    if METHODS[name][1].keeps == "nothing":
        assert not tensors_of(state)


@pytest.mark.parametrize("name", EXAM)
def test_a_view_is_left_as_it_was_entered(name):
    """A view may swap weights, for tasks learned or not; afterwards, and after an error inside, every bit is back."""
    run = Run(fresh(name)).sequence(tasks()[:1])
    before = run.weights()
    scores = [judge(run.learner, run.strategy, tasks(), lambda learner, task: learner.loss(task.train)) for _ in "ab"]
    assert scores[0] == scores[1] and same(before, run.weights())
    with pytest.raises(KeyError), run.strategy.view(run.learner, "low"):
        raise KeyError
    assert same(before, run.weights())


@pytest.mark.parametrize("name", [name for name in EXAM if not METHODS[name][1].needs_view])
def test_what_needs_no_view_is_the_same_without(name):
    """`needs_view` is a promise to whoever serves the plain weights: they are what was judged, to the bit."""
    run = Run(fresh(name)).sequence(tasks())
    run.learner.model.eval()
    for task in tasks():
        with torch.no_grad(), run.strategy.view(run.learner, task.name):
            inside = run.learner.loss(task.train)
        assert torch.equal(inside, run.learner.loss(task.train))


@pytest.mark.parametrize("name", [name for name in EXAM if not METHODS[name][1].needs_task])
def test_a_prompt_is_served_with_the_weights_it_is_judged_with(name):
    """Nobody says which task a prompt is of. Loaded into a model that never saw a start, it serves the same bits; and
    afterwards every bit is back."""
    both = tasks()
    both[0].train.judged[:, 1:3] = False  # now both have prompts
    run = Run(fresh(name)).sequence(both)
    loaded = fresh(name)
    loaded.load(through_files(run.strategy.state()))
    run.learner.model.eval()
    for strategy in (run.strategy, loaded):
        for task in both:
            rows, before = task.train[:1], run.weights()
            with torch.no_grad(), strategy.view(run.learner, task.name):
                wanted = run.learner.predict(rows)[0]
            with torch.no_grad(), strategy.serving(run.learner, rows.ids[0, :3].tolist()):
                assert torch.equal(run.learner.predict(rows)[0], wanted)
            assert same(before, run.weights())


@pytest.mark.parametrize("name", EXAM)
def test_random_numbers_are_the_methods_own(name):
    """start, finish, state and view draw nothing from torch's global generator, which dropout uses."""
    run = Run(fresh(name)).sequence(tasks()[:1])
    before = torch.get_rng_state()
    run.begin(tasks()[1])
    run.strategy.finish(run.learner, tasks()[1])
    run.strategy.state()
    with run.strategy.view(run.learner, "low"):
        pass
    assert torch.equal(torch.get_rng_state(), before)


# --- what defines each method ---------------------------------------------------------------------------------------


class Spy(Learner):
    """Notes the batches that a method asks the loss of."""

    def __init__(self, model):
        super().__init__(model)
        self.batches = []

    def loss(self, rows):
        self.batches.append(rows)
        return super().loss(rows)


def replay(seed=0, **settings):
    return make("replay", settings, seed=seed)


@pytest.mark.day(88)
@pytest.mark.parametrize("memory", ["balanced", "reservoir", "kmeans"])
@pytest.mark.parametrize("parts", [1, 4])
def test_replay_joins_old_rows_to_each_step(memory, parts):
    """A step is its new rows, untouched, then replay_rows rows of earlier tasks: as many for one micro-batch as for
    four."""
    run = Run(replay(keep_rows=6, replay_rows=3, memory=memory))
    spy = run.learner = Spy(run.learner.model)
    low, high = tasks()
    run.sequence([low])
    assert sum(map(len, spy.batches)) == STEPS * 4, "nothing is old during the first task"
    spy.batches.clear()
    run.begin(high)
    run.steps(0, 1, parts)
    seen = cat(spy.batches)
    assert len(spy.batches) == parts and len(seen) == 4 + 3
    assert same(seen[:4].tensors, high.train[Shuffle(20, 4, seed=3).at(0)].tensors)
    old = {tuple(row) for row in low.train.ids.tolist()}
    assert all(tuple(row) in old for row in seen[4:].ids.tolist())
    assert len(run.strategy.memory) == 6


@pytest.mark.parametrize("name", EXAM)
def test_settings_go_through_a_file(name):
    """A stored course names its method and settings; from these alone the same method is built."""
    config = fresh(name).config
    assert make(name, json.loads(json.dumps(vars(config)))).config == config


def test_a_new_method_is_a_file_and_a_row(monkeypatch):
    """A method with settings of its own that nobody else knows: one class and one row make it."""
    from dataclasses import dataclass

    from continual import Config

    @dataclass(frozen=True)
    class Frugal(Config):
        share: float = 0.5

    class Half(Strategy):
        def start(self, learner, task):
            return task.train[: int(self.config.share * len(task.train))]

    monkeypatch.setitem(METHODS, "half", (Frugal, Half))
    assert len(make("half", {"share": 0.25}).start(None, tasks()[0])) == 5


@pytest.mark.day(88)
def test_joint_is_naive_on_the_first_task():
    """With one task there is nothing to join: the same bits."""
    joint, naive = (Run(strategy).sequence(tasks()[:1]).weights() for strategy in (make("joint"), Strategy()))
    assert same(joint, naive)


@pytest.mark.day(88)
def test_naive_refuses_a_state_that_it_cannot_hold():
    """Loading replay's state into a strategy without memory would lose it silently."""
    state = Run(fresh("replay")).sequence(tasks()[:1]).strategy.state()
    with pytest.raises(ValueError, match="Strategy keeps no state, but was given .*build the method that wrote this"):
        Strategy().load(state)
