"""Week 12, the file format: real `peft` is the oracle, in both directions; and every broken file gets a sentence."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

from lora import LoRAConfig, adapters, attach, load, merge, parameters, save, using  # noqa: E402
from week12_models import Net  # noqa: E402

pytestmark = pytest.mark.day(83)


def llama():
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=31, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).eval()


MODELS = {
    "llama": (llama, ("q_proj", "v_proj")),
    "llama all": (llama, "all-linear"),
    "net": (Net, "all-linear"),
    "net part": (Net, ("inner.down", "up")),
}
IDS = torch.tensor([[1, 5, 9, 2, 30], [7, 7, 0, 3, 4]])


def output(model):
    """Logits, of whichever of the two kinds of model this is."""
    with torch.no_grad():
        if any(isinstance(m, Net) for m in model.modules()):  # peft wraps the model twice
            return model(torch.linspace(-1, 1, 18).view(3, 6))
        return model(IDS).logits


def shake(values):
    g = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in values:
            p.copy_(torch.randn(p.shape, generator=g) * 0.2)


def ours(make, config, folder):
    """Our adapter with random A and B, saved; its logits."""
    model = make()
    attach(model, "mine", config)
    shake(parameters(model, "mine").values())
    save(model, "mine", folder)
    return output(model)


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("which", MODELS)
def test_peft_reads_ours(tmp_path, which, rslora):
    """Our folder loads in peft and gives the same logits (float32; sums in another order: 1e-5), with no stray key."""
    make, targets = MODELS[which]
    expected = ours(make, LoRAConfig(rank=4, alpha=10, targets=targets, rslora=rslora), tmp_path)
    base = make()
    plain = output(base)
    theirs = peft.PeftModel.from_pretrained(base, tmp_path).eval()
    assert (output(theirs) - expected).abs().max() < 1e-5
    assert (plain - expected).abs().max() > 1e-2  # the adapter does something
    assert set(peft.get_peft_model_state_dict(theirs)) == set(load_file(tmp_path / "adapter_model.safetensors"))


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize(
    "which, targets",
    [
        ("llama", ["q_proj", "v_proj"]),
        ("llama", "all-linear"),
        ("llama", r".*\.1\..*(up|down)_proj"),
        ("net", ["up", "down"]),
    ],
)
def test_we_read_pefts(tmp_path, which, targets, rslora):
    """A folder written by peft after a few steps gives its logits here: names, a regular expression, all-linear."""
    make, _ = MODELS[which]
    config = peft.LoraConfig(r=3, lora_alpha=7, lora_dropout=0.1, target_modules=targets, use_rslora=rslora)
    theirs = peft.get_peft_model(make(), config)
    optimizer = torch.optim.Adam([p for p in theirs.parameters() if p.requires_grad], lr=0.03)
    for _ in range(4):  # the first step moves B only, the later ones A as well
        optimizer.zero_grad()
        out = theirs(IDS, labels=IDS).loss if which == "llama" else (theirs(torch.ones(2, 6)) ** 2).mean()
        out.backward()
        optimizer.step()
    theirs.save_pretrained(tmp_path)
    model = make()
    plain = output(model)
    paths = load(model, tmp_path, "theirs")
    assert len(paths) == sum("lora_A" in name for name, _ in theirs.named_parameters())
    assert (output(model) - output(theirs.eval())).abs().max() < 1e-5
    assert (output(model) - plain).abs().max() > 1e-3
    merge(model, "theirs")
    theirs.merge_adapter()
    assert (output(model) - output(theirs)).abs().max() < 1e-5


def test_rank_and_alpha_patterns_both_ways(tmp_path):
    """Layers of different rank: peft's patterns are regular expressions, ours are written so that it agrees."""
    config = LoRAConfig(rank=4, alpha=8, rank_pattern={"inner.up": 2}, alpha_pattern={"down": 3})
    expected = ours(Net, config, tmp_path / "ours")
    theirs = peft.PeftModel.from_pretrained(Net(), tmp_path / "ours").eval()
    assert (output(theirs) - expected).abs().max() < 1e-5
    patterns = {"rank_pattern": {r"inner\.up": 2, "down": 5}, "alpha_pattern": {"^up": 3}}
    again = peft.get_peft_model(Net(), peft.LoraConfig(r=4, target_modules=["up", "down"], **patterns))
    shake(p for n, p in again.named_parameters() if "lora_" in n)
    again.save_pretrained(tmp_path / "theirs")
    model = Net()
    load(model, tmp_path / "theirs", "x")
    assert (output(model) - output(again.eval())).abs().max() < 1e-5
    save(model, "x", tmp_path / "back")
    assert (output(peft.PeftModel.from_pretrained(Net(), tmp_path / "back").eval()) - output(again)).abs().max() < 1e-5


