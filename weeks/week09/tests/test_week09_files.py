"""Day 63: save and load. Each of the four flaws known from an older teaching implementation has its test here."""

import json
import os
from pathlib import Path

import pytest
from bpe import PATTERNS, Tokenizer, to_visible, vocabularies

DATA = Path(__file__).resolve().parents[3] / "data"
TEXT = "It's 2026, isn't it? YES, it'S 12345 <|end of text|> naïve 日本 🙂 \n\n\t x" * 3


@pytest.fixture
def tokenizer():
    return Tokenizer.train(TEXT, 290, pattern="gpt2", special_tokens=["<|end of text|>", "<|a|>"])


def rewritten(path, change):
    """Change the saved state and give it a valid checksum again, so that the test meets the check that it means."""
    from bpe.fast import _digest

    state = json.loads(path.read_text(encoding="utf-8"))
    change(state)
    state["sha256"] = _digest(state)
    path.write_text(json.dumps(state), encoding="utf-8")


@pytest.mark.day(63)
@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", r"(?s)."])
def test_the_pattern_survives_in_use_and_not_only_in_name(tmp_path, pattern):
    """Flaw (a): a loader that restores the pattern's text but keeps the compiled default splits with the wrong one."""
    saved = Tokenizer.train(TEXT, 258, pattern=pattern, special_tokens=())
    loaded = Tokenizer.load(saved.save(tmp_path / "t.json"))
    assert loaded.pattern == PATTERNS.get(pattern, pattern)
    assert loaded.encode(TEXT) == saved.encode(TEXT)
    assert loaded._splitter.split("it'S 12345") == saved._splitter.split("it'S 12345")


@pytest.mark.day(63)
def test_special_tokens_decode_after_loading(tmp_path, tokenizer):
    """Flaw (b): the table from id to special token is empty after load, so decode fails on the first one."""
    loaded = Tokenizer.load(tokenizer.save(tmp_path / "t.json"))
    ids = loaded.encode(TEXT, "all")
    assert tokenizer.special_tokens["<|end of text|>"] in ids
    assert loaded.decode(ids) == TEXT


@pytest.mark.day(63)
@pytest.mark.parametrize("special", ["<|end of text|>", " ", "\n", "a\tb", "é🙂", '"\\', "# 256"])
def test_any_special_token_survives(tmp_path, special):
    """Flaw (c): in a format of lines and blanks a special token with a blank breaks load."""
    saved = Tokenizer.train("abc abd", 258, special_tokens=[special])
    loaded = Tokenizer.load(saved.save(tmp_path / "t.json"))
    assert loaded.special_tokens == saved.special_tokens == {special: 257}
    assert loaded.encode(special, "all") == [257]


@pytest.mark.day(63)
def test_a_text_too_short_is_no_crash(tmp_path):
    """Flaw (d): a text that runs out of pairs ends in `max() arg is an empty sequence`; here it saves and loads."""
    with pytest.warns(UserWarning, match="no pair left"):
        tokenizer = Tokenizer.train("ab", 5000)
    assert Tokenizer.load(tokenizer.save(tmp_path / "t.json")).to_dict() == tokenizer.to_dict()


@pytest.mark.day(63)
def test_the_whole_state_round_trips(tmp_path, tokenizer):
    """Ranks in order, pattern, special tokens, merges, size: nothing may be left behind."""
    loaded = Tokenizer.load(tokenizer.save(tmp_path / "a new folder" / "t.json"))
    for name in ("pattern", "special_tokens", "vocab_size", "merges"):
        assert getattr(loaded, name) == getattr(tokenizer, name), name
    assert list(loaded.ranks.items()) == list(tokenizer.ranks.items())
    assert Tokenizer.from_dict(json.loads(json.dumps(tokenizer.to_dict()))).to_dict() == tokenizer.to_dict()


@pytest.mark.day(63)
def test_permuted_ids_and_gaps_round_trip(tmp_path):
    """GPT-2's bytes are permuted ids, cl100k's special tokens leave gaps: a format that counts lines loses both."""
    ranks = {bytes([byte]): 300 - byte for byte in range(256)} | {b"ab": 1000, b"abc": 2000}
    saved = Tokenizer(ranks, special_tokens={"<a>": 5, "<b>": 2500})
    loaded = Tokenizer.load(saved.save(tmp_path / "t.json"))
    assert loaded.ranks == ranks
    assert loaded.vocab_size == 2501
    assert loaded.encode("abc<b>é", "all") == [2000, 2500, 300 - 0xC3, 300 - 0xA9]


