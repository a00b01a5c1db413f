"""Prompt/response rows: what is read, what is judged, and many answers at once."""

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nanogpt.answers import (
    AnswerLearner,
    Row,
    hold_out_rows,
    make_task,
    parse_rows,
    prompt_ids,
    read_rows,
    write_rows,
)
from nanogpt.chat import Template
from nanogpt.infer.batch import common_prefix, generate_batch
from nanogpt.infer.generate import generate
from nanogpt.model import GPT, GPTConfig
from nanogpt.scores import answer_all, exact_match
from nanogpt.vendor.continual.learner import Learner
from nanogpt.vendor.continual.rows import Rows
from nanogpt.vendor.shared.errors import Mistake
from week14_tiny import CHATML, tiny_model

pytestmark = pytest.mark.day(98)

ROWS = [
    Row("is this good or bad? great", "good"),
    Row("is this good or bad? awful, awful and not lovely", "bad"),
    Row("colour of the sky", "blue", "user is nice"),
]


@cache
def tiny_template():
    return Template(CHATML, tiny_model()[1], eos="<|im_end|>")


@pytest.fixture(scope="module")
def tiny():
    model, _ = tiny_model()
    return model, tiny_template()


def decoded(template, rows, i):
    """(what is read only, what is judged) of training row i, as texts."""
    ids, judged = rows.ids[i], rows.judged[i]
    first = judged.int().argmax()
    assert judged[first:].int().diff().le(0).all(), "what is judged stands together"
    return template.tokenizer.decode(ids[:first].tolist()), template.tokenizer.decode(ids[judged].tolist())


def oracle(rows):
    """Inputs and -100 targets of rows, as any model takes them."""
    return rows.ids[:, :-1], rows.ids[:, 1:].masked_fill(~rows.judged[:, 1:], -100)


def test_only_the_response_is_judged(tiny):
    """Prompt and template are context; the response and the token that ends it are what is learned."""
    _, template = tiny
    task, cut = make_task("mood", ROWS, template, 64)
    assert cut == 0 and task.train.ids.shape == (3, 65)
    for i, row in enumerate(ROWS):
        read, judged = decoded(template, task.train, i)
        assert judged == row.response + "<|im_end|>"
        assert read.endswith(f"<|im_start|>user\n{row.prompt}<|im_end|>\n<|im_start|>assistant\n")
    assert decoded(template, task.train, 2)[0].startswith("<|im_start|>system\nuser is nice<|im_end|>")


def test_loss_equals_cross_entropy_over_full_logits(tiny):
    """Leaving out what is not judged is a shortcut, not another loss: the model with -100 targets is the oracle."""
    model, template = tiny
    rows = make_task("mood", ROWS, template, 64)[0].train
    inputs, targets = oracle(rows)
    logits, expected = model(inputs, targets)
    got, loss = AnswerLearner(model).forward(rows)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)  # float32 sums in another order
    torch.testing.assert_close(got, logits[targets != -100], rtol=1e-4, atol=1e-4)


def test_gradient_equals_that_of_full_logits(tiny):
    """The same for what training moves."""
    model, template = tiny
    rows = make_task("mood", ROWS, template, 64)[0].train
    loss = model(*oracle(rows))[1]
    expected = dict(zip(dict(model.named_parameters()), torch.autograd.grad(loss, list(model.parameters()))))
    got = AnswerLearner(model).gradient(rows)
    for name, gradient in got.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-5)


def test_batch_mates_do_not_change_a_row(tiny):
    """A long neighbour brings padding; the judged logits of a short row must stay what they are alone."""
    model, template = tiny
    rows = make_task("mood", ROWS, template, 64)[0].train
    learner = AnswerLearner(model)
    alone = torch.cat([learner.logits(rows[i : i + 1]) for i in range(len(rows))])
    torch.testing.assert_close(learner.logits(rows), alone, rtol=1e-4, atol=1e-4)