def test_a_path_that_is_the_end_of_another(tmp_path):
    """Only "up" is adapted, but peft's rule by ends would take "inner.up" too: then we write a regular expression."""
    model = Net()
    attach(model, "a", LoRAConfig(), paths=["up"])
    shake(parameters(model, "a").values())
    save(model, "a", tmp_path)
    theirs = peft.PeftModel.from_pretrained(Net(), tmp_path)
    assert sum("lora_A" in name for name, _ in theirs.named_parameters()) == 1
    again = Net()
    assert load(again, tmp_path, "b") == ["up"]
    assert torch.equal(output(again), output(model))


def test_mixed_batch_agrees_with_peft(tmp_path):
    """peft's adapter_names and our list of names give the same rows (1e-5)."""
    names = ["one", "__base__", "two"]
    ids = torch.randint(31, (3, 6), generator=torch.Generator().manual_seed(0))
    model = llama()
    for seed, name in enumerate(("one", "two")):
        attach(model, name, LoRAConfig(rank=2 + seed, targets=("q_proj", "v_proj")))
        shake(parameters(model, name).values())
        with torch.no_grad():
            for p in parameters(model, name).values():
                p.mul_(1 + seed)
        save(model, name, tmp_path / name)
    theirs = peft.PeftModel.from_pretrained(llama(), tmp_path / "one", adapter_name="one")
    theirs.load_adapter(tmp_path / "two", adapter_name="two")
    with torch.no_grad(), using(model, names):
        assert (model(ids).logits - theirs.eval()(ids, adapter_names=names).logits).abs().max() < 1e-5


def test_save_while_merged_saves_the_adapter(tmp_path):
    """Merging changes the weights, not A and B: the folder is the same to the byte."""
    model = Net()
    attach(model, "a", LoRAConfig())
    shake(parameters(model, "a").values())
    save(model, "a", tmp_path / "before")
    merge(model, "a")
    save(model, "a", tmp_path / "merged")
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "before" / file).read_bytes() == (tmp_path / "merged" / file).read_bytes()
    assert {p.name for p in (tmp_path / "merged").iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}


# --- broken files -----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    ours(Net, LoRAConfig(rank=2), tmp_path)
    return tmp_path


def change(folder, **values):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def refused(folder, kind, sentence):
    """Loading raises `sentence`, and the model is untouched."""
    model = Net()
    with pytest.raises(kind, match=sentence):
        load(model, folder, "a")
    assert all(type(m) is not nn.Linear or m.weight.requires_grad for m in model.modules())
    assert not any("adapters" in key for key in model.state_dict())


