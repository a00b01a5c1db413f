"""How every operation is examined: forward and backward against torch, backward against central differences."""

import numpy as np
import torch
from autograd.tensor import Tensor


def numeric_gradient(function, arrays, upstream, step=1e-5):
    """Central differences of sum(function(*arrays) * upstream), for every element of every array."""
    gradients = []
    for array in arrays:
        gradient = np.zeros_like(array)
        for place in np.ndindex(array.shape):
            kept = array[place]
            array[place] = kept + step
            above = (function(*arrays) * upstream).sum()
            array[place] = kept - step
            below = (function(*arrays) * upstream).sum()
            array[place] = kept
            gradient[place] = (above - below) / (2 * step)
        gradients.append(gradient)
    return gradients


def examine(ours, theirs, arrays, rng, same=1e-10, numeric=1e-6):
    """ours(*Tensors) and theirs(*torch tensors) on the same float64 arrays, with a random upstream gradient.

    A sum as upstream gradient would hide a wrong transpose, and the gradient of softmax altogether. `same`: both do the
    same sums in float64, in another order. `numeric`: the error of a central difference with step 1e-5 is about 1e-10
    of the third derivative, and 1e-16 / 1e-5 of the value by rounding; 1e-6 leaves room for values of a hundred.
    """
    tensors = [Tensor(array, requires_grad=True) for array in arrays]
    others = [torch.tensor(array, requires_grad=True) for array in arrays]
    out, expected = ours(*tensors), theirs(*others)
    assert out.dtype == np.float64 and out.shape == tuple(expected.shape)
    np.testing.assert_allclose(out.data, expected.detach().numpy(), rtol=same, atol=same)
    upstream = rng.standard_normal(out.shape)
    out.backward(upstream)
    expected.backward(torch.from_numpy(np.asarray(upstream)))
    constant = lambda *values: ours(*map(Tensor, values)).data
    for tensor, other, slope in zip(tensors, others, numeric_gradient(constant, arrays, upstream)):
        assert tensor.grad.shape == tensor.shape and tensor.grad.dtype == np.float64
        np.testing.assert_allclose(tensor.grad, other.grad.numpy(), rtol=same, atol=same)
        np.testing.assert_allclose(tensor.grad, slope, rtol=numeric, atol=numeric)
