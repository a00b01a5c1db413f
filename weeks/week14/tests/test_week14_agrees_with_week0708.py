"""The product's model, configured as GPT-2, computes what the model built in weeks 7 and 8 computes."""

import pytest
import torch
from nanogpt.model import GPT, GPTConfig
from week14_tiny import earlier

pytestmark = pytest.mark.day(92)


def renamed(tensors):
    """The earlier week's tensors under this package's names; its fused qkv cut in three."""
    ours = {}
    for name, t in tensors.items():
        name = name.replace("wte.", "embed.").replace("wpe.", "position.")
        if ".qkv." in name:
            ours |= {name.replace("qkv", part): piece for part, piece in zip("qkv", t.chunk(3), strict=True)}
        else:
            ours[name] = t
    return ours


@pytest.mark.parametrize("bias", [True, False])
def test_same_logits_loss_and_gradients(bias):
    """What was learned by building it must be what runs: logits, loss and gradients within 1e-6 (float32 rounding)."""
    sizes = {"block_size": 20, "n_layer": 3, "n_head": 4, "n_embd": 32}
    torch.manual_seed(0)
    week0708 = earlier("week07-08", "gpt", "model")
    before = week0708.GPT(week0708.GPTConfig(vocab_size=61, bias=bias, **sizes))
    ours = GPT(GPTConfig.gpt2(61, bias=bias, **sizes))
    ours.load_state_dict(renamed(before.state_dict()))
    tokens, targets = torch.randint(0, 61, (2, 3, 20), generator=torch.Generator().manual_seed(1))
    (logits, loss), (expected, expected_loss) = ours(tokens, targets), before(tokens, targets)
    torch.testing.assert_close(logits, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(loss, expected_loss, atol=1e-6, rtol=0)
    loss.backward()
    expected_loss.backward()
    gradients = renamed({name: p.grad for name, p in before.named_parameters()})
    for name, p in ours.named_parameters():
        torch.testing.assert_close(p.grad, gradients[name], atol=1e-6, rtol=0)
    assert ours.n_params() == before.n_params() and ours.flops_per_token() == before.flops_per_token()
