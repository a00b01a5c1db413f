"""Day 63: the command `bpe`, the way a text is cut merge by merge, and the page that shows it."""

import functools
import io
import json
import re
import sys

import pytest
from bpe import Tokenizer, from_visible, page
from bpe.compare import compare, table
from bpe.cuts import LONGEST, cut
from bpe.gguf_tokens import smollm2
from hypothesis import example, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.day(63)

PLAYS = "First Citizen:\nBefore we proceed any further, hear me speak — naïve ☺.\n\nAll:\nSpeak, speak; the lark.\n" * 9


@functools.cache
def ours():
    """Trained when a test asks, for before day 61 there is nothing to train with."""
    return Tokenizer.train(PLAYS, 320)


@pytest.fixture
def cli(load_script):
    return load_script("week09", "cli")


@pytest.fixture
def saved(tmp_path):
    return str(ours().save(tmp_path / "ours.json"))


@pytest.fixture
def plays(tmp_path):
    path = tmp_path / "plays.txt"
    path.write_text(PLAYS, encoding="utf-8")
    return path


def stdin(monkeypatch, content):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))


# --- cutting ---


@given(st.text(alphabet="speak Frthlc\n;—ï☺日\u0301", max_size=40))
@example("aaaaaa")
@example("speak<|endoftext|>speak")
@settings(deadline=None, max_examples=200)
def test_the_last_step_is_the_encoding_and_the_first_is_bytes(text):
    """Borders only go: each step has fewer tokens than the one before, and all of them spell the text."""
    text = text + "."
    cuts = cut(ours(), text)
    assert cuts.tokens() == [ours().token_bytes(i) for i in ours().encode(text, "all")]
    specials = text.count("<|endoftext|>")
    assert len(cuts.tokens(0)) == len(text.encode("utf-8")) - specials * (len("<|endoftext|>") - 1)
    counts = [len(cuts.tokens(n)) for n in range(len(cuts.steps) + 1)]
    assert counts == sorted(set(counts), reverse=True)
    assert all(b"".join(cuts.tokens(n)) == text.encode("utf-8") for n in range(len(counts)))


