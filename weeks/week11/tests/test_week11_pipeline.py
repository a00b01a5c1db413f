"""Day 72: text in, shards out: the same bytes from one process and two; nothing half done is taken for whole."""

import json

import numpy as np
import pytest
from pretrain.data import pipeline, workers
from pretrain.data.pipeline import prepare
from pretrain.data.shards import open_split, read_manifest
from pretrain.vendor.bpe.fast import Tokenizer
from pretrain.vendor.shared.errors import Mistake
from week11_corpus import made_up, save, tokenizer

pytestmark = pytest.mark.day(72)
TEXTS = [text for text in made_up(200, words=(6, 60)) if text]


def ran(folder, texts=TEXTS, **options):
    source = save(folder / "source.txt", texts)
    options = {"workers": 1, "progress": False, "val": 0.2, **options}
    return prepare([source], folder / "out", tokenizer(), **options)


def decoded(folder, split):
    """The documents of a split, as texts."""
    text = tokenizer().decode(open_split(folder / "out", split)[:].tolist())
    assert not text or text.endswith("<|endoftext|>")  # every document is closed
    return text.split("<|endoftext|>")[:-1]


def test_every_document_arrives_once_in_order_on_one_side(tmp_path):
    done = ran(tmp_path)
    train, val = decoded(tmp_path, "train"), decoded(tmp_path, "val")
    assert sorted(train + val) == sorted(TEXTS) and len(set(TEXTS)) == len(TEXTS)
    assert train == [text for text in TEXTS if text in set(train)]
    assert 20 < len(val) < 60  # a fifth of 200, within 3.5 standard deviations
    assert done.documents == {"read": 200, "train": len(train), "val": len(val), "empty": 0, "exact": 0, "near": 0}
    about = read_manifest(tmp_path / "out")
    assert about["splits"]["val"]["bytes"] == sum(map(len, val)) and about["sources"] == ["source.txt"]
    assert done.tokens["val"] == len(open_split(tmp_path / "out", "val")) == about["splits"]["val"]["tokens"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "train-00000.bin", "val-00000.bin", "tokenizer.json", "tokenizer.vocab", "manifest.json", ".lock",
    }  # fmt: skip


def test_the_manifest_counts_bytes_and_not_characters(tmp_path):
    """Bits per byte divide by it: cleaned text in UTF-8, without the ends of documents."""
    ran(tmp_path, ["Ωμέγα  \n", "cafe\u0301"], val=0.0)
    assert read_manifest(tmp_path / "out")["splits"]["train"]["bytes"] == 10 + 5  # five letters of 2 bytes; 3 and é


def test_empty_and_repeated_documents_are_dropped_and_counted(tmp_path):
    near = TEXTS[0] + " and one more"
    assert len(TEXTS[0].split()) > 40  # so that one more word leaves it a near duplicate
    done = ran(tmp_path, [*TEXTS, "", " \t", TEXTS[5] + "  ", near, "\u200b"])
    assert done.documents["read"] == 205
    assert [done.documents[kind] for kind in ("empty", "exact", "near")] == [3, 1, 1]
    assert sorted(decoded(tmp_path, "train") + decoded(tmp_path, "val")) == sorted(TEXTS)


def test_two_processes_write_the_same_bytes_as_one(tmp_path, monkeypatch):
    """Also with many small batches and shards."""
    monkeypatch.setattr(pipeline, "BATCH", 500)
    for n in (1, 2):
        (tmp_path / f"{n}").mkdir()
        ran(tmp_path / f"{n}", [*TEXTS, TEXTS[3]], workers=n, shard=1000)
    names = sorted(path.name for path in (tmp_path / "1/out").iterdir())
    assert "train-00003.bin" in names
    for name in names:
        assert (tmp_path / "1/out" / name).read_bytes() == (tmp_path / "2/out" / name).read_bytes(), name


def test_a_document_stays_on_its_side_when_others_join(tmp_path):
    for part, texts in {"a": TEXTS[:100], "b": TEXTS[::-1]}.items():
        (tmp_path / part).mkdir()
        ran(tmp_path / part, texts)
    old, new = (set(decoded(tmp_path / part, "val")) for part in "ab")
    assert old == new & set(TEXTS[:100]) and old


