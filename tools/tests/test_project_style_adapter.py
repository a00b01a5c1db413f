"""The style adapter: before and after, the base that is kept, the adapter that is read again, and what it refuses."""

import json
import sys

import pytest
import torch


@pytest.fixture(scope="module")
def adapt(repo_root):
    sys.path.insert(0, str(repo_root / "projects/style_adapter"))
    try:
        import adapt as module
    finally:
        sys.path.remove(str(repo_root / "projects/style_adapter"))
    return module


@pytest.fixture
def small(adapt, tmp_path, monkeypatch):
    """A tiny base, texts of its own instead of data/, and files below tmp_path."""
    from dataclasses import replace

    shape = {"vocab_size": 256, "block_size": 16, "n_layer": 1, "n_head": 2, "n_embd": 16}
    setting = replace(adapt.SETTING, shape=shape, base=replace(adapt.SETTING.base, steps=30, warmup=3))
    monkeypatch.setattr(adapt, "SETTING", setting)
    monkeypatch.setattr(adapt, "OUT", tmp_path / "runs")
    monkeypatch.setattr(adapt, "DATA", tmp_path / "data")
    (tmp_path / "data").mkdir()
    for part in ("train", "test"):
        (tmp_path / "data" / f"{part}.txt").write_text("To be or not to be, that is the question.\n" * 300)
    (tmp_path / "mine.txt").write_text("2 CUPS FLOUR; 1 EGG; 3 SPOONS SUGAR; STIR WELL\n" * 300)
    return tmp_path


def test_the_style_is_learned_and_the_base_is_kept(adapt, small, capsys):
    """More than a bit per byte is learned at strength 1, strength 0 is the base; a second call trains no base."""
    args = [str(small / "mine.txt"), "--steps", "60", "--rate", "0.03", "--length", "20", "--threads", "1"]
    rows = adapt.main(args)
    assert [row[0] for row in rows] == list(adapt.STRENGTHS)
    before, after = rows[0], rows[4]
    assert after[1] < before[1] - 1 and after[2] > before[2]
    said = capsys.readouterr().out
    assert "the base reads Shakespeare" in said and "--- before\nAnd " in said and "--- after, strength 1\nAnd " in said
    folder = small / "runs" / "mine"
    assert {p.name for p in folder.iterdir()} == {"adapter_config.json", "adapter_model.safetensors", "strength.png"}
    base = (small / "runs" / "base-0.safetensors").read_bytes()
    again = adapt.main([*args, "--adapter", str(folder)])
    assert again == rows  # nothing is taught: the same base, the same adapter, the same numbers
    assert "the base reads" not in capsys.readouterr().out
    assert (folder / "strength-2.png").exists()  # no picture is overwritten
    assert (small / "runs" / "base-0.safetensors").read_bytes() == base


def test_a_base_of_other_settings_or_a_damaged_one_is_made_again(adapt, small):
    """A file that cannot be used costs a minute, and no explanation of a stack trace."""
    first = adapt.base_model(adapt.OUT, 0)
    path, told = adapt.OUT / "base-0.safetensors", adapt.OUT / "base-0.json"
    whole = path.read_bytes()
    for spoil in (
        lambda: path.write_bytes(whole[:100]),
        lambda: told.write_text(json.dumps({"judged": 1})),
        lambda: told.write_text("{"),
    ):
        spoil()
        model = adapt.base_model(adapt.OUT, 0)
        assert path.read_bytes() == whole and torch.equal(model.wte.weight, first.wte.weight)
        assert model.head.weight is model.wte.weight


def test_two_writers_draw_the_same_numbers(adapt, small):
    """At strength 0 an adapter changes nothing: before and after are the same text, at any seed."""
    model = adapt.base_model(adapt.OUT, 0)
    adapt.attach(model, adapt.STYLE, adapt.LoRAConfig(rank=2))
    with torch.no_grad():
        for p in adapt.parameters(model, adapt.STYLE).values():
            p.add_(1.0)
    texts = [adapt.written(model, "To ", 30, strength, 5) for strength in (0.0, 0.0, 1.0)]
    assert texts[0] == texts[1] != texts[2] and texts[0].startswith("To ")


@pytest.mark.parametrize(
    "text, options, sentence",
    [
        ("short.txt", [], r"short.txt has 11 bytes, too few to learn a style from; give 5,000 or more"),
        ("nowhere.txt", [], "nowhere.txt is no file; give the text"),
        ("mine.txt", ["--prompt", ""], "--prompt '' leaves nothing to go on from"),
        ("mine.txt", ["--adapter", "nowhere"], "nowhere has no adapter_config.json; give an adapter's folder"),
    ],
)
def test_what_cannot_be_used_is_told(adapt, small, text, options, sentence):
    """One sentence, and no folder that looks like an adapter."""
    (small / "short.txt").write_text("too short\n")
    with pytest.raises(Exception, match=sentence):
        adapt.main([str(small / text), *options])
    assert not (small / "runs" / "mine").exists()


@pytest.mark.parametrize("option", [["--rank", "0"], ["--steps", "many"], ["--rate", "nan"], ["--strength", "-1"]])
def test_a_wrong_number_is_wrong_use(adapt, small, option, capsys):
    """argparse's status 2, with what to give."""
    with pytest.raises(SystemExit) as left:
        adapt.main([str(small / "mine.txt"), *option])
    assert left.value.code == 2 and f"{option[1]!r} is no" in capsys.readouterr().err
