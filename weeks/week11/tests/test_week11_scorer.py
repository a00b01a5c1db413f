"""Day 76: the log-likelihood of a continuation, against one forward pass for each token and against transformers."""

import math
from types import SimpleNamespace

import pytest
import torch
from pretrain.evaluation import scorer
from pretrain.evaluation.choice import ask, read_items
from pretrain.evaluation.scorer import encode_pair, loglik
from pretrain.evaluation.subject import Bigram, Foreign, Subject, of_transformers, opened, subject
from pretrain.vendor.bpe.fast import Tokenizer
from pretrain.vendor.shared.errors import Mistake
from week11_small import END, bigram, encode, gpt, plainly

pytestmark = pytest.mark.day(76)
PAIRS = [([1, 2, 3], [4]), ([], [5, 6]), ([9], [8, 7, 6, 5, 4]), ([1] * 20, [2, 3]), ([3], [3])]


def test_it_is_the_sum_over_tokens():
    """Every length of context and continuation. 1e-4 nats: the log-softmax of float32, over a few tokens."""
    small = gpt()
    for (context, continuation), found in zip(PAIRS, loglik(small, PAIRS)):
        assert found.total == pytest.approx(plainly(small, context, continuation), abs=1e-4)
        assert found.cut == 0


def test_no_row_depends_on_the_others(monkeypatch):
    """One batch of all rows, or one row a batch: no judged token sees the padding. 1e-5: float32."""
    small, pairs = gpt(), PAIRS * 2
    together = loglik(small, pairs)
    monkeypatch.setattr(scorer, "LOGITS", 1)
    alone = loglik(small, pairs)
    assert [f.total for f in together] == pytest.approx([f.total for f in alone], abs=1e-5)
    assert [f.greedy for f in together] == [f.greedy for f in alone]


def test_batches_are_bounded(monkeypatch):
    """No forward pass makes more than LOGITS numbers, but for a single row, which cannot be split."""
    small, sizes = gpt(), []
    monkeypatch.setattr(scorer, "LOGITS", 257 * 40)
    hook = lambda module, args, result: sizes.append(tuple(result[0].shape))
    with torch.no_grad():
        small.model.register_forward_hook(hook)
    loglik(small, PAIRS * 4)
    assert sum(shape[0] for shape in sizes) == len(PAIRS) * 4 and max(shape[0] for shape in sizes) > 1
    assert all(math.prod(shape) <= scorer.LOGITS for shape in sizes if shape[0] > 1)


def test_a_context_that_is_too_long_loses_its_beginning():
    """What remains is block_size inputs; how much was lost is told."""
    small = gpt(block_size=8)
    context, continuation = list(range(20)), [30, 31, 32]
    found = loglik(small, [(context, continuation)])[0]
    kept = context[-(8 + 1 - 3) :]
    assert found.cut == 20 - len(kept) == 14
    assert found.total == pytest.approx(plainly(small, kept, continuation), abs=1e-4)
    assert loglik(small, [(kept, continuation)])[0].cut == 0


def test_greedy_means_each_token_is_the_likeliest():
    """Of a text that repeats itself, a table of bigrams knows what comes next."""
    table = bigram("abcabcabcabcabd")
    greedy = [found.greedy for found in loglik(table, [(encode("a"), encode(text)) for text in ("bca", "bda", "cab")])]
    assert greedy == [True, False, False]


def test_the_model_is_left_as_it_was():
    """Dropout is off while a model is judged, and back on afterwards; a failure does not change that."""
    small = gpt()
    small.model.train()
    with pytest.raises(ValueError):
        loglik(small, [([1], [])])
    with pytest.raises(IndexError):
        loglik(small, [([999], [1])])
    assert small.model.training
    first = loglik(small, PAIRS)
    assert small.model.training and first == loglik(small, PAIRS)


@pytest.mark.parametrize(
    ("pair", "sentence"),
    [
        (([1], []), "pair 0 has an empty continuation, which has no likelihood; give one token or more"),
        (([1], [2] * 33), "the continuation of pair 0 has 33 tokens, and the model reads 32 at once; give a shorter"),
    ],
)
def test_what_cannot_be_judged(pair, sentence):
    with pytest.raises(ValueError, match=sentence):
        loglik(gpt(), [pair])


