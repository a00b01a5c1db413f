"""Hugging Face folders read and written, against transformers, which wrote the first and must load the second."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from nanogpt.checkpoint import weights
from nanogpt.formats.hf_folder import read, write
from nanogpt.formats.published import Published
from nanogpt.model import GPT, GPTConfig, blank
from nanogpt.vendor.bpe.fast import PATTERNS, Tokenizer
from safetensors.torch import load_file, save_file

pytestmark = pytest.mark.day(93)

transformers = pytest.importorskip("transformers", reason="the outside oracle is not installed")
tokenizers = pytest.importorskip("tokenizers", reason="the outside oracle is not installed")

# float32 sums of some hundred products in another order: differences of 1e-7 to 2e-6 of the largest logit were seen
TOLERANCE = 1e-5
VOCAB = 320
LINES = [
    "The lower the river, the slower the water; it's 7:30 and we'll pay 1,234.50 for 12 eggs",
    "  two  blanks\tand\ttabs \n\n\n   lines\r\n end  ½ Ⅳ 日本語 2024年 👩‍👩‍👧‍👦",
    "<|im_start|>user\nhow low?<|im_end|>\n<|endoftext|>",
    "blanks stay , before a comma . Or do n't they ?",
]
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How low is the river? 12 m"}]
LLAMA = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2)


def loud(model):
    """Random weights large enough that every part moves the logits: at 0.02 attention is all but uniform."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            is_norm = "norm" in name or "ln_" in name
            p.copy_(1 + 0.3 * torch.randn_like(p) if is_norm else 0.25 * torch.randn_like(p))
    return model.eval()


def their_model(kind):
    torch.manual_seed(1)
    if kind == "gpt2":
        config = transformers.GPT2Config(
            vocab_size=VOCAB, n_positions=96, n_embd=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0
        )
        return loud(transformers.GPT2LMHeadModel(config))
    config = transformers.LlamaConfig(
        vocab_size=VOCAB,
        max_position_embeddings=96,
        rope_parameters={"rope_type": "default", "rope_theta": 50_000.0},
        tie_word_embeddings=kind == "llama-tied",
        **LLAMA,
    )
    return loud(transformers.LlamaForCausalLM(config))


def their_tokenizer():
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=VOCAB - 4,  # fewer than rows of the embedding, as is common
        special_tokens=SPECIALS,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(LINES * 3, trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<|im_start|>", eos_token="<|im_end|>", unk_token="<|endoftext|>"
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


KINDS = ["gpt2", "llama-tied", "llama-untied"]


@pytest.fixture(scope="module")
def tokenizer():
    return their_tokenizer()


@pytest.fixture(scope="module")
def saved(tokenizer, tmp_path_factory):
    """kind -> (their model, the folder that save_pretrained wrote)."""
    folders = {}
    for kind in KINDS:
        model, folder = their_model(kind), tmp_path_factory.mktemp(kind)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        folders[kind] = model, folder
    return folders


@pytest.fixture
def folder(saved, tmp_path):
    """A folder to damage: an untied Llama."""
    return shutil.copytree(saved["llama-untied"][1], tmp_path / "model")


def built(published):
    model = GPT(published.config)
    missing, unknown = model.load_state_dict(published.tensors, strict=False)
    assert not unknown and missing == (["head.weight"] if published.config.tie else [])
    return model.eval()


def ours_of(model, tokenizer, **more):
    return Published(model.config, weights(model), tokenizer, **more)


def assert_same_model(ours, theirs):
    tokens = torch.randint(0, VOCAB, (2, 40), generator=torch.Generator().manual_seed(2))  # (B, T)
    with torch.no_grad():
        logits, expected = ours(tokens)[0], theirs(tokens).logits
    assert expected.std() > 0.1
    torch.testing.assert_close(logits, expected, atol=TOLERANCE * expected.abs().max().item(), rtol=0)


def edit(path, change):
    fields = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(fields))