def test_each_step_is_what_a_smaller_vocabulary_gives():
    """The oracle: merges are learned in order, so after a step the tokens are those of a vocabulary that ends there."""
    cuts = cut(ours(), PLAYS[:200])
    assert len(cuts.steps) > 20
    for n, (rank, left, right) in enumerate(cuts.steps, start=1):
        assert ours().ranks[left + right] == rank and ours().merges[rank - 256] == (left, right)
        smaller = Tokenizer({token: i for token, i in ours().ranks.items() if i <= rank}, pattern=ours().pattern)
        assert cuts.tokens(n) == [smaller.token_bytes(i) for i in smaller.encode(PLAYS[:200])]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "the text has 0 characters; give one of 1 to 5,000"),
        ("a" * (LONGEST + 1), "the text has 5,001 characters; give one of 1 to 5,000"),
        ("a\ud800", "character 1 of the text is a lone surrogate"),
    ],
)
def test_what_cannot_be_cut_is_a_sentence(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        cut(ours(), text)


def test_a_vocabulary_out_of_order_is_refused():
    """Its ids would not be those of its steps: "ab" is no token of two earlier ones here, but "abc" is one."""
    ranks = {bytes([i]): i for i in range(256)} | {b"abc": 256}
    with pytest.raises(ValueError, match="the ids of 'abc' are not|the ids of b'abc' are not in the order"):
        cut(Tokenizer(ranks), "abc")


# --- the terminal and the page ---


def test_no_character_of_a_text_steers_the_terminal():
    """A text may hold escape sequences; they are shown and not sent."""
    assert page.shown(b"\x1b[2J\xe2\x98 \n\xe2\x80\xae") == r"\x1b[2J\xe2\x98 \n\u202e"
    assert page.coloured([b"a", b"\x1b", b"b\n", b"c"], colour=False) == "a|\\x1b|b\\n\n|c".replace("\n|", "\n")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", page.coloured([b"\x1b[2J", b"b"]))
    assert plain == r"\x1b[2Jb"


def test_the_page_holds_all_that_it_needs():
    """No address is loaded, no text ends the program early, and what it holds is what was cut."""
    text = "Speak </script><!-- — ☺<|endoftext|>"
    cuts = cut(ours(), text)
    made = page.html(cuts, ours(), "<b>title")
    assert not re.search(r"https?:|//[a-z]|src=|@import|url\(", made) and "{{" not in made
    assert made.count("</script>") == 2 and "<!--" not in made and "<b>" not in made
    data = json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', made)[1])
    assert data["content"].encode("latin-1").decode("utf-8") == text
    assert data["gone"] == cuts.gone and len(data["steps"]) == len(cuts.steps)
    for n in range(len(cuts.steps) + 1):  # every token that the slider can show has an id
        assert all(token.decode("latin-1") in data["ids"] for token in cuts.tokens(n))
    assert data["ids"]["<|endoftext|>"] == ours().special_tokens["<|endoftext|>"]


# --- a vocabulary in a GGUF file ---


def test_a_vocabulary_is_read_from_a_gguf_file(tmp_path):
    """The oracle is the format's own library, which writes the file."""
    gguf = pytest.importorskip("gguf")
    path = tmp_path / "x.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    tokens = ["<|endoftext|>", *ours().to_dict()["tokens"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3] + [1] * (len(tokens) - 1))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    read = smollm2(path)
    assert read.special_tokens == {"<|endoftext|>": 0}
    assert read.ranks == {from_visible(token): i for i, token in enumerate(tokens) if i}
    content = path.read_bytes()
    for broken in (b"", b"GGML" + content[4:], content[:200], content.replace(b"smollm", b"refact")):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match="x.gguf holds no vocabulary of SmolLM2 .*; run: make data/smollm2-135m"):
            smollm2(path)


# --- the commands ---


def test_train_encode_and_decode_in_a_row(cli, plays, tmp_path, capsys, monkeypatch):
    """What the page of the week says: learn, write ids, and get exactly the same bytes back."""
    path = str(tmp_path / "t.json")
    cli.main(["train", str(plays), "--vocab-size", "300", "--out", path])
    assert f"300 ids learned from 0.0 MB: {path}" in capsys.readouterr().out
    loaded = Tokenizer.load(path)
    assert loaded.vocab_size == 300 and loaded.special_tokens == {"<|endoftext|>": 299}
    odd = "\ufeffa\r\n\x00naïve 日\n"  # nothing is tidied on the way
    stdin(monkeypatch, odd.encode("utf-8"))
    cli.main(["encode", "--tokenizer", path])
    ids = capsys.readouterr().out
    assert [int(i) for i in ids.split()] == loaded.encode(odd)
    stdin(monkeypatch, ids.encode())
    cli.main(["decode", "--tokenizer", path])
    assert capsys.readouterr().out.encode("utf-8") == odd.encode("utf-8")
    cli.main(["decode", "--tokenizer", path, "97", "299"])
    assert capsys.readouterr().out == "a<|endoftext|>"


def test_export_writes_what_the_other_commands_read(cli, saved, tmp_path, capsys):
    """The same ids from the exported file as from ours."""
    path = str(tmp_path / "mine" / "tokenizer.json")
    cli.main(["export", "--tokenizer", saved, "--out", path])
    assert f"320 ids, for Hugging Face's library tokenizers: {path}" in capsys.readouterr().out
    cli.main(["encode", "naïve larks", "--tokenizer", path])
    assert capsys.readouterr().out.split() == [str(i) for i in ours().encode("naïve larks")]


def test_special_tokens_of_ones_own(cli, plays, tmp_path, capsys):
    """Named ones replace the default; what one written in a text means is chosen."""
    path = str(tmp_path / "t.json")
    cli.main(["train", str(plays), "--vocab-size", "270", "--special", "<u>", "--special", "<b>", "--out", path])
    assert Tokenizer.load(path).special_tokens == {"<u>": 268, "<b>": 269}
    capsys.readouterr()
    cli.main(["encode", "<b>", "--special", "ids", "--tokenizer", path])
    cli.main(["encode", "<b>", "--special", "text", "--tokenizer", path])
    assert capsys.readouterr().out == "269\n60 98 62\n"


def test_inspect_prints_tokens_and_writes_the_page(cli, saved, tmp_path, capsys):
    made = tmp_path / "new" / "cuts.html"
    cli.main(["inspect", "speak speak", "--tokenizer", saved, "--html", str(made)])
    tokens = cut(ours(), "speak speak").tokens()
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "|".join(token.decode() for token in tokens)
    assert said[1] == f"{len(tokens)} tokens for 11 bytes: {11 / len(tokens):.2f} bytes a token"
    assert "Tokenizer: ours.json, 320 ids" in made.read_text(encoding="utf-8")
    cli.main(["inspect", "speak", "--tokenizer", saved, "--color", "always"])
    assert "\x1b[38;5;16;48;5;153m" in capsys.readouterr().out


def test_compare_counts_bytes_a_token(cli, plays, saved, tmp_path, capsys):
    """On files of one's own, without any published vocabulary; the figure is drawn."""
    figure, data = tmp_path / "f.png", tmp_path / "none"
    cli.main(["compare", str(plays), "--tokenizer", saved, "--data", str(data), "--figure", str(figure)])
    said = capsys.readouterr().out
    assert "without smollm2; to have it run: make data/smollm2-135m" in said
    expected = len(PLAYS.encode("utf-8")) / len(ours().encode(PLAYS))
    assert f"{expected:.2f}*" in said and figure.read_bytes().startswith(b"\x89PNG")
    set_made = tmp_path / "sets" / "plays"
    set_made.mkdir(parents=True)
    (set_made / "val.txt").write_text(PLAYS, encoding="utf-8")
    cli.main(["compare", "--tokenizer", saved, "--data", str(set_made.parent)])
    assert re.search(rf"^plays +{expected:.2f}\*$", capsys.readouterr().out, re.MULTILINE)


def test_a_published_vocabulary_goes_by_its_name(cli, saved, plays, tmp_path, capsys, monkeypatch):
    """Where its file is there, it stands in the table beside ours, and the other commands take its name."""
    monkeypatch.setattr(cli, "PUBLISHED", {"other": (Tokenizer.load, "other/t.json"), "none": (None, "none/x")})
    Tokenizer({bytes([i]): 255 - i for i in range(256)}, special_tokens={}).save(tmp_path / "other" / "t.json")
    cli.main(["compare", str(plays), "--tokenizer", saved, "--data", str(tmp_path)])
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "without none; to have it run: make data/none"
    assert said[1].split()[-2:] == [saved, "other"] and said[2].split() == ["ids", "320", "256"]
    assert said[3].split()[-1] == "1.00"
    cli.main(["encode", "a", "--tokenizer", "other", "--data", str(tmp_path)])
    assert capsys.readouterr().out == f"{255 - ord('a')}\n"


def test_a_damaged_published_file_is_a_sentence(cli, tmp_path):
    (tmp_path / "gpt2").mkdir()
    (tmp_path / "gpt2" / "encoder.json").write_text('{"a": ', encoding="utf-8")
    with pytest.raises(cli.Mistake, match="encoder.json is not JSON .*; run: make data/gpt2"):
        cli.main(["encode", "a", "--tokenizer", "gpt2", "--data", str(tmp_path)])


def test_the_table_stars_the_best_of_each_row():
    """Bytes alone are one byte a token, by definition."""
    plain = Tokenizer({bytes([i]): i for i in range(256)})
    values = compare({"ours": ours(), "bytes": plain}, {"x": "speak"})
    assert values["x"]["bytes"] == 1 < values["x"]["ours"]
    row = table(values, {"ours": 320, "bytes": 256}).splitlines()[-1].split()
    assert row == ["x", f"{values['x']['ours']:.2f}*", "1.00"]


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["train", "{tmp}/no.txt"], "no.txt does not exist"),
        (["train", "{tmp}/latin.txt"], "latin.txt is not UTF-8: byte 3 is 0xef; convert it first"),
        (["train", "{tmp}/empty.txt"], "empty.txt is empty; give a file with text in it"),
        (["train", "{tmp}/plays.txt", "--vocab-size", "255"], "vocab_size is 255; bytes and special tokens alone need"),
        (["train", "{tmp}/plays.txt", "--special", ""], "'' cannot be a special token"),
        (["train", "{tmp}/plays.txt", "--special", "<a>", "--special", "<a>"], "a special token is given twice"),
        (["train", "{tmp}/plays.txt", "--out", "{tmp}/x.txt"], "x.txt does not end in .json"),
        (
            ["encode", "a", "--tokenizer", "{tmp}/no.json"],
            "there is no tokenizer at .*no.json; check the path, or give",
        ),
        (["encode", "a", "--tokenizer", "{tmp}/cut.json"], "cut.json is not JSON .*; it was cut short"),
        (["encode", "a", "--tokenizer", "{tmp}/edited.json"], "does not match its own sha256"),
        (["encode", "a", "--tokenizer", "gpt2", "--data", "{tmp}"], "gpt2 does not exist; run: make data/gpt2"),
        (["encode", "--file", "{tmp}/latin.txt", "--tokenizer", "{ours}"], "latin.txt is not UTF-8: byte 3 is 0xef"),
        (["encode", "a", "--file", "{tmp}/plays.txt", "--tokenizer", "{ours}"], "both a text and --file"),
        (["encode", "\udcff", "--tokenizer", "{ours}"], "the text is not UTF-8; type it again"),
        (["encode", "<|endoftext|>", "--tokenizer", "{ours}"], "add --special text to read it as plain text"),
        (["decode", "9999", "--tokenizer", "{ours}"], "the id 9999 is not in .*ours.json, whose highest is 319"),
        (["decode", "1", "x2", "--tokenizer", "{ours}"], "'x2' is no id; give whole numbers from 0"),
        (["decode", "1", "--file", "{tmp}/plays.txt", "--tokenizer", "{ours}"], "both ids and --file"),
        (["inspect", "", "--tokenizer", "{ours}"], "the text has 0 characters"),
        (["compare", "--data", "{tmp}", "--tokenizer", "{ours}"], "no text set is made in .*; run: make data/shakesp"),
        (
            ["export", "--out", "{tmp}/mine.json", "--tokenizer", "{ours}"],
            "mine.json is not called tokenizer.json",
        ),
        (["compare", "{tmp}/plays.txt", "--figure", "x.doc"], "x.doc is no kind of figure; give --figure a name that"),
    ],
)
def test_what_goes_wrong_is_one_sentence(cli, plays, saved, tmp_path, argv, sentence):
    """An expected failure is a Mistake, and nothing is written."""
    (tmp_path / "latin.txt").write_bytes(b"na\x61\xefve")
    (tmp_path / "empty.txt").write_bytes(b"")
    content = (tmp_path / "ours.json").read_text(encoding="utf-8")
    (tmp_path / "cut.json").write_text(content[:1000], encoding="utf-8")
    (tmp_path / "edited.json").write_text(content.replace('"version": 1', '"version": 1, "x": 2'), encoding="utf-8")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(cli.Mistake, match=sentence):
        cli.main([word.replace("{tmp}", str(tmp_path)).replace("{ours}", saved) for word in argv])
    assert sorted(tmp_path.iterdir()) == before


