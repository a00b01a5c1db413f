"""The key-value cache by itself: what is put in comes out, in order, and nothing else."""

from types import SimpleNamespace

import pytest
import torch
from gpt.cache import KVCache


def keys(T, B=2, H=3, D=4, dtype=torch.float32):
    return torch.randn(B, H, T, D).to(dtype)


@pytest.mark.day(51)
def test_update_returns_everything_in_order():
    """Two layers, three pieces: each layer gives back its own pieces side by side (copies, so bit-equal)."""
    cache = KVCache(2, 2, 3, 16, 4)
    held = {0: [], 1: []}
    for T in (5, 1, 3):
        for layer in (0, 1):
            k, v = keys(T), keys(T)
            held[layer].append((k, v))
            k_all, v_all = cache.update(layer, k, v)
            assert torch.equal(k_all, torch.cat([k for k, _ in held[layer]], dim=2))
            assert torch.equal(v_all, torch.cat([v for _, v in held[layer]], dim=2))
        cache.advance(T)
    assert cache.offset == 9
    k, v = keys(7), keys(7)  # up to the last place
    assert torch.equal(cache.update(1, k, v)[0][:, :, 9:], k)


@pytest.mark.day(51)
def test_crop_and_reset_forget_the_newest_and_all():
    """After crop(5), new tokens must stand directly behind the first five."""
    cache = KVCache(1, 2, 3, 16, 4)
    first, second, third = keys(5), keys(4), keys(2)
    for k in (first, second):
        cache.update(0, k, k)
        cache.advance(k.shape[2])
    cache.crop(5)
    assert torch.equal(cache.update(0, third, third)[0], torch.cat([first, third], dim=2))
    cache.reset()
    assert cache.offset == 0 and torch.equal(cache.update(0, third, third)[0], third)
    with pytest.raises(ValueError, match="cannot keep 3 tokens of 0"):
        cache.crop(3)


@pytest.mark.day(51)
def test_clone_is_independent_and_can_repeat_one_row():
    """A prompt is read once and continued in many ways: writing to the copy must not reach the original."""
    cache = KVCache(1, 1, 3, 16, 4)
    k = keys(5, B=1)
    cache.update(0, k, k)
    cache.advance(5)
    many = cache.clone(batch=3)
    more = keys(1, B=3)
    assert torch.equal(many.update(0, more, more)[0], torch.cat([k.expand(3, -1, -1, -1), more], dim=2))
    many.advance(1)
    assert cache.offset == 5 and cache.k[0, :, :, 5].abs().sum() == 0
    with pytest.raises(ValueError, match="3 rows cannot become 2"):
        many.clone(batch=2)
    with pytest.raises(ValueError, match="1 rows cannot become 0"):
        cache.clone(batch=0)


@pytest.mark.day(51)
def test_grouped_heads_and_half_precision():
    """Week 14 asks for fewer key heads than query heads, and for bf16: half the bytes, the caller's dtype back."""
    config = SimpleNamespace(n_layer=2, n_head=6, n_kv_head=2, n_embd=24, block_size=8)
    cache = KVCache.of(config, batch=3, dtype=torch.bfloat16)
    assert cache.nbytes == 2 * 2 * 3 * 2 * 8 * 4 * 2  # k and v, layers, batch, heads, length, head_dim, bytes
    k = keys(4, B=3, H=2)
    k_all, _ = cache.update(0, k, k)
    assert k_all.dtype == torch.float32
    torch.testing.assert_close(k_all, k, rtol=2**-8, atol=0)  # bf16 keeps 8 bits


@pytest.mark.day(51)
@pytest.mark.parametrize(
    "k, sentence",
    [
        (torch.zeros(2, 3, 17, 4), r"17 tokens after 0 pass block_size = 16"),
        (torch.zeros(1, 3, 2, 4), r"keys \(1, 3, 2, 4\) .* do not fit the cache, which holds \(2, 3, 2, 4\)"),
        (torch.zeros(2, 3, 2, 4, requires_grad=True), r"carry a gradient; call inside torch.no_grad"),
    ],
)
def test_what_does_not_fit_is_refused(k, sentence):
    """A key written to the wrong place would show only as slightly worse text; so nothing is broadcast or cut."""
    with pytest.raises(ValueError, match=sentence):
        KVCache(1, 2, 3, 16, 4).update(0, k, k)
    with pytest.raises(ValueError, match="holds nothing"):
        KVCache(1, 2, 0, 16, 4)
