"""Day 63: the scripts of the week, on a small text."""

import json

import pytest

PLAYS = "First Citizen:\nBefore we proceed any further, hear me speak — naïve.\n\nAll:\nSpeak, speak; 'tis 1607.\n\n"


@pytest.fixture
def data(tmp_path):
    """A text set as make writes it."""
    folder = tmp_path / "plays"
    folder.mkdir()
    words = " ".join(f"word{i * i} the {i % 7}th" for i in range(900))
    for part in ("train", "val", "test"):
        (folder / f"{part}.txt").write_text(PLAYS + words + "\n<|endoftext|>\n" + PLAYS, encoding="utf-8")
    return folder


def run(script, data, out, *more):
    vocabularies = ["--vocabularies", str(out / "none")]
    return script.main(["--preset", "smoke", "--data", str(data), "--out", str(out), *vocabularies, *more])


@pytest.mark.day(63)
def test_the_smoke_run_writes_results_a_tokenizer_and_figures(load_script, data, tmp_path, capsys):
    """The whole week in a second: what `make week09` does, without its data."""
    from bpe import Tokenizer

    metrics = run(load_script("week09", "train"), data, tmp_path)
    said = capsys.readouterr().out
    assert "byte-level BPE, 400 ids from" in said
    assert "without ['cl100k', 'gpt2', 'smollm2'] as a baseline; to have it run: make data/cl100k data/gpt2" in said
    record = json.loads((tmp_path / "smoke.json").read_text(encoding="utf-8"))
    assert record["metrics"] == json.loads(json.dumps(metrics))
    tokenizer = Tokenizer.load(tmp_path / "models" / "smoke.json")
    assert tokenizer.vocab_size == metrics["vocab_size"] == 400
    assert metrics["curve"][0] == [256, 1.0]
    assert [y for _, y in metrics["curve"]] == sorted(y for _, y in metrics["curve"])
    assert metrics["plain_merges"] == 20
    figures = load_script("week09", "figures")
    figures.main(["--preset", "smoke", "--results", str(tmp_path), "--out", str(tmp_path / "f")])
    assert sorted(p.name for p in (tmp_path / "f").iterdir()) == ["bytes_per_token.png", "tokens.png"]
    (tmp_path / "full.json").write_bytes((tmp_path / "smoke.json").read_bytes())
    figures.main(["--preset", "smoke", "--results", str(tmp_path), "--out", str(tmp_path / "f")])
    assert (tmp_path / "f" / "domains.png").exists()  # bars for each text set of the full run


@pytest.mark.day(63)
def test_the_benchmark_runs_without_its_peers(load_script, data, tmp_path, capsys, monkeypatch):
    """Peers are a reader's own; absent ones are a sentence, never a failure."""
    bench = load_script("week09", "bench")
    monkeypatch.setattr(bench.importlib, "import_module", lambda name: (_ for _ in ()).throw(ImportError(name)))
    metrics = run(bench, data, tmp_path, "--peer", str(tmp_path / "nowhere"))
    said = capsys.readouterr().out
    assert "tiktoken is not installed, so encoding is not compared" in said
    assert "nowhere, so training is not compared; to compare: git clone it" in said
    assert metrics == {"pairs": 3}


@pytest.mark.day(63)
@pytest.mark.parametrize(
    ("content", "more", "sentence"),
    [
        (None, [], "train.txt does not exist; run: make data/plays"),
        (b"", [], "train.txt is empty; give a file with text in it"),
        (b"ab\xff\xfe", [], "train.txt is not UTF-8: byte 2 is 0xff; convert it first"),
        (b"ab\0c", [], "train.txt is not text: byte 2 is zero; give a plain text file in UTF-8"),
        (b"abc", ["--vocab-size", "100"], "train.txt: vocab_size is 100; bytes and special tokens alone need 257"),
    ],
)
def test_wrong_data_is_a_sentence(load_script, data, tmp_path, content, more, sentence):
    """An expected failure is one sentence and status 1, never a traceback."""
    train = load_script("week09", "train")
    (data / "train.txt").unlink()
    if content is not None:
        (data / "train.txt").write_bytes(content)
    with pytest.raises(train.Mistake, match=sentence):
        run(train, data, tmp_path, *more)
    if not more:  # the benchmark reads as the training does
        with pytest.raises(train.Mistake, match=sentence):
            run(load_script("week09", "bench"), data, tmp_path)
    assert not (tmp_path / "smoke.json").exists()


@pytest.mark.day(63)
def test_a_file_from_windows_is_learned_as_ours(load_script, data, tmp_path):
    """A byte order mark and \\r\\n are no text: left in, they would become tokens."""
    train = load_script("week09", "train")
    first = run(train, data, tmp_path)
    for path in data.iterdir():
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert run(train, data, tmp_path)["bytes_per_token"] == first["bytes_per_token"]


@pytest.mark.day(63)
def test_the_time_of_another_encoder_counts_only_with_equal_ids(load_script, monkeypatch):
    """A faster program with other ids would be no rival; and ours must not win by leaving work out."""
    pytest.importorskip("tokenizers", reason="the outside oracle is not installed")
    from bpe import Tokenizer

    bench = load_script("week09", "bench")
    ours = Tokenizer.train(PLAYS * 3, 320, special_tokens=())
    found = bench.against_hf_encoding(PLAYS, ours, 4.0, 2.0, pairs=1)
    assert found["encode_cold_vs_hf_time_ratio"] == pytest.approx(2 * found["encode_warm_vs_hf_time_ratio"])
    assert found["encode_warm_vs_hf_time_ratio"] == pytest.approx(2.0 / found["hf_encode_seconds"])
    encode = ours.encode_ordinary
    monkeypatch.setattr(ours, "encode_ordinary", lambda text: encode(text)[:-1])
    with pytest.raises(bench.Mistake, match="tokenizers has other ids for the same text and vocabulary"):
        bench.against_hf_encoding(PLAYS, ours, 4.0, 2.0, pairs=1)
