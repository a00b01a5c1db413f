"""Days 26 and 27: the causal convolution, equal to torch's, and how far a stack of them sees."""

import pytest
import torch
import torch.nn.functional as F
from makemore.cnn import CNN, CausalConv


@pytest.mark.day(26)
@pytest.mark.parametrize("form", ["plain", "forward"])
@pytest.mark.parametrize("size, dilation", [(1, 1), (2, 1), (3, 2), (2, 9)])
def test_equal_to_torchs_conv1d(form, size, dilation):
    """Padded on the left by hand; forward and all gradients, random upstream. The last case reaches past the beginning.

    float64, sums of at most 12 products: 1e-12.
    """
    conv = CausalConv(4, 5, size, dilation).double()
    x = torch.randn(2, 7, 4, dtype=torch.float64)
    mine, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    weight = conv.weight.detach().flip(0).permute(2, 1, 0).clone().requires_grad_()  # torch: (out, in, size), old first
    with torch.no_grad():
        conv.bias.normal_()
    y = getattr(conv, form)(mine)
    padded = F.pad(other.transpose(1, 2), ((size - 1) * dilation, 0))
    expected = F.conv1d(padded, weight, conv.bias.detach(), dilation=dilation).transpose(1, 2)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
    upstream = torch.randn_like(y)
    y.backward(upstream)
    expected.backward(upstream)
    torch.testing.assert_close(mine.grad, other.grad, rtol=0, atol=1e-12)
    torch.testing.assert_close(conv.weight.grad, weight.grad.permute(2, 1, 0).flip(0), rtol=0, atol=1e-12)
    torch.testing.assert_close(conv.bias.grad, upstream.sum(dim=(0, 1)), rtol=0, atol=1e-12)


@pytest.mark.day(27)
@pytest.mark.parametrize("size, dilations", [(2, (1,)), (2, (1, 2, 4)), (3, (1, 2)), (3, (2, 2))])
def test_the_receptive_field_is_as_stated(size, dilations):
    """By gradient: what the last moment says depends on the last `context` letters at most, and on the oldest of them.

    With (2, 2) letters between are left out, so only the ends are looked at.
    """
    model = CNN(6, n_embd=8, size=size, dilations=dilations).double()
    assert model.context == 1 + (size - 1) * sum(dilations)
    tokens = torch.randint(6, (1, 20))
    x = model.embedding(tokens).detach().requires_grad_()
    y = x
    for conv, mix in zip(model.convs, model.mixes):
        y = y + mix(torch.relu(conv(y)))
    y[0, -1].sum().backward()
    seen = (x.grad[0] != 0).any(dim=1).nonzero().flatten()  # moments with an influence
    assert seen.min() == 20 - model.context and seen.max() == 19
    torch.testing.assert_close(model.output(y), model(tokens)[0], rtol=0, atol=1e-12)  # what was walked is the model
