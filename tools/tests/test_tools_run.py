"""tools/shared/run.py: what every train script shares, as far as the weeks' own tests do not see it."""

import pytest


@pytest.fixture
def parser(load_tool):
    return load_tool("shared/run").parser("a script")


def test_seeds_that_every_library_takes(parser):
    """From 0 on, in 63 bits: random, NumPy and torch all take those."""
    assert [parser.parse_args(["--seed", text]).seed for text in ("0", str(2**63 - 1))] == [0, 2**63 - 1]


@pytest.mark.parametrize("text", ["-1", str(2**63), "99999999999999999999", "0.5", "x", ""])
def test_what_is_no_seed_is_wrong_use(parser, text, capsys):
    """Otherwise it would end in a traceback, after the data was read."""
    with pytest.raises(SystemExit) as stop:
        parser.parse_args([f"--seed={text}"])
    assert stop.value.code == 2
    assert f"{text!r} is no seed; give a whole number from 0 to" in capsys.readouterr().err
