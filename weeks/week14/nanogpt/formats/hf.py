"""Hugging Face names and layouts to ours, for the GPT-2 and the Llama family. Tensors in, tensors out: no live model.

GPT-2 stores its linears transposed (Conv1D) and q, k, v fused; Llama's layout is ours under other names.
"""

from ..model import GPTConfig

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


def read_config(fields):
    """Our config from the dict of a Hugging Face config.json; a setting that would change the logits raises."""
    kind = fields.get("model_type")
    if kind == "gpt2":
        _demand(fields, "activation_function", "gelu_new")
        for name in ("scale_attn_by_inverse_layer_idx", "add_cross_attention"):
            _demand(fields, name, False)
        _demand(fields, "scale_attn_weights", True)
        return GPTConfig.gpt2(
            fields["vocab_size"],
            block_size=fields["n_positions"],
            n_layer=fields["n_layer"],
            n_head=fields["n_head"],
            n_embd=fields["n_embd"],
            n_hidden=fields.get("n_inner") or 0,
            norm_eps=fields["layer_norm_epsilon"],
            tie=fields.get("tie_word_embeddings", True),
        )
    if kind == "llama":
        _demand(fields, "hidden_act", "silu")
        for name in ("attention_bias", "mlp_bias"):
            _demand(fields, name, False)
        rope = fields.get("rope_parameters") or fields.get("rope_scaling") or {}
        if rope.get("rope_type", rope.get("type", "default")) != "default":
            raise ValueError(f"this model scales RoPE ({rope}), which nanogpt does not; choose one that does not")
        heads, width = fields["num_attention_heads"], fields["hidden_size"]
        _demand(fields, "head_dim", width // heads, none=True)
        return GPTConfig(
            fields["vocab_size"],
            block_size=fields["max_position_embeddings"],
            n_layer=fields["num_hidden_layers"],
            n_head=heads,
            n_kv_head=fields.get("num_key_value_heads") or heads,
            n_embd=width,
            n_hidden=fields["intermediate_size"],
            rope_base=float(rope.get("rope_theta") or fields.get("rope_theta") or 10_000.0),
            norm_eps=fields["rms_norm_eps"],
            tie=fields.get("tie_word_embeddings", False),
        )
    raise ValueError(f"model_type {kind!r} is not one that nanogpt knows; it reads gpt2 and llama")


def read_tensors(config, tensors):
    """Our tensors from a Hugging Face state dict of the family that `config` describes; an unknown name raises."""
    convert = _from_gpt2 if config.position == "learned" else _from_llama
    ours = {}
    for name, tensor in tensors.items():
        ours |= convert(name, tensor, config)
    if config.tie:
        ours.pop("head.weight", None)
    return ours


def _from_llama(name, tensor, config):
    outside = {"embed_tokens.weight": "embed.weight", "norm.weight": "norm.weight", "lm_head.weight": "head.weight"}
    name = name.removeprefix("model.")
    if name in outside:
        return {outside[name]: tensor}
    if name.startswith("layers."):
        _, layer, rest = name.split(".", 2)
        part, _, kind = rest.rpartition(".")
        if part in LLAMA:
            return {f"blocks.{layer}.{LLAMA[part]}.{kind}": tensor}
        if part == "self_attn.rotary_emb":  # old files carry the frequencies; they follow from the config
            return {}
    raise ValueError(f"tensor {name!r} has no place in a Llama model as nanogpt builds it")


def _from_gpt2(name, tensor, config):
    name = name.removeprefix("transformer.")
    outside = {
        "wte.weight": "embed.weight",
        "wpe.weight": "position.weight",
        "ln_f.weight": "norm.weight",
        "ln_f.bias": "norm.bias",
        "lm_head.weight": "head.weight",
    }
    if name in outside:
        return {outside[name]: tensor}
    if name.startswith("h."):
        _, layer, rest = name.split(".", 2)
        part, _, kind = rest.rpartition(".")
        if kind == "weight" and tensor.dim() == 2:
            tensor = tensor.T  # Conv1D keeps (in, out); a Linear (out, in)
        if part == "attn.c_attn":
            return {f"blocks.{layer}.attn.{n}.{kind}": t for n, t in zip("qkv", tensor.chunk(3), strict=True)}
        if part in GPT2:
            return {f"blocks.{layer}.{GPT2[part]}.{kind}": tensor}
        if rest in ("attn.bias", "attn.masked_bias"):  # the causal mask, which old files store
            return {}
    raise ValueError(f"tensor {name!r} has no place in a GPT-2 model as nanogpt builds it")


def _demand(fields, name, wanted, none=False):
    value = fields.get(name, wanted)
    if value != wanted and not (none and value is None):
        raise ValueError(f"{name} is {value!r} and nanogpt computes with {wanted!r}; this model cannot be read")
