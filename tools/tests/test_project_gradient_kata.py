"""The gradient kata accepts what is right, refuses what is wrong, keeps times, and never touches what was written."""

import datetime
import importlib
import json
import os
import re

import pytest

RIGHT = {  # the body of backward(g, saved)
    "tanh": "(y,) = saved; return g * (1 - y * y)",
    "relu": "(y,) = saved; return (g * (y > 0),)",
    "linear": "x, w = saved; return g @ w.T, (x.mT @ g).sum(0), g.sum((0, 1))",
    "embedding": "i, n = saved; return torch.nn.functional.one_hot(i.flatten(), n).to(g).T @ g.flatten(0, -2)",
    "gelu": "x, p = saved; return g * (p + x * torch.exp(-x * x / 2) / math.sqrt(2 * math.pi))",
    "softmax": "(p,) = saved; return p * (g - (g * p).sum(-1, keepdim=True))",
    "cross_entropy": "z, t = saved; d = z.exp(); d[range(len(t)), t] -= 1; return d * g / len(t)",
    "batch_norm": "r, s, k = saved; h = g * k; "
    "return s * (h - h.mean(0) - r * (h * r).mean(0)), (g * r).sum(0), g.sum(0)",
    "layer_norm": "r, s, k = saved; h = g * k; m = lambda x: x.mean(-1, keepdim=True); "
    "return s * (h - m(h) - r * m(h * r)), (g * r).sum((0, 1)), g.sum((0, 1))",
    "attention": "q, k, v, w = saved; d = g @ v.mT; d = w * (d - (d * w).sum(-1, keepdim=True)); "
    "d = d / math.sqrt(q.shape[-1]); return d @ k, d.mT @ q, w.mT @ g",
}  # fmt: skip
WRONG = [  # (kata, what is replaced, by what): a slip that a learner makes
    ("tanh", "1 - y * y", "1 - y"),
    ("relu", "y > 0", "y >= 0"),
    ("linear", "g.sum((0, 1))", "g.mean((0, 1))"),
    ("linear", "x.mT @ g", "g.mT @ x"),
    ("embedding", "one_hot(i.flatten(), n)", "one_hot(i.flatten(), n).clamp(max=0)"),
    ("gelu", "p + x", "p - x"),
    ("softmax", "g - (g * p).sum(-1, keepdim=True)", "g * (1 - p)"),
    ("cross_entropy", "-= 1", "+= 1"),
    ("cross_entropy", " / len(t)", ""),
    ("batch_norm", "h - h.mean(0)", "h"),
    ("batch_norm", ", g.sum(0)", ""),
    ("layer_norm", "m(h * r)", "m(g * r)"),
    ("attention", " / math.sqrt(q.shape[-1])", ""),
    ("attention", "d @ k, d.mT @ q", "d.mT @ q, d @ k"),
]


@pytest.fixture
def kata(repo_root, tmp_path, monkeypatch):
    """The script, with files and times in a folder of the test, and a day that does not pass."""
    monkeypatch.syspath_prepend(repo_root / "projects")
    kata = importlib.import_module("gradient_kata.kata")
    monkeypatch.setattr(kata, "OUT", tmp_path / "kata")
    monkeypatch.setattr(kata, "today", lambda: datetime.date(2030, 5, 10))
    return kata


def write(kata, path, name, body):
    """A kata file with `body` as the answer."""
    text = kata.file_text(name, kata.EXAM[kata.KATAS[name].row].names)
    head, _, _ = text.partition("    raise NotImplementedError")
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{head}    {body}\n", encoding="utf-8")
    return path


def test_ten_katas_each_todo_at_first_and_passed_when_right(kata, tmp_path):
    """A fresh file is told apart from a wrong one, and the hand-written gradient of each of the ten is accepted."""
    assert list(RIGHT) == list(kata.KATAS) and len(RIGHT) == 10
    for name in RIGHT:
        fresh = kata.file_of({"passes": [], "open": {}}, name)
        assert kata.check(fresh, name).kind == "todo"
        answer = kata.check(write(kata, tmp_path / "a.py", name, RIGHT[name]), name)
        assert answer.kind == "passed", (name, answer)


