"""Day 77: what a model writes: variety, repetition, and its perplexity under a judge."""

import math

import pytest
from pretrain.evaluation.compression import costs
from pretrain.evaluation.generation import alike, distinct, grams, judged, perplexity, repetition
from week11_small import bigram, encode, gpt, plainly

pytestmark = pytest.mark.day(77)


def test_distinct_counts_by_hand():
    """ "a b a b": 2 words of 4 differ, 2 pairs of 3; over two texts the runs are counted together."""
    assert distinct(["a b a b"], 1) == 0.5 and distinct(["a b a b"], 2) == pytest.approx(2 / 3)
    assert distinct(["a b", "a b"], 2) == 0.5
    assert distinct(["one two three four"], 3) == 1
    assert grams("a  b\nc", 2) == [("a", "b"), ("b", "c")] and grams("a", 2) == []


def test_repetition_counts_by_hand():
    """Runs that their own text has had before; the same run in another text is no repetition."""
    score = repetition(["a b a b a b", "a b c"], n=2)
    assert score.value == pytest.approx(3 / 7) and score.count == 2  # of 5 + 2 pairs: ab twice again, ba once
    assert repetition(["a b c d e", "a b c d e"]).value == 0
    assert repetition(["so it goes on " * 20]).value > 0.9


@pytest.mark.parametrize("measure", [distinct, repetition])
def test_texts_without_a_run(measure):
    with pytest.raises(ValueError, match="3"):
        measure(["two words", ""], n=3)


def test_human_text_is_as_long_as_the_samples():
    """From the beginning of a document, cut at a blank; the same seed draws the same."""
    documents = [
        "once there was a fox who lived in a wood",
        "a short one",
        "the king had three sons and a daughter too",
    ]
    samples = ["x" * 20, "y" * 30, "z" * 11]
    human = alike(samples, documents)
    assert human == alike(samples, documents) and len(human) == 3
    for text, sample in zip(human, samples):
        assert len(sample) - 12 <= len(text) <= len(sample) and not text.endswith(" ")
    assert all(any(f"{document} ".startswith(f"{text} ") for document in documents) for text in human)
    with pytest.raises(ValueError, match="sample 1"):
        alike(["x", "y" * 99], documents)


def test_perplexity_is_that_of_the_chain_rule():
    """Nats of each text from the end id on, and how many tokens of the judge; float32's sums."""
    judge, texts = gpt(), ["some text", "ä"]
    table = perplexity(judge, texts)
    expected = [[-plainly(judge, [], encode(text)), len(encode(text))] for text in texts]
    assert table.tolist() == [pytest.approx(row, rel=1e-5) for row in expected]


def test_a_long_text_is_the_sum_of_its_windows():
    """20 bytes, 8 at a time: each token once, and the nats of all windows; 1e-9, for they are the same numbers."""
    judge, text = gpt(block_size=8), "a text of 20 letters"
    ((nats, tokens),) = perplexity(judge, [text]).tolist()
    rows = costs(judge, [text])
    assert tokens == 20 and len(rows) > 1 and nats == pytest.approx(sum(row[1] for row in rows), rel=1e-9)


def test_a_judge_prefers_its_own_language():
    """Bigrams of English letters: English surprises it less than noise. The ratio is theirs."""
    judge = bigram("the cat sat on the mat and the dog ran to the cat " * 4)
    human = ["the dog sat on the mat", "the cat ran", "and the mat sat"]
    noise = ["qzx wvk jjq", "xkcd qwrt", "zzz qqq xxx"]
    found = judged(judge, noise, human)
    assert found["samples_ppl"].value > 4 * found["human_ppl"].value
    assert found["ppl_ratio"].value == pytest.approx(found["samples_ppl"].value / found["human_ppl"].value)
    assert 1 < found["ppl_ratio"].low < found["ppl_ratio"].value < found["ppl_ratio"].high
    table = perplexity(judge, noise)
    assert found["samples_ppl"].value == pytest.approx(math.exp(table[:, 0].sum() / table[:, 1].sum()))


def test_text_against_itself():
    """The ratio is 1, its interval holds 1, and the same seed gives the same."""
    judge, texts = gpt(), ["one text", "another one", "the third of them"]
    found = judged(judge, texts, texts)
    assert found["ppl_ratio"].value == 1 and found["ppl_ratio"].low < 1 < found["ppl_ratio"].high
    assert found == judged(judge, texts, texts)


def test_nothing_to_compare():
    with pytest.raises(ValueError):
        judged(gpt(), [], ["text"])
    with pytest.raises(ValueError, match="document 1 is empty"):
        judged(gpt(), ["text", ""], ["text"])
