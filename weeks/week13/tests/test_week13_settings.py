"""Settings as they come from a command line or out of a file that a hand has edited."""

import json

import pytest
from continual import make

pytestmark = pytest.mark.day(88)


@pytest.mark.parametrize(
    ("name", "config", "said"),
    [
        (
            "replay",
            dict(replay_rows=10**9),
            "replay_rows is 1000000000; use 1,000,000 at most, for all are held at once",
        ),
        ("a-gem", dict(reference_rows=10**9), "reference_rows is 1000000000; use 1,000,000 at most"),
        ("generic", dict(generic_text="a", generic_rows=10**9), "generic_rows is 1000000000; use 1,000,000 at most"),
        ("kl-replay", dict(samples=10**9), "samples is 1000000000; use 1,000,000 at most"),
        ("replay", dict(replay_rows=2.5), "replay_rows is 2.5; use a whole number"),
        ("replay", dict(keep_rows="many"), "keep_rows is 'many'; use a whole number"),
        ("replay", dict(keep_rows=True), "keep_rows is True; use a whole number"),
        ("replay", dict(memory=["balanced"]), r"memory is \['balanced'\]; use a text"),
        ("ewc", dict(strength=float("inf")), "strength is inf; use a number that is not infinite"),
        ("ewc", dict(gamma=None), "gamma is None; use a number"),
        ("hat", dict(units=3), "units is 3; use a text"),
        ("o-lora", dict(targets=["all-linear"]), r"targets is \['all-linear'\]; use a text"),
        ("replay", [], r"the settings of replay are \[\]; give a name and a value for each"),
    ],
)
def test_a_value_of_another_kind_is_told_when_the_method_is_built(name, config, said):
    """Not in the second task, as a traceback out of torch; and no row of it fills the machine's memory first."""
    with pytest.raises(ValueError, match=said):
        make(name, config)


def test_a_whole_number_will_do_for_any_number():
    """JSON and a command line write 1 where 1.0 is meant."""
    assert make("ewc", json.loads('{"strength": 3, "gamma": 1}')).config.strength == 3


@pytest.mark.day(88)
@pytest.mark.parametrize(
    ("name", "config", "said"),
    [
        ("replay", dict(memory="fifo"), "no memory is called 'fifo'; choose one of balanced, kmeans, reservoir"),
        ("replay", dict(replay_rows=-1), "replay_rows is -1; use 0"),
        ("shared-replay", dict(share=1), r"share is 1; use a part from 0 \(no old rows\) to below 1"),
        ("distilled-replay", dict(strength=-1), "strength is -1; use 0"),
        ("replay", dict(keep_rows=-1), "keep_rows is -1; use 0"),
        ("replay", dict(budget=1), "replay has no setting budget; it has keep_rows, memory, replay_rows"),
        ("gdumb", dict(keep_rows=0), "keep_rows is 0; use 1 or more"),
        ("a-gem", dict(reference_rows=-1), r"reference_rows is -1; use 0 \(none\) or more"),
        ("der++", dict(alpha=float("nan")), "alpha is nan; use 0"),
        ("generic", {}, "generic_text is empty; name a text file"),
        ("ssr", dict(ratio=0), "ratio is 0; use a share above 0, at most 1"),
        ("kl-replay", dict(top=0), "top is 0; use 1 or more"),
        ("naive", dict(keep_rows=1), "naive has no setting keep_rows; it has no settings at all"),
        ("reply", {}, "no method is called 'reply'; choose one of naive, joint, cumulative, replay"),
    ],
)
def test_methods_refuse_what_cannot_be(name, config, said):
    """Wrong settings are told when the method is built, not hours later when the second task starts."""
    with pytest.raises(ValueError, match=said):
        make(name, config)
