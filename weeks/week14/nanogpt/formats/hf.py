"""Hugging Face names, layouts and settings to ours and back, for the GPT-2 and the Llama family.

GPT-2 stores its linears transposed (Conv1D) and q, k, v fused; Llama's layout is ours under other names. Dicts in,
dicts out: `hf_folder` does the files. A ValueError says what cannot be converted.
Left out: dropout and the spread of the initial weights when reading, for they belong to training, not to a model.
"""

import torch

from ..model import GPTConfig
from .published import take

LLAMA = {
    "self_attn.q_proj": "attn.q",
    "self_attn.k_proj": "attn.k",
    "self_attn.v_proj": "attn.v",
    "self_attn.o_proj": "attn.proj",
    "mlp.gate_proj": "mlp.gate",
    "mlp.up_proj": "mlp.up",
    "mlp.down_proj": "mlp.down",
    "input_layernorm": "norm1",
    "post_attention_layernorm": "norm2",
}
GPT2 = {"attn.c_proj": "attn.proj", "mlp.c_fc": "mlp.up", "mlp.c_proj": "mlp.down", "ln_1": "norm1", "ln_2": "norm2"}
LLAMA_OUTSIDE = {"embed_tokens.weight": "embed.weight", "norm.weight": "norm.weight", "lm_head.weight": "head.weight"}
GPT2_OUTSIDE = {
    "wte.weight": "embed.weight",
    "wpe.weight": "position.weight",
    "ln_f.weight": "norm.weight",
    "ln_f.bias": "norm.bias",
    "lm_head.weight": "head.weight",
}
# Tensors of old files that follow from the config: the causal mask, the frequencies of RoPE.
DERIVED = (".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")

# What no published family of the two has.
NEITHER = {"qk_norm": False, "value_embed": False, "softcap": 0.0, "ngram": 1}
FAMILIES = {
    "gpt2": {"position": "learned", "norm": "layernorm", "mlp": "gelu", "bias": True, **NEITHER},
    "llama": {"position": "rope", "norm": "rmsnorm", "mlp": "swiglu", "bias": False, **NEITHER},
}
# Settings that change the logits: what nanogpt computes with. The first is also what a file without the setting means.
DEMANDS = {
    "gpt2": {
        "activation_function": ("gelu_new", "gelu_pytorch_tanh"),  # two names of one formula
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
        "add_cross_attention": (False,),
        "quantization_config": (None,),
    },
    "llama": {
        "hidden_act": ("silu",),
        "attention_bias": (False,),
        "mlp_bias": (False,),
        "partial_rotary_factor": (None, 1),
        "quantization_config": (None,),
    },
}


def family(config):
    """The name "gpt2" or "llama"; ValueError for a config that mixes the two, naming every field that differs."""
    name = "gpt2" if config.position == "learned" else "llama"
    wanted = FAMILIES[name] | ({"n_kv_head": config.n_head} if name == "gpt2" else {})
    ours = {field: getattr(config, field) for field in wanted}
    other = [f"{field} is {ours[field]!r}, not {value!r}" for field, value in wanted.items() if ours[field] != value]
    if other:
        raise ValueError(
            f"transformers has no model of this shape: next to the {name} family, {', '.join(other)}; "
            f"keep it as a nanogpt checkpoint, or train another: give `nanogpt train` also {typed(wanted, ours)}"
        )
    return name


def typed(wanted, ours):
    """Options of `nanogpt train` that turn the fields of `ours` into `wanted`: all is an ingredient but one size."""
    words = {field: str(value).lower() for field, value in wanted.items() if value != ours[field]}
    heads = f"--n-kv-head {words.pop('n_kv_head')}" if "n_kv_head" in words else ""
    chosen = " ".join(f"{field}={value}" for field, value in words.items())
    return " ".join(filter(None, [heads, chosen and f"--set {chosen}"]))


# ---- config.json ----


def read_config(fields):
    """Our config from the dict of a config.json; a setting that would change the logits raises ValueError."""
    kind = take(fields, "model_type", str, None)
    if kind not in DEMANDS:
        raise ValueError(f"model_type {kind!r} is not one that nanogpt knows; it reads gpt2 and llama")
    for name, allowed in DEMANDS[kind].items():
        value = fields.get(name, allowed[0])
        if value not in allowed:
            raise ValueError(f"{name} is {value!r} and nanogpt computes with {allowed[0]!r}; this model cannot be read")
    if kind == "gpt2":
        return GPTConfig.gpt2(
            take(fields, "vocab_size", int),
            block_size=take(fields, "n_positions", int),
            n_layer=take(fields, "n_layer", int),
            n_head=take(fields, "n_head", int),
            n_embd=take(fields, "n_embd", int),
            n_hidden=take(fields, "n_inner", int, 0),
            norm_eps=take(fields, "layer_norm_epsilon", int | float),
            tie=take(fields, "tie_word_embeddings", bool, True),
        )
    rope = take(fields, "rope_scaling", dict, {}) or take(fields, "rope_parameters", dict, {})
    kinds = [rope.get("rope_type", rope.get("type", "default")), rope.get("partial_rotary_factor", 1)]
    if kinds != ["default", 1] or set(rope) - {"rope_type", "type", "rope_theta", "partial_rotary_factor"}:
        raise ValueError(f"this model scales RoPE ({rope}), which nanogpt does not; choose one that does not")
    heads = take(fields, "num_attention_heads", int)
    config = GPTConfig(
        take(fields, "vocab_size", int),
        block_size=take(fields, "max_position_embeddings", int),
        n_layer=take(fields, "num_hidden_layers", int),
        n_head=heads,
        n_kv_head=take(fields, "num_key_value_heads", int, heads),
        n_embd=take(fields, "hidden_size", int),
        n_hidden=take(fields, "intermediate_size", int),
        rope_base=take({**fields, **rope}, "rope_theta", int | float, 10_000.0),
        norm_eps=take(fields, "rms_norm_eps", int | float),
        tie=take(fields, "tie_word_embeddings", bool, False),
    )
    if fields.get("head_dim") not in (None, config.head_dim):
        raise ValueError(
            f"head_dim is {fields['head_dim']!r} and nanogpt computes with hidden_size / num_attention_heads, "
            f"here {config.head_dim}; this model cannot be read"
        )
    return config


