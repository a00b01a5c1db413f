"""The table: cells that are kept and never measured twice, rows that always stand, and what a scenario refuses."""

import json

import pytest
import torch
from continual import Learner, Task, all_judged
from continual.tiers import growth, report, table
from continual.tiers.domains import byte_gpt
from continual.tiers.scenario import Scenario
from continual.tiers.scores import bits
from continual.tiers.table import Table
from continual.vendor.shared.errors import Mistake

pytestmark = pytest.mark.day(91)

SETTINGS = dict(n_layer=1, n_head=2, n_embd=16, length=12, batch_size=4, steps=8, lr=1e-2, budget=12, replay_rows=2)


def words(letters, n, seed=0):
    ids = torch.randint(len(letters), (n, 13), generator=torch.Generator().manual_seed(seed))
    return all_judged(torch.tensor([ord(c) for c in letters])[ids])


def scenario(**changes):
    """Two texts of other letters; the second makes the first worse."""
    settings = SETTINGS | changes
    tasks = [Task(name, words(letters, 40, seed), words(letters, 6, seed + 9)) for seed, (name, letters) in
             enumerate((("low", "abcd"), ("high", "wxyz"), ("mid", "mnop")))]  # fmt: skip
    return Scenario(
        "toy", tasks, lambda seed, method: Learner(byte_gpt(settings, seed)),
        lambda learner, task: {"bits": bits(learner, task.valid), "twice": [2 * b for b in bits(learner, task.valid)]},
        lambda task: {"bits": 2.0, "twice": 4.0}, settings, higher_is_better=False, unit="bits per byte",
        generic=words("qrst", 4),
    )  # fmt: skip


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells")
    return folder, Table(scenario(), folder).fill(["replay"], ["forward", "reverse"], [0, 1])


def test_every_row_of_always_is_there_once(filled):
    """Two orders, two seeds: what knows no order stands once a seed, naive and the methods once an order and seed."""
    folder, records = filled
    names = sorted(path.name for path in folder.iterdir())
    want = [f"any-{m}-s{s}.json" for m in ("floor", "base", "separate", "joint") for s in (0, 1)]
    want += [f"{o}-{m}-s{s}.json" for m in ("naive", "replay") for o in ("forward", "reverse") for s in (0, 1)]
    assert names == sorted(want) and len(records) == len(want)
    naive = next(r for r in records if r["method"] == "naive" and r["order"] == "reverse")
    assert naive["tasks"] == ["mid", "high", "low"] and len(naive["matrix"]["bits"]) == 3
    assert naive["matrix"]["twice"][1][0] == pytest.approx(2 * naive["matrix"]["bits"][1][0], abs=1e-5)  # six decimals
    assert naive["final"]["bits"] == naive["matrix"]["bits"][-1]
    assert (
        len(naive["seconds"]) == len(naive["cpu_seconds"]) == len(naive["extra_bytes"]) == 3
        and len(naive["generic"]) == 2
    )
    assert naive["extra_bytes"] == [2, 2, 2], "naive keeps nothing: an empty dict is two bytes of JSON"
    replay = next(r for r in records if r["method"] == "replay")
    assert replay["extra_bytes"][-1] > 12 * 13 * 8, "twelve rows of thirteen numbers of eight bytes"


def test_what_else_was_lost_is_told_of_the_model_that_is_served():
    """With a scale of 0 MagMax serves the first weights: nothing is lost, though the trained ones lost much."""
    before, after = table.measure(scenario(), "magmax:scale=0", "forward", 0)["generic"]
    assert after == before
    before, after = table.measure(scenario(), "naive", "forward", 0)["generic"]
    assert abs(after - before) > 0.05


