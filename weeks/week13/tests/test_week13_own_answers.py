"""What defines the methods that rehearse what the model itself wrote: self-labels, on-policy replay, SSR."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from continual import METHODS, Learner, Pair, Task, make
from continual.synthesis import few_shot, parse, split_instruction
from continual.vendor.shared.errors import Mistake
from week13_questions import TEXT, Script, learner, task, train

pytestmark = pytest.mark.day(91)


def test_self_labels_keep_the_question_and_the_models_own_answer():
    """Answered once, greedily, by the model that has just learned the task; an empty answer leaves the true one."""
    script = Script(lambda prompt: "" if prompt == "a03?" else "ok")
    method, who = make("self-labels", dict(keep_rows=40)), learner(script)
    train(method, who, [task("a")])
    asked = script.calls[0]
    assert asked["temperature"] == 0 and torch.equal(asked["weight"], who.model.wte.weight)
    script.answer = lambda prompt: "no"
    train(method, who, [task("b")])
    assert [len(call["prompts"]) for call in script.calls] == [20, 20]
    kept = {pair.prompt: pair.response for pair in TEXT.pairs(method.memory.rows)}
    assert kept == {f"a{i:02}?": "a" if i == 3 else "ok" for i in range(20)} | {f"b{i:02}?": "no" for i in range(20)}


def test_opr_rehearses_good_own_answers_and_true_ones_where_it_fails():
    """`a` is answered "a" everywhere, wrong for one half: the median is 0, so half the rows fail and get the truth.
    `b` is answered with two words, one of them right: all score 2/3, the median, and stay as the model said them."""
    script = Script(lambda prompt: "a" if prompt[0] == "a" else ("b c" if prompt[0] == "b" else ""))
    method, who = make("opr", dict(keep_rows=40)), learner(script)
    train(method, who, [task("a", 21)])  # 21: eleven even numbers are answered wrong
    pairs = {pair.prompt: pair.response for pair in TEXT.pairs(method.buffer)}
    assert pairs == {pair.prompt: pair.response for pair in TEXT.pairs(task("a", 21).train)}
    assert method.report["a"] == {"median": 0.0, "mean": pytest.approx(10 / 21), "gold": 11}
    train(method, who, [task("b")])
    pairs = Counter(pair.prompt[0] + pair.response for pair in TEXT.pairs(method.buffer))
    assert pairs["bb c"] == 20 and method.report["b"]["median"] == pytest.approx(2 / 3)
    assert {len(call["prompts"]) for call in script.calls} == {21, 20}, "old prompts are answered again"


def test_opr_leaves_out_what_scores_below_the_median():
    script = Script(lambda prompt: "a" if int(prompt[1:3]) % 2 or int(prompt[1:3]) > 14 else "b x y z")
    method = make("opr", dict(keep_rows=30))
    train(method, learner(script), [task("a")])
    kept = TEXT.pairs(method.buffer)
    assert method.report["a"]["median"] == pytest.approx(0.4)  # 1 of 4 tokens, and 1 of 1: F1 is 2 / 5
    assert {pair.prompt for pair in kept} == {f"a{i:02}?" for i in range(20)} - {"a16?", "a18?"}  # these score 0
    assert Counter(pair.response for pair in kept) == {"a": 10, "b x y z": 8}


def test_opr_costs_the_same_however_many_tasks_came():
    """Three prompts are answered for each rehearsed row, of all tasks together."""
    script = Script(lambda prompt: "a")
    method, who = make("opr", dict(keep_rows=4)), learner(script)
    asked = []
    for name in "abcdef":
        train(method, who, [task(name)], steps=1)
        asked.append(sum(len(call["prompts"]) for call in script.calls))
        script.calls.clear()
        assert len(method.buffer) <= 4
    assert asked == [12] * 6


@pytest.mark.parametrize("name", [name for name, (_, method) in METHODS.items() if method.needs_text])
def test_methods_that_write_say_so_before_they_train(name, tmp_path):
    config = {"generic_text": str(tmp_path)} if name == "generic" else {}
    with pytest.raises(Mistake, match="needs to read and write text; build the learner with text=Format"):
        make(name, config).start(Learner(learner().model), task("a"))


# --- made-up rows -----------------------------------------------------------------------------------------------------

WIDE = replace(TEXT, length=24)


def wide_task(n=200):
    pairs = [Pair(f"Add: n{i:03}", f"{i}") for i in range(n)]
    return Task("add", WIDE.rows(pairs), instruction="Add:")


class Author(Script):
    """Writes a made-up question where it is asked for one, and answers questions with `new`."""

    def __init__(self, written):
        super().__init__(None)
        self.written = iter(written)

    def __call__(self, model, prompts, n, **settings):
        self.answer = (lambda prompt: next(self.written)) if settings["temperature"] else lambda prompt: "new"
        return super().__call__(model, prompts, n, **settings)


def ssr(written, context=64, **settings):
    author = Author(written)
    method, who = make("ssr", dict(keep_rows=30) | settings), learner(author, context=context, text=WIDE)
    start = who.model.wte.weight.detach().clone()
    train(method, who, [wide_task()])
    return method, who, author, start


def test_ssr_is_the_method_of_the_paper():
    """The first weights write with the paper's settings after two examples of 1 %; the newest answer, greedily."""
    method, who, author, start = ssr(f" m{i:03}\nOutput: {i}\n\nInput: z{i:03}\nOutput: {i}" for i in range(999))
    writing, answering = author.calls
    assert torch.equal(writing["weight"], start) and not torch.equal(answering["weight"], start)
    assert torch.equal(answering["weight"], who.model.wte.weight), "the newest weights must come back"
    settings = {key: writing[key] for key in ("temperature", "top_p", "repetition_penalty", "stop")}
    assert settings == dict(temperature=0.9, top_p=0.6, repetition_penalty=1.2, stop=(0,))
    assert answering["temperature"] == 0
    assert len(writing["prompts"]) == 6 * 20 and len(answering["prompts"]) == 20  # 10 % of 200 rows, 6 tries for each
    texts = {bytes(prompt).decode() for prompt in writing["prompts"]}
    shown = {line for text in texts for line in text.split("\n") if line.startswith("Input: ")}
    assert len(texts) == 2 and len(shown) == 2  # two rows are 1 % of 200, shown in both orders
    assert all(text.startswith("Add:\n\nInput: n") and text.endswith("\n\nInput:") for text in texts)
    kept = TEXT.pairs(method.memory.rows)
    assert len(kept) == 20 and all(pair.prompt[:6] in ("Add: m", "Add: z") for pair in kept)
    assert {pair.response for pair in kept} == {"new"}
    assert method.report["add"] == {"written": 120, "pieces": 240, "parsed": 240, "usable": 240, "kept": 20}


