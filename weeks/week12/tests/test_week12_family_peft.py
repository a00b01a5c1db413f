"""The family against real `peft`: trained side by side, and files in both directions, beyond plain linear layers."""

import json
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

from lora import LoRAConfig, adapters, attach, load, merge, parameters, save, unmerge  # noqa: E402
from week12_models import Net, shake  # noqa: E402

pytestmark = pytest.mark.day(83)

X = torch.linspace(-1, 1, 18).view(3, 6)
IDS = torch.tensor([[1, 5, 9, 2, 30], [7, 7, 0, 3, 4]])
EMBEDDED = ("embed_tokens", "q_proj")


def llama(tied=True):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=31, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=tied,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).eval()


class Normed(nn.Module):
    """A norm and an output layer, with biases everywhere."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.up, self.norm, self.head = nn.Linear(6, 9), nn.LayerNorm(9), nn.Linear(9, 4)
        self.eval()

    def forward(self, x):
        return self.head(self.norm(torch.tanh(self.up(x))))


def logits(model):
    with torch.no_grad():
        return model(IDS).logits


def disturb(theirs):
    """Move all that peft trains."""
    g = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in theirs.parameters():
            if p.requires_grad:
                p.add_(torch.randn(p.shape, generator=g) * 0.2)


def descend(model, own, target, steps=5, rate=0.05):
    """Plain descent; returns the losses."""
    losses = []
    for _ in range(steps):
        loss = ((model(X) - target) ** 2).mean()
        for p, gradient in zip(own, torch.autograd.grad(loss, own), strict=True):
            p.data -= rate * gradient
        losses.append(loss.item())
    return losses


# --- trained side by side ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize(
    "variant, fields",
    [
        ("dora", {"use_dora": True}),
        ("pissa", {"init_lora_weights": "pissa"}),
        ("olora", {"init_lora_weights": "olora"}),
    ],
)
def test_five_steps_of_descent(variant, fields, rslora, tmp_path):
    """The same losses and outputs as peft's, which writes W - scale B0 A0 into the weights where we keep W.

    DoRA starts from one file, PiSSA and OLoRA each from their own decomposition, whose signs cancel in B A.
    Float32 through an SVD and five steps: 1e-4.
    """
    target = torch.randn(3, 6, generator=torch.Generator().manual_seed(3))
    model = Net()
    attach(model, "a", LoRAConfig(rank=3, alpha=4, rslora=rslora, variant=variant))
    start = {key: p.detach().clone() for key, p in parameters(model, "a").items()}
    if variant == "dora":
        shake(model, "a")
        save(model, "a", tmp_path)
        theirs = peft.PeftModel.from_pretrained(Net(), tmp_path, is_trainable=True).eval()
    else:
        config = peft.LoraConfig(r=3, lora_alpha=4, target_modules=["up", "down"], use_rslora=rslora, **fields)
        theirs = peft.get_peft_model(Net(), config).eval()
    left = descend(model, [p for p in parameters(model, "a").values() if p.requires_grad], target)
    right = descend(theirs, [p for p in theirs.parameters() if p.requires_grad], target)
    assert left[-1] < 0.999 * left[0] and any(not torch.equal(start[k], p) for k, p in parameters(model, "a").items())
    torch.testing.assert_close(torch.tensor(left), torch.tensor(right), rtol=1e-4, atol=1e-4)
    assert (model(X) - theirs(X)).abs().max() < 1e-4


def test_pissa_starts_with_the_largest_singular_values():
    """B A times the scale is the best approximation of W of that rank; float32, 1e-5."""
    model = nn.Sequential(nn.Linear(8, 6))
    attach(model, "a", LoRAConfig(rank=2, alpha=7, variant="pissa"))
    part = model[0].adapters["a"]
    U, S, Vh = torch.linalg.svd(model[0].weight)
    best = (U[:, :2] * S[:2]) @ Vh[:2]
    torch.testing.assert_close(part.scale * part.lora_B @ part.lora_A, best, rtol=0, atol=1e-5)


# --- embeddings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("variant", ["lora", "dora", "pissa"])
def test_peft_reads_an_adapter_on_an_embedding(variant, rslora, tmp_path):
    """Ids pick columns of A in peft as here: the same logits (1e-5), also merged, and the tied output stays."""
    model = llama()
    plain = logits(model)
    attach(model, "a", LoRAConfig(rank=4, alpha=6, targets=EMBEDDED, variant=variant, rslora=rslora))
    shake(model, "a", 0.1)
    expected = logits(model)
    assert (expected - plain).abs().max() > 1e-2
    save(model, "a", tmp_path)
    theirs = peft.PeftModel.from_pretrained(llama(), tmp_path).eval()
    assert (logits(theirs) - expected).abs().max() < 1e-5
    merge(model, "a")
    assert (logits(model) - expected).abs().max() < 1e-5
    assert model.lm_head.weight is not model.model.embed_tokens.weight
    unmerge(model)
    assert model.lm_head.weight is model.model.embed_tokens.weight and torch.equal(logits(model), expected)


@pytest.mark.parametrize("dora", [False, True])
def test_we_read_pefts_adapter_on_an_embedding(dora, tmp_path):
    """peft saves the table beside it: our own, so it is no news; another model's, so it is told."""
    config = peft.LoraConfig(r=3, lora_alpha=7, target_modules=list(EMBEDDED), use_dora=dora)
    theirs = peft.get_peft_model(llama(), config)
    disturb(theirs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it saves the table
        theirs.save_pretrained(tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    tensors = load_file(file)
    key = "base_model.model.model.embed_tokens.base_layer.weight"
    assert key in tensors
    model = llama()
    assert load(model, tmp_path, "x") == ["model.embed_tokens"] + [f"model.layers.{i}.self_attn.q_proj" for i in (0, 1)]
    assert (logits(model) - logits(theirs.eval())).abs().max() < 1e-5
    save_file(tensors | {key: tensors[key] + 1}, file)
    with pytest.raises(ValueError, match=f"1 wrong:\n  unknown {key}"):
        load(llama(), tmp_path, "y")


# --- biases and whole modules -----------------------------------------------------------------------------------------

EXTRAS = [{"bias": "lora_only"}, {"bias": "all"}, {"modules_to_save": ("head",)},
          {"bias": "all", "modules_to_save": ("norm",)}]  # fmt: skip


@pytest.mark.parametrize("variant", ["lora", "dora"])
@pytest.mark.parametrize("extra", EXTRAS)
def test_peft_reads_biases_and_modules(variant, extra, tmp_path):
    """The same outputs (1e-5), and peft would write the same keys, some of them twice."""
    model = Normed()
    attach(model, "a", LoRAConfig(rank=2, targets=("up",), variant=variant, **extra))
    shake(model, "a")
    save(model, "a", tmp_path)
    theirs = peft.PeftModel.from_pretrained(Normed(), tmp_path).eval()
    assert (theirs(X) - model(X)).abs().max() < 1e-5
    assert (Normed()(X) - model(X)).abs().max() > 1e-2
    keys = {
        key.replace(".modules_to_save.", ".").replace(".original_module.", ".")
        for key in peft.get_peft_model_state_dict(theirs)
    }
    assert keys == set(load_file(tmp_path / "adapter_model.safetensors"))


@pytest.mark.parametrize("extra", EXTRAS)
def test_we_read_pefts_biases_and_modules(extra, tmp_path):
    """A folder of peft's: its outputs (1e-5), and the settings come along; saved again, peft agrees still."""
    fields = {key: list(value) if isinstance(value, tuple) else value for key, value in extra.items()}
    theirs = peft.get_peft_model(Normed(), peft.LoraConfig(r=2, target_modules=["up"], **fields))
    disturb(theirs)
    theirs.save_pretrained(tmp_path / "theirs")
    model = Normed()
    assert load(model, tmp_path / "theirs", "x") == ["up"]
    config = adapters(model)["x"]
    assert (config.bias, config.modules_to_save) == (extra.get("bias", "none"), extra.get("modules_to_save", ()))
    assert (model(X) - theirs.eval()(X)).abs().max() < 1e-5
    save(model, "x", tmp_path / "again")
    again = peft.PeftModel.from_pretrained(Normed(), tmp_path / "again").eval()
    assert (again(X) - theirs(X)).abs().max() < 1e-5


def test_a_double_that_differs_is_told(tmp_path):
    """peft's second copy of a bias that is not equal to the first: which of the two was taught?"""
    theirs = peft.get_peft_model(Normed(), peft.LoraConfig(target_modules=["up"], bias="all", modules_to_save=["norm"]))
    theirs.save_pretrained(tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    key = "base_model.model.norm.modules_to_save.bias"
    tensors = load_file(file)
    save_file(tensors | {key: tensors[key] + 1}, file)
    with pytest.raises(ValueError, match=f"1 wrong:\n  unknown {key}"):
        load(Normed(), tmp_path, "x")


# --- DoRA on a real shape, and broken files ---------------------------------------------------------------------------


def test_dora_both_ways_on_a_llama(tmp_path):
    """All linear layers, grouped queries: logits within 1e-5, in either direction, merged as well."""
    model = llama()
    attach(model, "a", LoRAConfig(rank=4, variant="dora"))
    shake(model, "a", 0.1)
    with torch.no_grad():  # shaken lengths near 0.1 would make every weight small
        for key, p in parameters(model, "a").items():
            if key.endswith("magnitude"):
                p.abs_().add_(0.3)
    save(model, "a", tmp_path / "ours")
    theirs = peft.PeftModel.from_pretrained(llama(), tmp_path / "ours").eval()
    assert (logits(theirs) - logits(model)).abs().max() < 1e-5
    assert (logits(llama()) - logits(model)).abs().max() > 1e-2
    theirs.save_pretrained(tmp_path / "theirs")
    again = llama()
    load(again, tmp_path / "theirs", "b")
    assert torch.equal(logits(again), logits(model))
    merge(again, "b")
    assert (logits(again) - logits(model)).abs().max() < 1e-5


@pytest.mark.parametrize("variant, extra", [("dora", {}), ("lora", {"bias": "all"}), ("lora", EXTRAS[2])])
def test_missing_and_unknown_keys_are_named(variant, extra, tmp_path):
    """For each tensor that can be in a file: without it, and with a stranger beside it, nothing is attached."""
    model = Normed()
    attach(model, "a", LoRAConfig(rank=2, targets=("up",), variant=variant, **extra))
    save(model, "a", tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    tensors = load_file(file)
    for key in tensors:
        save_file({k: v for k, v in tensors.items() if k != key} | {f"{key}.of_next_year": torch.zeros(1)}, file)
        fresh = Normed()
        with pytest.raises(ValueError, match=f"2 wrong:\n  missing {key}\n  unknown {key}.of_next_year"):
            load(fresh, tmp_path, "b")
        assert not adapters(fresh) and all(p.requires_grad for p in fresh.parameters())
    assert json.loads((tmp_path / "adapter_config.json").read_text())["use_dora"] is (variant == "dora")
