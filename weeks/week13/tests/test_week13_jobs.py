"""The jobs of train.py beside the domains, end to end on made-up tasks: labels, instructions, growth, own files."""

import json
import random
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from continual.pairs import Pair
from continual.tiers import base, instructions, labels, own
from continual.vendor.shared.errors import Mistake

pytestmark = pytest.mark.day(91)

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"  # never part of the repository
SETS = {"sms-spam": ("ham", "spam"), "sarcasm": ("no", "yes")}


def jsonl(path, pairs):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"prompt": p, "response": r}) + "\n" for p, r in pairs))
    return path


@pytest.fixture
def data(tmp_path):
    """Two labelled sets whose label is told by the first letter of the text, and something to read."""
    for name, (one, two) in SETS.items():
        rng = random.Random(name)
        pairs = [(f"What is it? Answer with one of: {one}, {two}.\n\n{'ab'[i % 2]}{rng.random()}", (one, two)[i % 2])
                 for i in range(30)]  # fmt: skip
        jsonl(tmp_path / name / "train.jsonl", pairs[:20])
        jsonl(tmp_path / name / "test.jsonl", pairs[20:])
    for part, n in (("train", 6000), ("val", 1500)):
        path = tmp_path / "wiki-leads" / f"{part}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text("An article of many words, and one more. " * (n // 40))
    return tmp_path


def start(load_script, data, *more):
    argv = [*more, "--preset", "smoke", "--out", str(data / "out"), "--threads", "1"]
    return load_script("week13", "train").main(
        argv if "own" in more or "--tasks" in more else [*argv, "--data", str(data)]
    )


def test_labels_are_scored_by_likelihood(load_script, data):
    """From the data sets to the table; the base is trained once and read from its file the second time."""
    metrics = start(load_script, data, "labels")
    assert metrics["tasks"] == list(SETS) and metrics["unit"] == "share of labels right"
    for name in ("floor", "base", "naive", "replay", "separate", "joint"):
        assert 0 <= metrics[name]["acc"] <= 1
    assert metrics["floor"]["acc"] == 0.5, "two labels, as often"
    kept = list((data / "out" / "models").glob("base-*.safetensors"))
    assert len(kept) == 1
    age = kept[0].stat().st_mtime_ns
    start(load_script, data, "labels", "--methods", "l2")
    assert kept[0].stat().st_mtime_ns == age
    assert (data / "out" / "labels-smoke.json").is_file()


def test_a_base_that_was_cut_off_is_trained_again(data):
    """Half a file is no base; the same settings give the same weights."""
    settings = dict(n_layer=1, n_head=2, n_embd=16, length=16, vocab_size=260, base_steps=2, base_batch=2,
                    base_lr=1e-3, base_rows=9, valid_rows=3)  # fmt: skip
    task = base.read(data, base.vocabulary(data, 260), settings)
    first = base.pretrained(task, settings, data / "models")
    path = next((data / "models").iterdir())
    path.write_bytes(path.read_bytes()[:100])
    again = base.pretrained(task, settings, data / "models")
    assert all(torch.equal(first[name], again[name]) for name in first) and first.keys() == again.keys()
    learner = base.on_base(first, settings, None)
    assert all(torch.equal(p, first[name]) for name, p in learner.model.named_parameters())


def test_an_unseen_label_is_told_before_any_training(data):
    jsonl(data / "sarcasm" / "test.jsonl", [("what?\n\nthat", "perhaps")])
    with pytest.raises(Mistake, match="sarcasm: the test rows hold the label 'perhaps', which none of the 20 training"):
        labels.labelled(data, "sarcasm", 20, 20)


