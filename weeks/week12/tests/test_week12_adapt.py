"""Week 12, `train.py adapt FILE`: on a tiny published model, as it would go with SmolLM2-135M, and what it refuses.

nanogpt is opened by name, as the job does; where it is not installed there is nothing to adapt.
"""

import json
import signal

import pytest
import torch

pytest.importorskip("nanogpt")

from lora import LoRAConfig, attach  # noqa: E402
from lora.adapt import Adaptation, Settings  # noqa: E402
from lora.published import product, save_published, their_paths  # noqa: E402
from lora.vendor.shared.errors import Mistake  # noqa: E402
from lora.vendor.shared.files import locked  # noqa: E402

pytestmark = pytest.mark.day(84)

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A published chat model of two layers, twenty rows of a task, and a text."""
    root = tmp_path_factory.mktemp("adapt")
    words = "is this good or bad user assistant "
    tokenizer = product("vendor.bpe.fast").Tokenizer.train(words * 4, 280, special_tokens=SPECIAL)
    torch.manual_seed(0)
    shape = {"block_size": 96, "n_layer": 2, "n_head": 4, "n_kv_head": 2, "n_embd": 32}
    model = product("model").GPT(product("model").GPTConfig(tokenizer.vocab_size, **shape))
    weights = product("checkpoint").weights(model)
    published = product("formats.published").Published(
        model.config, weights, tokenizer, CHATML, "<|im_start|>", "<|im_end|>"
    )
    product("formats.hf_folder").write(root / "hf", published)
    rows = [{"prompt": f"is this good {i}", "response": "good"} for i in range(20)]
    (root / "mood.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "cats.txt").write_text("The cat sat on the mat and looked at the moon.\n" * 60)
    return root


def adapt(load_script, folder, file, *options):
    argv = ["adapt", str(folder / file), "--model", str(folder / "hf"), "--threads", "1", *map(str, options)]
    return load_script("week12", "train").main(argv)


def test_rows_are_learned_and_the_folder_opens_again(load_script, folder, tmp_path, capsys, monkeypatch):
    """The loss of held-out rows falls, and what is saved gives the adapted model wherever it is opened."""
    monkeypatch.setattr(product("device"), "fast_in_bf16", lambda: False)  # float32, whose rounding is 1e-6
    m = adapt(load_script, folder, "mood.jsonl", "--out", tmp_path / "a", "--steps", 6, "--lr", 1e-2)
    assert m["after"]["loss"] < m["before"]["loss"] - 0.1
    assert m["rows"] == 18 and m["steps"] == len(m["losses"]) == 6
    assert 0 <= m["after"]["score"] <= 1 and isinstance(m["after"]["sample"], str)
    assert "before: " in capsys.readouterr().out
    assert json.loads((tmp_path / "a" / "results.json").read_text())["metrics"] == m
    again = Adaptation(folder / "mood.jsonl", Settings(model=str(tmp_path / "a")))  # the same rows are held out
    assert again.judge()["loss"] == pytest.approx(m["after"]["loss"], abs=1e-5)


def test_text_is_learned_in_bits_per_byte(load_script, folder, tmp_path):
    """The same for plain text; its sample goes on after the first held-out words."""
    m = adapt(load_script, folder, "cats.txt", "--out", tmp_path / "b", "--steps", 4, "--lr", 1e-2)
    assert m["after"]["score"] < m["before"]["score"] - 0.05
    assert "loss" not in m["after"] and m["after"]["sample"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "x.jsonl does not exist"),
        ("", "x.jsonl is empty"),
        ('{"prompt": "a", "response": "b"}\n', "x.jsonl: the task has only one row, .* give more, or --exam FILE"),
        ('{"prompt": "a", "response": "b"}\n{"prompt": \n', "x.jsonl, line 2 is not JSON .*; expected .*prompt"),
    ],
)
def test_a_broken_file_is_told(load_script, folder, tmp_path, content, sentence):
    """Before any model is opened."""
    if content is not None:
        (tmp_path / "x.jsonl").write_text(content)
    with pytest.raises(Exception, match=sentence) as caught:
        adapt(load_script, folder, tmp_path / "x.jsonl", "--model", "nowhere", "--out", tmp_path / "out")
    assert type(caught.value).__module__ == "lora.vendor.shared.errors"  # which `entry` tells in a sentence


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--rank", 0, "rank must be a whole number from 1 up, got 0"),
        ("--steps", 0, "--steps is 0; it must be from 1"),
        ("--lr", -1, "--lr is -1.0; it must be above 0"),
        ("--model", "nowhere", "nowhere"),
    ],
)
def test_a_wrong_setting_is_told(load_script, folder, tmp_path, option, value, sentence):
    """By the sentence of whoever knows the setting."""
    with pytest.raises(Exception, match=sentence) as caught:
        adapt(load_script, folder, "mood.jsonl", "--out", tmp_path / "c", f"{option}={value}")
    assert type(caught.value).__name__ == "Mistake"
    assert not (tmp_path / "c").exists()


def nothing_is_trained(monkeypatch):
    def train(*args, **options):
        raise AssertionError("trained before it was refused")

    monkeypatch.setattr(product("train"), "train", train)


@pytest.mark.parametrize("kind", ["ours", "gpt2"])
def test_a_model_without_a_published_form_is_refused(load_script, folder, tmp_path, monkeypatch, kind):
    """Before anything is trained: its layers have no names that PEFT knows (gpt2: q, k and v are one layer there)."""
    tokenizer = product("sources").open_model(folder / "hf").tokenizer
    shape = {"block_size": 96, "n_layer": 1, "n_head": 2, "n_embd": 16}
    if kind == "ours":
        shape["qk_norm"] = True
    else:
        gpt2 = product("formats.hf").FAMILIES["gpt2"]
        shape |= gpt2 | {"n_kv_head": 2}
    model = product("model").GPT(product("model").GPTConfig(tokenizer.vocab_size, **shape))
    product("checkpoint").save(tmp_path / "model", model, tokenizer, {"kind": "model"})
    nothing_is_trained(monkeypatch)
    with pytest.raises(Mistake, match="model: PEFT .* could not be saved; give one of Llama's kind.* nanogpt learn"):
        adapt(load_script, folder, "cats.txt", "--model", tmp_path / "model", "--out", tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_a_folder_that_cannot_be_used_is_told_before_training(load_script, folder, tmp_path, monkeypatch):
    """A file, a folder below one, a folder with anything in it, one in which another run is at work."""
    nothing_is_trained(monkeypatch)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "results.json").write_text("mine")
    for out in ("file", "file/sub"):
        with pytest.raises(OSError, match="file"):
            adapt(load_script, folder, "mood.jsonl", "--out", tmp_path / out)
    with pytest.raises(Mistake, match="full already holds files, .*; give another --out, or move them away"):
        adapt(load_script, folder, "mood.jsonl", "--out", tmp_path / "full")
    with locked(tmp_path / "busy"), pytest.raises(Mistake, match="another command is at work in .*busy"):
        adapt(load_script, folder, "mood.jsonl", "--out", tmp_path / "busy")
    assert (tmp_path / "file").read_text() == (tmp_path / "full" / "results.json").read_text() == "mine"
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["results.json"]


@pytest.mark.parametrize(
    ("at", "presses", "said"),
    [
        (2, 1, "stopped after step 2 of 6; the adapter so far is in .*e$"),
        (2, 2, "stopped at once, after step 1; the adapter so far is in .*e$"),
        (1, 2, "^$"),
    ],
)
def test_ctrl_c_saves_and_says_where(load_script, folder, tmp_path, monkeypatch, at, presses, said):
    """One press ends after a step, a second one at once; where no step was made, there is nothing to save."""
    whole, made = product("train").step, []

    def step(*args, **options):
        info = whole(*args, **options)
        made.append(info)
        if len(made) == at:
            for _ in range(presses):
                signal.raise_signal(signal.SIGINT)
        return info

    monkeypatch.setattr(product("train"), "step", step)
    with pytest.raises(KeyboardInterrupt, match=said) as caught:
        adapt(load_script, folder, "mood.jsonl", "--out", tmp_path / "e", "--steps", 6)
    assert len(made) == at
    if at > 1:
        assert str(tmp_path / "e") in str(caught.value)
        assert product("sources").open_model(tmp_path / "e").model
    else:
        assert not (tmp_path / "e").exists()


def test_peft_loads_it_onto_the_published_model(folder, tmp_path):
    """transformers and peft are the oracle: the names are theirs, and the logits are ours."""
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    model = product("sources").open_model(folder / "hf").model
    attach(model, "a", LoRAConfig(rank=2))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if ".lora_B" in name:
                p.normal_(std=0.3)
    assert their_paths(model)["blocks.0.attn.q"] == "model.layers.0.self_attn.q_proj"
    save_published(model, "a", tmp_path, base="base")
    base = transformers.AutoModelForCausalLM.from_pretrained(folder / "hf")
    before, ids = base(torch.arange(7)[None]).logits, torch.arange(7)[None]
    with torch.no_grad():
        theirs, ours = peft.PeftModel.from_pretrained(base, tmp_path)(ids).logits, model.eval()(ids)[0]
    assert (ours - before).abs().max() > 1e-2
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)  # float32 sums in another order
