"""nanogpt: train a small GPT from scratch, teach it one domain after another, and measure what it forgot.

>>> from nanogpt.model import GPT, GPTConfig
>>> model = GPT(GPTConfig(vocab_size=512, block_size=64, n_layer=2, n_head=4, n_kv_head=2, n_embd=64))

`nanogpt --help` lists the commands. Nothing is imported here, so that a command starts at once.
"""

__version__ = "0.1.0"