def test_a_stopped_table_goes_on_and_measures_nothing_twice(filled, tmp_path, monkeypatch):
    """Stopped in the fifth cell, started again: four are read, and the whole is bit for bit an undisturbed table."""
    _, whole = filled
    measure, calls = table.measure, []

    def stops(*args):
        calls.append(args[1:])
        if len(calls) == 5:
            raise KeyboardInterrupt
        return measure(*args)

    monkeypatch.setattr(table, "measure", stops)
    with pytest.raises(KeyboardInterrupt):
        Table(scenario(), tmp_path).fill(["replay"], ["forward"], [0])
    assert len(list(tmp_path.iterdir())) == 4
    again = Table(scenario(), tmp_path).fill(["replay"], ["forward"], [0])
    assert len(calls) == 5 + 2, "the cell that was cut off, and the last one"
    for record in again:
        same = next(r for r in whole if all(r[k] == record[k] for k in ("method", "order", "seed")))
        assert record["final"] == same["final"] and record.get("matrix") == same.get("matrix")


def test_the_loop_of_a_cell_is_the_loop_of_the_course(filled):
    """A cell's matrix is what `learn_sequence` gives with the same settings: the table adds no training of its own."""
    from continual import learn_sequence, make

    toy, (_, records) = scenario(), filled
    settings = table.training(toy, total=3)
    settings.pop("line").close()
    matrix = learn_sequence(
        toy.learner(1, "naive"), make("naive"), toy.tasks, baseline=False, higher_is_better=False, seed=1,
        evaluate=lambda learner, task: table.mean(bits(learner, task.valid)), **settings,
    )  # fmt: skip
    record = next(r for r in records if (r["method"], r["order"], r["seed"]) == ("naive", "forward", 1))
    for row, kept in zip(matrix.rows, record["matrix"]["bits"]):
        assert row == pytest.approx(kept, abs=1e-6)  # the cell is rounded to six decimals


def test_a_rate_of_almost_nothing_forgets_exactly_nothing():
    """The null control: with a learning rate of 1e-12 no score may move, or the instrument itself drifts."""
    record = table.measure(scenario(lr=1e-12, weight_decay=0.0), "naive", "forward", 0)
    rows = record["matrix"]["bits"]
    assert rows[0] == rows[1] == rows[2]
    assert report.row({**record, "higher_is_better": False}, None, None, None)["forgetting"] == 0.0
    assert record["realigned"] == rows[0][:2], "ten rows at a tenth of that rate move nothing either"


def test_realigning_leaves_the_model_as_it_was():
    """The short look at ten rows is a question, not training: every weight is back, bit for bit."""
    toy = scenario()
    learner = toy.learner(0, "naive")
    before = {name: p.clone() for name, p in learner.model.named_parameters()}
    from continual import Strategy

    scores = table.realigned(toy, learner, Strategy(), toy.tasks, seed=0)
    assert len(scores) == 2 and all(0 < score < 9 for score in scores)
    with torch.no_grad():
        untouched = [table.mean(bits(learner, task.valid)) for task in toy.tasks[:2]]
    assert scores[0] < untouched[0], "ten steps on its own rows help a task that was never learned"
    assert all(torch.equal(before[name], p) for name, p in learner.model.named_parameters())