def edit_tensors(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


# --- reading what transformers wrote ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_their_folder_gives_their_logits_and_ids(kind, saved, tokenizer):
    """Weights, shape, vocabulary, template and special tokens of a published model must all arrive."""
    theirs, folder = saved[kind]
    published = read(folder)
    assert_same_model(built(published), theirs)
    for line in LINES:
        assert published.tokenizer.encode(line, allowed_special="all") == tokenizer(line).input_ids
    assert (published.chat_template, published.bos, published.eos) == (TEMPLATE, "<|im_start|>", "<|im_end|>")


@pytest.mark.parametrize("kind", KINDS)
def test_shards_are_one_model(kind, saved, tmp_path):
    """Large models come in pieces; the pieces must give the very tensors of the whole."""
    theirs, folder = saved[kind]
    sharded = shutil.copytree(folder, tmp_path / "sharded", ignore=shutil.ignore_patterns("*.safetensors"))
    theirs.save_pretrained(sharded, max_shard_size="20KB")
    assert len(list(sharded.glob("model-*.safetensors"))) > 2 and not (sharded / "model.safetensors").exists()
    whole, pieces = read(folder), read(sharded)
    assert whole.tensors.keys() == pieces.tensors.keys() and whole.config == pieces.config
    assert all(torch.equal(whole.tensors[name], pieces.tensors[name]) for name in whole.tensors)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", ["gpt2", "llama-untied"])
def test_half_precision_becomes_float32(kind, dtype, saved, tmp_path):
    """Most models are published in 16 bits; each number must come out as it is, in float32."""
    folder = shutil.copytree(saved[kind][1], tmp_path / "half")
    their_model(kind).to(dtype).save_pretrained(folder)
    assert {t.dtype for t in load_file(folder / "model.safetensors").values()} == {dtype}
    published = read(folder)
    assert {t.dtype for t in published.tensors.values()} == {torch.float32}
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert_same_model(built(published), theirs.eval())


def test_result_does_not_hang_on_the_files(folder):
    """The files are read by mapping them: a tensor that still pointed into one would change with it."""
    published = read(folder)
    before = {name: tensor.clone() for name, tensor in published.tensors.items()}
    with open(folder / "model.safetensors", "r+b") as file:
        file.seek(1000)
        file.write(b"\x7f" * 50_000)
    assert all(torch.equal(before[name], tensor) for name, tensor in published.tensors.items())


@pytest.mark.parametrize("kind", ["gpt2", "llama-tied"])
def test_names_and_extra_tensors_of_older_folders(kind, saved, tmp_path):
    """Folders of the bare model lack the prefix; old ones store masks, frequencies and the tied head once more."""
    theirs, folder = saved[kind]
    folder = shutil.copytree(folder, tmp_path / "old")

    def age(tensors):
        for name in list(tensors):
            tensors[name.split(".", 1)[1]] = tensors.pop(name)
        embed = tensors["wte.weight" if kind == "gpt2" else "embed_tokens.weight"]
        tensors["lm_head.weight"] = embed.clone()
        for i in range(2):
            if kind == "gpt2":
                tensors[f"h.{i}.attn.bias"] = torch.ones(1, 1, 96, 96, dtype=torch.uint8).tril()
                tensors[f"h.{i}.attn.masked_bias"] = torch.tensor(-1e4)
            else:
                tensors[f"layers.{i}.self_attn.rotary_emb.inv_freq"] = torch.zeros(4)

    edit_tensors(folder, age)
    assert_same_model(built(read(folder)), theirs)
    edit_tensors(folder, lambda t: t.pop("wte.weight" if kind == "gpt2" else "embed_tokens.weight"))
    assert_same_model(built(read(folder)), theirs)


def test_settings_of_older_config_files(saved, tmp_path):
    """Before transformers 5 the base of RoPE stood by itself; and what a file does not say has its old default."""
    theirs, folder = saved["llama-tied"]
    folder = shutil.copytree(folder, tmp_path / "old")

    def age(fields):
        del fields["rope_parameters"], fields["head_dim"], fields["attention_bias"], fields["mlp_bias"]
        fields |= {"rope_theta": 50_000.0, "rope_scaling": None}

    edit(folder / "config.json", age)
    assert read(folder).config == read(saved["llama-tied"][1]).config


def test_older_tokenizer_files(saved, tmp_path):
    """GPT-2's own folder has vocab.json and merges.txt, and its special token is named nowhere but by its id."""
    theirs, folder = saved["gpt2"]
    folder = shutil.copytree(folder, tmp_path / "old")
    expected = read(folder)
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(map(" ".join, model["merges"])) + "\n")
    (folder / "added_tokens.json").write_text(json.dumps({t: model["vocab"][t] for t in SPECIALS[1:]}))
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).unlink()
    published = read(folder)
    assert published.tokenizer.to_dict() == expected.tokenizer.to_dict()
    assert (published.chat_template, published.bos, published.eos) == (None, "<|endoftext|>", "<|endoftext|>")
    theirs = transformers.GPT2Tokenizer.from_pretrained(folder)
    assert published.tokenizer.encode(LINES[0]) == theirs(LINES[0]).input_ids


def test_where_special_tokens_and_template_are_named(folder):
    """Each file that may name them counts, in transformers' order; one that names none is believed."""

    def settings(**fields):
        (folder / "tokenizer_config.json").write_text(json.dumps(fields))
        published = read(folder)
        return published.bos, published.eos, published.chat_template

    written = {"content": "<|im_end|>", "lstrip": False, "rstrip": False, "single_word": False, "special": True}
    assert settings(bos_token=None, eos_token=written) == ("", "<|im_end|>", TEMPLATE)
    (folder / "special_tokens_map.json").write_text(json.dumps({"bos_token": "<|endoftext|>"}))
    (folder / "chat_template.jinja").unlink()
    assert settings(chat_template="{{ x }}") == ("<|endoftext|>", "<|im_end|>", "{{ x }}")  # config.json: eos is id 2
    edit(folder / "generation_config.json", lambda f: f.update(eos_token_id=[1, 0]))
    several = [{"name": "tools", "template": "no"}, {"name": "default", "template": "yes"}]
    assert settings(chat_template=several) == ("<|endoftext|>", "<|im_start|>", "yes")
    edit(folder / "generation_config.json", lambda f: f.update(eos_token_id=77))  # no special token
    edit(folder / "config.json", lambda f: f.update(eos_token_id=None))
    assert settings() == ("<|endoftext|>", "", None)


