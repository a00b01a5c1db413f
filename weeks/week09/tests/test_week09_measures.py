"""Day 63: the two measurements beside the benchmark: ids against tiktoken's, and memory."""

import pytest

pytestmark = pytest.mark.day(63)


@pytest.fixture
def oracle(load_script, monkeypatch, tmp_path):
    """The script with one small vocabulary and two small texts in place of the published ones."""
    pytest.importorskip("tiktoken", reason="the outside oracle is not installed")
    from bpe import Tokenizer

    script = load_script("week09", "oracle")
    ranks = Tokenizer.train("the cat sat on the mat; naïve 日本 " * 3, 280, special_tokens=()).ranks
    tokenizer = Tokenizer(ranks, special_tokens={"<|endoftext|>": 400})
    monkeypatch.setattr(script, "READERS", {"small": (lambda path: tokenizer, "small.json")})
    monkeypatch.setattr(script, "characters", lambda: list("abc é日\n'1"))
    (tmp_path / "small.json").write_text("")
    for name in script.SETS[:2]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.txt").write_text("the cat's hat, 12 mats\n\n", encoding="utf-8")
    return script, tokenizer, ["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--strings", "200"]


def test_equal_ids_are_counted_and_written(oracle, tmp_path, capsys):
    """What was compared is what the page says: how many strings, how much text."""
    script, tokenizer, args = oracle
    metrics = script.main(args)
    assert metrics["strings"] == 200 and metrics["text_mb"] == pytest.approx(2 * 24e-6)
    assert metrics["small_ids_checked"] == 2 * len(tokenizer.encode_ordinary("the cat's hat, 12 mats\n\n"))
    assert "the ids of small are tiktoken's" in capsys.readouterr().out
    assert (tmp_path / "out" / "oracle.json").exists()


@pytest.mark.parametrize("where", ["strings", "text"])
def test_one_other_id_stops_it(oracle, tmp_path, monkeypatch, where):
    """A comparison that cannot fail would be worth nothing."""
    script, tokenizer, args = oracle
    encode, wrong = (
        tokenizer.encode_ordinary,
        (lambda text: "hat," in text) if where == "text" else (lambda text: "é" in text),
    )
    monkeypatch.setattr(tokenizer, "encode_ordinary", lambda text: [*encode(text), 0] if wrong(text) else encode(text))
    with pytest.raises(script.Mistake, match="tiktoken has other ids for .*; that is a mistake in bpe/fast.py or"):
        script.main(args)
    assert not (tmp_path / "out" / "oracle.json").exists()


def test_strings_are_of_all_kinds_and_the_seed_decides(oracle):
    script, _, _ = oracle

    def made(seed):
        texts = []
        assert script.for_all(script.strings(list("abc"), ["<t>", "<u>"]), 300, seed, texts.append, "made") == 300
        return texts

    texts = made(0)
    assert texts == made(0) != made(1) and all(texts)
    hard = [one for one in script.HARD if len(one) > 1 and not one.isascii()]
    for found in ("<t>", *hard[:3], "é", "ß", "abc"):
        assert any(found in text for text in texts), found
    assert any(20 * one in text for text in texts for one in script.HARD), "long runs"


def test_without_tiktoken_it_says_so(oracle, monkeypatch):
    script, _, args = oracle
    absent = ImportError(name="tiktoken")
    monkeypatch.setattr(script.importlib, "import_module", lambda name: (_ for _ in ()).throw(absent))
    with pytest.raises(script.Mistake, match="tiktoken is not installed; this needs it: pip install tiktoken hyp"):
        script.main(args)


def test_the_characters_are_those_that_text_may_hold(load_script):
    """No surrogates, which are no text, and nothing that this Python does not know."""
    known = set(load_script("week09", "oracle").characters())
    assert {"a", "é", "日", "🙂", "\x00", "\u0301", "\U0010fffd"} <= known
    assert not known & {"\ud800", "\u0378"} and len(known) > 250_000


def test_memory_reads_each_file_once_and_stops_at_the_limit(load_script, tmp_path, capsys):
    """The text counted is the text learned from: no file twice, and none that is not UTF-8."""
    script = load_script("week09", "memory")
    for i in range(4):
        (tmp_path / f"{i}.txt").write_text("abcd " * 20 + str(i), encoding="utf-8")
    (tmp_path / "0b.txt").write_bytes(b"\xff\xfe" * 100)
    (tmp_path / "other.md").write_text("x" * 1000)
    args = [
        "--files",
        str(tmp_path),
        str(tmp_path),
        "--ending",
        ".txt",
        "--vocab-size",
        "260",
        "--out",
        str(tmp_path / "o"),
    ]
    metrics = script.main([*args, "--mb", "0.00025"])
    assert (metrics["files"], metrics["text_mb"]) == (3, pytest.approx(303e-6))  # 101 bytes each; the third is over
    assert script.main(args)["files"] == 4
    assert metrics["peak_mb"] >= metrics["peak_mb_before"] > 1
    assert "260 ids from" in capsys.readouterr().out
