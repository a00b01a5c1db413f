"""The vendored LoRA on the product's own model: what week 12 built must fit what week 14 runs."""

import pytest
import torch
from nanogpt.model import GPT, GPTConfig
from nanogpt.vendor.lora.adapter import LoRAConfig, attach, detach, merge, parameters, unmerge
from nanogpt.vendor.lora.peft_format import load, save

pytestmark = pytest.mark.day(98)

CONFIG = GPTConfig(61, block_size=16, n_layer=2, n_head=4, n_kv_head=2, n_embd=32)


def model_and_tokens():
    torch.manual_seed(0)
    model = GPT(CONFIG).eval()
    return model, torch.randint(0, 61, (2, 16))


def test_adapter_trains_merges_and_travels(tmp_path):
    """Attach changes nothing, training moves the adapter alone, merging agrees (1e-5, float32), a file restores it."""
    model, tokens = model_and_tokens()
    before = model(tokens)[0]
    base = {name: t.clone() for name, t in model.state_dict().items()}
    paths = attach(model, "task", LoRAConfig(rank=4, alpha=8, targets=("attn.q", "attn.v")))
    assert len(paths) == 2 * CONFIG.n_layer and torch.equal(model(tokens)[0], before)
    own = parameters(model, "task")
    assert sum(p.numel() for p in own.values()) == CONFIG.n_layer * 4 * ((32 + 32) + (32 + 16))
    optimizer = torch.optim.AdamW(own.values(), lr=0.05)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = model(tokens, tokens.roll(-1, 1))[1]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    with torch.no_grad():
        adapted = model(tokens)[0]
        merge(model, "task")
        torch.testing.assert_close(model(tokens)[0], adapted, atol=1e-5, rtol=0)
        unmerge(model)
        save(model, "task", tmp_path)
        detach(model, "task")
        assert all(torch.equal(t, base[name]) for name, t in model.state_dict().items())
        assert torch.equal(model(tokens)[0], before)
        load(model, tmp_path, "task")
        assert torch.equal(model(tokens)[0], adapted)
