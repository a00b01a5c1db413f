"""Day 76: bits per byte, its windows, and how far a score can be trusted."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pretrain.evaluation import compression
from pretrain.evaluation.compression import bits_per_byte, costs, windows
from pretrain.evaluation.interval import Score, bootstrap
from pretrain.evaluation.subject import subject
from pretrain.vendor.bpe.fast import Tokenizer
from pretrain.vendor.gpt.model import GPT, GPTConfig
from week11_small import END, bigram, encode, gpt, plainly

pytestmark = pytest.mark.day(76)


@given(st.integers(0, 60), st.integers(1, 20), st.data())
@settings(max_examples=60, deadline=None)
def test_every_token_is_judged_once_with_enough_before_it(count, block_size, data):
    """No window feeds more than block_size; only the first may show a token less than block_size - stride others."""
    stride = data.draw(st.integers(1, block_size))
    rows = list(windows(count, block_size, stride))
    assert [i for _, first, stop in rows for i in range(first, stop + 1)] == list(range(1, count + 1))
    for begin, first, stop in rows:
        assert 0 <= begin < first <= stop and stop - begin <= block_size
        assert begin == 0 or first - begin > block_size - stride


def test_the_plain_cut_is_that_of_lm_eval():
    """Its rolling windows with context_len 1, by hand for 10 tokens, 4 at a time: the last one looks back."""
    assert list(windows(10, 4, 4)) == [(0, 1, 4), (4, 5, 8), (6, 9, 10)]
    assert list(windows(3, 4, 4)) == [(0, 1, 3)] and list(windows(0, 4, 4)) == []


@pytest.mark.parametrize("stride", [0, 5, -1])
def test_a_stride_outside_of_the_window(stride):
    with pytest.raises(ValueError, match=f"{stride}"):
        list(windows(10, 4, stride))


def test_bits_are_those_of_the_chain_rule():
    """A text shorter than a window costs the log-likelihood of all of it; bytes are counted in UTF-8, to the byte."""
    small, texts = gpt(), ["Straße", "ab", "日本"]
    expected = -sum(plainly(small, [], encode(text)) for text in texts) / math.log(2) / (7 + 2 + 6)
    assert bits_per_byte(small, texts).value == pytest.approx(expected, rel=1e-5)  # float32 sums


def test_a_window_reads_what_the_last_one_judged():
    """12 tokens, 8 at a time, 4 further each time: the last four are judged after the four before them. Float32."""
    small, ids = gpt(block_size=8), [END, *encode("twelve bytes")]
    ((_, first, _), (_, second, _)) = costs(small, ["twelve bytes"], stride=4)
    assert first == pytest.approx(-plainly(small, [END], ids[1:9]), rel=1e-5)
    assert second == pytest.approx(-plainly(small, ids[4:9], ids[9:]), rel=1e-5)


def test_a_blind_guess_costs_eight_bits():
    """All logits 0 over 256 bytes and an end: log2(257) a byte."""
    small = gpt()
    for parameter in small.model.parameters():
        parameter.data.zero_()
    assert bits_per_byte(small, ["any text", "at all"]).value == pytest.approx(math.log2(257), rel=1e-6)


def test_more_context_never_hurts_a_model_that_needs_none():
    """A bigram looks back one token, so every stride and every window gives the same bits: 1e-5, float32's sums."""
    table = bigram("the cat sat on the mat and the dog sat on the cat", block_size=8)
    values = [bits_per_byte(table, ["the dog sat on the mat"], stride=stride).value for stride in (1, 3, 8)]
    assert values == pytest.approx([values[0]] * 3, rel=1e-5)
    assert 1 < values[0] < 8


@pytest.mark.parametrize("vocab_size", [257, 270])
def test_tokenizers_compare(vocab_size):
    """Every token has the same chance: tokens * log2(V) bits over the bytes, however few the tokens are."""
    text = "the cat and the dog and the cat and the end"
    tokenizer = Tokenizer.train([text * 9], vocab_size)
    model = GPT(GPTConfig(vocab_size, 64, 1, 1, 8))
    for parameter in model.parameters():
        parameter.data.zero_()
    expected = len(tokenizer.encode_ordinary(text)) * math.log2(vocab_size) / len(text)
    assert bits_per_byte(subject(model, tokenizer), [text]).value == pytest.approx(expected, rel=1e-5)  # float32 sums
    assert len(tokenizer.encode_ordinary(text)) < len(text) or vocab_size == 257


def test_a_very_long_context_is_read_in_parts(monkeypatch):
    """A window is no longer than LONGEST, whatever the model could read."""
    monkeypatch.setattr(compression, "LONGEST", 10)
    assert [tokens for _, _, tokens in costs(gpt(), ["x" * 25])] == [10, 5, 5, 5]
    assert [i for i, _, _ in costs(gpt(), ["x" * 11, "y"])] == [0, 0, 1]


@pytest.mark.parametrize(
    ("documents", "sentence"),
    [
        ([], "there is no document to judge; give one or more"),
        (["text", ""], "document 1"),
    ],
)
def test_documents_that_cannot_be_judged(documents, sentence):
    with pytest.raises(ValueError, match=sentence):
        bits_per_byte(gpt(), documents)


# --- the interval -----------------------------------------------------------------------------------------------------


def test_an_interval_is_that_of_theory():
    """400 coins, half heads: 1.96 standard errors are 0.049; 1,000 draws find each end to 0.008 (3 of their own)."""
    score = bootstrap([0, 1] * 200)
    assert score.value == 0.5 and score.count == 400
    assert score.low == pytest.approx(0.451, abs=0.008) and score.high == pytest.approx(0.549, abs=0.008)


def test_it_covers_the_truth_as_often_as_it_says():
    """200 exams of 60 items, true mean 0.3, 90 %: between 84 and 96 % of the intervals hold it (3 standard errors)."""
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        score = bootstrap(rng.random(60) < 0.3, draws=200, share=0.9)
        held += score.low <= 0.3 <= score.high
    assert 0.84 <= held / 200 <= 0.96


def test_a_ratio_keeps_value_and_weight_together():
    """Values that are twice their weight: the ratio is 2 whoever is drawn, so the interval has no width."""
    weights = [1, 5, 9, 2]
    assert bootstrap([2 * w for w in weights], weights) == Score(2.0, 2.0, 2.0, 4)
    assert bootstrap([1.0, 3.0], [1, 1], transform=lambda x: -x).value == -2.0


def test_the_same_seed_gives_the_same_interval():
    values = list(np.random.default_rng(0).random(50))
    assert bootstrap(values) == bootstrap(values) != bootstrap(values, seed=1)
    score = bootstrap(values, transform=np.exp)
    assert score.low < score.value < score.high and str(score).startswith(f"{score.value:.3f} [")


@pytest.mark.parametrize(("values", "weights"), [([], None), ([1, 2], [1]), ([1, 2], [1, 0]), ([1, math.nan], None)])
def test_items_that_give_no_score(values, weights):
    """None at all, one without a weight of its own, a weight of nothing, no number."""
    with pytest.raises(ValueError):
        bootstrap(values, weights)


def test_the_end_is_never_judged():
    """A document costs the same alone and among others: each begins from the end id, which is not counted."""
    small = gpt()
    alone = [bits_per_byte(small, [text]).value * len(text) for text in ("one", "three")]
    assert bits_per_byte(small, ["one", "three"]).value * 8 == pytest.approx(sum(alone), rel=1e-6)
    assert all(END not in encode(text) for text in ("one", "three"))
