"""Models of any format, opened: the table, what a base consists of, where names are looked for, folding."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from nanogpt import checkpoint, formats, sources, tasks
from nanogpt.formats import hf_folder
from nanogpt.formats.published import Published
from nanogpt.model import GPT, GPTConfig, blank, build
from nanogpt.sources import ADAPTER, digest, find, fold_in, lasting, on_base, open_model
from nanogpt.vendor.lora import adapter
from nanogpt.vendor.shared.errors import Mistake
from safetensors.torch import save_file
from week14_tiny import publish, tiny_model

pytestmark = pytest.mark.day(97)


def logits(model, length=20):
    with torch.no_grad():
        return model(torch.arange(length)[None] % 300)[0]


def test_a_new_format_is_a_file_and_a_row(tmp_path, monkeypatch):
    """A row more in the table must be enough for every command to open, and for export to write."""
    model, tokenizer = tiny_model()

    class Toy:
        ABOUT = "a .toy file"
        probe = staticmethod(lambda path: path.suffix == ".toy")
        files = staticmethod(lambda path: [path])
        read = staticmethod(lambda path: Published(model.config, checkpoint.weights(model), tokenizer))
        write = staticmethod(lambda path, published: path.write_text("toy"))

    path = tmp_path / "m.toy"
    path.write_text("")
    with pytest.raises(Mistake, match="is none of the models that are read here .*gguf: a .gguf file"):
        open_model(path)
    monkeypatch.setitem(formats.FORMATS, "toy", Toy)
    loaded = open_model(path)
    assert torch.equal(logits(loaded.model), logits(model))
    formats.write("toy", path, loaded.published())
    assert path.read_text() == "toy"
    with pytest.raises(Mistake, match="gguf cannot be written: nanogpt only reads it"):
        formats.write("gguf", path, loaded.published())


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("target", ["attn.q", "mlp.*", "head", "all-linear"])
def test_folding_changes_no_logit(tmp_path, target, tie):
    """An adapter on a tied head must not change the embedding: folded and exported, the model is the one that learned
    (to 1e-4, float32 sums in another order)."""
    loaded = open_model(publish(tmp_path / "base", tie=tie))
    adapter.attach(loaded.model, ADAPTER, adapter.LoRAConfig(4, 8, targets=(target,)))
    with torch.no_grad():
        for p in adapter.parameters(loaded.model, ADAPTER).values():
            p.normal_(std=0.1)
    before = logits(loaded.model)
    fold_in(loaded.model)
    torch.testing.assert_close(logits(loaded.model), before, atol=1e-4, rtol=1e-4)
    formats.write("huggingface", tmp_path / "out", loaded.published())
    again = open_model(tmp_path / "out")
    torch.testing.assert_close(logits(again.model), before, atol=1e-4, rtol=1e-4)
    assert again.model.config.tie == (tie and target != "head")


@pytest.mark.parametrize(
    ("part", "file", "change"),
    [
        ("config", "config.json", {"rope_theta": 5.0}),
        ("template", "tokenizer_config.json", {"chat_template": "{{ messages }}"}),
        ("template", "tokenizer_config.json", {"eos_token": "<|endoftext|>"}),
    ],
)
def test_a_changed_base_is_named(tmp_path, part, file, change):
    """An adapter on other settings gives other numbers quietly."""
    folder = publish(tmp_path / "base")
    kept = digest(open_model(folder))
    fields = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(fields | change))
    now = digest(open_model(folder))
    assert [name for name in kept if kept[name] != now[name]] == [part]
    with pytest.raises(Mistake, match=f"was trained on another .*: its {part} changed"):
        on_base(tmp_path, {"base": {"model": str(folder), "digest": kept}}, "cpu", "float32")


def test_a_peft_adapter_is_read_on_its_base(tmp_path):
    """The logits are those of peft itself (1e-4, float32); a base that is not here is told, with what to do."""
    transformers, peft = pytest.importorskip("transformers"), pytest.importorskip("peft")
    base = publish(tmp_path / "base")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(base)
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False)
    theirs = peft.get_peft_model(theirs, config).eval()
    theirs.save_pretrained(tmp_path / "tuned")
    with torch.no_grad():
        expected = theirs(torch.arange(20)[None]).logits
    torch.testing.assert_close(logits(open_model(tmp_path / "tuned").model), expected, atol=1e-4, rtol=1e-4)
    path = tmp_path / "tuned/adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": "someone/else"}))
    with pytest.raises(Mistake, match="an adapter of 'someone/else', .*write the path .*base_model_name_or_path"):
        open_model(tmp_path / "tuned")


def test_an_adapter_with_a_config_beside_it_is_an_adapter(tmp_path):
    """Some are published with their base's config.json; such a folder was told to have no weights."""
    base = publish(tmp_path / "base")
    (tmp_path / "tuned").mkdir()
    tensors = {"A.weight": torch.ones(2, 32), "B.weight": torch.zeros(32, 2)}
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
    save_file({name + part: tensor for part, tensor in tensors.items()}, tmp_path / "tuned/adapter_model.safetensors")
    fields = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["layers.0.self_attn.q_proj"]}
    fields["base_model_name_or_path"] = str(base)
    (tmp_path / "tuned/adapter_config.json").write_text(json.dumps(fields))
    shutil.copy(base / "config.json", tmp_path / "tuned")
    assert torch.equal(logits(open_model(tmp_path / "tuned").model), logits(open_model(base).model))  # B is 0
    before = digest(open_model(tmp_path / "tuned"))
    (tmp_path / "tuned/adapter_config.json").write_text(json.dumps(fields | {"lora_alpha": 8}))
    after = digest(open_model(tmp_path / "tuned"))
    changed = [part for part in before if before[part] != after[part]]
    assert changed == ["settings"], "an alpha of its own is another base for what was learned on top"


