"""What defines the methods that hold a model to what it once predicted: DER++, distilled replay, self-generated KL
replay."""

import pytest
import torch
from continual import Learner, Strategy, make, step
from continual.methods.distilled import predictions
from continual.methods.kl_replay import coarse_kl
from continual.vendor.gpt.model import GPT, GPTConfig
from torch.nn.functional import kl_div
from week13_questions import TEXT, learner, task, train

pytestmark = pytest.mark.day(88)


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


def rehearsing(strength):
    """A distilled replay in its second task: the method, its learner, and the rows of a step."""
    method = make("distilled-replay", dict(keep_rows=6, replay_rows=2, share=0.5, strength=strength))
    who = learner()
    train(method, who, [task("a")])
    method.start(who, task("b"))
    return method, who, method.batch(who, task("b").train[:4])


def test_distilled_replay_is_the_loss_and_a_divergence_on_old_tokens():
    """3 new rows and 3 old ones: the mean loss of all, plus 2 * KL a token of an old row, over all tokens; by hand."""
    method, who, batch = rehearsing(2)
    plain, old, mask = type(batch)(ids=batch.ids, judged=batch.judged), batch[3:], batch.judged[:, 1:]
    with torch.no_grad():
        then = who.logits(old).log_softmax(-1)[mask[3:]]
    train(Strategy(), who, [task("b")])  # the weights move on
    now = who.logits(old).log_softmax(-1)[mask[3:]]
    kept = method.memory.rows.ids.tolist()
    assert len(batch) == 6 and batch.place.tolist()[:3] == [-1] * 3
    assert old.ids.tolist() == [kept[place] for place in old.place.tolist()]
    want = who.loss(plain) + 2 * kl_div(now, then, log_target=True, reduction="sum") / mask.sum()
    torch.testing.assert_close(method.loss(who, batch), want, rtol=1e-5, atol=1e-6)  # float32, other order of sums


def test_distilled_replay_pulls_less_than_replay_while_nothing_has_changed():
    """Before the first step of a task the divergence has no slope; once the weights have moved, it has."""
    slopes = {}
    for strength in (0.0, 50.0):
        method, who, batch = rehearsing(strength)
        slopes[strength] = [torch.autograd.grad(method.loss(who, batch), who.model.head.weight)[0]]
        train(Strategy(), who, [task("b")])
        slopes[strength].append(torch.autograd.grad(method.loss(who, batch), who.model.head.weight)[0])
    first, later = zip(*slopes.values(), strict=True)
    torch.testing.assert_close(*first, rtol=1e-4, atol=1e-5)  # float32 rounding, times 50
    assert (later[0] - later[1]).norm() > 0.1 * later[0].norm()


def test_distilled_replay_takes_its_rows_in_turns_and_asks_the_old_model_once_a_row(monkeypatch):
    """6 kept rows, 3 a step: two steps see all of them, and from then on the old weights are not asked again, unless
    there is no room for what they said. The loss is the same. Whoever computes it may ask the new ones as he likes."""
    monkeypatch.setattr("continual.methods.distilled_replay.TOGETHER", 2)
    seen, asked, losses, rooms = [], {}, {}, [2**28, 0]
    for room in rooms:
        monkeypatch.setattr("continual.methods.distilled_replay.ROOM", room)
        method, who, batch = rehearsing(2)
        train(Strategy(), who, [task("b")])  # not the old model any more
        forward, old = who.model.forward, method.before["wte.weight"].data_ptr()

        def spy(tokens, *others, forward=forward, who=who, old=old, room=room):
            if who.model.wte.weight.data_ptr() == old:
                asked.setdefault(room, []).append(tuple(map(tuple, tokens.tolist())))
            return forward(tokens, *others)

        monkeypatch.setattr(who.model, "forward", spy)
        for _ in range(4):
            seen.append(batch.place[batch.place >= 0].tolist())
            losses.setdefault(room, []).append(method.loss(who, batch).item())
            batch = method.batch(who, task("b").train[:4])
        if len(rooms) == 2:
            rooms.append(sum(t.nbytes for t in list(method.said.values())[-2:]))  # just enough for the last two
    assert [sorted(seen[i] + seen[i + 1]) for i in range(0, 12, 2)] == [list(range(6))] * 6
    assert seen == [*seen[:2], *seen[:2]] * 3, "the same order in each pass"
    assert len(asked[2**28]) == 3 and len(set(sum(asked[2**28], ()))) == 6, "each row once, two at a time"
    assert asked[0] == asked[2**28] * 2 and losses[0] == losses[2**28], "no room: once a pass"
    assert asked[rooms[2]] == asked[2**28] and losses[rooms[2]] == losses[0], "two stay, beside the last four"


def test_what_the_old_model_says_does_not_depend_on_what_is_known_already():
    """A run that goes on in mid-task asks for other rows first than one that never stopped: each row is read in the
    same company for all that, and each bit is the same."""
    said = []
    for first in ([0, 1, 2], [5], []):
        method, who, _ = rehearsing(2)
        train(Strategy(), who, [task("b")])
        method.told(who, first)
        said.append(torch.cat(method.told(who, [4, 1, 4])))
    assert torch.equal(said[0], said[1]) and torch.equal(said[0], said[2])


@pytest.mark.parametrize("name", ["der++", "kl-replay", "distilled-replay"])
def test_a_step_does_not_depend_on_its_micro_batches(name):
    """New rows with short answers, old rows with long ones: still the mean of each, in 1, 2 or 9 parts."""
    settings = {
        "der++": dict(replay_rows=5, alpha=1, beta=1),
        "kl-replay": dict(replay_rows=5, samples=6, strength=3),
        "distilled-replay": dict(replay_rows=5, share=0.6),
    }
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


def test_predictions_are_taken_without_dropout():
    """Stored once and compared later: noise in them would be learned."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(128, 16, n_layer=1, n_head=2, n_embd=8, dropout=0.5)).train()
    who, rows = Learner(model, text=TEXT), task("a").train
    (top, value), again = predictions(who, rows, 3), predictions(who, rows, 3)
    assert torch.equal(top, again[0]) and torch.equal(value, again[1]) and model.training
    assert (value[~rows.judged[:, 1:]] == 0).all() and (value[rows.judged[:, 1:]] != 0).all()