# --- writing what transformers loads ----------------------------------------------------------------------------------

GPTS = {
    "gpt2": GPTConfig.gpt2(VOCAB, block_size=96, n_layer=2, n_head=4, n_embd=32),
    "gpt2-untied-narrow": GPTConfig.gpt2(VOCAB, block_size=96, n_layer=2, n_head=2, n_embd=32, n_hidden=48, tie=False),
    "nanogpt": GPTConfig(VOCAB, block_size=96, n_layer=2, n_head=4, n_kv_head=2, n_embd=32, dropout=0.1),
    "nanogpt-untied": GPTConfig(VOCAB, block_size=96, n_layer=2, n_head=4, n_embd=32, rope_base=5e4, tie=False),
}


@pytest.mark.parametrize("kind", GPTS)
def test_expected_shapes_are_those_of_the_model(kind):
    """Files are compared with names and shapes that are worked out by hand: they must be the model's own."""
    wanted = {name: t.shape for name, t in weights(GPT(GPTS[kind])).items()}
    assert {name: t.shape for name, t in blank(GPTS[kind]).items()} == wanted


@pytest.mark.parametrize("kind", GPTS)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_transformers_loads_what_we_write(kind, pattern, tmp_path):
    """A model trained here must compute and tokenize the same there, whatever its family and its pattern."""
    torch.manual_seed(3)
    model = loud(GPT(GPTS[kind]))
    ours = Tokenizer.train(LINES * 3, VOCAB - 4, pattern=pattern, special_tokens=SPECIALS)
    write(tmp_path / "out", ours_of(model, ours, chat_template=TEMPLATE, bos="<|im_start|>", eos="<|im_end|>"))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert theirs.dtype == torch.float32 and theirs.generation_config.eos_token_id == ours.special_tokens["<|im_end|>"]
    assert_same_model(model, theirs.eval())
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    for line in LINES:
        ids = tokenizer(line).input_ids
        assert ids == ours.encode(line, allowed_special="all") and tokenizer.decode(ids) == line
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|im_end|>")
    chat = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in MESSAGES) + "<|im_start|>assistant\n"
    ids = tokenizer.apply_chat_template(MESSAGES, add_generation_prompt=True, return_dict=False)
    assert ids == ours.encode(chat, allowed_special="all")


def test_a_model_without_template_and_begin(tmp_path):
    """What `nanogpt train` makes has one special token, and no conversation: nothing may be made up for it."""
    torch.manual_seed(3)
    model, ours = GPT(GPTS["nanogpt"]), Tokenizer.train(LINES * 3, VOCAB)
    write(tmp_path / "out", ours_of(model, ours, eos="<|endoftext|>"))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.chat_template) == (None, "<|endoftext|>", None)
    assert (theirs.config.bos_token_id, theirs.config.eos_token_id) == (None, ours.special_tokens["<|endoftext|>"])
    assert tokenizer(LINES[0]).input_ids == ours.encode(LINES[0])


@pytest.mark.parametrize("kind", GPTS)
def test_written_and_read_is_bit_equal(kind, tmp_path):
    """Out and in again must cost no bit, or a model would drift each time it is passed on."""
    torch.manual_seed(3)
    model = loud(GPT(GPTS[kind]))
    tokenizer = Tokenizer.train(LINES * 3, VOCAB, special_tokens=SPECIALS)
    before = ours_of(model, tokenizer, chat_template="{{ 'ü' }}\n", bos="<|im_start|>")
    write(tmp_path / "out", before)
    after = read(tmp_path / "out")
    assert after.tensors.keys() == before.tensors.keys()
    assert all(torch.equal(after.tensors[name], tensor) for name, tensor in before.tensors.items())
    assert after.config == replace(before.config, dropout=0.0)
    assert after.tokenizer.to_dict() == before.tokenizer.to_dict()
    assert (after.chat_template, after.bos, after.eos) == ("{{ 'ü' }}\n", "<|im_start|>", "")
    assert ("lm_head.weight" in load_file(tmp_path / "out/model.safetensors")) != before.config.tie


@pytest.mark.parametrize("kind", KINDS)
def test_read_and_written_is_their_model_again(kind, saved, tokenizer, tmp_path):
    """A published model that passes through here stays what it was, name by name and bit by bit."""
    theirs, folder = saved[kind]
    write(tmp_path / "out", read(folder))
    before, after = load_file(folder / "model.safetensors"), load_file(tmp_path / "out/model.safetensors")
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert all(loaded(line).input_ids == tokenizer(line).input_ids for line in LINES)
