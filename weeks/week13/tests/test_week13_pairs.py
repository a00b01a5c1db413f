"""Text as rows and back; what a learner answers; what it takes two prompts to have in common."""

import pytest
import torch
from continual import Format, Learner, Pair, Task, all_judged, read_pairs
from continual.generate import generate
from continual.rows import Rows
from continual.vendor.gpt.model import GPT, GPTConfig
from continual.vendor.shared.errors import Mistake
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.day(87)

END = 0


def encode(text):
    return list(text.encode())


def decode(ids):
    return bytes(ids).decode(errors="replace")


def template(prompt):
    return encode(f"<ask>{prompt}</ask>\n")


PLAIN = Format(encode, decode, encode, END, 40)
CHAT = Format(encode, decode, template, END, 40)
words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=5)


@given(st.lists(st.builds(Pair, words, words), min_size=1, max_size=4))
@settings(max_examples=50, deadline=None)
@pytest.mark.parametrize("text", [PLAIN, CHAT], ids=["plain", "chat"])
def test_pairs_come_back_from_their_rows(text, pairs):
    """What is stored as ids must be readable as text again, whatever the template puts around it."""
    assert text.pairs(text.rows(pairs)) == pairs


def test_only_the_response_and_its_end_are_judged():
    rows = CHAT.rows([Pair("two", "2"), Pair("ten", "10")])
    assert [ids[judged].tolist() for ids, judged in zip(rows.ids, rows.judged)] == [[*b"2", END], [*b"10", END]]
    assert CHAT.prompts(rows) == [template("two"), template("ten")]
    assert rows.ids.shape == (2, 41)


def test_a_long_prompt_loses_the_end_of_its_text_and_keeps_its_wrapping():
    (pair,) = CHAT.pairs(CHAT.rows([Pair("é" * 30, "yes")]))
    # 41 places, 4 for the answer and its end, 12 for the template: 25 bytes, and half of an é is none
    assert pair == Pair("é" * 12, "yes")


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        (Pair("hm", "x" * 41), "^pair 1: .*42"),
        (Pair("hm", ""), "^pair 1: "),
        (Pair("hm", "x" * 30), "nothing is left of the prompt 'hm' in 10 tokens; allow longer rows"),
    ],
)
def test_a_pair_that_fits_no_row_is_told(pair, said):
    with pytest.raises(Mistake, match=said):
        CHAT.rows([pair])


def test_a_prompt_without_tokens_is_told():
    with pytest.raises(Mistake, match="the prompt '' has no token"):
        PLAIN.rows([Pair("", "x")])


def test_what_all_prompts_begin_with():
    assert CHAT.opening() == encode("<ask>") and PLAIN.opening() == [END]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2 is not JSON"),
        ('{"prompt": "a"}', "line 2 holds 'prompt'; expected .*response"),
        ("{}", "line 2 holds nothing; expected"),
        ("[1]", "line 2 holds list; expected"),
        ('{"prompt": "a", "response": " "}', 'line 2: "response" is " "; write a text'),
        ('{"prompt": 3, "response": "x"}', 'line 2: "prompt" is 3; write a text'),
    ],
)
def test_a_broken_line_is_named(tmp_path, line, said):
    path = tmp_path / "task.jsonl"
    path.write_text('{"prompt": "a", "response": "b"}\n' + line + "\n")
    with pytest.raises(Mistake, match=said):
        read_pairs(path)


def test_read_pairs(tmp_path):
    path = tmp_path / "task.jsonl"
    path.write_text('{"prompt": "a", "response": "b"}\n\n{"response": "d", "prompt": "c"}\n')
    assert read_pairs(path) == [Pair("a", "b"), Pair("c", "d")]


def test_a_task_may_have_an_instruction():
    rows = all_judged(torch.zeros(1, 3, dtype=torch.long))
    assert Task("a", rows).instruction == "" and Task("a", rows, instruction="Add.").instruction == "Add."


# --- answers ----------------------------------------------------------------------------------------------------------


class Counter(torch.nn.Module):
    """Predicts the next id up, and `end` after 9: no training needed to know what it must answer."""

    def __init__(self, end=END):
        super().__init__()
        self.bias, self.end = torch.nn.Parameter(torch.zeros(())), end

    def forward(self, tokens, targets=None, cache=None):
        follows = torch.where(tokens >= 9, self.end, tokens + 1)
        return 20.0 * torch.nn.functional.one_hot(follows, 12).float() + self.bias, None


def counting(**settings):
    return Learner(Counter(), text=PLAIN, **settings)