def test_instructions_stand_in_four_scores(load_script, data):
    """Teacher-forced, likelihood, exact and ROUGE-L side by side, the exact one first; the base has read nothing."""
    metrics = start(load_script, data, "instructions")
    naive = metrics["naive"]
    assert naive["acc"] == naive["acc_exact"]
    assert {"acc_teacher", "acc_likelihood", "acc_exact", "acc_rouge_l"} <= naive.keys()
    assert "generic_rise" in naive and naive["extra_mb"] < 0.001, "LoRA is the learner's, not the method's"
    assert (data / "out" / "cells" / "instructions" / "smoke" / "any-joint-s0.json").is_file()


def test_only_the_adapter_learns(data):
    """The published weights are byte-identical after training; what `naive` trains is one adapter."""
    from continual import learn, make

    settings = dict(rank=2, alpha=4, answer=6, generate=False, budget=4, replay_rows=2)
    byte = instructions.opened("bytes", "", 60)
    parts = {name: ([Pair(f"q{i}{name}", "ab"[i % 2] * 2) for i in range(6)],) * 2 for name in ("one", "two")}
    toy = instructions.scenario("toy", byte, parts, settings, labelled=True)
    learner = toy.learner(0, "naive")
    before = {name: p.clone() for name, p in learner.model.named_parameters() if not p.requires_grad}
    assert before and all(".A" in n or ".B" in n or "lora" in n.lower() for n in learner.parameters())
    learn(
        learner, make("naive"), toy.tasks[0], steps=3, batch_size=4,
        make_optimizer=lambda named: torch.optim.AdamW(named.values(), lr=0.1),
    )  # fmt: skip
    after = dict(learner.model.named_parameters())
    assert all(torch.equal(p, after[name]) for name, p in before.items())
    assert not any(torch.equal(p, q) for p, q in zip(learner.parameters().values(), byte.model.parameters()))
    scores = toy.judge(learner, toy.tasks[0])
    assert scores.keys() == toy.floor(toy.tasks[0]).keys() == {"teacher", "likelihood"}


def test_bf16_is_of_the_weights_and_the_products_alone(monkeypatch):
    """What learns, and the loss, stay in float32: an update would be lost in 8 bits."""
    bytes_ = instructions.opened("bytes", "", 60)
    ends, ask = bytes_.text.end, bytes_.text.prompt_ids
    template = SimpleNamespace(end_of_reply=ends, encode=lambda messages: ask(messages[0]["content"]))
    tokenizer = SimpleNamespace(encode_ordinary=bytes_.text.encode, decode=bytes_.text.decode)
    opener = lambda path: SimpleNamespace(model=bytes_.model, tokenizer=tokenizer, template=lambda: template)
    monkeypatch.setattr(instructions, "named", lambda name: opener)
    half = instructions.opened("x", "some:opener", 60, half="bf16")
    parts = {name: ([Pair(f"q{i}{name}", "ab"[i % 2] * 2) for i in range(6)],) * 2 for name in ("one", "two")}
    settings = dict(rank=2, alpha=4, answer=6, generate=False, budget=4, replay_rows=2)
    toy = instructions.scenario("toy", half, parts, settings, labelled=True)
    learner = toy.learner(0, "naive")
    frozen = [p for p in learner.model.parameters() if not p.requires_grad]
    assert {p.dtype for p in frozen} == {torch.bfloat16}
    assert {p.dtype for p in learner.parameters().values()} == {torch.float32}
    with learner.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    assert learner.loss(toy.tasks[0].train).dtype == torch.float32


def test_growth_of_two_and_four_tasks(load_script, data):
    metrics = start(load_script, data, "growth", "--methods", "naive", "replay")
    assert metrics["replay"].keys() == {"2", "4"} and metrics["naive"]["4"]["bytes"] == 1.0
    assert metrics["cost_per_task_growth"] == metrics["replay"]["4"]["time"] > 0


