"""Day 76: the script that asks transformers and lm-eval the same questions, on a folder with a tiny model."""

import importlib.util
import json
import sys

import pytest
import torch
from pretrain.evaluation.choice import Item
from pretrain.evaluation.subject import of_transformers
from pretrain.vendor.shared.errors import Mistake

pytestmark = pytest.mark.day(76)
END = "<|endoftext|>"
ITEMS = [
    Item("A man sits on a roof. He", ("sings.", "falls asleep on the roof at once.", "is ä fish.", "öäü"), 1),
    Item("The dog", ("barks.", "barks and runs away.", "is a cat, as every cat will tell you."), 0),
    Item("Water boils", ("at noon.", "in a pan over the fire."), 1),
    Item("She opened the door, and", ("it rained.", "the cat ran out.", "1, 2, 3.", "nothing was left of it."), 3),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A Llama of two small layers on bytes, as a Hugging Face folder with its tokenizer."""
    transformers, parts = pytest.importorskip("transformers"), pytest.importorskip("tokenizers")
    home = tmp_path_factory.mktemp("exported")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=257, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, initializer_range=0.3, bos_token_id=256, eos_token_id=256,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(home)
    alphabet = sorted(parts.pre_tokenizers.ByteLevel.alphabet())
    bytes_alone = parts.Tokenizer(parts.models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    bytes_alone.pre_tokenizer = parts.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_alone.decoder = parts.decoders.ByteLevel()
    kept = transformers.PreTrainedTokenizerFast(tokenizer_object=bytes_alone, bos_token=END, eos_token=END)
    kept.save_pretrained(home)
    return home


def test_transformers_agrees(folder, load_script, tmp_path):
    """Its own loss, one pair at a time: 1e-3 nats, of sums of up to 300 nats in float32."""
    oracle = load_script("week11", "oracle")
    kept = oracle.Kept(tmp_path / "answers.jsonl")
    metrics = oracle.compare(of_transformers(folder), folder, ITEMS, ["transformers"], kept)
    assert metrics["loglik_vs_transformers_max_diff"] < 1e-3
    assert metrics["items"] == 4 and metrics["choices"] == 13 and metrics["cut"] == 0
    assert 0 <= metrics["hellaswag_acc_interval"][0] <= metrics["hellaswag_acc"] <= metrics["hellaswag_acc_interval"][1]
    assert metrics["bits_per_byte"] > 1


def test_lm_eval_agrees(folder, load_script, tmp_path):
    """The real package, on the same folder: the same scores, log-likelihoods and bits per byte, cut contexts included.

    Where it is installed (`pip install -e '.[oracle]'`); results/oracle.json has what it said of SmolLM2-135M.
    """
    if importlib.util.find_spec("lm_eval") is None:
        pytest.skip("lm-eval is not installed")
    oracle = load_script("week11", "oracle")
    items = [*ITEMS, Item("long " * 80, ITEMS[0].choices, 2)]
    kept = oracle.Kept(tmp_path / "answers.jsonl")
    metrics = oracle.compare(of_transformers(folder), folder, items, ["lm-eval"], kept)
    assert metrics["cut"] == 4 and metrics["loglik_vs_lm_eval_max_diff"] < 1e-3
    assert [metrics[f"hellaswag_{name}_vs_lm_eval_diff"] for name in oracle.LENGTHS] == [0, 0, 0]
    assert metrics["bits_per_byte_vs_lm_eval_diff"] < 1e-5


def test_the_command_writes_what_it_compared(folder, load_script, tmp_path, monkeypatch, capsys):
    """A file of items in, a results file out."""
    oracle = load_script("week11", "oracle")
    monkeypatch.setattr(oracle, "TEXTS", 1)
    rows = [{"ctx": item.context, "endings": item.choices, "label": item.gold} for item in ITEMS]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    argv = ["--data", tmp_path / "items.jsonl", "--folder", folder, "--items", 2, "--peers", "transformers"]
    metrics = oracle.main([*map(str, argv), "--threads", "1", "--out", str(tmp_path / "out")])
    written = json.loads((tmp_path / "out/oracle.json").read_text())
    assert written["metrics"] == metrics and metrics["items"] == 2 and metrics["answers_kept_before"] == 0
    assert "2 items on 1 threads; first by us, then by transformers" in capsys.readouterr().out


def test_an_interrupted_run_goes_on(folder, load_script, tmp_path, monkeypatch, capsys):
    """Ctrl-C at the third item loses that one only, and the end is the same. Another model has answers of its own."""
    oracle = load_script("week11", "oracle")
    rows = [{"ctx": item.context, "endings": item.choices, "label": item.gold} for item in ITEMS]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    argv = ["--data", tmp_path / "items.jsonl", "--folder", folder, "--peers", "transformers", "--threads", "1"]
    argv = [*map(str, argv), "--out", str(tmp_path / "out")]
    asked, ask = [], oracle.ask

    def impatient(subject, items):
        asked.extend(items)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return ask(subject, items)

    monkeypatch.setattr(oracle, "ask", impatient)
    with pytest.raises(KeyboardInterrupt, match="2 answers are kept in .*; the same command goes on from there"):
        oracle.main(argv)
    metrics = oracle.main(argv)
    assert asked == [*ITEMS[:3], *ITEMS[2:]] and metrics["answers_kept_before"] == 2
    assert "2 answers are in" in capsys.readouterr().out
    monkeypatch.setattr(oracle, "ask", ask)
    fresh = oracle.compare(of_transformers(folder), folder, ITEMS, ["transformers"], oracle.Kept(tmp_path / "fresh"))
    assert {name: metrics[name] for name in fresh} == fresh  # the very same operations: to the last bit
    assert oracle.identity(folder, "transformers") != oracle.identity(folder, "package:function")


def test_a_row_that_was_cut_short_is_asked_again(load_script, tmp_path):
    """What is whole stays as it is; a line that is no answer at all is told."""
    oracle = load_script("week11", "oracle")
    path = tmp_path / "answers.jsonl"
    logs = lambda items: [{"logs": [len(item.context)]} for item in items]
    first = oracle.Kept(path).ask("us", ITEMS, logs, at_once=3)
    whole = path.read_text()
    path.write_text(whole[:-5])
    again = oracle.Kept(path)
    assert len(again.answers) == 3 and again.ask("us", ITEMS, logs) == first and path.read_text() == whole
    assert again.ask("us", ITEMS, None) == first  # nobody is asked
    path.write_text("{}\n")
    with pytest.raises(Mistake, match="line 1 is no answer; delete the line, or the file"):
        oracle.Kept(path)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["--items", "0"], "--items 0 compares nothing; give 1 or more"),
        (["--folder", "nowhere"], "nowhere does not exist; run: nanogpt export nowhere --model smollm2-135m"),
        ([], "has no config.json, so transformers cannot load it; give a folder that was exported"),
        (["--data", "nowhere.jsonl"], "nowhere.jsonl is no file; give the path of a JSONL file"),
    ],
)
def test_what_cannot_be_compared(given, sentence, load_script, tmp_path):
    (tmp_path / "items.jsonl").write_text('{"ctx": "a", "endings": ["b", "c"], "label": 0}\n')
    argv = ["--data", str(tmp_path / "items.jsonl"), "--folder", str(tmp_path), *given]
    with pytest.raises(Mistake, match=sentence):
        load_script("week11", "oracle").main(argv)


def test_what_must_be_installed_is_told_at_once(folder, load_script, monkeypatch):
    """Before minutes are spent, with the command."""
    monkeypatch.setitem(sys.modules, "lm_eval.models.huggingface", None)
    sentence = r"lm_eval.models.huggingface cannot be imported .*; run: pip install -e '.\[oracle\]' -c constraints.txt"
    with pytest.raises(Mistake, match=sentence):
        load_script("week11", "oracle").ready(folder, ["transformers", "lm-eval"])
