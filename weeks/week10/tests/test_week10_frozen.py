"""Day 68: a law in its file, as it was fitted."""

import json

import pytest
from scaling.frozen import Frozen, read, write
from scaling.law import Law
from scaling.vendor.shared.errors import Mistake

pytestmark = pytest.mark.day(68)

LAW = Law(E=1.2, A=12.0, alpha=0.3, B=60.0, beta=0.33)
LAWS = [LAW._replace(E=1.2 + shift) for shift in (-0.06, 0.02, 1 / 3)]


def test_a_law_comes_back_from_its_file(tmp_path):
    """Every digit: JSON writes the shortest text that gives the same float."""
    frozen = Frozen(LAW, LAWS, 512, 3e13, 24)
    write(tmp_path / "law.json", frozen)
    assert read(tmp_path / "law.json") == frozen


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"law": {"E": 1.0}}, "missing 4 required"),
        ({"laws": []}, "there are no resampled laws"),
        ({"laws": [[1.0, 2.0, 0.3, 4.0]]}, "missing 1 required"),
        ({"flops": 0}, "vocab_size, flops and runs must be above 0"),
        ({"law": {**LAW._asdict(), "beta": float("inf")}}, "is not finite"),
        ({"laws": 7}, "not iterable"),
    ],
)
def test_a_file_without_a_law_is_a_sentence(tmp_path, change, reason):
    path = tmp_path / "law.json"
    write(path, Frozen(LAW, LAWS, 512, 3e13, 24))
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(Mistake, match=f"is no file of a law .*{reason}.*; run python weeks/week10/train.py"):
        read(path)


def test_no_file_at_all(tmp_path):
    with pytest.raises(Mistake, match="law.json does not exist; run: python weeks/week10/train.py"):
        read(tmp_path / "law.json")
