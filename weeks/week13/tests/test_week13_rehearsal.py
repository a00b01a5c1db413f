"""What defines each method that rehearses: whose rows, with which answers, and what is held against them."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from continual import Format, Learner, Pair, Shuffle, Strategy, Task, make, step
from continual.methods.distilled import predictions
from continual.methods.kl_replay import coarse_kl
from continual.rows import cat
from continual.synthesis import few_shot, parse, split_instruction
from continual.vendor.gpt.model import GPT, GPTConfig
from continual.vendor.shared.errors import Mistake
from torch.nn.functional import kl_div

pytestmark = pytest.mark.day(89)


def encode(text):
    return list(text.encode())


TEXT = Format(encode, lambda ids: bytes(ids).decode(errors="replace"), encode, end=0, length=12)


def learner(generate=None, context=64, text=TEXT):
    torch.manual_seed(0)
    model = GPT(GPTConfig(128, context, n_layer=1, n_head=2, n_embd=8))  # ASCII; no dropout, so that losses repeat
    return Learner(model, text=text) if generate is None else Learner(model, text=text, generate=generate)


def task(name, n=20, instruction=""):
    """Questions such as `a03?`, answered with a letter of the task's own: `a` and `b` for "a"."""
    pairs = [Pair(f"{instruction}{name}{i:02}?", name if i % 2 else chr(ord(name) + 1)) for i in range(n)]
    return Task(name, TEXT.rows(pairs), instruction=instruction.strip())


def train(strategy, who, tasks, steps=4, lr=1e-2):
    for one in tasks:
        rows = strategy.start(who, one)
        optimizer = torch.optim.AdamW(who.parameters().values(), lr=lr)
        for i in range(steps):
            step(who, strategy, optimizer, rows[Shuffle(len(rows), 4, seed=3).at(i)])
        strategy.finish(who, one)
    return who


def as_counts(rows):
    return Counter(map(tuple, rows.ids.tolist()))


def weights(who):
    return {name: p.detach().clone() for name, p in who.parameters().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# --- rows as they are -------------------------------------------------------------------------------------------------


def test_cumulative_never_looks_ahead():
    """Joint with all tasks known has the second task's rows at once; cumulative has them when they have come."""
    a, b = task("a"), task("b")
    method = make("cumulative", tasks=[a, b])
    assert as_counts(method.start(None, a)) == as_counts(a.train)
    assert as_counts(method.start(None, b)) == as_counts(cat([a.train, b.train]))


def test_gdumb_is_a_fresh_model_trained_on_its_memory():
    """After two tasks its weights are, bit for bit, those of a model that only ever saw the rows of the memory."""
    method, who = make("gdumb", dict(keep_rows=6)), learner()
    train(method, who, [task("a"), task("b")])
    assert method.memory.counts() == {"a": 3, "b": 3}
    alone = train(Strategy(), learner(), [Task("memory", method.memory.rows)])
    assert same(weights(who), weights(alone))


def reference_of(method, who):
    """The gradient that `grads` will compare with: the same rows, drawn by a twin of the memory's generator."""
    before = method.memory.generator.get_state()
    rows = method.memory.sample(method.config.reference_rows)
    method.memory.generator.set_state(before)
    return who.gradient(rows)


def flat(tensors):
    return torch.cat([t.flatten() for t in tensors.values()]).double()


@pytest.mark.parametrize("sign", [-1, 1], ids=["against", "along"])
def test_agem_takes_out_what_points_against_the_memory(sign):
    """g.r < 0: afterwards g.r = 0, and g is the nearest such vector, the formula of the paper; else no bit moves."""
    method, who = make("a-gem", dict(keep_rows=8, reference_rows=4)), learner()
    train(method, who, [task("a")])
    reference = reference_of(method, who)
    g = torch.Generator().manual_seed(0)
    for name, p in who.parameters().items():
        p.grad = sign * reference[name] + 0.01 * torch.randn(p.shape, generator=g)
    before = {name: p.grad.clone() for name, p in who.parameters().items()}
    method.grads(who)
    after = {name: p.grad for name, p in who.parameters().items()}
    if sign == 1:
        assert same(before, after)
        return
    v, r = flat(before), flat(reference)
    assert v @ r < 0
    assert flat(after) @ r > -1e-6 * v.norm() * r.norm()  # float32 rounding of a sum of 2,000 products
    torch.testing.assert_close(flat(after), v - (v @ r) / (r @ r) * r, rtol=0, atol=1e-6)


# --- what was predicted once ------------------------------------------------------------------------------------------


def der(**settings):
    return make("der++", dict(keep_rows=6, replay_rows=5, top=7) | settings)


def test_derpp_is_the_loss_of_the_paper():
    """mean(new) + alpha * MSE + beta * CE over the old, by hand, from the logits of the moment of storing."""
    method, who = der(alpha=0.3, beta=0.7), learner()
    train(method, who, [task("a")])
    with torch.no_grad():
        then = who.logits(method.memory.rows)  # (6, T, V)
    stored = method.memory.rows
    new = task("b").train[:4]
    before = method.memory.generator.get_state()
    old = method.memory.sample(5)
    method.memory.generator.set_state(before)
    train(Strategy(), who, [task("b")])  # the weights move on; what is stored does not
    got = method.loss(who, method.batch(who, new))
    mask = old.judged[:, 1:]
    same_rows = [stored.ids.tolist().index(row) for row in old.ids.tolist()]
    largest, ids = then[same_rows][mask].topk(7, dim=-1)
    difference = who.logits(old)[mask].gather(1, ids) - largest
    want = who.loss(new) + 0.3 * (difference**2).mean() + 0.7 * who.loss(old)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)  # float32, other order of sums