def test_answers_end_before_the_end_in_the_order_of_the_prompts():
    """Prompts of three lengths, so of three batches; those that end early must not stop or shift the others."""
    assert counting().generate([[5], [1, 2], [8], [3], [4, 7, 9]], 4) == [
        [6, 7, 8, 9],
        [3, 4, 5, 6],
        [9],
        [4, 5, 6, 7],
        [],
    ]
    assert counting().generate([], 4) == []
    assert counting().generate([[8]], 4, stop=()) == [[9, 0, 1, 2]]


def test_a_faster_generate_is_given_the_same_arguments():
    calls = []
    learner = counting(generate=lambda model, prompts, n, **settings: calls.append((prompts, n, settings)) or [[1]])
    assert learner.generate([[5]], 4, temperature=0.9, top_p=0.6, repetition_penalty=1.2, seed=3) == [[1]]
    assert calls == [([[5]], 4, dict(temperature=0.9, top_p=0.6, repetition_penalty=1.2, seed=3, stop=(END,)))]


def test_generating_is_exact_and_leaves_no_trace():
    """Dropout is off while answers are written, the mode comes back, and torch's own generator is not touched."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(256, 12, n_layer=1, n_head=2, n_embd=8, dropout=0.5)).train()
    learner = Learner(model, text=PLAIN)
    before = torch.get_rng_state()
    prompts = [[5, 6], [7], [8, 9]]
    together = learner.generate(prompts, 20, temperature=1.0, top_p=0.9, seed=1, stop=())
    assert together == learner.generate(prompts, 20, temperature=1.0, top_p=0.9, seed=1, stop=())
    assert together != learner.generate(prompts, 20, temperature=1.0, top_p=0.9, seed=2, stop=())
    assert [len(answer) for answer in together] == [10, 11, 10]  # where the context of 12 ends
    greedy = learner.generate(prompts, 5)
    assert greedy == [learner.generate([prompt], 5)[0] for prompt in prompts]
    assert model.training and torch.equal(torch.get_rng_state(), before)


def test_the_cache_changes_no_answer():
    """Rows that end at different times, each read again as a whole with every token: the same ids."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(12, 16, n_layer=2, n_head=2, n_embd=8)).double().eval()
    model.wte.weight.data *= 20  # answers that differ
    prompts = [[5, 6, 7], [7, 1, 1], [8, 9, 2], [3, 3, 3]]
    stops = generate(model, prompts, 9, stop=(0, 2))
    for prompt, answer in zip(prompts, generate(model, prompts, 9)):
        ids = list(prompt)
        for _ in range(9):
            ids.append(model(torch.tensor([ids]))[0][0, -1].argmax().item())
        assert answer == ids[3:]
        until = next((i for i, token in enumerate(answer) if token in (0, 2)), 9)
        assert stops.pop(0) == answer[:until]


def test_prompts_that_cannot_be_answered_are_told():
    learner = Learner(GPT(GPTConfig(256, 4, n_layer=1, n_head=2, n_embd=8)), text=PLAIN)
    with pytest.raises(ValueError, match="a prompt of 5 tokens does not fit this model's context of 4; shorten it"):
        learner.generate([[1] * 5], 1)
    with pytest.raises(ValueError, match="a prompt is empty; give at least one token"):
        learner.generate([[1], []], 1)
    with pytest.raises(ValueError, match="repetition_penalty is 0; give a number above 0"):
        learner.generate([[1]], 1, repetition_penalty=0)
    with pytest.raises(Mistake, match="generating needs to read and write text; build the learner with text=Format"):
        Learner(learner.model).generate([[1]], 1)


# --- embeddings -------------------------------------------------------------------------------------------------------


class Hidden(Counter):
    """A model whose hidden state of a token is that token, twice."""

    def hidden(self, tokens, cache=None):
        return tokens[..., None].float().repeat(1, 1, 2)


def test_an_embedding_is_the_mean_over_the_prompt():
    """Prompts of 2 and 3 tokens, and plain text, whose every token but the first is judged: embedded whole."""
    ids = torch.tensor([[1, 3, 9, 9, 0], [1, 2, 6, 9, 9], [1, 2, 3, 4, 9]])
    judged = torch.tensor([[0, 0, 1, 1, 0], [0, 0, 0, 1, 1], [0, 1, 1, 1, 1]]).bool()
    got = Learner(Hidden()).embed(Rows(ids=ids, judged=judged))
    assert got.tolist() == [[2, 2], [3, 3], [2.5, 2.5]]


def test_an_embedding_without_hidden_states_tells_prompts_apart():
    """And does not depend on the response, which the model of a later day may not have."""
    learner = Learner(Counter(), text=PLAIN)
    ids = torch.tensor([[1, 2, 5, 6], [1, 2, 8, 9], [3, 4, 5, 6]])
    judged = torch.tensor([[False, False, True, True]] * 3)
    a, b, c = learner.embed(Rows(ids=ids, judged=judged))
    assert torch.equal(a, b) and not torch.allclose(a, c, atol=0.1)