def test_an_adapter_of_itself_is_told(tmp_path):
    """Bases that name each other in a ring had no end: a traceback of a thousand lines."""
    for name, base in (("a", "../b"), ("b", "../a"), ("own", str(tmp_path / "own"))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
        with pytest.raises(Mistake, match="of itself; write the path of a whole model's" if name != "a" else "reads"):
            open_model(tmp_path / name)


def test_weights_that_are_no_numbers_are_told(tmp_path):
    """Text went on, with nan bits per byte; rows of answers ended in a traceback."""
    published = hf_folder.read(publish(tmp_path / "a"))
    published.tensors["blocks.1.mlp.up.weight"][3, 4] = float("nan")
    hf_folder.write(tmp_path / "b", published)
    with pytest.raises(Mistake, match="b: blocks.1.mlp.up.weight holds NaN or infinity; .*get another copy"):
        open_model(tmp_path / "b")


@pytest.mark.parametrize("setting", ["flag", "post_processor"])
def test_bos_where_the_format_says_so(tmp_path, setting):
    """Llama 3 was trained with a token before every text: without it the model is another."""
    transformers = pytest.importorskip("transformers")
    published = hf_folder.read(publish(tmp_path / "a", template=None))
    assert published.begin == ""
    hf_folder.write(tmp_path / "b", replace(published, begin="<|im_start|>" if setting == "post_processor" else ""))
    if setting == "flag":
        path = tmp_path / "b/tokenizer_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"add_bos_token": True}))
    loaded = open_model(tmp_path / "b")
    ids = tasks.encode(loaded.tokenizer, "the sky").tolist()
    special = loaded.tokenizer.special_tokens
    assert (ids[0], ids[-1]) == (special["<|im_start|>"], special["<|im_end|>"])
    if setting == "post_processor":
        assert transformers.AutoTokenizer.from_pretrained(tmp_path / "b")("the sky").input_ids == ids[:-1]


def test_the_published_end_ends_a_document(tmp_path):
    """Whatever a vocabulary calls its end, eval, learn, sample and export ask for it."""
    published = hf_folder.read(publish(tmp_path / "a", template=None))
    special = {text.replace("<|im_end|>", "<eos>"): i for text, i in published.tokenizer.special_tokens.items()}
    special.pop("<|endoftext|>")
    tokenizer = type(published.tokenizer)(published.tokenizer.ranks, special_tokens=special)
    hf_folder.write(tmp_path / "b", replace(published, tokenizer=tokenizer, eos="<eos>"))
    loaded = open_model(tmp_path / "b")
    assert tasks.end_id(loaded.tokenizer) == special["<eos>"] and loaded.published().eos == "<eos>"
    checkpoint.save(tmp_path / "c", loaded.model, loaded.tokenizer, {}, chat=loaded.special)
    again = open_model(tmp_path / "c")
    assert tasks.end_id(again.tokenizer) == special["<eos>"] and again.chat is None


def test_where_names_are_looked_for(tmp_path, monkeypatch):
    """CHASE_DATA, ./data, the user's cache, then what ships; the error names all four."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHASE_DATA", str(tmp_path / "one"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sources, "SHIPPED", tmp_path / "shipped")
    with pytest.raises(
        Mistake, match="one/smollm2.*data/smollm2.*cache/nanogpt/smollm2.*shipped/smollm2.*give its path to --model"
    ):
        find("smollm2-135m")
    for folder in reversed(sources.places()):
        path = folder / sources.NAMES["smollm2-135m"][0]
        path.parent.mkdir(parents=True)
        path.write_text("")
        assert find("smollm2-135m") == path
    assert lasting("smollm2-135m") == "smollm2-135m" and lasting("./x/") == str(tmp_path / "x")


def test_a_long_context_costs_nothing_until_it_is_used():
    """The angles of RoPE are computed as far as a text goes: the same logits as with all of them at once."""
    torch.manual_seed(0)
    config = GPTConfig(300, block_size=2**28, n_layer=1, n_head=2, n_embd=16)
    model = GPT(config).eval()
    short = GPT(replace(config, block_size=64)).eval()
    short.load_state_dict(model.state_dict())
    assert torch.equal(logits(model), logits(short))
    model.cos, model.sin = model.cos[:8], model.sin[:8]
    assert torch.equal(logits(model), logits(short)) and len(model.cos) == 20


def test_build_takes_tensors_over():
    """No number is drawn, nothing is copied."""
    config = GPTConfig(300, block_size=16, n_layer=1, n_head=2, n_embd=16)
    tensors, state = {name: torch.ones(t.shape) for name, t in blank(config).items()}, torch.get_rng_state()
    model = build(config, tensors)
    assert torch.equal(state, torch.get_rng_state()) and model.head.weight is model.embed.weight
    assert {p.data_ptr() for p in model.parameters()} == {t.data_ptr() for t in tensors.values()}