def test_right_after_storing_nothing_has_changed():
    """With beta = 0 the old rows' part is 0 at first, and no longer after the weights have moved."""
    method, who = der(alpha=1.0, beta=0.0), learner()
    train(method, who, [task("a")])
    assert method.old_loss(who, method.memory.rows).item() < 1e-10  # squares of float32 rounding
    train(Strategy(), who, [task("b")])
    assert method.old_loss(who, method.memory.rows).item() > 1e-3


@pytest.mark.parametrize("memory", ["balanced", "reservoir", "kmeans"])
def test_derpp_stores_the_rows_and_logits_of_every_task(memory):
    method, who = der(memory=memory), learner()
    train(method, who, [task("a")])
    first = {tuple(ids): value for ids, value in zip(method.memory.rows.ids.tolist(), method.memory.rows.value)}
    train(method, who, [task("b", 60)])
    rows = method.memory.rows
    assert set(method.memory.tasks) == {"a", "b"} and rows.top.untyped_storage().nbytes() == rows.top.nbytes
    for ids, owner, value, top in zip(rows.ids.tolist(), method.memory.tasks, rows.value, rows.top):
        assert value.abs().sum() > 0 and top.max() > 0
        assert owner == "b" or torch.equal(value, first[tuple(ids)]), "an older task's logits must stay as they were"


@pytest.mark.parametrize("name", ["der++", "kl-replay"])
def test_a_step_does_not_depend_on_its_micro_batches(name):
    """New rows with short answers, old rows with long ones: still the mean of each, in 1, 2 or 9 parts."""
    settings = {"der++": dict(replay_rows=5, alpha=1, beta=1), "kl-replay": dict(replay_rows=5, samples=6, strength=3)}
    losses = []
    for parts in (1, 2, 9):
        method, who = make(name, settings[name]), learner()
        train(method, who, [task("a")])
        rows = method.start(who, task("b"))
        train(Strategy(), who, [task("b")])
        optimizer = torch.optim.SGD(who.parameters().values(), lr=0.0)
        losses.append(step(who, method, optimizer, rows[:4], parts=parts))
    for key in ("loss", "grad_norm"):
        one, two, nine = (info[key] for info in losses)
        assert two == pytest.approx(one, rel=1e-5) and nine == pytest.approx(one, rel=1e-5)  # float32 sums


