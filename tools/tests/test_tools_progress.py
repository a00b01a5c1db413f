"""tools/shared/progress.py: a bar on a terminal, few plain lines in a log."""

import pytest


@pytest.fixture
def log(load_tool, monkeypatch, capsys):
    """(progress, now, lines): the module off a terminal, a clock to be set by hand, and what was written since."""
    progress, now = load_tool("shared.progress"), [0.0]
    monkeypatch.setattr(progress.Lines, "clock", lambda: now[0])
    monkeypatch.setattr(progress.Lines, "last", None)
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])

    def lines():
        said = capsys.readouterr().err
        assert "\r" not in said and "\x1b" not in said
        return said.splitlines()

    return progress, now, lines


def run_bar(progress, now, steps, label=None, **options):
    with progress.bar(total=steps, label=label, **options) as line:
        line._time = lambda: now[0]
        for step in range(steps):
            now[0] += 0.5
            line.update()
            line.set_postfix(loss=step)
    return line


def test_a_bar_in_a_log_is_a_line_every_ten_seconds_at_most(log):
    """A bar that draws itself over and over fills a log; two bars together write no more than one would."""
    progress, now, lines = log
    for label in ("one", "two"):
        run_bar(progress, now, 60, label, leave=True)
    said = lines()
    assert 3 <= len(said) <= 6 and all(line.strip() for line in said)
    assert said[0].startswith("one") and said[-1].startswith("two") and "loss=" in said[0]


def test_a_run_of_seconds_writes_no_bar_in_a_log(log):
    """A line that says 0 % helps nobody."""
    progress, now, lines = log
    run_bar(progress, now, 18)
    assert lines() == []


def test_bars_inside_each_other_in_a_log(log):
    """tqdm moves the cursor up and down for the inner one; an escape sequence is no line."""
    progress, now, lines = log
    with progress.bar(total=4, label="outer") as outer:
        for _ in range(4):
            run_bar(progress, now, 30, "inner")
            outer.update()
    said = lines()
    assert 3 <= len(said) <= 6 and all(line.startswith(("outer", "inner")) for line in said)


def test_a_bar_without_an_end(log):
    """A stream has no total: the count alone is shown."""
    progress, now, lines = log
    with progress.bar(label="rows", unit="row") as line:
        for _ in range(30):
            now[0] += 0.5
            line.update(7)
    assert [text.split()[0] for text in lines()] == ["rows:"]


def test_write_passes_by_the_bar(log, capsys):
    """A result in the middle of a training goes to stdout at once, whatever the clock of the lines says."""
    progress, _, _ = log
    with progress.bar(total=3) as line:
        line.write("val 1.5")
    assert capsys.readouterr() == ("val 1.5\n", "")


def test_a_bar_that_is_off_writes_nothing(log):
    """disable=True, as the tokenizer's training without progress."""
    progress, now, lines = log
    run_bar(progress, now, 60, disable=True)
    assert lines() == []