@pytest.mark.day(63)
@pytest.mark.parametrize("name", ["gpt2", "cl100k"])
def test_published_vocabularies_round_trip(tmp_path, name):
    """An imported vocabulary is a tokenizer like any other, files included."""
    source = DATA / "gpt2" if name == "gpt2" else DATA / "cl100k" / "cl100k_base.tiktoken"
    if not source.exists():
        pytest.skip(f"data/{name} is missing; run: make data/{name}")
    saved = getattr(vocabularies, name)(source)
    loaded = Tokenizer.from_dict(json.loads(json.dumps(saved.to_dict())))
    assert loaded.ranks == saved.ranks
    assert loaded.special_tokens == saved.special_tokens
    assert loaded.encode(TEXT, "all") == saved.encode(TEXT, "all")


@pytest.mark.day(63)
def test_the_readable_twin_lists_every_token_with_its_parents(tmp_path):
    """The .vocab file is for the eye: how a token came about must be on its line, also for bytes that are no text."""
    tokenizer = Tokenizer.train("aaab aaab日日日", 261, special_tokens=["<| |>"])
    tokenizer.save(tmp_path / "t.json")
    lines = (tmp_path / "t.vocab").read_text(encoding="utf-8").splitlines()
    assert len(lines) == tokenizer.vocab_size
    assert lines[10] == '     10  "\\n"'
    assert lines[256] == '    256  "aa"  =  "a" + "a"'
    assert lines[-1] == '    260  "<| |>"  (special)'
    assert any('"\\\\xe6' in line for line in lines)


@pytest.mark.day(63)
def test_save_wants_a_json_name(tmp_path, tokenizer):
    """`save("tok.vocab")` would write both files to one name."""
    with pytest.raises(ValueError, match=r"t.vocab does not end in .json; the readable twin"):
        tokenizer.save(tmp_path / "t.vocab")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.day(63)
def test_a_save_that_breaks_off_keeps_the_old_file(tmp_path, tokenizer, monkeypatch):
    """A full disk or a killed process must not leave half a tokenizer in the place of a good one."""
    path = tokenizer.save(tmp_path / "t.json")
    before = path.read_bytes()

    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        Tokenizer.train("other text", 257).save(path)
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.json", "t.vocab"]


@pytest.mark.day(63)
@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda b: b"", r"t.json is not JSON .*cut short or is no tokenizer: restore it"),
        (lambda b: b[: len(b) // 2], r"t.json is not JSON"),
        (lambda b: b"\x89PNG\xff\xfe", r"t.json is not JSON"),
        (lambda b: b"[1, 2]", r't.json: this is no tokenizer: "format" is not'),
        (lambda b: b'{"vocab": {}}', r't.json: this is no tokenizer: "format" is not'),
        (
            lambda b: b.replace(b'": 256', b'": 255'),
            r"t.json: .*does not match its own sha256: it was damaged or edited",
        ),
        (lambda b: b.replace(b'"version": 1', b'"version": 2'), r"t.json: format version 2 is not 1, all this program"),
    ],
    ids=["empty", "half", "binary", "list", "other json", "flipped", "newer"],
)
def test_a_damaged_file_gets_a_sentence(tmp_path, tokenizer, damage, sentence):
    """A tokenizer that is subtly wrong is worse than none: a model fed by it degrades without an error."""
    path = tokenizer.save(tmp_path / "t.json")
    content = path.read_bytes()
    assert damage(content) != content
    path.write_bytes(damage(content))
    with pytest.raises(ValueError, match=sentence):
        Tokenizer.load(path)


