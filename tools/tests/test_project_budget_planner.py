"""The budget planner advises what the law says, shows what other sizes would lose, and refuses what it cannot plan."""

import importlib
import re

import pytest

BUDGET = "2 cores x 1 hour"


@pytest.fixture(scope="module")
def budget(repo_root):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(repo_root / "projects")
        yield importlib.import_module("budget_planner.budget")


@pytest.fixture
def ask(budget, tmp_path, monkeypatch):
    """ask(options) -> the advice, from a law in a file; nothing is measured or drawn outside of the test's folder."""
    from scaling.frozen import Frozen, write
    from scaling.law import Law

    law = Law(1.2, 12.0, 0.3, 60.0, 0.33)
    laws = [law._replace(alpha=0.3 + x, beta=0.33 - x) for x in (-0.02, -0.01, 0.0, 0.01, 0.02)]
    write(tmp_path / "law.json", Frozen(law, laws, 512, 3e13, 24))
    monkeypatch.setattr(budget, "OUT", tmp_path / "out")

    def ask(*options):
        return budget.main([*options, "--law", str(tmp_path / "law.json")])

    return ask


@pytest.fixture
def undrawn(budget, monkeypatch):
    monkeypatch.setattr(budget, "draw", lambda *args: None)


def test_the_plan_is_the_laws(ask, capsys, undrawn):
    """Rate times seconds is what is spent; the line of the loss is the law's; the advised size loses nothing."""
    from scaling.law import Law

    found = ask(BUDGET, "--rate", "1e10")
    assert found.d * found.each == pytest.approx(3.6e13, rel=1e-12)  # an hour; the rate is that of all cores
    assert found.loss == Law(1.2, 12.0, 0.3, 60.0, 0.33).loss(found.n, found.d)
    out = capsys.readouterr().out
    assert f"{found.loss:.3f} nats" in out and f"{found.low:.3f} to {found.high:.3f}" in out
    losses = [float(x) for x in re.findall(r"\+(\d\.\d{4}) nats", out)]
    assert len(losses) == 4 and all(x >= 0 for x in losses) and out.count("<- advised") == 1
    assert "This is 1.2 times the largest compute" in out


def test_the_figure_is_drawn_and_none_is_overwritten(ask, tmp_path):
    """One figure a call, named after the budget."""
    for _ in range(2):
        ask(BUDGET, "--rate", "1e10")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["2-cores-x-1-hour-2.png", "2-cores-x-1-hour.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (tmp_path / "out").iterdir())


def test_the_flat_part_of_the_valley(ask, budget, undrawn, tmp_path):
    """Sizes that lose at most a hundredth: the advised one is among them, and the next ones outside lose more."""
    from scaling import frozen, plan

    found, said = ask(BUDGET, "--rate", "1e10"), frozen.read(tmp_path / "law.json")
    low, high = budget.flat(said, 3.6e13, found)
    assert low <= found.n <= high
    for choice in plan.choices(said.law, 3.6e13, 512):
        assert (low <= choice.n <= high) == (choice.loss <= found.loss + 0.01)


def test_a_count_is_told_in_two_digits(budget):
    """Also where rounding reaches the next unit's size."""
    assert [budget.about(n) for n in (2_312_112, 999_999, 651_280, 41_400_000, 8_040)] == [
        "2.3 million", "1000 thousand", "650 thousand", "41 million", "8 thousand",
    ]  # fmt: skip
    assert budget.plain(651_280, 2_312_112) == "from 650 thousand to 2.3 million parameters it hardly matters"
    assert budget.plain(651_280, 651_280) == "650 thousand parameters, and no other size comes near"


def test_the_speed_is_that_of_the_cores(ask, budget, undrawn, monkeypatch):
    """Measured with as many threads as the budget has cores, at a shape that the sweep has, and told."""
    seen = []
    monkeypatch.setattr(budget.plan.torch, "set_num_threads", lambda count: seen.append(count))
    monkeypatch.setattr(budget.plan, "pace", lambda shape, vocab: seen.append(shape) or 2e10)
    found = ask("1 core x 1 hour")
    assert found.d * found.each == pytest.approx(7.2e13, rel=1e-12)
    assert seen[0] == 1 and seen[1] in budget.sweep.SHAPES


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["a while"], "'a while' is no budget of cores and time; give a budget such as"),
        (["2 cores x 1000 years"], "is longer than a year"),
        (["99999 cores x 1 hour"], "so the speed of 99999 cannot be measured; give --rate"),
        ([BUDGET, "--rate", "0"], "--rate is 0.0; give operations a second, a number above 0"),
        ([BUDGET, "--rate", "nan"], "--rate is nan"),
        ([BUDGET, "--rate", "1e30"], "operations are more than any model has had; give"),
        (["1 core x 1 second", "--rate", "1e6"], "and fewer than 100 tell nothing; give"),
    ],
)
def test_what_cannot_be_planned_is_a_sentence(ask, budget, undrawn, options, sentence):
    with pytest.raises(budget.Mistake, match=sentence):
        ask(*options)


def test_a_law_that_is_missing_names_the_command(budget, tmp_path):
    with pytest.raises(budget.Mistake, match="none.json does not exist; run: python weeks/week10/train.py"):
        budget.main([BUDGET, "--law", str(tmp_path / "none.json")])
