"""A checkpoint is all or nothing, and a damaged one is refused with a sentence."""

import errno
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nanogpt import checkpoint
from nanogpt.model import GPT, GPTConfig
from nanogpt.vendor.bpe.fast import Tokenizer
from nanogpt.vendor.shared.errors import Mistake

pytestmark = pytest.mark.day(95)

TOKENIZER = Tokenizer.train("low lower lowest newer newest widest " * 9, 270)


def tiny(seed=0, **changes):
    torch.manual_seed(seed)
    return GPT(GPTConfig(**{"vocab_size": 270, "block_size": 8, "n_layer": 2, "n_head": 2, "n_embd": 8, **changes}))


def file_of(folder, part):
    return folder / json.loads((folder / "checkpoint.json").read_text())["files"][part]["name"]


NAMES = ("checkpoint.json", "previous.json")


def index_of(folder, name="checkpoint.json"):
    return json.loads((folder / name).read_text())


@pytest.fixture
def folder(tmp_path):
    checkpoint.save(tmp_path / "m", tiny(), TOKENIZER, {"note": 1}, memory={"rows": torch.arange(6).view(2, 3)})
    return tmp_path / "m"


@pytest.mark.parametrize("tie", [True, False])
def test_round_trip_is_exact(tmp_path, tie):
    """Every bit of every tensor, the vocabulary and the record come back."""
    model = tiny(tie=tie)
    checkpoint.save(tmp_path, model, TOKENIZER, {"a": [1, None, "é"]}, memory={"rows": torch.arange(6)})
    again, tokenizer, record = checkpoint.load(tmp_path)
    assert again.config == model.config and record == {"a": [1, None, "é"]}
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))
    assert tokenizer.encode("lowest 😀") == TOKENIZER.encode("lowest 😀")
    assert torch.equal(checkpoint.load_part(tmp_path, "memory")["rows"], torch.arange(6))
    assert (again.head.weight is again.embed.weight) == tie


def test_human_readable_twin_is_there(folder):
    """The vocabulary can be read without a program."""
    assert file_of(folder, "tokenizer").with_suffix(".vocab").read_text()


def test_saving_again_leaves_no_old_files(folder):
    """Only what an index names stays: a part not given anew is gone, once no index goes back to it."""
    (folder / f"model-{'a' * 16}.safetensors").write_text("of another program")
    for seed in (1, 2):
        checkpoint.save(folder, tiny(seed), TOKENIZER, {"progress": seed})  # the state before is kept all the while
        assert [index_of(folder, name)["record"] for name in NAMES] == [{"progress": seed}, {"note": 1}]
    checkpoint.save(folder, tiny(seed=3), TOKENIZER, {})
    checkpoint.save(folder, tiny(seed=4), TOKENIZER, {})
    assert [index_of(folder, name)["record"] for name in NAMES] == [{}, {}]
    named = {file["name"] for name in NAMES for file in index_of(folder, name)["files"].values()}
    twin = {Path(name).with_suffix(".vocab").name for name in named if name.startswith("tokenizer")}
    there = {p.name for p in folder.iterdir()}
    assert there == named | twin | {*NAMES, f"model-{'a' * 16}.safetensors"}, "nobody else's file is touched"
    assert checkpoint.load_part(folder, "memory") == {}


def test_undo_goes_back_and_forth(folder):
    """Nothing is deleted: what was undone comes back, bit for bit."""
    states = [checkpoint.load(folder)[0].state_dict()]
    checkpoint.save(folder, tiny(seed=1), TOKENIZER, {"note": 2})
    states.append(checkpoint.load(folder)[0].state_dict())
    for turn in (0, 1, 0):
        checkpoint.undo(folder)
        model, _, record = checkpoint.load(folder)
        assert record == {"note": turn + 1}
        assert all(torch.equal(a, b) for a, b in zip(states[turn].values(), model.state_dict().values(), strict=True))


