"""Text in, rows out; bits per byte; and a sentence for every file that cannot be used."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nanogpt.model import GPT, GPTConfig
from nanogpt.scores import bits_per_byte
from nanogpt.tasks import END, encode, rows_of
from nanogpt.vendor.bpe.fast import Tokenizer
from nanogpt.vendor.continual.learner import Learner
from nanogpt.vendor.shared.errors import Mistake
from nanogpt.vendor.shared.text import SEPARATOR, documents, hold_out

pytestmark = pytest.mark.day(94)

TOKENIZER = Tokenizer.train("one two three two one two " * 9, 262, special_tokens=(END,))


def test_text_shorter_than_a_row_gets_a_sentence():
    """Nothing to train on must be told with both numbers."""
    with pytest.raises(Mistake, match="mine has 4 tokens to train on and one row needs 33; give more text$"):
        rows_of(torch.arange(4), 32, "mine")


SEPARATORS = st.lists(st.sampled_from([SEPARATOR, SEPARATOR * 2, f"\n{END}\n\n{END}\n"]), min_size=6, max_size=6)


@given(st.lists(st.text("ab \n", min_size=1, max_size=30).filter(str.strip), min_size=1, max_size=6), SEPARATORS)
def test_documents_are_those_that_were_joined(parts, between):
    """Joining and splitting at separator lines must not lose or invent a document, however many lines there are."""
    parts = [p.strip("\n") for p in parts]
    assert documents("".join(a + b for a, b in zip(parts, between))) == parts


LONGER = st.text("ab\n ", min_size=1, max_size=200).filter(str.strip)


@given(st.lists(LONGER, min_size=1, max_size=8), st.floats(0.1, 0.5))
@settings(deadline=None)
def test_hold_out_splits_without_overlap(parts, fraction):
    """Training text and exam are the text in its order, of one document or many; only blanks at the cut may go."""
    text = SEPARATOR.join(p.strip("\n") for p in parts)
    try:
        train, exam = hold_out(text, fraction)
    except Mistake:
        assert sum(map(len, documents(text))) * fraction < 12, "a text of this length can be shared"
        return
    words = lambda text: "".join("".join(documents(text)).split())  # noqa: E731
    assert words(train) + words(exam) == words(text)
    assert words(train) and words(exam)


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
