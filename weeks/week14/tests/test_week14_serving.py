"""Methods that answer with other weights than those that they train: whoever asks a question gets the ones that were
judged, and a text goes on with one of them."""

import io
import json
import shutil
import sys

import pytest
import torch
from nanogpt import checkpoint
from nanogpt.commands.sample import write_answer
from nanogpt.sources import open_model
from nanogpt.vendor.continual.learner import Learner
from nanogpt.workspace.store import open_course, opened
from week14_tiny import SIZES, furnish, record, run

pytestmark = pytest.mark.day(100)

QUICK = "--batch-size 4 --warmup 1 --precision float32".split()
ROWS = [*QUICK, "--lr", "1e-2", "--steps", "80"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Two courses taught with experts: `both` of two tasks on a published model, `texts` of two texts from scratch."""
    home = furnish(tmp_path_factory.mktemp("serving"))
    model = home / "hf"
    for name in ("mood", "colour"):
        rows = ["learn", home / f"{name}.jsonl", "--model", model, "--out", home / "both", "--row-length", 64]
        assert run(*rows, "--method", "experts", *ROWS) == 0
        model = home / "both"
    first = ["train", home / "cats.txt", "--out", home / "texts", *SIZES, "--method", "experts"]
    assert run(*first, *QUICK, "--lr", "5e-3", "--steps", "6") == 0
    argv = ["learn", home / "dogs.txt", "--model", home / "texts", "--out", home / "texts"]
    assert run(*argv, *QUICK, "--lr", "5e-3", "--steps", "6") == 0
    return home


def sampled(folder, prompt, capsys):
    capsys.readouterr()
    argv = ["sample", "--model", folder, "--prompt", prompt, "--max-tokens", 6, "--temperature", 0]
    assert run(*argv, "--precision", "float32") == 0
    return capsys.readouterr().out.strip()


def test_each_prompt_is_answered_as_its_task_was_learned(home, capsys):
    """The second task taught another answer to questions of the same form; nothing of the first is lost, and the method
    keeps no row of it."""
    (first,), (old, new) = record(home / "both")["scores"]
    assert (first, old, new) == (1.0, 1.0, 1.0)
    assert sampled(home / "both", "is this mood 3", capsys) == "good"
    assert sampled(home / "both", "is this colour 3", capsys) == "blue"
    assert not any(key.endswith(".ids") for key in checkpoint.load_part(home / "both", "state"))


def test_eval_judges_with_the_weights_of_each_row(home, capsys):
    for name in ("mood", "colour"):
        capsys.readouterr()
        assert run("eval", home / f"{name}.jsonl", "--model", home / "both", "--precision", "float32") == 0
        assert capsys.readouterr().out.startswith("100.0 % of 20 answers right")


def chatted(lines, monkeypatch, capsys, *options):
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines) + "\n"))
    capsys.readouterr()
    assert run("chat", "--temperature", 0, "--max-tokens", 4, "--precision", "float32", *options) == 0
    return [word for word in capsys.readouterr().out.replace(">", " ").split() if word in ("good", "blue")]


def test_a_chat_may_go_from_task_to_task(home, capsys, monkeypatch):
    """Each turn is answered by the expert of its own line, which reads what was said before anew: keys and values of
    other weights would be another model's."""
    read = []

    def noted(loaded, ids, drawn, n, *, context, **options):
        read.append(list(context.ids))
        return write_answer(loaded, ids, drawn, n, context=context, **options)

    monkeypatch.setattr("nanogpt.commands.chat.write_answer", noted)
    lines = ["is this mood 4", "is this colour 4", "is this mood 5"]
    assert chatted(lines, monkeypatch, capsys, "--model", home / "both") == ["good", "blue", "good"]
    assert read == [[], [], []]


def test_a_system_message_tells_the_task_too(home, capsys, monkeypatch, tmp_path):
    """Two tasks with the same prompts, learned under other system messages; a chat has one of these."""
    told, model = {"good": "great great", "blue": "sky sky"}, home / "hf"
    for i, (answer, system) in enumerate(told.items()):
        rows = [{"prompt": f"is this message {n}", "response": answer, "system": system} for n in range(20)]
        (tmp_path / f"{i}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        argv = ["learn", tmp_path / f"{i}.jsonl", "--model", model, "--out", tmp_path / "m", "--row-length", 64]
        assert run(*argv, "--method", "experts", *ROWS) == 0
        model = tmp_path / "m"
    for answer, system in told.items():
        said = chatted(["is this message 3"], monkeypatch, capsys, "--model", tmp_path / "m", "--system", system)
        assert said == [answer]


def test_a_chat_with_a_text_goes_on_with_who_finds_all_of_it_likeliest(home, capsys, monkeypatch):
    """Not with who likes the newest line best: the model continues the whole."""
    held = []

    def noted(loaded, *_, said, **options):
        held.append(loaded.model.embed.weight.detach().clone())
        said.append("\n")
        return 1

    monkeypatch.setattr("nanogpt.commands.chat.write_answer", noted)
    chatted(["The cat sat", "n"], monkeypatch, capsys, "--model", home / "texts")
    course = open_course(home / "texts")
    who = Learner(course.model)
    alone = course.method.chosen(who, who.forward, [course.tokenizer.encode("n\n")])
    assert alone.tolist() != [0], "or the line alone would have said the same"
    assert torch.equal(held[1], course.method.experts[0]["embed.weight"])


def test_a_text_is_judged_by_all_experts_together(home, capsys):
    """What the matrix says is what eval says; of the first text no more is lost than Bayes' rule costs."""
    (first,), (old, _) = record(home / "texts")["scores"]
    text = open_course(home / "texts").exams["cats"]
    (home / "exam.txt").write_text(text)
    capsys.readouterr()
    assert run("eval", home / "exam.txt", "--model", home / "texts") == 0
    assert float(capsys.readouterr().out.split()[0]) == pytest.approx(old, abs=5e-5)
    assert old < first + 1.0 / 16 + 1e-6  # bits a token of rows of 16; a token is at least a byte


def test_a_prompt_longer_than_the_context_is_served_too(home, capsys):
    prompt = "The cat sat on the mat and looked at the moon. " * 3
    assert len(sampled(home / "texts", prompt, capsys)) > len(prompt)


def test_what_chooses_by_the_prompt_cannot_be_exported(home, tmp_path, capsys):
    assert run("export", tmp_path / "out", "--model", home / "both") == 1
    assert "has weights for each task and chooses by the prompt, which transformers cannot" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_averaged_weights_are_what_is_exported(home, tmp_path):
    """EMA serves slow weights: the exported model is these, not the ones that were trained last."""
    argv = ["learn", home / "mood.jsonl", "--model", home / "hf", "--out", tmp_path / "m", "--row-length", 64, *ROWS]
    assert run(*argv, "--method", "ema", "--decay", "0.9") == 0
    assert run("export", tmp_path / "out", "--model", tmp_path / "m") == 0
    tokens = torch.tensor([[5, 80, 200, 12, 7]])
    loaded, method = opened(tmp_path / "m")
    with torch.no_grad(), method.serving(Learner(loaded.model), [5]):
        served = loaded.model(tokens)[0]
    with torch.no_grad():
        exported, last = open_model(tmp_path / "out").model(tokens)[0], loaded.model(tokens)[0]
    torch.testing.assert_close(exported, served, rtol=1e-4, atol=1e-3)  # W + sBA in one sum
    assert (last - served).abs().max() > 0.01, "or the average was never another"


def test_another_method_goes_on_from_what_was_judged(home, tmp_path, capsys):
    """And `undo` brings back the course as it was: its method, and the weights that this served."""
    learn = ["learn", home / "mood.jsonl", "--model", home / "hf", "--out", tmp_path / "m", "--row-length", 64, *ROWS]
    assert run(*learn, "--method", "ema", "--decay", "0.9") == 0
    before = open_course(tmp_path / "m")
    still = ["--batch-size", 4, "--warmup", 1, "--steps", 1, "--lr", "1e-9", "--precision", "float32"]
    other = ["learn", home / "colour.jsonl", "--model", tmp_path / "m", "--out", tmp_path / "n", "--method", "naive"]
    assert run(*other, *still) == 0
    after = open_course(tmp_path / "n")
    last = Learner(before.model).parameters()
    with before.method.view(Learner(before.model), "mood"):
        served = {name: p.detach().clone() for name, p in last.items()}
    assert max((last[name] - served[name]).abs().max() for name in last) > 1e-4, "or the average was never another"
    assert after.method_name == "naive"
    for name, p in Learner(after.model).parameters().items():
        torch.testing.assert_close(p, served[name], rtol=0, atol=1e-6, check_stride=False)
    assert run("undo", tmp_path / "n") == 0
    back = open_course(tmp_path / "n")
    assert back.method_name == "ema" and back.learned == ["mood"]
    assert all(torch.equal(t, back.method.state()[key]) for key, t in before.method.state().items() if key != "steps")
    capsys.readouterr()
    texts = ["learn", home / "cats.txt", "--name", "new", "--exam", home / "dogs.txt", "--model", home / "texts"]
    assert run(*texts, "--out", tmp_path / "t", "--method", "replay", *still) == 0
    assert "goes on from the weights of dogs" in capsys.readouterr().err
    late = ["learn", home / "colour.jsonl", "--model", tmp_path / "m", "--out", tmp_path / "x", "--method", "experts"]
    assert run(*late) == 1
    assert "it would know no prompt of mood: teach these with it too" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("change", [
    {"experts": 5}, {"names": ["mood"]}, {"names": ["mood"] * 2}, {"asking": ["mood", "zzz"]}, {"asking": ["mood"] * 2},
])  # fmt: skip
def test_a_state_that_does_not_hold_together_is_refused(home, tmp_path, capsys, change):
    shutil.copytree(home / "both", tmp_path / "m")
    index = json.loads((tmp_path / "m" / "checkpoint.json").read_text())
    index["record"]["state"] |= change
    (tmp_path / "m" / "checkpoint.json").write_text(json.dumps(index))
    capsys.readouterr()
    assert run("sample", "--model", tmp_path / "m", "--prompt", "is this mood 3") == 1
    told = capsys.readouterr().err
    assert "restore the folder from a copy" in told and "Traceback" not in told