def write_config(config):
    """The dict of a config.json, without special tokens; ValueError for a config of neither family."""
    if family(config) == "gpt2":
        dropout = dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), config.dropout)
        return {
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "vocab_size": config.vocab_size,
            "n_positions": config.block_size,
            "n_layer": config.n_layer,
            "n_head": config.n_head,
            "n_embd": config.n_embd,
            "n_inner": config.n_hidden,
            "activation_function": "gelu_new",
            "layer_norm_epsilon": config.norm_eps,
            "tie_word_embeddings": config.tie,
            **dropout,
        }
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.block_size,
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": config.n_head,
        "num_key_value_heads": config.n_kv_head,
        "hidden_size": config.n_embd,
        "intermediate_size": config.n_hidden,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "rope_theta": config.rope_base,
        "rope_scaling": None,
        "rms_norm_eps": config.norm_eps,
        "tie_word_embeddings": config.tie,
        "attention_dropout": config.dropout,
    }


# ---- tensors ----


def read_tensors(config, tensors):
    """Our tensors from a Hugging Face state dict of the family that `config` describes; an unknown name raises."""
    ours = {}
    for name, tensor in tensors.items():
        ours |= convert(name, tensor, config)
    if config.tie:
        ours.pop("head.weight", None)
    return ours


def full_name(config, name):
    """A name as save_pretrained writes it: folders of the bare model lack the prefix."""
    prefix = "transformer." if config.position == "learned" else "model."
    return name if name.startswith((prefix, "lm_head.")) else prefix + name


def convert(name, tensor, config):
    """One tensor of theirs as {our name: tensor}: none for what follows from the config, three for GPT-2's q, k, v.

    The results are views, so nothing is copied. ValueError for a name that has no place.
    """
    gpt2 = config.position == "learned"
    prefix, inside, outside = ("transformer.", GPT2, GPT2_OUTSIDE) if gpt2 else ("model.", LLAMA, LLAMA_OUTSIDE)
    short = name.removeprefix(prefix)
    if short in outside:
        return {outside[short]: tensor}
    if short.startswith(("h.", "layers.")) and short.count(".") > 2:
        _, layer, rest = short.split(".", 2)
        part, _, kind = rest.rpartition(".")
        if gpt2 and kind == "weight" and tensor.dim() == 2:
            tensor = tensor.T  # Conv1D keeps (in, out); a Linear (out, in)
        if gpt2 and part == "attn.c_attn":
            return {f"blocks.{layer}.attn.{n}.{kind}": t for n, t in zip("qkv", tensor.chunk(3), strict=True)}
        if part in inside:
            return {f"blocks.{layer}.{inside[part]}.{kind}": tensor}
        if short.endswith(DERIVED):
            return {}
    raise ValueError(f"tensor {name!r} has no place in a {'GPT-2' if gpt2 else 'Llama'} model as nanogpt builds it")


def write_tensors(config, tensors):
    """Their tensors from ours, contiguous; a tied head is left out. Llama's are not copied."""
    gpt2 = family(config) == "gpt2"
    prefix, inside, outside = ("transformer.", GPT2, GPT2_OUTSIDE) if gpt2 else ("model.", LLAMA, LLAMA_OUTSIDE)
    theirs = {}
    for short, ours in outside.items():
        if ours != "head.weight":
            theirs[prefix + short] = tensors[ours].contiguous()
        elif not config.tie:
            theirs[short] = tensors[ours].contiguous()
    for layer in range(config.n_layer):
        ours, start = f"blocks.{layer}.", f"{prefix}{'h' if gpt2 else 'layers'}.{layer}."
        for kind in ("weight", "bias") if gpt2 else ("weight",):
            block = {part: tensors[f"{ours}{name}.{kind}"] for part, name in inside.items()}
            if gpt2:
                block["attn.c_attn"] = torch.cat([tensors[f"{ours}attn.{n}.{kind}"] for n in "qkv"])  # (3C, C) or (3C,)
            for part, tensor in block.items():
                tensor = tensor.T if gpt2 and tensor.dim() == 2 else tensor  # Conv1D keeps (in, out)
                theirs[f"{start}{part}.{kind}"] = tensor.contiguous()
    return theirs