def test_an_undo_that_was_killed_is_finished(folder, monkeypatch):
    """Between its two renames the newer state has a third name only, and `undo` said that there was nothing older."""
    checkpoint.save(folder, tiny(seed=1), TOKENIZER, {"note": 2})
    replace = checkpoint.os.replace

    def killed(source, target):
        if Path(target).name == checkpoint.PREVIOUS:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoint.os, "replace", killed)
        checkpoint.undo(folder)
    assert checkpoint.load(folder)[2] == {"note": 1}
    for note in (1, 2, 1):
        checkpoint.undo(folder)
        assert checkpoint.load(folder)[2] == {"note": note}


@pytest.mark.parametrize("lost", ["index", "model"])
def test_undo_does_not_go_back_to_a_damaged_state(folder, lost):
    """It took the place of the good one, and no command opened the folder any more."""
    older = index_of(folder, checkpoint.INDEX)["files"]["model"]["name"]
    checkpoint.save(folder, tiny(seed=1), TOKENIZER, {"note": 2})
    path = folder / (checkpoint.PREVIOUS if lost == "index" else older)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(Mistake, match=f"{path.name} (is damaged|has 100 bytes)"):
        checkpoint.undo(folder)
    assert checkpoint.load(folder)[2] == {"note": 2}


def test_undo_without_a_past_is_told(folder):
    """What has no state before keeps the one that it has."""
    with pytest.raises(Mistake, match="holds nothing older to go back to"):
        checkpoint.undo(folder)
    checkpoint.load(folder)


def test_a_damaged_file_of_the_right_size_is_written_anew(folder):
    """A file with the right name and size may still hold the wrong bytes; the next save must not trust it."""
    path = file_of(folder, "model")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    checkpoint.save(folder, tiny(), TOKENIZER, {"progress": 1})
    checkpoint.load(folder)


def test_a_reader_never_sees_a_half_state(folder):
    """Another command commits between the reading of the index and that of the files: the reader begins again."""
    turns = []

    def read(index):
        turns.append(index["record"])
        if len(turns) < 3:  # two commits, so that the files that this reader wants are swept
            for i in (1, 2):
                checkpoint.save(folder, tiny(seed=10 * len(turns) + i), TOKENIZER, {"note": [len(turns), i]})
        return checkpoint.load(folder, index=index)[2]

    assert checkpoint.steady(folder, read) == {"note": [2, 2]} and len(turns) == 3


def test_a_failing_save_keeps_the_old_model(folder, monkeypatch):
    """A full disk at any write of the save must leave the earlier checkpoint whole."""
    before, names = checkpoint.load(folder)[0].state_dict(), {p.name for p in folder.iterdir()}
    writes, real = [], checkpoint.atomic_write
    for allowed in range(4):
        writes.clear()

        def full_disk(path, content, allowed=allowed):
            if len(writes) == allowed:
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            writes.append(path)
            real(path, content)

        monkeypatch.setattr(checkpoint, "atomic_write", full_disk)
        with pytest.raises(OSError, match="No space left"):
            checkpoint.save(folder, tiny(seed=2 + allowed), TOKENIZER, {}, memory={"rows": torch.full((3,), allowed)})
        after = checkpoint.load(folder)[0].state_dict()
        assert all(torch.equal(before[k], after[k]) for k in before)
        if allowed < 3:  # the fourth write is the index: that of the state before is there already
            assert {p.name for p in folder.iterdir()} == names, "nothing is left that no later save would sweep"


def test_what_a_killed_save_left_is_taken_away(folder):
    """Parts of files bear our names and a process; a stranger's stay."""
    left = f".model-{'a' * 16}.safetensors.123.part"
    for name in (left, ".checkpoint.json.4567.part", "mine.part", ".theirs.json.123.part"):
        (folder / name).write_text("half")
    checkpoint.save(folder, tiny(), TOKENIZER, {"note": 2})
    assert {p.name for p in folder.glob("*part")} == {"mine.part", ".theirs.json.123.part"}


@pytest.mark.parametrize("part", ["model", "tokenizer", "memory"])
@given(where=st.floats(0, 0.999), bit=st.integers(0, 7))
@settings(max_examples=15, deadline=None)
def test_one_flipped_bit_is_found(tmp_path_factory, part, where, bit):
    """Silent damage gives a model that is a little wrong: the worst kind. Any bit of any file must be noticed."""
    folder = tmp_path_factory.mktemp("flip")
    checkpoint.save(folder, tiny(), TOKENIZER, {}, memory={"rows": torch.arange(6)})
    path = file_of(folder, part)
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(Mistake, match="is damaged: its sha256 is not the one recorded"):
        checkpoint.load(folder)
        checkpoint.load_part(folder, part)


