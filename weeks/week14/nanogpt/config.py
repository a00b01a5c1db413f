"""The shape of a model, in one frozen config. Each modern ingredient is one field, off or on.

GPT-2: learned positions, LayerNorm, GELU, biases.  Llama: RoPE, grouped-query attention, RMSNorm, SwiGLU.
The fields below `norm_eps` are off in both families; `make ingredients` measures what each of them buys.
Left out: mixture of experts, sliding windows, RoPE scaling beyond the base frequency.
"""

from dataclasses import asdict, dataclass

SIZES = ("vocab_size", "block_size", "n_layer", "n_head", "n_kv_head", "n_embd", "n_hidden")
LARGEST = {"n_layer": 10_000, "ngram": 16}  # 2 ** 28 for the other sizes: beyond it there is a slip, not a model
BITS = 6  # a cache keeps the tokens as digits of so many bits, which numbers of 16 bits hold exactly: runs.py
CHOICES = {
    "position": ("rope", "learned", "sinusoidal", "none"),
    "norm": ("rmsnorm", "layernorm"),
    "mlp": ("swiglu", "gelu", "relu2"),
}


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a model. Defaults are the Llama family's; `GPTConfig.gpt2(...)` gives the other."""

    vocab_size: int
    block_size: int = 256  # longest context, in tokens
    n_layer: int = 6
    n_head: int = 6
    n_kv_head: int = 0  # key/value heads shared by the query heads; 0 means n_head, i.e. no sharing
    n_embd: int = 384
    n_hidden: int = 0  # width inside the MLP; 0: 4 x n_embd, for swiglu 8/3 x n_embd rounded up to 32
    position: str = "rope"
    norm: str = "rmsnorm"
    mlp: str = "swiglu"
    bias: bool = False
    tie: bool = True  # the output head is the embedding: fewer parameters, better at small sizes
    rope_base: float = 10_000.0
    norm_eps: float = 1e-5
    qk_norm: bool = False  # queries and keys at length sqrt(head_dim), so that no logit of attention can run away
    value_embed: bool = False  # each block's values get a row of their own table, looked up by the token
    ngram: int = 1  # runs of 2 .. ngram tokens have rows of a table too, which join the embedding; 1: none
    ngram_rows: int = 16384  # of that table; a run finds its row by a hash, and may share it
    zero_init: bool = False  # what writes to the residual stream begins at 0, so that each block begins as nothing
    softcap: float = 0.0  # logits are softcap * tanh(logits / softcap); 0 is off
    dropout: float = 0.0

    def __post_init__(self):
        if self.n_kv_head == 0:
            object.__setattr__(self, "n_kv_head", self.n_head)
        if self.n_hidden == 0 and isinstance(self.n_embd, int):
            wide = 32 * -(-self.n_embd // 12) if self.mlp == "swiglu" else 4 * self.n_embd
            object.__setattr__(self, "n_hidden", wide)
        for name in (*SIZES, "ngram", "ngram_rows"):
            value, most = getattr(self, name), LARGEST.get(name, 2**28)
            if type(value) is not int or not 1 <= value <= most:
                raise ValueError(f"{name} is {value!r}; it must be a whole number from 1 to {most:,}")
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}; choose one of: {', '.join(allowed)}")
        if self.n_embd % self.n_head:
            raise ValueError(
                f"n_head {self.n_head} does not divide n_embd {self.n_embd}: every head gets n_embd / n_head channels; "
                f"try n_embd {2 * self.n_head * max(1, round(self.n_embd / self.n_head / 2))}"
            )
        if self.n_head % self.n_kv_head:
            raise ValueError(
                f"n_kv_head {self.n_kv_head} does not divide n_head {self.n_head}: each key/value head serves "
                "the same number of query heads; choose a divisor"
            )
        if self.ngram > 1 and self.vocab_size > 1 << BITS * self.head_dim:
            raise ValueError(
                f"ngram is {self.ngram}: a cache keeps the tokens as digits, one a channel, and n_embd / n_head = "
                f"{self.head_dim} channels are too few for {self.vocab_size:,} tokens; make the heads wider"
            )
        if self.position == "rope" and self.head_dim % 2:
            raise ValueError(f"RoPE turns pairs of channels, and n_embd / n_head is {self.head_dim}; make it even")
        for name, may_be_zero in (("rope_base", 0), ("norm_eps", 0), ("softcap", 1), ("dropout", 1)):
            value = getattr(self, name)
            if type(value) not in (int, float) or not 0 <= value <= 1e12 or (not value and not may_be_zero):
                least = "from 0" if may_be_zero else "above 0"
                raise ValueError(f"{name} is {value!r}; it must be a number {least}, and at most 1e12")
        for name in ("bias", "tie", "qk_norm", "value_embed", "zero_init"):
            if type(getattr(self, name)) is not bool:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be true or false")
        if self.dropout >= 1:
            raise ValueError(f"dropout is {self.dropout}; it must be at least 0 and below 1")

    @property
    def head_dim(self):
        return self.n_embd // self.n_head

    @property
    def cache_layers(self):
        """Layers of a cache: where runs of tokens are looked up, one more holds the tokens."""
        return self.n_layer + (self.ngram > 1)

    @classmethod
    def gpt2(cls, vocab_size, **sizes):
        """The GPT-2 family (Radford et al. 2019): learned positions, LayerNorm, GELU, biases, tied head."""
        return cls(vocab_size, **{"position": "learned", "norm": "layernorm", "mlp": "gelu", "bias": True, **sizes})

    @classmethod
    def from_dict(cls, fields):
        """A config from JSON; an unknown field raises, for a dropped one would give wrong logits quietly."""
        unknown = sorted(set(fields) - set(cls.__dataclass_fields__))
        if unknown:
            raise ValueError(f"unknown model settings {unknown}; was this written by a newer nanogpt?")
        return cls(**fields)

    def to_dict(self):
        return asdict(self)
