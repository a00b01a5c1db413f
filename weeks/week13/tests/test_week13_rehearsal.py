"""What defines the methods that rehearse rows as they are: whose rows, and what is done with them."""

from itertools import pairwise

import pytest
import torch
from continual import Learner, Shuffle, Strategy, Task, all_judged, judge, make, step
from continual.rows import cat, patchwork, windows
from continual.vendor.gpt.model import GPT, GPTConfig
from continual.vendor.shared.errors import Mistake
from week13_questions import as_counts, learner, same, task, train, weights

pytestmark = pytest.mark.day(88)


def test_joint_trains_on_all_rows_it_knows():
    """Without `tasks` it knows those that have come, with them all of them at once. No row is lost or doubled."""
    low, high = task("a"), task("c")
    online, offline = make("joint"), make("joint", tasks=[low, high])
    everything = as_counts(cat([low.train, high.train]))
    assert as_counts(online.start(None, low)) == as_counts(low.train)
    assert as_counts(offline.start(None, low)) == everything
    assert as_counts(online.start(None, high)) == as_counts(offline.start(None, high)) == everything


def test_joint_reads_other_rows_at_every_task():
    """Five tasks of 40 rows, a fifth of the pot read at each: the same rows each time would be 40 in all, and no
    bound for a method that reads 200. The order is that of the seed, and a run that goes on has it again."""
    tasks = [Task(name, all_judged(torch.arange(80 * i, 80 * (i + 1)).view(40, 2))) for i, name in enumerate("abcde")]
    for seed in (0, 1):
        joint, read = make("joint", seed=seed, tasks=tasks), []
        for one in tasks:
            rows = joint.start(None, one)
            assert torch.equal(joint.start(None, one).ids, rows.ids)
            assert torch.equal(make("joint", seed=seed, tasks=tasks).start(None, one).ids, rows.ids)
            read.append({tuple(ids) for step in range(5) for ids in rows[Shuffle(200, 8).at(step)].ids.tolist()})
            assert len(read[-1]) == 40
        assert 200 * (1 - 0.8**5) * 0.85 < len(set.union(*read)) <= 200
        assert read[0] != read[1] and joint.start(None, tasks[0]).ids[0, 0] == 0
    assert len(set.union(*read)) > 3 * 40


def test_replay_remembers_more_than_naive():
    """The point of it all, on two opposite rules: the next token is one up, or one down. Naive forgets the first."""
    walk = lambda d: (torch.arange(8)[:, None] + d * torch.arange(7)) % 8  # (8, T+1)  # noqa: E731
    up, down = Task("up", all_judged(walk(1))), Task("down", all_judged(walk(-1)))
    loss = {}
    for name, strategy in (("naive", Strategy()), ("replay", make("replay", dict(keep_rows=8, replay_rows=4)))):
        torch.manual_seed(0)
        who = Learner(GPT(GPTConfig(8, 6, n_layer=1, n_head=2, n_embd=16)))
        for one in (up, down):
            rows = strategy.start(who, one)
            optimizer = torch.optim.AdamW(who.parameters().values(), lr=1e-2)
            for i in range(60):
                step(who, strategy, optimizer, rows[Shuffle(8, 4).at(i)])
            strategy.finish(who, one)
        loss[name] = judge(who, strategy, [up, down], lambda who, one: who.loss(one.train))
    assert loss["naive"][0] > 2.0 and loss["replay"][0] < 1.0  # ln 8 = 2.08 is knowing nothing
    assert max(loss["naive"][1], loss["replay"][1]) < 1.0  # and both learned the new rule


def test_shared_replay_gives_old_rows_the_place_of_new_ones():
    """6 new rows, 2 more a step, half of all old: 4 and 4. In the first task, without a memory, all 6 are new."""
    a, b = task("a"), task("b")
    method = make("shared-replay", dict(keep_rows=50, replay_rows=2, share=0.5))
    assert torch.equal(method.batch(None, a.train[:6]).ids, a.train[:6].ids)
    method.finish(learner(), a)
    rows = method.batch(None, b.train[:6])
    assert len(rows) == 8 and torch.equal(rows[:4].ids, b.train[:4].ids)
    assert set(as_counts(rows[4:])) <= set(as_counts(a.train))


def test_shared_replay_gives_no_old_task_more_than_the_new_one():
    """With a share of 0.7 and 12 rows a step: 6 of them old, then 8, four of each; then 0.7 of 12 and no more."""
    method, old, new = make("shared-replay", dict(keep_rows=60, replay_rows=4, share=0.7)), [], task("z").train[:8]
    for name in "abcd":
        method.finish(learner(), task(name))
        rows = method.batch(None, new)
        old.append(next(n for n in range(13) if torch.equal(rows.ids[: 12 - n], new.ids[: 12 - n])))
        assert len(rows) == 12
    assert old == [6, 8, 8, 8]


def test_shared_replay_takes_its_rows_in_turns():
    """Six kept rows, three of them a step: two steps see all, and another two again, also after a stop between them."""
    method, a, b = make("shared-replay", dict(keep_rows=6, replay_rows=0)), task("a"), task("b")
    method.finish(learner(), a)
    seen = []
    for i in range(4):
        if i == 1:
            stopped, method = method, make("shared-replay", dict(keep_rows=6, replay_rows=0))
            method.load(stopped.state())
        seen.append(as_counts(method.batch(None, b.train[:6])[3:]))
    assert seen[0] + seen[1] == seen[2] + seen[3] == as_counts(method.memory.rows) and seen[0] != seen[2]


@pytest.mark.parametrize(("tokens", "length", "pieces"), [(12, 4, 3), (13, 4, 3), (15, 4, 3), (7, 4, 1), (12, 0, 1)])
def test_a_patchwork_is_the_same_text_from_other_places(tokens, length, pieces):
    """Every target is there once, at its place in a row; a row is of so many stretches of the text, of `length` at
    least. Nothing is written to the rows of before."""
    rows = windows(torch.arange(20 * tokens + 1), tokens)
    before = rows.ids.clone()
    new = patchwork(rows, length, torch.Generator().manual_seed(0))
    assert torch.equal(new.ids.sort(dim=0).values, before) and torch.equal(rows.ids, before)
    assert new.judged[:, 1:].all() and not new.judged[:, 0].any()
    breaks = (new.ids[:, 1:] != new.ids[:, :-1] + 1).sum(dim=1)
    assert breaks.max() == pieces - 1 and breaks.float().mean() >= 0.8 * (pieces - 1)
    seams = [0, *(i for i in range(1, tokens) if (new.ids[:, i + 1] != new.ids[:, i] + 1).any()), tokens]
    assert min(b - a for a, b in pairwise(seams)) >= min(length or tokens, tokens)


def test_shared_replay_keeps_a_patchwork_of_text_and_answers_as_they_are():
    """No kept row is a row of the text, unless `piece` is 0; a prompt with another's response would be no memory."""
    method, text = make("shared-replay", dict(keep_rows=24, piece=4)), windows(torch.arange(40 * 12 + 1), 12)
    method.finish(learner(), Task("text", text))
    assert len(method.memory) == 24 and not set(as_counts(method.memory.rows)) & set(as_counts(text))
    whole = make("shared-replay", dict(keep_rows=24, piece=0))
    whole.finish(learner(), Task("text", text))
    assert set(as_counts(whole.memory.rows)) <= set(as_counts(text))
    asked = make("shared-replay", dict(keep_rows=24, piece=2))
    asked.finish(learner(), task("a"))
    assert set(as_counts(asked.memory.rows)) <= set(as_counts(task("a").train))


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
