"""transformers' GPT-2 with the weights of ours: the outside oracle of weeks 7 and 8. A helper, not a test."""

from transformers import GPT2Config, GPT2LMHeadModel

# our name of a module in a block -> theirs
NAMES = {
    "norm1": "ln_1",
    "norm2": "ln_2",
    "attn.qkv": "attn.c_attn",
    "attn.proj": "attn.c_proj",
    "mlp.up": "mlp.c_fc",
    "mlp.down": "mlp.c_proj",
}


def pairs(config):
    """(our name, their name, is it transposed): one row for each parameter. Their Conv1D keeps (in, out)."""
    yield "wte.weight", "transformer.wte.weight", False
    yield "wpe.weight", "transformer.wpe.weight", False
    for kind in ("weight", "bias"):
        yield f"norm.{kind}", f"transformer.ln_f.{kind}", False
        for i in range(config.n_layer):
            for ours, theirs in NAMES.items():
                transposed = kind == "weight" and "norm" not in ours
                yield f"blocks.{i}.{ours}.{kind}", f"transformer.h.{i}.{theirs}.{kind}", transposed


def as_gpt2(model):
    """GPT2LMHeadModel that must compute what `model` computes; dropout 0, eval mode."""
    c = model.config
    theirs = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=c.vocab_size,
            n_positions=c.block_size,
            n_embd=c.n_embd,
            n_layer=c.n_layer,
            n_head=c.n_head,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
        )
    ).eval()
    ours = model.state_dict()
    state = {their: ours[our].T if transposed else ours[our] for our, their, transposed in pairs(c)}
    theirs.load_state_dict({**state, "lm_head.weight": ours["wte.weight"]}, strict=True)
    return theirs