@pytest.mark.parametrize(("name", "part", "slip"), WRONG)
def test_a_slip_is_refused(kata, tmp_path, name, part, slip):
    """One slip for each rule: forgotten sums, factors, order. What is printed shows both, or says what lacks."""
    assert part in RIGHT[name]
    answer = kata.check(write(kata, tmp_path / "a.py", name, RIGHT[name].replace(part, slip)), name)
    assert answer.kind == "wrong", answer
    said = kata.told(answer)
    assert ("yours" in said and "expected" in said) or "give" in said or "but autograd's has" in said


@pytest.mark.parametrize(
    ("body", "kind", "sentence"),
    [
        ("return g * saved[7]", "broken", r"line \d+: IndexError"),
        ("return (", "broken", r"line \d+: SyntaxError"),
        ("return None", "wrong", "is a NoneType; give a tensor"),
        ("return g[0]", "wrong", "but autograd's has"),
        ("return g * math.nan", "wrong", "differs by up to inf"),
        ("return g, g", "wrong", "gave 2 gradients; give 1: x"),
        ("return torch.autograd.grad(saved[0].sum(), saved[0])", "broken", "RuntimeError"),
    ],
)
def test_what_does_not_run_is_said_with_its_line(kata, tmp_path, body, kind, sentence):
    """Nothing that a learner types ends in a traceback of ours; asking autograd itself is no answer."""
    answer = kata.check(write(kata, tmp_path / "a.py", "tanh", body), "tanh")
    assert answer.kind == kind
    assert re.search(sentence, answer.sentence), answer.sentence


def practise(kata, monkeypatch, name, answers, seconds=10.0):
    """Run kata.py --only `name`; at each nap the clock goes on and the next answer is saved (None: Ctrl-C)."""
    now, left = [0.0], list(answers)

    def nap(_):
        now[0] += seconds
        body = left.pop(0)
        if body is None:
            raise KeyboardInterrupt
        path = kata.file_of(kata.read_log(), name)
        stamp = path.stat().st_mtime_ns
        write(kata, path, name, body)
        os.utime(path, ns=(stamp + 10**9, stamp + 10**9))

    monkeypatch.setattr(kata, "clock", lambda: now[0])
    monkeypatch.setattr(kata, "nap", nap)
    kata.main(["--only", name])


def test_saving_is_checked_and_the_time_is_kept(kata, monkeypatch, capsys):
    """Wrong, wrong, right: two refusals, then the pass, the time and the streak, in a JSON."""
    practise(kata, monkeypatch, "tanh", ["return g", "return (", RIGHT["tanh"]])
    out = capsys.readouterr().out
    assert [out.count(word) for word in ("TODO", "WRONG", "BROKEN", "PASSED")] == [1, 1, 1, 1]
    assert "time: 30 s, your best so far" in out and "streak: 1 day." in out
    kept = json.loads((kata.OUT / "times.json").read_text())
    assert kept["passes"] == [{"kata": "tanh", "file": "tanh.py", "seconds": 30.0, "date": "2030-05-10"}]


def test_again_is_a_new_file_and_the_best_time_stays(kata, monkeypatch, capsys):
    """What passed is kept as it was written; a slower time is no best, a faster one is."""
    practise(kata, monkeypatch, "tanh", [RIGHT["tanh"]], seconds=40)
    first = (kata.OUT / "tanh.py").read_text()
    practise(kata, monkeypatch, "tanh", [RIGHT["tanh"] + "  # slower"], seconds=75)
    assert "time: 1 min 15 s; your best is 40 s" in capsys.readouterr().out
    practise(kata, monkeypatch, "tanh", [RIGHT["tanh"]], seconds=20)
    assert (kata.OUT / "tanh.py").read_text() == first and "slower" in (kata.OUT / "tanh-2.py").read_text()
    assert kata.best(kata.read_log(), "tanh") == 20 and (kata.OUT / "tanh-3.py").exists()
    kata.main(["--list"])
    out = capsys.readouterr().out
    assert "20 s  tanh-3.py" in out and "1 of 10 passed, streak 1" in out