def test_a_special_token_written_out_ends_no_document(tmp_path):
    """Inside a line it is no separator: it is removed, for it would end the document for the next reader."""
    ran(tmp_path, ["one <|endoftext|> two", *TEXTS[:3]], val=0.0)
    assert decoded(tmp_path, "train")[0] == "one  two" and len(decoded(tmp_path, "train")) == 4


def test_finished_shards_are_never_overwritten_and_unfinished_ones_are(tmp_path, monkeypatch):
    real, calls = pipeline.encode, []

    def breaks(texts):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(texts)

    monkeypatch.setattr(pipeline, "BATCH", 500)
    monkeypatch.setattr(pipeline, "encode", breaks)
    with pytest.raises(KeyboardInterrupt):
        ran(tmp_path, shard=300)
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert "train-00000.bin" in left and not {name for name in left if name.endswith(".part") or name == ".columns"}
    with pytest.raises(Mistake, match="has no manifest.json"):
        open_split(tmp_path / "out", "train")
    monkeypatch.setattr(pipeline, "encode", real)
    ran(tmp_path, shard=300)
    assert sorted(decoded(tmp_path, "train") + decoded(tmp_path, "val")) == sorted(TEXTS)
    before = (tmp_path / "out/manifest.json").read_bytes()
    with pytest.raises(Mistake, match="out holds finished shards; use them, delete the folder, or give another one"):
        ran(tmp_path)
    assert (tmp_path / "out/manifest.json").read_bytes() == before


def test_files_that_change_meanwhile_are_noticed(tmp_path, monkeypatch):
    real = pipeline._second_pass

    def late(files, *rest):
        save(files[0], [*TEXTS, "one more"])
        return real(files, *rest)

    monkeypatch.setattr(pipeline, "_second_pass", late)
    with pytest.raises(Mistake, match="held 200 documents at first and 201 a little later; something writes to them"):
        ran(tmp_path)
    assert not (tmp_path / "out/manifest.json").exists()


@pytest.mark.parametrize(
    "texts, options, sentence",
    [
        (["", " "], {}, r"all 2 documents are empty; give files with text in them"),
        ([""], {}, r"there is no document in .*source.txt; give files"),
        (["a"], {"workers": 0}, r"0 workers leave nobody to work"),
        (["a"], {"val": 1.0}, r"a share of 1.0 cannot be held out"),
        (["a"], {"shard": 0}, r"shards of 0 ids can hold nothing"),
        (["a"], {"column": "body"}, r"is plain text and has no column 'body'"),
    ],
)
def test_what_cannot_be_prepared_gets_a_sentence(texts, options, sentence, tmp_path):
    with pytest.raises(Mistake, match=sentence):
        ran(tmp_path, texts, **options)
    assert not (tmp_path / "out/manifest.json").exists()


def test_a_tokenizer_must_be_able_to_end_a_document(tmp_path):
    bare = Tokenizer(tokenizer().ranks)
    with pytest.raises(Mistake, match=r"the tokenizer has no <\|endoftext\|>"):
        prepare([save(tmp_path / "a.txt", TEXTS)], tmp_path / "out", bare)


def test_a_broken_line_deep_in_the_input_stops_two_processes_with_its_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "BATCH", 500)
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS) + '{"text": \n')
    with pytest.raises(Mistake, match="a.jsonl, line 201: .* is no JSON"):
        prepare([path], tmp_path / "out", tokenizer(), workers=2, progress=False)


def test_few_batches_are_in_memory_at_a_time():
    """The reader is asked for the next batch only when an answer has been taken: never ahead of the answers by more."""
    asked, answers = [], []

    def batches():
        for i in range(20):
            asked.append(i)
            assert len(asked) - len(answers) <= 1 + 2 * workers.WAITING
            yield [i]

    for answer in workers.ordered(abs_of, batches(), 2, pipeline.start_looking):
        answers.append(answer)
    assert answers == [-i for i in range(20)] and len(asked) == 20


def abs_of(batch):
    return -batch[0]


def test_batches_have_about_one_size():
    texts = ["x" * n for n in (3, 3, 3, 20, 0, 0, 1)]
    assert [list(map(len, batch)) for batch in workers.batched(texts, 8)] == [[3, 3], [3, 20], [0, 0, 1]]
    assert np.concatenate([list(map(len, b)) for b in workers.batched(texts, 1)]).tolist() == [3, 3, 3, 20, 0, 0, 1]