def test_coarse_kl_is_the_divergence_where_nothing_is_left_out_and_below_it_else():
    """Against torch's own, over all 20 classes; merging some into one can only lower it (data processing)."""
    g = torch.Generator().manual_seed(0)
    old, new = torch.randn(2, 50, 20, generator=g, dtype=torch.float64).log_softmax(dim=-1)
    full = kl_div(new, old, reduction="batchmean", log_target=True).item()
    assert coarse_kl(old, new).item() == pytest.approx(full, abs=1e-6)  # the rest is clamped at 1e-6
    last = 0.0
    for k in (1, 5, 19, 20):
        value, top = old.topk(k, dim=-1)
        kl = coarse_kl(value, new.gather(1, top)).item()
        assert last <= kl <= full + 1e-6
        last = kl


def test_kl_replay_holds_the_model_where_it_was():
    """Its samples are the model's own, of full length; the divergence is 0 before the task, and stays below naive's."""
    held = {}
    for strength in (0.0, 10.0):
        method, who = make("kl-replay", dict(samples=20, replay_rows=8, top=128, strength=strength)), learner()
        judge = make("kl-replay", dict(samples=20, top=128))
        judge.start(who, task("a"))
        assert judge.divergence(who, judge.samples).item() < 1e-6  # float32 rounding
        assert judge.samples.judged[:, 1:].all() and (judge.samples.ids[:, 0] == TEXT.end).all()
        train(method, who, [task("a")], steps=20)
        with torch.no_grad():
            held[strength] = judge.divergence(who, judge.samples).item()
    assert held[10.0] < held[0.0] / 2


def test_kl_replay_writes_new_samples_before_each_task():
    method, who = make("kl-replay", dict(samples=4)), learner()
    seen = []
    for one in (task("a"), task("a"), task("b")):  # also for a task that comes again
        method.start(who, one)
        seen.append(method.samples.digest())
        method.finish(who, one)
    assert len(set(seen)) == 3


# --- rows from a file -------------------------------------------------------------------------------------------------


@pytest.fixture
def generic(tmp_path):
    path = tmp_path / "generic.txt"
    path.write_text("The quick brown fox jumps over the lazy dog.\n" * 8)
    return make("generic", dict(generic_text=str(path), generic_rows=3)), path


def test_generic_rows_join_every_step_and_nothing_is_kept(generic):
    method, path = generic
    who, text = learner(), path.read_text() + "\0"
    rows = method.start(who, task("a"))
    batches = [method.batch(who, rows[:4]) for _ in range(5)]
    assert all(len(batch) == 7 and same(batch[:4].tensors, rows[:4].tensors) for batch in batches)
    old = cat([batch[4:] for batch in batches])
    assert all(bytes(ids).decode() in text for ids in old.ids.tolist()) and len(as_counts(old)) > 3
    assert old.judged[:, 1:].all()
    assert method.state() == {"drawn": 5, "digest": method.rows.digest()}


def test_generic_text_that_changed_or_is_short_is_told(generic):
    method, path = generic
    method.start(learner(), task("a"))
    state = method.state()
    path.write_text("Something else, and just as long as one row needs.")
    other = make("generic", method.config)
    other.load(state)
    with pytest.raises(Mistake, match="generic.txt has changed since this run began; put the old file back"):
        other.start(learner(), task("a"))
    path.write_text("short")
    with pytest.raises(Mistake, match="generic.txt has 6 tokens and one row needs 13; give a longer text"):
        make("generic", method.config).start(learner(), task("a"))


# --- the model's own answers ------------------------------------------------------------------------------------------


class Script:
    """A `generate` that answers what it is told to, and notes how it was asked."""

    def __init__(self, answer):
        self.answer, self.calls = answer, []

    def __call__(self, model, prompts, n, **settings):
        self.calls.append({"prompts": prompts, "n": n, "weight": model.wte.weight.detach().clone(), **settings})
        return [encode(self.answer(bytes(prompt).decode())) for prompt in prompts]


def test_self_labels_keep_the_question_and_the_models_own_answer():
    """Answered once, greedily, by the model that has just learned the task; an empty answer leaves the true one."""
    script = Script(lambda prompt: "" if prompt == "a03?" else "ok")
    method, who = make("self-labels", dict(keep_rows=40)), learner(script)
    train(method, who, [task("a")])
    asked = script.calls[0]
    assert asked["temperature"] == 0 and torch.equal(asked["weight"], who.model.wte.weight)
    script.answer = lambda prompt: "no"
    train(method, who, [task("b")])
    assert [len(call["prompts"]) for call in script.calls] == [20, 20]
    kept = {pair.prompt: pair.response for pair in TEXT.pairs(method.memory.rows)}
    assert kept == {f"a{i:02}?": "a" if i == 3 else "ok" for i in range(20)} | {f"b{i:02}?": "no" for i in range(20)}


