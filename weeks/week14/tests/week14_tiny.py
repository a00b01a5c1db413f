"""A tiny chat model, published the way real ones are: a Hugging Face folder with a ChatML template."""

import torch
from nanogpt.checkpoint import weights
from nanogpt.formats import hf_folder
from nanogpt.formats.published import Published
from nanogpt.model import GPT, GPTConfig
from nanogpt.vendor.bpe.fast import Tokenizer

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
WORDS = "is this message good or bad? user assistant system great awful lovely nice red blue colour of the sky sea "


def tiny_model(seed=0, block_size=96, **changes):
    """(model, tokenizer): two layers, grouped queries, weights large enough that logits differ."""
    tokenizer = Tokenizer.train(WORDS * 4, 320, special_tokens=SPECIAL)
    torch.manual_seed(seed)
    shape = {"n_layer": 2, "n_head": 4, "n_kv_head": 2, "n_embd": 32} | changes
    model = GPT(GPTConfig(tokenizer.vocab_size, block_size=block_size, **shape)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(3)
    return model, tokenizer


def publish(folder, seed=0, template=CHATML, **changes):
    """Write such a model to `folder` and return the folder."""
    model, tokenizer = tiny_model(seed, **changes)
    published = Published(model.config, weights(model), tokenizer, template, "<|im_start|>", "<|im_end|>")
    hf_folder.write(folder, published)
    return folder