@pytest.mark.parametrize(
    "values, sentence",
    [
        ({"use_dora": True}, "missing base_model.model.up.lora_magnitude_vector"),
        ({"bias": "all"}, "missing base_model.model.up.base_layer.bias"),
        ({"bias": "some"}, "bias must be one of none, all, lora_only, got 'some'"),
        ({"lora_bias": True}, "lora_bias = true"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"modules_to_save": ["head"]}, r"modules_to_save \['head'\] names no module here"),
        ({"modules_to_save": "up"}, "modules_to_save must be a list of names, got 'up'"),
        ({"init_lora_weights": "pissa"}, 'init_lora_weights = "pissa"'),
        ({"layers_to_transform": [0]}, "layers_to_transform"),
        ({"a_key_of_next_year": 3}, "a_key_of_next_year = 3"),
        ({"peft_type": "IA3"}, "peft_type 'IA3'"),
        ({"target_modules": ["nothing"]}, "names no linear layer"),
        ({"target_modules": "("}, "not a regular expression"),
        ({"target_modules": 3}, "must be a list of names or a string"),
        ({"r": "many"}, "rank must be"),
        ({"r": 3}, r"is \(2, 6\) where \(3, 6\) is needed"),
        ({"rank_pattern": [1]}, "cannot be used"),
    ],
)
def test_a_setting_that_we_lack_raises(folder, values, sentence):
    """Ignoring one of these gives wrong logits and no sign of it."""
    change(folder, **values)
    refused(folder, ValueError, sentence)


def test_all_wrong_tensors_in_one_error(folder):
    """Whoever fixes a conversion wants the whole list, not the first of fifty errors."""
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    del tensors["base_model.model.up.lora_A.weight"]
    tensors["base_model.model.side.lora_A.weight"] = torch.zeros(2, 2)
    tensors["base_model.model.inner.up.lora_B.weight"] = torch.zeros(3, 2)
    tensors["base_model.model.inner.down.lora_B.weight"] *= float("nan")
    save_file(tensors, path)
    sentences = (
        r"4 wrong",
        r"missing base_model.model.up.lora_A.weight",
        r"unknown base_model.model.side.lora_A.weight",
        r"inner.up.lora_B.weight is \(3, 2\) where \(9, 2\) is needed",
        r"inner.down.lora_B.weight holds NaN",
    )
    refused(folder, ValueError, "(?s)" + ".*".join(sentences))


def test_broken_files(folder):
    """Cut short, not JSON, pickled, missing, one folder too high: each is told for what it is."""
    tensors, config = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    whole = tensors.read_bytes()
    for cut in (0, 4, 100, len(whole) - 1):
        tensors.write_bytes(whole[:cut])
        refused(folder, ValueError, "damaged or cut short")
    tensors.unlink()
    refused(folder, FileNotFoundError, "no adapter_model.safetensors; copy")
    (folder / "adapter_model.bin").write_bytes(b"")
    refused(folder, FileNotFoundError, "is a pickle")
    refused(folder.parent, FileNotFoundError, f"it holds the adapters .*{folder.name}")
    config.write_text("{")
    refused(folder, ValueError, "is not JSON")
    config.write_text("[]")
    refused(folder, ValueError, "peft_type")


def test_minimal_config_and_bad_value(folder):
    """The smallest config that peft reads is read with peft's defaults (r 8, alpha 8), which r = 2 does not fit."""
    path, smallest = folder / "adapter_config.json", {"peft_type": "LORA", "target_modules": ["up", "down"]}
    path.write_text(json.dumps(smallest))
    refused(folder, ValueError, r"\(2, 6\) where \(8, 6\)")
    path.write_text(json.dumps(smallest | {"r": 2}))
    model = Net()
    assert load(model, folder, "a") == ["up", "inner.up", "inner.down"]
    config = adapters(model)["a"]
    assert (config.alpha, config.dropout, config.rslora, config.bias) == (8, 0.0, False, "none")


@pytest.mark.parametrize("files", [0, 1])
def test_an_interrupted_save_leaves_the_old_adapter(files, folder, monkeypatch):
    """A full disk while writing: the old folder still loads, and no temporary file stays."""
    import lora.peft_format as peft_format

    old = Net()
    load(old, folder, "a")

    whole = iter(range(files))

    def full(fd):
        if next(whole, None) is None:  # so many files still fit
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(peft_format.os, "fsync", full)
    model = Net()
    attach(model, "b", LoRAConfig(rank=4))
    with pytest.raises(OSError, match="No space left"):
        save(model, "b", folder)
    monkeypatch.undo()
    again = Net()
    load(again, folder, "a")
    assert torch.equal(output(again), output(old))
    assert sorted(p.name for p in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