def test_opr_rehearses_good_own_answers_and_true_ones_where_it_fails():
    """`a` is answered "a" everywhere, wrong for one half: the median is 0, so half the rows fail and get the truth.
    `b` is answered with two words, one of them right: all score 2/3, the median, and stay as the model said them."""
    script = Script(lambda prompt: "a" if prompt[0] == "a" else ("b c" if prompt[0] == "b" else ""))
    method, who = make("opr", dict(keep_rows=40)), learner(script)
    train(method, who, [task("a", 21)])  # 21: eleven even numbers are answered wrong
    pairs = {pair.prompt: pair.response for pair in TEXT.pairs(method.buffer)}
    assert pairs == {pair.prompt: pair.response for pair in TEXT.pairs(task("a", 21).train)}
    assert method.report["a"] == {"median": 0.0, "mean": pytest.approx(10 / 21), "gold": 11}
    train(method, who, [task("b")])
    pairs = Counter(pair.prompt[0] + pair.response for pair in TEXT.pairs(method.buffer))
    assert pairs["bb c"] == 20 and method.report["b"]["median"] == pytest.approx(2 / 3)
    assert {len(call["prompts"]) for call in script.calls} == {21, 20}, "old prompts are answered again"


def test_opr_leaves_out_what_scores_below_the_median():
    script = Script(lambda prompt: "a" if int(prompt[1:3]) % 2 or int(prompt[1:3]) > 14 else "b x y z")
    method = make("opr", dict(keep_rows=30))
    train(method, learner(script), [task("a")])
    kept = TEXT.pairs(method.buffer)
    assert method.report["a"]["median"] == pytest.approx(0.4)  # 1 of 4 tokens, and 1 of 1: F1 is 2 / 5
    assert {pair.prompt for pair in kept} == {f"a{i:02}?" for i in range(20)} - {"a16?", "a18?"}  # these score 0
    assert Counter(pair.response for pair in kept) == {"a": 10, "b x y z": 8}


def test_opr_costs_the_same_however_many_tasks_came():
    """Three prompts are answered for each rehearsed row, of all tasks together."""
    script = Script(lambda prompt: "a")
    method, who = make("opr", dict(keep_rows=4)), learner(script)
    asked = []
    for name in "abcdef":
        train(method, who, [task(name)], steps=1)
        asked.append(sum(len(call["prompts"]) for call in script.calls))
        script.calls.clear()
        assert len(method.buffer) <= 4
    assert asked == [12] * 6


@pytest.mark.parametrize("name", ["self-labels", "opr", "ssr", "kl-replay", "generic"])
def test_methods_that_write_say_so_before_they_train(name, tmp_path):
    config = {"generic_text": str(tmp_path)} if name == "generic" else {}
    with pytest.raises(Mistake, match="needs to read and write text; build the learner with text=Format"):
        make(name, config).start(Learner(learner().model), task("a"))


# --- made-up rows -----------------------------------------------------------------------------------------------------

WIDE = replace(TEXT, length=24)


def wide_task(n=200):
    pairs = [Pair(f"Add: n{i:03}", f"{i}") for i in range(n)]
    return Task("add", WIDE.rows(pairs), instruction="Add:")


class Author(Script):
    """Writes a made-up question where it is asked for one, and answers questions with `new`."""

    def __init__(self, written):
        super().__init__(None)
        self.written = iter(written)

    def __call__(self, model, prompts, n, **settings):
        self.answer = (lambda prompt: next(self.written)) if settings["temperature"] else lambda prompt: "new"
        return super().__call__(model, prompts, n, **settings)


def ssr(written, context=64, **settings):
    author = Author(written)
    method, who = make("ssr", dict(keep_rows=30) | settings), learner(author, context=context, text=WIDE)
    start = who.model.wte.weight.detach().clone()
    train(method, who, [wide_task()])
    return method, who, author, start


