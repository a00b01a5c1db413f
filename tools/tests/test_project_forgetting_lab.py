"""The forgetting lab learns texts in order with several methods, and its page holds what the terminal shows."""

import html
import importlib
import random
import sys

import pytest

WORDS = {"animals": "fox crow cheese tree sly old flew", "cooking": "Take 2 cups of flour, 1 egg; stir well."}


@pytest.fixture(scope="module")
def lab(repo_root):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(repo_root / "projects")
        patch.delitem(sys.modules, "report", raising=False)  # another project has a module of this name
        yield importlib.import_module("forgetting_lab.lab")
        sys.modules.pop("report", None)


@pytest.fixture(scope="module")
def report(lab):
    return sys.modules[lab.page.__module__]


@pytest.fixture
def texts(lab, tmp_path, monkeypatch):
    monkeypatch.setattr(lab, "OUT", tmp_path / "out")
    monkeypatch.setattr(lab, "QUICK", lab.QUICK | dict(n_embd=16, length=16, steps=12, train_rows=60, valid_rows=8))
    draw, paths = random.Random(0), []
    for name, words in WORDS.items():
        text = " ".join(draw.choice(words.split()) for _ in range(400))
        paths.append(tmp_path / f"{name}.txt")
        paths[-1].write_text(text + "\n")
    return paths


def ask(lab, texts, *more):
    return lab.main([*map(str, texts), "--quick", "--threads", "1", *more])


def test_methods_between_their_bounds(lab, texts, capsys):
    """Naive and joint stand beside what was asked for; page and terminal show the same numbers."""
    runs = ask(lab, texts, "--methods", "replay:keep_rows=20")
    assert [run.spec for run in runs] == ["naive", "replay:keep_rows=20", "joint"]
    assert [run.keeps for run in runs] == ["nothing", "rows", "rows"]
    for run in runs:
        assert run.matrix.names == ["animals", "cooking"] and len(run.matrix.rows) == 2
        assert all(0 < bits < 9 for row in run.matrix.rows for bits in row)
    assert runs[0].matrix.rows[0] == runs[1].matrix.rows[0], "the first text is learned alike: nothing is old yet"
    out, text = capsys.readouterr().out, html.unescape(next((lab.OUT).glob("*.html")).read_text())
    end = f"{runs[1].matrix.summary()['acc']:.2f}"
    assert end in out and end in text and "data:image/png;base64," in text and "its numbers mean nothing" in text


def test_the_same_command_gives_the_same_numbers_and_overwrites_nothing(lab, texts):
    first, second = (ask(lab, texts, "--methods", "lwf") for _ in range(2))
    assert [run.matrix for run in first] == [run.matrix for run in second]
    assert sorted(path.name for path in lab.OUT.iterdir()) == ["animals-cooking-2.html", "animals-cooking.html"]


def test_numbers_by_hand(report):
    """Naive rose by 2, the method by 0.5: it avoided three quarters. Half of the way from 4 to 2 is 50 %."""
    run = lambda spec, rows: report.Run(spec, report.Matrix(["a", "b"], rows, [8.0, 8.0], False), "rows", False, 1.0)
    runs = [run("naive", [[3.0, 8.0], [5.0, 3.0]]), run("x", [[3.0, 7.0], [3.5, 2.5]]),
            run("joint", [[4.0, 4.0], [2.0, 2.0]])]  # fmt: skip
    assert report.numbers(runs[1], runs) == pytest.approx(
        {"end": 3.0, "learned": 2.75, "rise": 0.5, "avoided": 0.75, "recovered": 0.5}
    )
    assert report.numbers(runs[2], runs)["rise"] is None
    assert report.finding(runs) == "Naive training lost 2.00 bits per byte on a; x avoided 75% of it"
    table = report.rows(runs, [4.0, 5.0])
    assert table[2] == ["x", "3.00", "2.75", "+0.50", "75%", "50%", "rows", "1"] and table[1][5] == "0%"
    assert table[-1][:2] == ["byte counts", "4.50"] and all(len(row) == len(report.HEAD) for row in table)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda texts: texts[:1], "1 text has nothing to forget; name two or more"),
        (lambda texts: [texts[0], texts[0]], "two texts are called 'animals'"),
        (lambda texts: [texts[0], texts[0].with_name("gone.txt")], "gone.txt does not exist; check the path"),
    ],
)
def test_texts_that_cannot_be_used(lab, texts, change, said):
    with pytest.raises(lab.Mistake, match=said):
        ask(lab, change(texts))


def test_a_short_text_and_a_wrong_method_are_told_before_any_training(lab, texts, capsys):
    with pytest.raises(lab.Mistake, match="no method is called 'reply'; choose from naive, joint"):
        ask(lab, texts, "--methods", "reply")
    with pytest.raises(lab.Mistake, match="replay has no setting rows; it has keep_rows"):
        ask(lab, texts, "--methods", "replay:rows=3")
    with pytest.raises(lab.Mistake, match="ssr needs to read and write text"):
        ask(lab, texts, "--methods", "ssr")
    texts[1].write_text("too short\n")
    with pytest.raises(lab.Mistake, match="cooking.txt has .* bytes, and 321 are the least"):
        ask(lab, texts)
    assert "naive:" not in capsys.readouterr().err