def test_the_report_follows_the_cells(filled):
    """Means over seeds and orders of numbers worked out from the cells; bounds are 0 and 100 by definition."""
    _, records = filled
    metrics = report.summarise(records)
    assert list(report.methods_of(metrics)) == ["floor", "base", "naive", "replay", "separate", "joint"]
    pick = lambda method: [r for r in records if r["method"] == method]
    accs = [sum(r["final"]["bits"]) / 3 for r in pick("replay")]
    assert metrics["replay"]["acc"] == pytest.approx(sum(accs) / 4, abs=1e-4)  # rounded to four places
    assert metrics["naive"]["recovery_pct"] == 0 and metrics["joint"]["recovery_pct"] == 100
    assert metrics["naive"]["forgetting_cut_pct"] == 0 and metrics["naive"]["time_ratio"] == 1
    assert metrics["naive"]["rise"] == -metrics["naive"]["bwt"] > 0, "the toy forgets"
    assert metrics["replay"]["recovery_pct"] > 20, "rows of every letter, kept, must help here"
    assert metrics["floor"]["acc"] == 2.0 and metrics["floor"]["acc_twice"] == 4.0
    assert metrics["tasks"] == ["low", "high", "mid"] and metrics["orders"] == ["forward", "reverse"]
    joint = {r["seed"]: dict(zip(r["tasks"], r["final"]["bits"])) for r in pick("joint")}
    one = next(r for r in records if (r["method"], r["order"], r["seed"]) == ("naive", "reverse", 1))
    want = sum(one["matrix"]["bits"][i][i] - joint[1][name] for i, name in enumerate(one["tasks"])) / 3
    beside = {name: next(r for r in pick(name) if r["seed"] == 1) for name in ("base", "joint")}
    got = report.row(one, naive=one, **beside)
    assert got["intransigence"] == pytest.approx(want, abs=1e-9)
    assert got["generic_rise"] == pytest.approx(one["generic"][1] - one["generic"][0])
    assert got["acc_low"] <= got["acc"] <= got["acc_high"]
    assert got["time_ratio"] == 1
    elsewhere = {**one, "machine": {**one["machine"], "cpu": "another one"}}
    assert report.row(elsewhere, naive=one, **beside) == {k: v for k, v in got.items() if k != "time_ratio"}
    text = report.lines(metrics)
    assert "bits per byte; 2 seed(s)" in text and len(text.splitlines()) == 2 + 6 + 1
    assert "separate *" in text and text.endswith("* is told which task it is judged on")
    assert report.best(metrics) == "replay" and report.best(metrics, without_rows=True) is None
    of_reverse = [sum(r["final"]["bits"]) / 3 for r in pick("replay") if r["order"] == "reverse"]
    assert metrics["replay"]["runs"] == 4 and metrics["replay"]["reverse"]["runs"] == len(of_reverse) == 2
    assert metrics["replay"]["reverse"]["acc"] == pytest.approx(sum(of_reverse) / 2, abs=1e-4)
    assert metrics["joint"]["runs"] == 2 and "forward" not in metrics["joint"], "it knows no order"
    once = next(r for r in pick("replay") if (r["order"], r["seed"]) == ("forward", 0))
    assert metrics["replay"]["first"]["acc"] == pytest.approx(sum(once["final"]["bits"]) / 3, abs=1e-4)
    lucky = {**metrics["replay"], "runs": 1, "recovery_pct": 500.0}
    assert report.best({**metrics, "ewc": lucky}) == "replay", "one run is not the best of four"


def test_other_settings_than_those_of_the_cells_are_refused(tmp_path):
    """A table half of one learning rate and half of another would be no table; nothing is overwritten."""
    Table(scenario(), tmp_path).cell("floor", "forward", 0)
    before = (tmp_path / "any-floor-s0.json").read_text()
    with pytest.raises(Mistake, match=r"other settings than these \(lr\); move the old table away"):
        Table(scenario(lr=0.5), tmp_path).cell("floor", "forward", 0)
    assert (tmp_path / "any-floor-s0.json").read_text() == before
    (tmp_path / "any-floor-s0.json").write_text(before[:40])
    with pytest.raises(Mistake, match="is not a cell of a table.*move it away, and it is measured anew"):
        Table(scenario(), tmp_path).cell("floor", "forward", 0)


def test_what_knows_no_order_is_measured_in_one(tmp_path, monkeypatch):
    """Its file is one for all orders: the columns of joint's matrix must not depend on which came first."""
    monkeypatch.setattr(table, "measure", lambda scenario, spec, order, seed: {
        "tasks": [task.name for task in scenario.ordered(order)], "final": {"bits": [0.0] * 3}})  # fmt: skip
    records = Table(scenario(), tmp_path).fill([], ["reverse", "forward"], [0])
    tasks = {(record["method"], record["order"]): record["tasks"] for record in records}
    assert tasks.pop(("naive", "reverse")) == ["mid", "high", "low"]
    assert len(tasks) == 5 and all(of == ["low", "high", "mid"] for of in tasks.values())
    path = tmp_path / "any-joint-s0.json"
    path.write_text(path.read_text().replace('"forward"', '"reverse"'))
    with pytest.raises(Mistake, match="any-joint-s0.json was measured in the reverse order.*move this file away"):
        Table(scenario(), tmp_path).fill([], ["forward"], [0])


