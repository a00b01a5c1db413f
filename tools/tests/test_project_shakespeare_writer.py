"""The Shakespeare writer: trained once, the same text for the same seed, and a map that shows what it says."""

import importlib

import pytest
import torch

WORDS = "the king is dead, long live the king.\n"


@pytest.fixture(scope="module")
def writer(repo_root):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(repo_root / "projects")
        yield importlib.import_module("shakespeare_writer.write")


@pytest.fixture
def call(writer, tmp_path, monkeypatch):
    """call("prompt", "--option", ...): on a text of its own, with a folder of its own for what is trained."""
    monkeypatch.setattr(writer, "OUT", tmp_path / "models")
    monkeypatch.setattr(writer, "BATCH", 2)
    data = tmp_path / "data"
    data.mkdir()
    for name in ("train.txt", "val.txt"):
        (data / name).write_text(WORDS * 20, encoding="utf-8")
    return lambda *argv: writer.main([*argv, "--data", str(data), "--steps", "20"])


def test_a_model_is_trained_once_and_writes_the_same_again(writer, call, capsys):
    first = call("the ", "--length", "12")
    assert "a GPT learns from" in capsys.readouterr().out
    assert first.startswith("the ") and 4 < len(first) <= 4 + 12 and "endoftext" not in first
    assert call("the ", "--length", "12") == first
    assert "a GPT learns from" not in capsys.readouterr().out, "the second call reads what the first one kept"
    assert call("the ", "--length", "12", "--seed", "1") != first


def test_the_text_ends_before_a_stop_string(call):
    """What the model writes without one says where it must end; \\n is written as two characters."""
    whole = call("the ", "--length", "60", "--temperature", "1.5")[4:]
    stop = whole[len(whole) // 2]
    given = "\\n" if stop == "\n" else stop
    assert call("the ", "--length", "60", "--temperature", "1.5", "--stop", given)[4:] == whole[: whole.index(stop)]


def test_the_picture_is_of_the_surest_head(writer, call, tmp_path):
    """Two layers of two heads, three of them even; the fourth looks one back, from row 4 on with all it has."""
    maps = torch.ones(2, 1, 2, 8, 8).tril()
    maps /= maps.sum(-1, keepdim=True)
    maps[1, 0, 0] = torch.eye(8).roll(-1, dims=1)
    assert writer.surest(maps) == (1, 0)
    call("the ", "--length", "5", "--picture", str(tmp_path / "map.png"))
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        ([""], "an empty prompt or stop string says nothing"),
        (["a", "--stop", ""], "an empty prompt or stop string says nothing"),
        (["a", "--top-p", "0"], "top_p is 0.0; give a mass above 0"),
        (["a", "--temperature", "-1"], "temperature is -1.0"),
    ],
)
def test_wrong_wishes_are_refused_in_a_sentence(writer, call, argv, sentence):
    with pytest.raises(writer.Mistake, match=sentence):
        call(*argv)


def test_a_broken_model_file_is_named(writer, call):
    call("a", "--length", "1")
    (file,) = writer.OUT.iterdir()
    file.write_bytes(b"nothing")
    with pytest.raises(writer.Mistake, match=r"holds no model of this program .* delete it"):
        call("a", "--length", "1")