def test_blanks_move_to_the_continuation():
    """ " the" is one token: context and continuation are encoded as one text, then cut."""
    tokenizer = Tokenizer.train(["the cat and the dog and the cat "] * 9, 265)
    who = Subject(None, tokenizer.encode_ordinary, 0, 8)
    for context, continuation in (("the cat", " and"), ("the cat ", "and"), ("the cat \n", "and")):
        before, after = encode_pair(who, context, continuation)
        assert before == tokenizer.encode_ordinary("the cat")
        assert before + after == tokenizer.encode_ordinary(context + continuation)
    assert encode_pair(who, "the cat ", "and")[1] == tokenizer.encode_ordinary(" and")
    assert encode_pair(who, "", "the cat") == ([], tokenizer.encode_ordinary("the cat"))


# --- who can be examined ----------------------------------------------------------------------------------------------


def test_a_table_of_bigrams_counts():
    """p(b | a) is the share of b after a, but for a prior of 0.01 for each of the 257 ids; rows sum to 1 to 1e-5."""
    table = Bigram(torch.tensor(encode("abababac")), 257)
    logs, loss = table(torch.tensor([encode("a")]))
    assert loss is None and logs.shape == (1, 1, 257)
    assert logs[0, 0, ord("b")].exp().item() == pytest.approx(3.01 / (4 + 2.57), rel=1e-5)
    assert table.table.exp().sum(dim=1).tolist() == pytest.approx([1.0] * 257, abs=1e-5)


def test_a_tokenizer_needs_an_end():
    tokenizer = Tokenizer.train(["some text"], 256, special_tokens=())
    with pytest.raises(Mistake, match="has no <.endoftext.>, so nothing can stand before the first word of a document"):
        subject(gpt().model, tokenizer)


def test_a_model_comes_in_by_a_name(monkeypatch, tmp_path):
    """package:function, as nanogpt's open_model: what it returns has a model and a tokenizer."""
    tokenizer = Tokenizer.train(["some text"], 257)
    loaded = SimpleNamespace(model=gpt().model, tokenizer=tokenizer)
    monkeypatch.setitem(__import__("sys").modules, "some_package", SimpleNamespace(open_model=lambda path: loaded))
    who = opened("some_package:open_model", tmp_path)
    assert who.model is loaded.model and who.block_size == 32 and who.end == 256
    for name, sentence in (
        ("some_package", "--open 'some_package' names no way to open a model; give package:function"),
        ("some_package:close", "some_package has no close; check the name after the colon"),
        ("no_such_package:f", "no_such_package cannot be imported .*; run: pip install no_such_package"),
        ("nanogpt.no_such:f", "nanogpt.no_such cannot be imported .*; run: pip install -e weeks/week14"),
    ):
        with pytest.raises(Mistake, match=sentence):
            opened(name, tmp_path)
    with pytest.raises(Mistake, match="has no config.json, so it is no Hugging Face folder"):
        of_transformers(tmp_path)


# --- the oracle -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def llama():
    """A small Llama of transformers on bytes: the family of SmolLM2, with random weights."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=257, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, initializer_range=0.3,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).eval()


def test_log_likelihoods_are_those_of_transformers(llama, repo_root):
    """Its own loss, one pair at a time, against ours in batches: 1e-3, of sums of 300 nats in float32."""
    path = repo_root.parent / "shared/data/hellaswag_val_full.txt.bz2"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    items = read_items(path)[:8]
    ours = ask(Subject(Foreign(llama), encode, END, 512), items)
    for item, row in zip(items, ours.logs):
        for text, log in zip(item.choices, row):
            before, ids = encode(item.context), torch.tensor([encode(f"{item.context} {text}")])
            labels = ids.clone()
            labels[:, : len(before)] = -100
            with torch.no_grad():
                loss = llama(input_ids=ids, labels=labels).loss.item()
            assert log == pytest.approx(-loss * (ids.shape[1] - len(before)), abs=1e-3)
    assert len({row.index(max(row)) for row in ours.logs}) > 1  # the model prefers not one place only