def test_a_row_is_a_method_and_its_settings():
    """replay:keep_rows=20,memory=reservoir: numbers are numbers, the rest is text; what is unknown is told first."""
    assert table.parse("replay:keep_rows=20,memory=reservoir") == ("replay", {"keep_rows": 20, "memory": "reservoir"})
    with pytest.raises(Mistake, match="no method is called 'replai'; choose from naive"):
        table.parse("replai")
    with pytest.raises(Mistake, match="'keep_rows' sets nothing; write replay:setting=value"):
        table.parse("replay:keep_rows")
    for row in ("floor", "base", "separate"):
        with pytest.raises(Mistake, match=f"'{row}:x=1': {row} is a row of every table and no method.*leave them out"):
            table.parse(f"{row}:x=1")
    with pytest.raises(ValueError, match="naive has no setting x"):
        Table(scenario(), "nowhere").fill(["naive:x=1"], ["forward"], [0])
    with pytest.raises(ValueError, match="replay has no setting size"):
        Table(scenario(), "nowhere").fill(["replay:size=3"], ["forward"], [0])


def test_a_method_that_cannot_take_part_is_told_and_left_out(tmp_path, capsys):
    """SSR writes rows, and here nothing is text: the others are measured, and a bound that breaks is no such case."""
    records = Table(scenario(), tmp_path).fill(["ssr", "l2"], ["forward"], [0])
    assert {r["method"] for r in records} == {"floor", "base", "naive", "separate", "joint", "l2"}
    assert "ssr takes no part: ssr needs to read and write text" in capsys.readouterr().out


def test_a_method_with_other_settings_is_a_row_of_its_own(tmp_path):
    """Two budgets stand beside each other, and a table of one method can be filled from several starts."""
    toy = Table(scenario(), tmp_path)
    small, large = (toy.cell(f"replay:keep_rows={n}", "forward", 0) for n in (3, 12))
    assert small["extra_bytes"][-1] < large["extra_bytes"][-1]
    assert {p.name for p in tmp_path.iterdir()} == {f"forward-replay+keep_rows={n}-s0.json" for n in (3, 12)}


def test_sequences_whose_table_would_lie_are_refused():
    """One task, one name twice, the same rows twice, one example: each says what to do."""
    from continual.tiers.scenario import check

    task = lambda name, n=4, seed=0: Task(name, words("abcd", n, seed))
    with pytest.raises(Mistake, match="a sequence of 1 task has nothing to forget"):
        check([task("a")])
    with pytest.raises(Mistake, match="two tasks are called 'a'; give every task a name"):
        check([task("a"), task("a", seed=1)])
    with pytest.raises(Mistake, match="tasks 'a' and 'b' hold the same rows"):
        check([task("a"), task("b")])
    with pytest.raises(Mistake, match="task 'b' has one example to learn from"):
        check([task("a"), task("b", n=1)])


def test_growth_is_the_last_over_the_second():
    """Three and three of six tasks; a method that keeps nothing has no bytes to compare."""
    seconds, kept = growth.growth({"cpu_seconds": [9, 1, 1, 1, 2, 3], "extra_bytes": [5, 10, 15, 20, 25, 30]})
    assert seconds == 2.0 and kept == 3.0
    assert growth.growth({"cpu_seconds": [1, 1], "extra_bytes": [0, 0]}) == (1.0, None)
    toy = growth.scenario(SETTINGS | dict(train_rows=6, valid_rows=2, budget=4), 3)
    assert [len(task.train) for task in toy.tasks] == [6] * 3 and [len(task.valid) for task in toy.tasks] == [2] * 3
    assert json.dumps(toy.settings) and toy.tasks[0].train.digest() != toy.tasks[1].train.digest()