def test_ssr_is_the_method_of_the_paper():
    """The first weights write with the paper's settings after two examples of 1 %; the newest answer, greedily."""
    method, who, author, start = ssr(f" m{i:03}\nOutput: {i}\n\nInput: z{i:03}\nOutput: {i}" for i in range(999))
    writing, answering = author.calls
    assert torch.equal(writing["weight"], start) and not torch.equal(answering["weight"], start)
    assert torch.equal(answering["weight"], who.model.wte.weight), "the newest weights must come back"
    settings = {key: writing[key] for key in ("temperature", "top_p", "repetition_penalty", "stop")}
    assert settings == dict(temperature=0.9, top_p=0.6, repetition_penalty=1.2, stop=(0,))
    assert answering["temperature"] == 0
    assert len(writing["prompts"]) == 6 * 20 and len(answering["prompts"]) == 20  # 10 % of 200 rows, 6 tries for each
    texts = {bytes(prompt).decode() for prompt in writing["prompts"]}
    shown = {line for text in texts for line in text.split("\n") if line.startswith("Input: ")}
    assert len(texts) == 2 and len(shown) == 2  # two rows are 1 % of 200, shown in both orders
    assert all(text.startswith("Add:\n\nInput: n") and text.endswith("\n\nInput:") for text in texts)
    kept = TEXT.pairs(method.memory.rows)
    assert len(kept) == 20 and all(pair.prompt[:6] in ("Add: m", "Add: z") for pair in kept)
    assert {pair.response for pair in kept} == {"new"}
    assert method.report["add"] == {"written": 120, "pieces": 240, "parsed": 240, "usable": 240, "kept": 20}


def test_ssr_keeps_nothing_of_the_user():
    """A model that repeats its examples gives rows that are the user's: they are dropped, however they are spaced."""
    method, *_ = ssr(f"  n{i % 200:03} \nOutput: 1" for i in range(999))
    assert method.report["add"] == {"written": 120, "pieces": 120, "parsed": 120, "usable": 0, "kept": 0}
    assert len(method.memory) == 0


def test_ssr_goes_on_with_what_could_be_read():
    """Most texts are no example, or too long for a row: the few others are used, and the report says how few."""
    texts = [" only a question", " q\nOutput: a\nOutput: b", " \nOutput: b", " " + "q" * 30 + "\nOutput: b"]
    method, *_ = ssr([" good\nOutput: yes", *texts * 99])
    assert method.report["add"] == {"written": 120, "pieces": 120, "parsed": 30, "usable": 1, "kept": 1}
    assert TEXT.pairs(method.memory.rows) == [Pair("Add: good", "new")]


def test_ssr_without_room_for_examples_writes_nothing():
    method, *_ = ssr([], context=24)
    assert method.report["add"] == {"written": 0, "pieces": 0, "parsed": 0, "usable": 0, "kept": 0}


def test_what_was_written_is_cut_into_pairs():
    assert parse(" a\nOutput: b\n\nInput: c\nOutput: d e \n") == ([Pair("a", "b"), Pair("c", "d e")], 2)
    assert parse("nothing of it") == ([], 1)
    assert few_shot("", [Pair("a", "b")]) == "Input: a\nOutput: b\n\nInput:"
    assert few_shot("Do.", [Pair("a", "b")]) == "Do.\n\nInput: a\nOutput: b\n\nInput:"
    assert split_instruction("Do.", "Do.\n\na b") == ("Do.\n\n", "a b") and split_instruction("", "a") == ("", "a")


def test_predictions_are_taken_without_dropout():
    """Stored once and compared later: noise in them would be learned."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(128, 16, n_layer=1, n_head=2, n_embd=8, dropout=0.5)).train()
    who, rows = Learner(model, text=TEXT), task("a").train
    (top, value), again = predictions(who, rows, 3), predictions(who, rows, 3)
    assert torch.equal(top, again[0]) and torch.equal(value, again[1]) and model.training
    assert (value[~rows.judged[:, 1:]] == 0).all() and (value[rows.judged[:, 1:]] != 0).all()
