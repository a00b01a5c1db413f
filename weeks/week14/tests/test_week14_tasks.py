"""Text in, rows out; bits per byte; and a sentence for every file that cannot be used."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nanogpt.model import GPT, GPTConfig
from nanogpt.scores import bits_per_byte
from nanogpt.tasks import END, SEPARATOR, documents, encode, hold_out, read_text, rows_of
from nanogpt.vendor.bpe.fast import Tokenizer
from nanogpt.vendor.continual.learner import Learner
from nanogpt.vendor.shared.errors import Mistake

TOKENIZER = Tokenizer.train("one two three two one two " * 9, 262, special_tokens=(END,))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b" \n\n ", "is empty"),
        (b"abc\0def", "is not text: byte 3 is zero"),
        ("Größe".encode("latin1"), "is not UTF-8: byte 2 is 0xf6; convert it first"),
        ("text".encode("utf-16"), "is not text|is not UTF-8"),
    ],
)
def test_unusable_files_get_a_sentence(tmp_path, content, sentence):
    """Each says what is wrong with the file and what to do."""
    path = tmp_path / "t.txt"
    path.write_bytes(content)
    with pytest.raises(Mistake, match=sentence):
        read_text(path)


def test_missing_file_and_folder_get_a_sentence(tmp_path):
    """A mistyped path is the commonest mistake of all."""
    with pytest.raises(Mistake, match="does not exist; check the path"):
        read_text(tmp_path / "nope.txt")
    with pytest.raises(Mistake, match="is a folder; give a text file in it"):
        read_text(tmp_path)


def test_byte_order_mark_and_windows_lines_are_removed(tmp_path):
    """A file from Windows must give the same tokens as one from elsewhere."""
    (tmp_path / "w.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo")
    assert read_text(tmp_path / "w.txt") == "one\ntwo"


def test_text_shorter_than_a_row_gets_a_sentence():
    """Nothing to train on must be told with both numbers."""
    with pytest.raises(Mistake, match="mine has 4 tokens and one training row needs 33; give more text"):
        rows_of(torch.arange(4), 32, "mine")


@given(st.lists(st.text("ab \n", min_size=1, max_size=30).filter(str.strip), min_size=1, max_size=6))
def test_documents_are_those_that_were_joined(parts):
    """Joining and splitting at separator lines must not lose or invent a document."""
    parts = [p.strip("\n") for p in parts]
    assert documents(SEPARATOR.join(parts)) == parts


@given(
    st.lists(st.text("ab\n", min_size=1, max_size=200).filter(str.strip), min_size=1, max_size=8), st.floats(0.05, 0.5)
)
@settings(deadline=None)
def test_hold_out_splits_without_overlap(parts, fraction):
    """Training text and exam together are the text: nothing learned is examined, nothing is lost."""
    text = SEPARATOR.join(p.strip("\n") for p in parts)
    train, exam = hold_out(text, fraction)
    if len(documents(text)) > 1:
        assert documents(train) + documents(exam) == documents(text)
    else:
        assert train + exam == text


def test_each_document_begins_with_the_end_token():
    """The token that ends one document is the cue for the next; at the very start too."""
    end = TOKENIZER.special_tokens[END]
    ids = encode(TOKENIZER, SEPARATOR.join(["one two", "three"])).tolist()
    assert ids == [end, *TOKENIZER.encode("one two"), end, *TOKENIZER.encode("three")]


def small_model(block=8):
    torch.manual_seed(0)
    return GPT(GPTConfig(TOKENIZER.vocab_size, block_size=block, n_layer=1, n_head=2, n_embd=8)).eval()


def test_uniform_model_needs_log2_v_bits_a_token():
    """With equal logits the answer is known: tokens * log2(vocabulary) / bytes."""
    model = small_model()
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    text = "one two three é 😀"
    expected = len(TOKENIZER.encode(text)) * math.log2(TOKENIZER.vocab_size) / len(text.encode())
    assert math.isclose(bits_per_byte(Learner(model), TOKENIZER, text), expected, rel_tol=1e-6)  # float32 log-softmax


@given(st.lists(st.text("one tw\n", min_size=1, max_size=40).filter(str.strip), min_size=1, max_size=3))
@settings(max_examples=20, deadline=None)
def test_bits_per_byte_equals_a_slow_sum(parts):
    """Window by window and token by token, in plain Python; separators neither predicted nor counted (rtol 1e-5)."""
    text, model, end = SEPARATOR.join(p.strip("\n") for p in parts), small_model(), TOKENIZER.special_tokens[END]
    ids = encode(TOKENIZER, text).tolist()
    bits = 0.0
    for i in range(1, len(ids)):
        window = ids[(i - 1) // 8 * 8 : i]
        if ids[i] != end:
            logits = model(torch.tensor([window]))[0][0, -1].double()
            bits -= logits.log_softmax(0)[ids[i]].item() / math.log(2)
    slow = bits / sum(len(d.encode()) for d in documents(text))
    assert math.isclose(bits_per_byte(Learner(model), TOKENIZER, text, batch_size=2), slow, rel_tol=1e-5)
