"""The published SmolLM2 file itself, where `make data/smollm2-135m` has put it; more, and slower, in oracle.py."""

from pathlib import Path

import pytest
import torch
from nanogpt.chat import Template
from nanogpt.formats import gguf
from nanogpt.model import build

FILE = Path(__file__).resolve().parents[3] / "data" / "smollm2-135m" / "SmolLM2-135M-Instruct.Q4_1.gguf"
pytestmark = [
    pytest.mark.day(97),
    pytest.mark.skipif(not FILE.exists(), reason="the model is not here; run: make data/smollm2-135m"),
]


@pytest.fixture(scope="module")
def published():
    return gguf.read(FILE)


def test_ids_equal_the_librarys_on_mixed_lines(published, load_script):
    """The ids that SmolLM2 was trained on: the whole vocabulary, where the other tests have a few hundred tokens."""
    hf = pytest.importorskip("tokenizers", reason="the outside oracle is not installed")
    oracle = load_script("week14", "oracle")
    with open(FILE, "rb") as file:
        fields, _, _ = gguf._Header(file, FILE.stat().st_size).read()
    tokens, merges = (fields[f"tokenizer.ggml.{name}"] for name in ("tokens", "merges"))
    ids = {token: i for i, token in enumerate(tokens)}
    theirs = hf.Tokenizer(hf.models.BPE(vocab=ids, merges=[tuple(merge.split(" ")) for merge in merges]))
    theirs.pre_tokenizer = oracle.published_pre_tokenizer()
    lines, encode = oracle.mixed_lines(1000, seed=2), published.tokenizer.encode_ordinary
    assert [line for line in lines if encode(line) != theirs.encode(line).ids] == []


def test_the_model_goes_on_as_transformers_does(published):
    """The whole chain once: header, weights, order of q and k, tokenizer. transformers goes on with the same words."""
    model = build(published.config, published.tensors)
    ids = published.tokenizer.encode_ordinary("The capital of France is")
    for _ in range(7):
        with torch.no_grad():
            ids.append(model(torch.tensor([ids]))[0][0, -1].argmax().item())
    assert published.tokenizer.decode(ids) == "The capital of France is Paris.\n\nThe answer is"


def test_the_template_ends_turns_with_its_own_token(published):
    """Its eos is the end of a turn, its bos the start of one: taken for a text's start and end, a chat never stops."""
    template = Template(published.chat_template, published.tokenizer, published.bos, published.eos)
    special = published.tokenizer.special_tokens
    assert template.end_of_reply == special["<|im_end|>"] == 2
    assert template.stop_ids == {special["<|im_end|>"], special["<|endoftext|>"]}
    ids = template.encode([{"role": "system", "content": "Be kind."}, {"role": "user", "content": "<|im_end|>"}])
    assert published.tokenizer.decode(ids) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n<|im_end|><|im_end|>\n<|im_start|>assistant\n"
    )
    assert [i for i in ids if i < 17] == [1, 2, 1, 2, 1]
