"""The mask across documents: in a window each document must read as if it stood alone."""

import pytest
import torch
from pretrain.documents import DocumentGPT
from pretrain.vendor.gpt.model import GPT, GPTConfig

pytestmark = pytest.mark.day(73)
END = 0
CONFIG = GPTConfig(20, 12, 2, 2, 16)
WINDOW = torch.tensor([[5, 6, END, 7, 8, 9, END, 3, 4, END, 2, 2]])


def built(kind, *given):
    torch.manual_seed(0)
    return kind(CONFIG, *given).eval()


def test_a_document_does_not_see_the_one_before_it():
    """Change every token before a border: nothing behind it may move. The plain GPT moves, so the test can fail."""
    other = WINDOW.clone()
    other[0, :6] = torch.tensor([1, 2, 3, 4, 5, 6])
    for model, same in ((built(DocumentGPT, END), True), (built(GPT), False)):
        with torch.no_grad():
            before, after = (model(tokens)[0][0, 6:] for tokens in (WINDOW, other))
        assert torch.equal(before, after) is same


def test_a_text_without_borders_is_read_as_by_the_plain_model():
    """Same names, same numbers, same logits: to 1e-6, for two kernels of attention add in another order."""
    masked, plain = built(DocumentGPT, END), built(GPT)
    assert all(torch.equal(a, b) for a, b in zip(masked.state_dict().values(), plain.state_dict().values()))
    assert masked.state_dict().keys() == plain.state_dict().keys()
    tokens = torch.tensor([[END, 5, 6, 7, 8, 9]])
    with torch.no_grad():
        torch.testing.assert_close(masked(tokens)[0], plain(tokens)[0], atol=1e-6, rtol=0)


def test_it_is_the_mask_that_the_sampler_defines():
    from pretrain.data.sampler import mask as plain
    from pretrain.documents import mask

    assert (mask(WINDOW, END).numpy() == plain(WINDOW.numpy(), END)).all()