def test_truncated_file_is_told(folder):
    """A copy that was cut short names both sizes."""
    path = file_of(folder, "model")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(Mistake, match=r"has 1000 bytes, not \d+: it was cut short"):
        checkpoint.load(folder)


def test_missing_file_is_told(folder):
    """checkpoint.json without its tensors."""
    file_of(folder, "model").unlink()
    with pytest.raises(Mistake, match="is missing, though checkpoint.json names it"):
        checkpoint.load(folder)


def edit_index(folder, change):
    path = folder / "checkpoint.json"
    index = json.loads(path.read_text())
    change(index)
    path.write_text(json.dumps(index))


def test_lacking_and_misshapen_tensors_are_all_named(folder):
    """One message names every wrong tensor: three, not the first of three."""
    tensors = checkpoint.load_part(folder, "model")
    del tensors["norm.weight"]
    tensors["embed.weight"] = tensors["embed.weight"][:, :4].contiguous()
    tensors["stray"] = torch.zeros(1)
    content = checkpoint.tensors_to_bytes(tensors)
    file_of(folder, "model").write_bytes(content)
    edit_index(folder, lambda i: i["files"]["model"].update(bytes=len(content), sha256=checkpoint._sha256(content)))
    with pytest.raises(Mistake) as caught:
        checkpoint.load(folder)
    for words in ("norm.weight is missing", "stray is unknown", "embed.weight has shape (270, 4), not (270, 8)"):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda i: i.update(format=99), "has format 99 and this nanogpt reads up to 3; install a newer nanogpt"),
        (lambda i: i["model"].update(n_embd=16), "has shape"),
        (lambda i: i["model"].update(rope_scaling=2), "rope_scaling"),
        (lambda i: i["model"].update(n_head=3), "does not divide"),
        (lambda i: i.pop("files"), "is damaged"),
        (lambda i: i["files"]["model"].pop("name"), "is damaged"),
        (lambda i: i["files"]["model"].update(name="../../elsewhere"), "is damaged"),
        (lambda i: i["files"]["tokenizer"].pop("sha256"), "is damaged"),
        (lambda i: i["files"].pop("tokenizer"), "is damaged"),
        (lambda i: i.pop("record"), "is damaged"),
        (lambda i: i.update(record=[]), "is damaged"),
        (lambda i: i.update(model=3), "is damaged"),
        (lambda i: i.update(format=0), "is damaged"),
        (lambda i: i.update(format=True), "is damaged"),
        (lambda i: i.update(chat="x"), "is damaged"),
        (lambda i: i.update(chat={"begin": 5}), "is damaged .*chat has begin 5"),
        (lambda i: i.update(chat={"begin": "zzz"}), "is damaged: a text would begin with 'zzz'"),
        (lambda i: i["model"].update(vocab_size=100), "(?s)do not belong together|has shape"),
    ],
)
def test_wrong_index_is_told(folder, change, sentence):
    """Another shape, a newer format, an unknown setting, a lost field."""
    edit_index(folder, change)
    with pytest.raises(Mistake, match=sentence):
        checkpoint.load(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"format": "x"}', b"[" * 100_000])
def test_damaged_index_is_told(folder, content):
    """checkpoint.json itself may be the damaged file."""
    (folder / "checkpoint.json").write_bytes(content)
    with pytest.raises(Mistake, match="is damaged"):
        checkpoint.load(folder)
    checkpoint.save(folder, tiny(), TOKENIZER, {"note": 2})
    assert checkpoint.load(folder)[2] == {"note": 2}, "a save puts a whole one in its place"


def test_no_model_there(tmp_path):
    """Both ways to have no model say how to get one."""
    with pytest.raises(Mistake, match="there is no such folder; use the model that ships"):
        checkpoint.load(tmp_path / "nothing")
    with pytest.raises(Mistake, match="it holds no checkpoint.json"):
        checkpoint.load(tmp_path)