def test_ssr_keeps_nothing_of_the_user():
    """A model that repeats its examples gives rows that are the user's: they are dropped, however they are spaced."""
    method, *_ = ssr(f"  n{i % 200:03} \nOutput: 1" for i in range(999))
    assert method.report["add"] == {"written": 120, "pieces": 120, "parsed": 120, "usable": 0, "kept": 0}
    assert len(method.memory) == 0


def test_ssr_goes_on_with_what_could_be_read():
    """Most texts are no example, or too long for a row: the few others are used, and the report says how few."""
    texts = [" only a question", " q\nOutput: a\nOutput: b", " \nOutput: b", " " + "q" * 30 + "\nOutput: b"]
    method, *_ = ssr([" good\nOutput: yes", *texts * 99])
    assert method.report["add"] == {"written": 120, "pieces": 120, "parsed": 30, "usable": 1, "kept": 1}
    assert TEXT.pairs(method.memory.rows) == [Pair("Add: good", "new")]


def test_ssr_without_room_for_examples_writes_nothing():
    method, *_ = ssr([], context=24)
    assert method.report["add"] == {"written": 0, "pieces": 0, "parsed": 0, "usable": 0, "kept": 0}


def test_what_was_written_is_cut_into_pairs():
    assert parse(" a\nOutput: b\n\nInput: c\nOutput: d e \n") == ([Pair("a", "b"), Pair("c", "d e")], 2)
    assert parse("nothing of it") == ([], 1)
    assert few_shot("", [Pair("a", "b")]) == "Input: a\nOutput: b\n\nInput:"
    assert few_shot("Do.\n\n", [Pair("a", "b")]) == "Do.\n\nInput: a\nOutput: b\n\nInput:"
    assert split_instruction("Do.", "Do.\n\na b") == ("Do.\n\n", "a b") and split_instruction("", "a") == ("", "a")
