"""Day 91: what the table says of cells, by hand; and what the figures' titles say of the table."""

import pytest
from continual.tiers import report
from continual.vendor.shared.errors import Mistake

pytestmark = pytest.mark.day(91)
HERE = {"cpu": "this one"}


def record(method, matrix, order="forward", up=True, seed=0):
    """A cell of two tasks with one score."""
    return {
        "method": method, "order": order, "seed": seed, "tasks": ["a", "b"] if order == "forward" else ["b", "a"],
        "higher_is_better": up, "unit": "share right", "final": {"exact": matrix[-1]}, "matrix": {"exact": matrix},
        "seconds": [1.0, 2.0], "cpu_seconds": [1.0, 2.0], "extra_bytes": [0, 8], "machine": HERE, "settings": {},
    }  # fmt: skip


@pytest.mark.parametrize(("up", "joint", "recovered"), [(True, 0.8, 50), (True, 0.4, None), (True, 0.5, None),
                                                        (False, 0.4, 50), (False, 0.8, None)])  # fmt: skip
def test_where_joint_training_is_no_better_nothing_is_recovered(up, joint, recovered):
    """Naive ends at 0.6. Below it joint training is no bound: what is better than both would have a negative share."""
    halfway = {0.8: 0.7, 0.4: 0.5, 0.5: 0.7}[joint]
    naive, bound = (record(name, [[0.9, 0.1], [end, end]], up=up) for name, end in (("naive", 0.6), ("joint", joint)))
    row = report.row(record("replay", [[0.9, 0.1], [halfway, halfway]], up=up), None, naive, bound)
    assert row["recovery_pct"] == (recovered if recovered is None else pytest.approx(recovered))


@pytest.fixture
def metrics():
    """Two orders, in which naive training forgets 0.4 and 0.2, and replay 0.1 and 0.1."""
    ends = {"naive": [0.4, 0.2], "replay": [0.1, 0.1]}
    cells = [
        record(name, [[0.9, 0.1], [0.9 - lost, 0.9]], order)
        for name, both in ends.items()
        for order, lost in zip(("forward", "reverse"), both)
    ]
    floor = record("floor", [[0.2, 0.3]])
    del floor["matrix"]
    return report.summarise([*cells, record("joint", [[0.9, 0.9], [0.9, 0.9]]), floor])


def test_each_order_has_its_own_numbers(metrics):
    assert metrics["naive"]["bwt"] == pytest.approx(-0.3) and metrics["naive"]["forward"]["bwt"] == pytest.approx(-0.4)
    cut = metrics["replay"]
    assert cut["forgetting_cut_pct"] == pytest.approx((75 + 50) / 2)
    assert cut["forward"]["forgetting_cut_pct"] == 75 and cut["reverse"]["forgetting_cut_pct"] == 50


def test_the_titles_speak_of_what_is_drawn(metrics, load_script, tmp_path, monkeypatch):
    """The matrices are those of the first order; without a method beside the bounds there is none to praise."""
    figures, titles = load_script("week13", "figures"), []
    monkeypatch.setattr(figures, "save", lambda fig, path: titles.append([
        fig.get_suptitle(), *(axis.get_title() for axis in fig.axes)]))  # fmt: skip
    figures.heat_maps(metrics, tmp_path / "a.png")
    assert titles[0][:3] == ["replay avoids 75 % of the loss that naive training causes (one seed)",
                             "naive: BWT -0.40", "replay: BWT -0.10"]  # fmt: skip
    del metrics["replay"]
    figures.heat_maps(metrics, tmp_path / "a.png")
    assert titles[1][0] == "Naive training, and all tasks at once (one seed)"
    for row in (metrics["naive"], metrics["naive"]["forward"]):
        del row["forgetting_cut_pct"]
    figures.heat_maps(metrics, tmp_path / "a.png")
    assert titles[2][0].startswith("There is nothing to avoid")


def test_results_of_an_older_program_are_told(load_script, tmp_path):
    (tmp_path / "full.json").write_text('{"metrics": {"domains": []}}')
    figures = load_script("week13", "figures")
    with pytest.raises(Mistake, match="full.json is of an older program; run: python weeks/week13/train.py"):
        figures.main(["--preset", "full", "--results", str(tmp_path), "--out", str(tmp_path / "drawn")])