def test_growth_goes_on_without_a_row_that_takes_no_part(load_script, data, capsys):
    """SSR writes rows, and here nothing is text. What learns no sequence, or is not offered, is refused by name."""
    metrics = start(load_script, data, "growth", "--methods", "ssr", "naive")
    assert "naive" in metrics and "ssr" not in metrics and (data / "out" / "growth-smoke.json").is_file()
    assert "ssr takes no part: ssr needs to read and write text" in capsys.readouterr().out
    with pytest.raises(Mistake, match="no row took part, for the reasons above; choose other --methods"):
        start(load_script, data, "growth", "--methods", "ssr")
    with pytest.raises(Mistake, match="floor learns no tasks one after another"):
        start(load_script, data, "growth", "--methods", "floor")
    for option in (["--seeds", "2"], ["--orders", "reverse"]):
        with pytest.raises(SystemExit):
            start(load_script, data, "growth", *option)
        assert f"unrecognized arguments: {' '.join(option)}" in capsys.readouterr().err


@pytest.mark.parametrize("seeds", ["0", "-1"])
def test_no_seeds_are_refused(load_script, data, capsys, seeds):
    with pytest.raises(SystemExit) as stop:
        start(load_script, data, "labels", "--seeds", seeds)
    said = f"argument --seeds: {seeds} trains nothing; give 1 or more"
    assert stop.value.code == 2 and said in capsys.readouterr().err


def test_two_folders_of_tasks_are_refused(load_script, data, capsys):
    """One of the two would be ignored."""
    with pytest.raises(SystemExit):
        start(load_script, data, "instructions", "--ssr", "a", "--trace", "b")
    assert "not allowed with argument --ssr" in capsys.readouterr().err


def test_a_second_set_of_tasks_has_cells_of_its_own(load_script, data):
    """Nothing must be moved away, and the first set goes on with the cells that it has."""
    a, b, c = (str(jsonl(data / f"{n}.jsonl", [(f"{n}{i}?", f"{n} {i}") for i in range(6)])) for n in "abc")
    for files in ((a, b), (a, c), (a, b)):
        assert start(load_script, data, "--tasks", *files, "--method", "naive")["tasks"][1] == Path(files[1]).stem
    assert len(list((data / "out" / "cells" / "own" / "smoke").iterdir())) == 2


def test_own_files(load_script, data):
    """Three files of one's own, in the order given, judged on rows that were held out."""
    files = [jsonl(data / f"{name}.jsonl", [(f"{name}{i}?", f"{name} {i}") for i in range(12)]) for name in "abc"]
    metrics = start(load_script, data, "--tasks", *map(str, files), "--method", "l2")
    assert metrics["tasks"] == ["a", "b", "c"] and len(metrics["l2"]["matrix"]) == 3


def test_own_files_that_cannot_be_used(data):
    """A broken line, one name twice, one example, an empty answer, the same rows twice: what, and what to do."""
    pairs = [(f"{i}?", f"{i}") for i in range(5)]
    good = jsonl(data / "good.jsonl", pairs)
    (data / "bad.jsonl").write_text('{"prompt": "a", "response": "b"}\n{"prompt": "a"\n')
    with pytest.raises(Mistake, match=r'bad.jsonl, line 2 is not JSON .*expected \{"prompt"'):
        own.parts([good, data / "bad.jsonl"], 9, 9)
    with pytest.raises(Mistake, match="two files are called 'good'.*rename one"):
        own.parts([good, jsonl(data / "other" / "good.jsonl", pairs[:4])], 9, 9)
    with pytest.raises(Mistake, match="one.jsonl has 1 example, too few.*give three or more"):
        own.parts([good, jsonl(data / "one.jsonl", pairs[:1])], 9, 9)
    with pytest.raises(Mistake, match='empty.jsonl, line 1: "response" is ""; write a text'):
        own.parts([good, jsonl(data / "empty.jsonl", [("a", "")])], 9, 9)
    with pytest.raises(Mistake, match="every row of .*again.jsonl stands in .*good.jsonl too; leave one"):
        own.parts([good, jsonl(data / "again.jsonl", pairs[1:])], 9, 9)