@pytest.mark.day(63)
def test_a_wrong_token_with_a_right_checksum_is_still_refused(tmp_path, tokenizer):
    """The checksum guards against accidents; what the constructor demands is checked on load as well."""
    path = tokenizer.save(tmp_path / "t.json")
    rewritten(path, lambda state: state["tokens"].update({"a b": 9999}))
    with pytest.raises(ValueError, match="t.json: ' ' in 'a b' stands for no byte"):
        Tokenizer.load(path)
    path = tokenizer.save(tmp_path / "t.json")
    rewritten(path, lambda state: state["special_tokens"].update({"<|a|>": 97}))
    with pytest.raises(ValueError, match="t.json: token .* has the id 97; it needs"):
        Tokenizer.load(path)


@pytest.mark.day(63)
def test_a_missing_file_gets_a_sentence(tmp_path):
    """The first thing that goes wrong is a path."""
    with pytest.raises(FileNotFoundError, match="there is no tokenizer at .*nowhere.json; train one"):
        Tokenizer.load(tmp_path / "nowhere.json")


@pytest.mark.day(63)
def test_two_files_of_gpt2s_kind_are_read(tmp_path):
    """The two files of 2019, made here: a learned vocabulary must come back, with the special token beside it."""
    learned = Tokenizer.train(TEXT, 290, special_tokens=())
    ids = {to_visible(token): i for token, i in learned.ranks.items()} | {"<|endoftext|>": 50256}
    (tmp_path / "encoder.json").write_text(json.dumps(ids), encoding="utf-8")
    merges = [f"{to_visible(left)} {to_visible(right)}\n" for left, right in learned.merges]
    (tmp_path / "vocab.bpe").write_text("#version: 0.2\n" + "".join(merges), encoding="utf-8")
    found = vocabularies.gpt2(tmp_path)
    assert found.ranks == learned.ranks
    assert found.special_tokens == {"<|endoftext|>": 50256}
    assert found.encode(TEXT) == learned.encode(TEXT)


@pytest.mark.day(63)
def test_two_files_of_two_vocabularies_are_refused(tmp_path):
    """Merges of one model beside ids of another would encode without an error, and wrongly."""
    (tmp_path / "encoder.json").write_text('{"a": 0, "b": 1, "ab": 256}', encoding="utf-8")
    (tmp_path / "vocab.bpe").write_text("#version: 0.2\na a\n", encoding="utf-8")
    with pytest.raises(ValueError, match="of two vocabularies; run: make data/gpt2"):
        vocabularies.gpt2(tmp_path)


@pytest.mark.day(63)
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"{", "encoder.json is not JSON"),
        (b"\xff\xfe", "encoder.json is not UTF-8 .*run: make data/gpt2"),
        (b"[1, 2]", "encoder.json is no table of tokens and ids; run: make data/gpt2"),
    ],
)
def test_an_encoder_json_that_is_none_is_named(tmp_path, content, sentence):
    """An error from inside json or a codec does not say which of two files is broken."""
    (tmp_path / "encoder.json").write_bytes(content)
    with pytest.raises(ValueError, match=sentence):
        vocabularies.gpt2(tmp_path)


@pytest.mark.day(63)
@pytest.mark.parametrize(("content", "sentence"), [(b"", "is empty; download"), (b"\xff 0\n", "is not UTF-8")])
def test_a_tiktoken_file_without_tokens_is_refused(tmp_path, content, sentence):
    """A download that stopped at once leaves an empty file: a vocabulary of nothing but special tokens."""
    (tmp_path / "x.tiktoken").write_bytes(content)
    with pytest.raises(ValueError, match=f"x.tiktoken {sentence}"):
        vocabularies.cl100k(tmp_path / "x.tiktoken")


@pytest.mark.day(63)
def test_lines_of_base64_are_read(tmp_path):
    """A rank is what the line says, not the number of the line: vocabularies may have gaps."""
    (tmp_path / "x.tiktoken").write_text("IQ== 0\nIg== 7\n", encoding="utf-8")
    assert vocabularies.read_tiktoken(tmp_path / "x.tiktoken") == {b"!": 0, b'"': 7}


@pytest.mark.day(63)
def test_a_broken_line_of_base64_is_named(tmp_path):
    """A sign that is no base64 is damage; a decoder that skips it gives another token."""
    (tmp_path / "x.tiktoken").write_text("IQ== 0\nI*g== 1\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"line 2: 'I\*g== 1' is not a token in base64 and its rank"):
        vocabularies.read_tiktoken(tmp_path / "x.tiktoken")
