"""The tokenizer comparer counts what the tokenizers say, judges text that it did not learn, refuses in a sentence."""

import importlib

import pytest


@pytest.fixture
def compare(repo_root, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(repo_root / "projects")
    module = importlib.import_module("tokenizer_comparer.compare")
    monkeypatch.setattr(module, "OUT", tmp_path / "out")
    monkeypatch.setattr(module, "PUBLISHED", {})
    return module


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("the cat sat on the mat. " * 90 + "naïve 日本 " * 22, encoding="utf-8")
    return path


def test_a_vocabulary_of_bytes_holds_one_byte_a_token(compare, text, capsys):
    """256 ids are the bytes: the one row whose number is known before; a larger one comes first."""
    rows = compare.main([str(text), "--learn", "256", "280"])
    judged = compare.parts(text.read_text(encoding="utf-8"))[1]
    assert rows[1] == ("learned, 256", 256, len(judged.encode("utf-8")), 1.0)
    assert rows[0][0] == "learned, 280" and rows[0][3] > 1
    assert "bytes a token" in capsys.readouterr().out


def test_what_is_judged_is_not_learned(compare):
    """Else a vocabulary would be praised for what it knows by heart."""
    text, judged = compare.parts("a" * 90 + "b" * 10)
    assert (set(text), set(judged)) == ({"a"}, {"b"})


def test_a_tokenizer_of_ones_own_is_a_row_and_no_figure_is_overwritten(compare, text, tmp_path):
    """What week 9 saved can be compared; a second call draws beside the first."""
    from bpe import Tokenizer

    Tokenizer.train("the cat", 258, special_tokens=()).save(tmp_path / "small.json")
    for _ in range(2):
        rows = compare.main([str(text), "--learn", "--tokenizer", str(tmp_path / "small.json")])
    assert [row[:2] for row in rows] == [("small", 258)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["mine-2.png", "mine.png"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--learn"], "there is no tokenizer to compare; give --learn 1000"),
        (["--learn", "100"], "--learn 100: vocab_size is 100; bytes and special tokens alone need 256"),
        (["--tokenizer", "nowhere.json"], "there is no tokenizer at nowhere.json; train one"),
    ],
)
def test_what_cannot_be_compared_is_a_sentence(compare, text, options, sentence):
    """Each says what to do."""
    with pytest.raises(compare.Mistake, match=sentence):
        compare.main([str(text), *options])