@settings(max_examples=30)
@given(st.text(min_size=1).filter(str.strip), st.integers(28, 60))
def test_long_prompts_are_cut_and_responses_never(text, length):
    """Whatever the prompt, the row fits, keeps its whole response, and the template around the prompt survives."""
    template = tiny_template()
    tokenizer = template.tokenizer
    row = Row(text * 3, "good")
    ids = prompt_ids(template, row, length)
    assert len(ids) <= length
    assert tokenizer.decode(ids).endswith("<|im_end|>\n<|im_start|>assistant\n")
    task, _ = make_task("any", [row], template, length + 20)
    assert decoded(template, task.train, 0)[1] == "good<|im_end|>"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"prompt": "a", "response": "b"}\n{"prompt": ', "f.jsonl, line 2 is not JSON .*; expected .*prompt"),
        ('\n\n["a", "b"]', "line 3 holds list; expected"),
        ('{"prompt": "a", "answer": "b"}', "line 1 holds 'prompt', 'answer'; expected \"prompt\" and \"response\""),
        ('{"prompt": "a", "response": ""}', 'line 1: "response" is empty'),
        ('{"prompt": " ", "response": "b"}', 'line 1: "prompt" is empty'),
        ('{"prompt": "a", "response": 3}', 'line 1: "response" is 3; it must be a text'),
        ("\n \n", "f.jsonl has no rows"),
        ('{"prompt": "a", "prompt": "b", "response": "c"}', "f.jsonl, line 1: 'prompt' is there twice; keep one"),
        ('{"prompt": "a", "response": "gre\\ud83dat"}', 'f.jsonl, line 1: "response" holds half a character'),
    ],
)
def test_broken_rows_are_told_with_their_line(text, sentence):
    """A task file is written by hand: the line number and what was expected are what one needs."""
    with pytest.raises(Mistake, match=sentence):
        parse_rows(text, "f.jsonl")


def test_an_empty_file_is_told(tmp_path):
    """Reading from a file adds the checks of any text file."""
    (tmp_path / "f.jsonl").write_text("")
    with pytest.raises(Mistake, match="is empty"):
        read_rows(tmp_path / "f.jsonl")


def test_an_endless_response_is_told(tiny):
    """A response cannot be cut: it is what is learned."""
    with pytest.raises(Mistake, match="mood, row 1: a response of .* --row-length"):
        make_task("mood", [Row("a", "good " * 40)], tiny[1], 64)


def test_rows_survive_the_round_trip():
    """Exams are stored as JSONL inside a checkpoint."""
    rows = [*ROWS, Row('quotes " and \\ and\nlines', "漢字 é")]
    assert parse_rows(write_rows(rows), "x") == rows