def test_held_out_rows_are_not_learned(data):
    train, test = own.parts([jsonl(data / "a.jsonl", [(f"{i}", f"{i}") for i in range(25)])], 99, 99)[0]["a"]
    assert len(test) == 3 and len(train) == 22 and not set(train) & set(test)


def test_a_row_that_is_there_twice_is_not_learned_and_judged_by(data):
    pairs = [(f"{i % 5}", f"{i % 5}") for i in range(25)]
    train, test = own.parts([jsonl(data / "a.jsonl", pairs)], 99, 99)[0]["a"]
    assert len(test) == 1 and len(train) == 4 and not set(train) & set(test)


def test_long_answers_of_ones_own_get_the_room_that_they_need():
    """Else every exact match is 0, whatever was learned, and nothing says why."""
    text = base.byte_format(60)
    for longest, room in ((3, 8), (20, 20), (50, 30)):
        parts = {"a": ([Pair("q", "z"), Pair("q", "z" * longest)], [Pair("q", "z")])}
        assert own.room(parts, text, {"answer": 8, "length": 60}) == room


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("generic", "generic_text is empty; name a text file"),
        ("replay:keep_rows=many", "keep_rows is 'many'; use a whole number"),
        ("sequential-lora:targets=nowhere", "took no part, for the reason above; choose another --method"),
    ],
)
def test_a_method_that_cannot_be_is_a_sentence(load_script, data, capsys, method, said):
    """Before any training where its settings say so, and in the end where only the model does."""
    files = [jsonl(data / f"{name}.jsonl", [(f"{name}{i}", "ab"[i % 2]) for i in range(6)]) for name in "ab"]
    with pytest.raises(Mistake, match=said):
        start(load_script, data, "--tasks", *map(str, files), "--method", method)
    told = "matches no linear layer" in capsys.readouterr().out
    assert told == (data / "out").exists() == ("targets" in method)


def test_answers_too_long_are_left_out_and_counted(data):
    text = base.byte_format(30)
    parts = {"a": ([Pair("q", "short"), Pair("q", "much too long an answer")], [Pair("q", "yes")])}
    assert instructions.fitting(parts, text, {"answer": 8}) == ({"a": ([Pair("q", "short")], [Pair("q", "yes")])}, 1)
    with pytest.raises(Mistake, match="a: no answer is as short as 2 tokens.*allow longer answers"):
        instructions.fitting(parts, text, {"answer": 2})


def test_what_opens_a_model_is_named(data):
    with pytest.raises(Mistake, match="--open 'nowhere' names no way to open a model; give package:function"):
        instructions.opened("x", "nowhere", 30)
    with pytest.raises(Mistake, match="hold SSR's tasks; give their folder to --ssr"):
        instructions.ssr(data, {"train_rows": 1, "test_rows": 1}, ("sa",))


def test_a_mistake_of_another_package_is_ours(monkeypatch):
    """Its class is another one: `entry` would print a traceback. Any other exception stays what it is."""
    theirs = type("Below", (type("Mistake", (Exception,), {}),), {})
    for error, kind in ((theirs("nowhere names no model"), Mistake), (KeyError("nowhere names no model"), KeyError)):

        def opener(path, error=error):
            raise error

        monkeypatch.setattr(instructions, "named", lambda name, opener=opener: opener)
        with pytest.raises(kind, match="nowhere names no model"):
            instructions.opened("nowhere", "some:opener", 30)