def test_a_text_too_short_says_the_largest_vocabulary(cli, tmp_path):
    """And that one works."""
    path, out = tmp_path / "short.txt", tmp_path / "t.json"
    path.write_text("the lark", encoding="utf-8")
    with pytest.raises(
        cli.Mistake, match="the text is too short for 4096 ids; give more text, or --vocab-size 263 at most"
    ) as said:
        cli.main(["train", str(path), "--out", str(out)])
    assert not out.exists()
    most = re.search(r"--vocab-size (\d+)", str(said.value))[1]
    cli.main(["train", str(path), "--out", str(out), "--vocab-size", most])
    assert Tokenizer.load(out).vocab_size == int(most)


@pytest.mark.parametrize("command", [[], ["train"], ["encode"], ["decode"], ["inspect"], ["compare"], ["export"]])
def test_help_shows_examples_that_parse(cli, command, capsys):
    """Every example of the help is one that the parser takes."""
    with pytest.raises(SystemExit) as end:
        cli.main([*command, "--help"])
    said = capsys.readouterr().out
    lines = said.partition("examples:\n")[2].splitlines()
    examples = [part.strip() for line in lines for part in line.split("|") if part.strip().startswith(cli.ME)]
    assert end.value.code == 0 and len(examples) >= 2
    for written in examples:
        words = [word.strip('"') for word in re.findall(r'"[^"]*"|\S+', written.split(" > ")[0].removeprefix(cli.ME))]
        assert cli.parser().parse_args(words).command in cli.COMMANDS