@given(st.integers(2, 400))
def test_held_out_rows_are_spread_and_apart(n):
    """Every row is in exactly one part, and the exam is not just the end of the file."""
    rows = list(range(n))
    train, exam = hold_out_rows(rows)
    assert sorted(train + exam) == rows and len(exam) == min(max(1, n // 10), 100) and train
    gaps = [b - a for a, b in zip(exam, exam[1:])]
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_prompts_are_embedded_without_padding_as_with_it():
    """What prompts begin with alike is read once: the same means of hidden states as the plain learner's."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(60, block_size=24, n_layer=2, n_head=2, n_kv_head=1, n_embd=16)).eval()
    ids, judged = torch.randint(60, (6, 21)), torch.zeros(6, 21, dtype=torch.bool)
    ids[:, :5] = ids[0, :5]
    for row, length in enumerate((5, 20, 9, 9, 2, 13)):
        judged[row, length] = True
    rows = Rows(ids=ids, judged=judged)
    torch.testing.assert_close(AnswerLearner(model).embed(rows), Learner(model).embed(rows), rtol=1e-5, atol=1e-5)


def test_a_row_that_repeats_a_held_out_one_is_not_learned():
    """Else the exam would ask what was learned by heart. Another answer to the same question stays."""
    rows = [Row("a", "1"), Row("b", "2"), Row("a", "1"), Row("a", "3"), Row("c", "4")]
    train, exam = hold_out_rows(rows)
    assert exam == [Row("a", "1")] and train == [Row("b", "2"), Row("a", "3"), Row("c", "4")]
    with pytest.raises(Mistake, match="the task has one row, many times: none can be held out as its exam; give more"):
        hold_out_rows([Row("a", "1")] * 4)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_batch_equals_one_by_one(family):
    """Prompts of all lengths side by side, their common beginning read once: token for token as each goes alone."""
    torch.manual_seed(1)
    shape = {"block_size": 48, "n_layer": 2, "n_head": 4, "n_embd": 32}
    config = GPTConfig(90, n_kv_head=2, **shape) if family == "llama" else GPTConfig.gpt2(90, **shape)
    model = GPT(config).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(4)
    generator = torch.Generator().manual_seed(0)
    shared = torch.randint(90, (5,), generator=generator).tolist()
    prompts = [shared + torch.randint(90, (n,), generator=generator).tolist() for n in (9, 1, 20, 4, 4)]
    prompts.append(shared[:5])
    for batch in (prompts[:5], prompts, [prompts[0]], [[7], [8, 9]]):
        wanted = [list(generate(model, p, 12, temperature=0)) for p in batch]
        assert generate_batch(model, batch, 12) == wanted
    stop = {wanted[0][3]}
    ended = generate_batch(model, batch, 12, stop=stop)
    assert ended == [list(generate(model, p, 12, temperature=0, stop=stop)) for p in batch] and len(ended[0]) <= 3


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_batch_ends_each_row_where_the_context_ends(family):
    """A full context is an answer, not an error; short rows go on, though long ones beside them are full."""
    torch.manual_seed(1)
    shape = {"block_size": 16, "n_layer": 2, "n_head": 4, "n_embd": 32}
    model = GPT(GPTConfig(90, **shape) if family == "llama" else GPTConfig.gpt2(90, **shape)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(4)
    prompts = [list(range(n)) for n in (13, 1, 16, 6, 15)] + [[40, 41, 42]]
    for n in (0, 1, 5, 100):
        wanted = [list(generate(model, p, min(n, 16 - len(p)), temperature=0)) for p in prompts]
        assert generate_batch(model, prompts, n) == wanted


def test_batch_refuses_what_does_not_fit():
    """Cutting one prompt of many in silence would be a wrong answer nobody sees."""
    model, _ = tiny_model(block_size=16)
    with pytest.raises(ValueError, match="a prompt of 17 tokens does not fit .* 16; shorten it"):
        generate_batch(model, [[1] * 17, [2]], 5)
    with pytest.raises(ValueError, match="at least one prompt"):
        generate_batch(model, [[1], []], 5)


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=5))
def test_common_prefix_leaves_a_token_of_each(prompts):
    """The longest common beginning that leaves every row something of its own to read."""
    n = common_prefix(prompts)
    assert all(p[:n] == prompts[0][:n] and len(p) > n for p in prompts)
    longer = n + 1
    assert any(p[:longer] != prompts[0][:longer] for p in prompts) or min(map(len, prompts)) == longer


def test_answers_come_in_the_order_of_the_rows(tiny):
    """Rows are sorted by length for speed; the answers must find their way back."""
    model, template = tiny
    rows = [Row("great " * n, "good") for n in (5, 1, 9, 2)]
    together = answer_all(AnswerLearner(model), template, rows, length=64, batch_size=3)
    apart = [answer_all(AnswerLearner(model), template, [row], length=64)[0] for row in rows]
    assert together == apart and len(set(apart)) > 1
    assert exact_match([" good", "bad", "good\n", "goo"], rows) == 0.5