def test_the_floor_answers_what_training_had_most(data):
    """The most frequent answer of the test rows is no floor: with one row it is always right."""
    train, test = [Pair(f"q{i}", "no") for i in range(4)], [Pair("q?", "yes")]
    settings = dict(rank=2, alpha=4, answer=6, generate=True, budget=4, replay_rows=2)
    parts = {"one": (train, test), "two": ([*train[1:], Pair("r", "yes")], [Pair("s", "no"), Pair("t", "yes")])}
    toy = instructions.scenario("toy", instructions.opened("bytes", "", 60), parts, settings, labelled=True)
    assert set(toy.floor(toy.tasks[0]).values()) == {0.0}
    assert set(toy.floor(toy.tasks[1]).values()) == {0.5}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"input": "a"', "line 2 is not JSON .*expected {{"),
        ('{{"{0}": "a"}}', "line 2 holds '{0}'; expected .*{1}"),
        ('{{"{0}": "a", "{1}": 3}}', 'line 2: "{1}" is 3; write a text'),
        ('{{"{0}": "\\ud800", "{1}": "b"}}', r'line 2: "{0}" holds .ud800, half of a character'),
    ],
)
def test_a_broken_line_of_a_folder_is_named(data, line, said):
    """SSR's and TRACE's files: the file, the line and what was expected; other fields are no fault."""
    (data / "tasks.json").write_text('{"sa": {"definition": "Do."}}')
    for read, fields in ((instructions.ssr, ("input", "output")), (instructions.trace, ("prompt", "answer"))):
        good = json.dumps(dict(zip(fields, ("a", "b"))) | {"id": 7}) + "\n"
        (data / "sa.test.jsonl").write_text(good)
        (data / "sa.train.jsonl").write_text(good + (line.format(*fields) if "{{" in line else line) + "\n")
        with pytest.raises(Mistake, match="sa.train.jsonl, " + said.format(*fields)):
            read(data, {"train_rows": 9, "test_rows": 9}, ("sa",))
        (data / "sa.train.jsonl").write_text(good)
        assert all(len(pairs) == 1 for pairs in read(data, {"train_rows": 9, "test_rows": 9}, ("sa",))["sa"])
    (data / "tasks.json").write_text("{}")
    with pytest.raises(Mistake, match="tasks.json does not tell what the tasks are .*expected .*definition"):
        instructions.ssr(data, {"train_rows": 9, "test_rows": 9}, ("sa",))


@pytest.mark.skipif(not (SHARED / "ssr10" / "tasks.json").exists(), reason="SSR's tasks are not on this machine")
def test_ssr_tasks_are_definition_input_output():
    names = instructions.SOURCES["ssr"].tasks["full"]
    parts = instructions.ssr(SHARED / "ssr10", {"train_rows": 5, "test_rows": 3}, names)
    assert tuple(parts) == names and all(len(a) == 5 and len(b) == 3 for a, b in parts.values())
    assert {pair.response for pair in parts["sa"][0] + parts["sa"][1]} <= {"positive", "negative"}
    assert all(instructions.instruction(train).endswith("\n\n") for train, _ in parts.values())


@pytest.mark.skipif(not (SHARED / "trace3").exists(), reason="TRACE-3 is not on this machine")
def test_trace_tasks_are_prompt_and_answer():
    names = instructions.SOURCES["trace"].tasks["full"]
    parts = instructions.trace(SHARED / "trace3", {"train_rows": 5, "test_rows": 3}, names)
    assert tuple(parts) == names and all(pair.response for pair in parts["fomc"][0])
    assert {pair.response for pair in parts["scienceqa"][0]} <= set("ABCDE"), "the letter, without its reasons"


def test_tasks_of_a_folder_take_its_protocol(load_script, data):
    """SSR's tasks are scored by ROUGE-L, with rows as long as they need."""
    about = {name: {"definition": f"Do {name}."} for name in ("sa", "pe")}
    (data / "tasks.json").write_text(json.dumps(about))
    for name in about:
        for part, n in (("train", 8), ("test", 2)):
            rows = [json.dumps({"input": f"{name} {part} {i}", "output": f"{i}"}) + "\n" for i in range(n)]
            (data / f"{name}.{part}.jsonl").write_text("".join(rows))
    metrics = start(load_script, data, "instructions", "--ssr", str(data))
    assert metrics["tasks"] == ["sa", "pe"] and "acc_exact" in metrics["naive"]
    assert metrics["settings"]["length"] == 480 and metrics["unit"] == "rouge_l of what it writes"