def test_a_pause_keeps_the_clock_and_the_file(kata, monkeypatch):
    """Ctrl-C after 20 seconds, and 30 more on another day: 50 together; what was written meanwhile is still there."""
    with pytest.raises(KeyboardInterrupt, match="the clock stands at 20 s; to go on: python .*kata.py --only relu"):
        practise(kata, monkeypatch, "relu", ["return g  # begun", None])
    assert "# begun" in (kata.OUT / "relu.py").read_text()
    practise(kata, monkeypatch, "relu", [RIGHT["relu"]], seconds=30)
    assert kata.best(kata.read_log(), "relu") == 50 and kata.read_log()["open"] == {}


def test_a_check_without_waiting_passes_without_a_time(kata, monkeypatch, capsys):
    """--check is for editors and scripts: it fails with status 1 and a sentence, and a pass counts once."""
    with pytest.raises(kata.Mistake, match="does not pass yet"):
        kata.main(["--check"])  # the first kata, a fresh file
    write(kata, kata.OUT / "tanh.py", "tanh", RIGHT["tanh"])
    kata.main(["--check", "--only", "tanh"])
    log = kata.read_log()
    assert [(one["kata"], one["seconds"]) for one in log["passes"]] == [("tanh", None)]
    assert kata.best(log, "tanh") is None and kata.pick(log) == "relu"


def test_the_solution_is_shown_after_a_pass_only(kata, capsys):
    """Not before; then it is week 6's own function, and where it stands."""
    with pytest.raises(kata.Mistake, match="softmax has not passed yet; write yours first"):
        kata.main(["--show", "softmax"])
    write(kata, kata.OUT / "softmax.py", "softmax", RIGHT["softmax"])
    kata.main(["--check", "--only", "softmax"])
    kata.main(["--show", "softmax"])
    out = capsys.readouterr().out
    assert "# weeks/week06/backprop/losses.py" in out and "def softmax_backward(g, saved):" in out


@pytest.mark.parametrize(
    ("days", "length"), [([], 0), ([10], 1), ([9], 1), ([8], 0), ([8, 9, 10, 10], 3), ([7, 9, 10], 2), ([8, 9], 2)]
)
def test_a_streak_is_days_in_a_row_up_to_today_or_yesterday(kata, days, length):
    """A day that is not over yet does not break it; a day left out does. Today is the 10th."""
    assert kata.streak({"passes": [{"date": f"2030-05-{day:02}"} for day in days]}) == length


def test_when_all_have_passed_the_oldest_comes_again(kata):
    """Practice goes round."""
    passes = [{"kata": name} for name in [*RIGHT, "tanh", "relu"]]
    assert kata.pick({"passes": passes}) == "linear" and kata.pick({"passes": passes[:4]}) == "gelu"


def test_the_pages_wrong_answer_is_wrong_and_drawn(kata, repo_root, tmp_path, capsys):
    """The picture of the page can be made again, and a right answer has nothing to draw."""
    wrong = repo_root / "projects/gradient_kata/wrong_softmax.py"
    command = ["--only", "softmax", "--check", str(wrong), "--picture", str(tmp_path / "p.png")]
    with pytest.raises(kata.Mistake, match="does not pass yet"):
        kata.main(command)
    assert "WRONG: the gradient of x differs" in capsys.readouterr().out
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG") and not kata.read_log()["passes"]
    right = write(kata, tmp_path / "a.py", "softmax", RIGHT["softmax"])
    with pytest.raises(kata.Mistake, match="no wrong gradient to draw"):
        kata.main(["--only", "softmax", "--check", str(right), "--picture", str(tmp_path / "q.png")])


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--check", "x.py"], "say which kata x.py is: --only NAME"),
        (["--check", "no.py", "--only", "tanh"], "no.py is no file"),
        (["--picture", "p.png"], "goes with --check"),
    ],
)
def test_wrong_use_is_a_sentence(kata, argv, sentence):
    """Each says what to add."""
    with pytest.raises(kata.Mistake, match=sentence):
        kata.main(argv)


def test_damaged_times_are_not_thrown_away(kata):
    """A file that cannot be read is the user's still: it is named, and left as it is."""
    kata.OUT.mkdir()
    (kata.OUT / "times.json").write_text("{")
    with pytest.raises(kata.Mistake, match="mend it, or move it away"):
        kata.main(["--list"])
    assert (kata.OUT / "times.json").read_text() == "{"
