"""Hugging Face folders that cannot be read or written: one sentence each, and nothing left half done."""

import json
import math
import os
import re
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nanogpt.checkpoint import weights
from nanogpt.formats import hf_folder
from nanogpt.formats.hf_folder import read, write
from nanogpt.formats.published import Published
from nanogpt.model import GPT, GPTConfig
from nanogpt.vendor.bpe.fast import Tokenizer
from nanogpt.vendor.shared.errors import Mistake
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

pytestmark = pytest.mark.day(93)

CONFIG = GPTConfig(320, block_size=64, n_layer=2, n_head=4, n_kv_head=2, n_embd=32, n_hidden=48, tie=False)
TOKENIZER = Tokenizer.train("the lower the river, the slower the water " * 9, 270, special_tokens=("<|endoftext|>",))
SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]


def ours(**change):
    """A Published model of that shape, untied where nothing else is said."""
    config = replace(CONFIG, **change)
    return Published(config, weights(GPT(config)), TOKENIZER, eos="<|endoftext|>")


def edit(path, change):
    fields = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(fields))


def edit_tensors(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


@pytest.fixture
def folder(tmp_path):
    """A folder in order, to be spoiled."""
    write(tmp_path / "model", ours())
    return tmp_path / "model"


# --- writing ----------------------------------------------------------------------------------------------------------


def test_written_into_an_empty_folder_only(tmp_path):
    """An export must overwrite nothing; an empty folder, which many make first, is fine."""
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty", ours())
    (tmp_path / "file").write_text("x")
    for name in ("empty", "file"):
        with pytest.raises(Mistake, match="exists and is not an empty folder; give another one"):
            write(tmp_path / name, ours())
    write(tmp_path / "deep/er", ours())
    names = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert sorted(path.name for path in (tmp_path / "deep/er").iterdir()) == names
    modes = {path.stat().st_mode for path in (tmp_path / "deep/er").iterdir()}
    assert len(modes) == 1  # whoever may read one file may read all
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "empty", "file"]


@pytest.mark.parametrize("at", range(5))
def test_a_write_that_fails_leaves_nothing(at, tmp_path, monkeypatch):
    """A full disk or Ctrl-C at any file: half a model must not stand where a whole one is expected."""
    done = []

    def stops(real, stop):
        def call(*args, **kwargs):
            if len(done) == at:
                raise stop
            done.append(args)
            return real(*args, **kwargs)

        return call

    monkeypatch.setattr(hf_folder, "save_file", stops(hf_folder.save_file, OSError(28, "No space left on device")))
    monkeypatch.setattr(hf_folder, "atomic_write", stops(hf_folder.atomic_write, KeyboardInterrupt()))
    with pytest.raises(OSError if at == 0 else KeyboardInterrupt):
        write(tmp_path / "out", ours())
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_a_sentence(tmp_path, monkeypatch):
    """Python says it by an OSError; the library that writes the tensors has an error of its own."""

    def full(*args, **kwargs):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(hf_folder, "save_file", full)
    with pytest.raises(Mistake, match="model cannot be written .*No space left.*; make room there, or give another"):
        write(tmp_path / "model", ours())
    assert list(tmp_path.iterdir()) == []


def test_the_folder_appears_whole(tmp_path, monkeypatch):
    """All files are complete before the folder has its name: whoever looks sees a whole model or none."""
    seen, real = [], os.replace

    def look(source, target):
        if target == tmp_path / "out":
            assert not target.exists()
            seen.extend(sorted(path.name for path in source.iterdir()))
        real(source, target)

    monkeypatch.setattr(os, "replace", look)
    write(tmp_path / "out", ours())
    assert seen == sorted(path.name for path in (tmp_path / "out").iterdir()) != []


def unfit(**change):
    """A model some of whose parts do not fit together."""
    return replace(ours(), **change)


def spoiled():
    """The tensors of that shape: one is missing, one is unknown, one has a row less."""
    tensors = {name: tensor for name, tensor in weights(GPT(CONFIG)).items() if name != "norm.weight"}
    return {**tensors, "stray": torch.zeros(1), "embed.weight": torch.zeros(319, 32)}


NO_EXPORT = {
    "next to the llama family, norm is 'layernorm', not 'rmsnorm'; keep it as a nanogpt checkpoint": (
        lambda: ours(norm="layernorm")
    ),
    "next to the gpt2 family, norm is 'rmsnorm', not 'layernorm', mlp is 'swiglu', not 'gelu', bias is False, not "
    "True, n_kv_head is 2, not 4;": lambda: ours(position="learned"),
    "norm.weight is missing; stray is unknown; embed.weight has shape (319, 32), not (320, 32); nothing was written": (
        lambda: unfit(tensors=spoiled())
    ),
    "the tokenizer has 270 tokens and the model only 269": lambda: ours(vocab_size=269),
    "eos_token_id would be that of '</s>', which is no special token": lambda: unfit(eos="</s>"),
    "cannot be exported: its pattern may mean another thing": (
        lambda: unfit(tokenizer=Tokenizer(TOKENIZER.ranks, pattern=r"\w+|\W+"), eos="")
    ),
}


@pytest.mark.parametrize("sentence", NO_EXPORT)
def test_what_cannot_be_exported_is_told(sentence, tmp_path):
    """Nothing is written where transformers would compute something else, or could not load it at all."""
    with pytest.raises(Mistake, match=re.escape(sentence)):
        write(tmp_path / "out", NO_EXPORT[sentence]())
    assert list(tmp_path.iterdir()) == []


# --- reading ----------------------------------------------------------------------------------------------------------


def unlink(*names):
    return lambda folder: [(folder / name).unlink() for name in names]


def config(**fields):
    return lambda folder: edit(folder / "config.json", lambda f: f.update(fields))


def tokens(**fields):
    return lambda folder: edit(folder / "tokenizer_config.json", lambda f: f.update(fields))


def drawn(**fields):
    return lambda folder: edit(folder / "generation_config.json", lambda f: f.update(do_sample=True, **fields))


def shard(folder, change=lambda fields: None):
    """The folder's weights in two shards and an index, which `change` spoils."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    files = dict(zip(SHARDS, [list(tensors)[:9], list(tensors)[9:]], strict=True))
    for file, names in files.items():
        save_file({name: tensors[name] for name in names}, folder / file)
    fields = {"weight_map": {name: file for file, names in files.items() for name in names}}
    change(fields)
    (folder / "model.safetensors.index.json").write_text(json.dumps(fields))


def without_a_shard(folder):
    shard(folder)
    (folder / SHARDS[1]).unlink()


def cut(folder, name="model.safetensors", size=5000):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:size])


def cut_shard(folder):
    shard(folder)
    cut(folder, SHARDS[0])


def twice(folder):
    shard(folder)
    path = folder / SHARDS[0]
    tensors = load_file(path)
    other = load_file(folder / SHARDS[1])
    save_file({**tensors, **other}, path)


def pickle_only(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def larger_vocabulary(folder):
    edit(folder / "tokenizer.json", lambda f: f["added_tokens"].append({"id": 320, "content": "<new>"}))


SPOILED = {
    " has no config.json, without which": unlink("config.json"),
    "config.json is not JSON (": lambda folder: cut(folder, "config.json", 50),
    "config.json holds a JSON list": lambda folder: (folder / "config.json").write_text("[]"),
    "tokenizer_config.json is not JSON (": lambda folder: cut(folder, "tokenizer_config.json", 20),
    "model_type 'mamba' is not one that nanogpt knows; it reads gpt2 and llama": config(model_type="mamba"),
    "model_type None is not one": lambda folder: edit(folder / "config.json", lambda f: f.pop("model_type")),
    "it has no num_hidden_layers, without which": config(num_hidden_layers=None),
    "hidden_size is '32', which is of the wrong type": config(hidden_size="32"),
    "n_head 5 does not divide n_embd 32": config(num_attention_heads=5, num_key_value_heads=5),
    "hidden_act is 'gelu' and nanogpt computes with 'silu'": config(hidden_act="gelu"),
    "attention_bias is True": config(attention_bias=True),
    "mlp_bias is True": config(mlp_bias=True),
    "head_dim is 16 and nanogpt computes with hidden_size / num_attention_heads, here 8": config(head_dim=16),
    "partial_rotary_factor is 0.5": config(partial_rotary_factor=0.5),
    "quantization_config is {'bits': 4}": config(quantization_config={"bits": 4}),
    "this model scales RoPE ({'rope_type': 'llama3'": config(rope_parameters={"rope_type": "llama3", "factor": 8.0}),
    "this model scales RoPE ({'type': 'linear'": config(rope_scaling={"type": "linear", "factor": 2.0}),
    "rope_parameters is '[1]', which is of the wrong type": config(rope_parameters=[1]),
    "block_size is 1000000000000; it must be a whole number from 1 to 268,435,456": config(
        max_position_embeddings=10**12
    ),
    "9999 layers cannot be made of 21 tensors": config(num_hidden_layers=9999),
    "has neither model.safetensors nor model.safetensors.index.json": unlink("model.safetensors"),
    "its weights in pytorch_model.bin, a pickle, which can run any code when it is opened": pickle_only,
    "model.safetensors is not a whole safetensors file, for its 5000 bytes": cut,
    "model.safetensors is not a whole safetensors file, for its 4 bytes": lambda folder: cut(folder, size=4),
    "model.safetensors is not a whole safetensors file, for its 0 bytes": lambda folder: cut(folder, size=0),
    "lacks model-00002-of-00002.safetensors, which model.safetensors.index.json names": without_a_shard,
    "model-00001-of-00002.safetensors is not a whole safetensors file": cut_shard,
    "model.layers.9.x is not in model-00001-of-00002.safetensors, where model.safetensors.index.json has it": (
        lambda folder: shard(folder, lambda f: f["weight_map"].update({"model.layers.9.x": SHARDS[0]}))
    ),
    "is there twice": twice,
    "index.json has no weight_map": lambda folder: shard(folder, lambda f: f.clear()),
    "puts x into '../x', which is no file name": (
        lambda folder: shard(folder, lambda f: f["weight_map"].update(x="../x"))
    ),
    "model.norm.weight is missing; model.stray is unknown; lm_head.weight has shape (3, 32), not (320, 32)": (
        lambda folder: edit_tensors(
            folder,
            lambda t: t.update(stray=t.pop("model.norm.weight"), **{"lm_head.weight": torch.zeros(3, 32)}),
        )
    ),
    "model.norm.weight is I8, which is none of F64, F32, F16, BF16": (
        lambda folder: edit_tensors(folder, lambda t: t.update({"model.norm.weight": torch.ones(32, dtype=torch.int8)}))
    ),
    "tie_word_embeddings is true, but lm_head.weight is not the embedding": config(tie_word_embeddings=True),
    "has no tokenizer.json, nor vocab.json and merges.txt; download the tokenizer, too": unlink("tokenizer.json"),
    "tokenizer.json is not JSON (": lambda folder: cut(folder, "tokenizer.json"),
    "tokenizer.json: its normalizer NFC changes the text": (
        lambda folder: edit(folder / "tokenizer.json", lambda f: f.update(normalizer={"type": "NFC"}))
    ),
    "the tokenizer has 321 tokens and the model only 320": larger_vocabulary,
    "generation_config.json: temperature is nan, and nothing can be drawn with that": drawn(temperature=math.nan),
    "top_k is -3, and nothing can be drawn with that; correct it, or take it out": drawn(top_k=-3),
    "top_p is 5, and nothing can be drawn": drawn(top_p=5),
    "it sets add_bos_token and names no bos": tokens(add_bos_token=True),
    "it sets add_prefix_space": tokens(add_prefix_space=True),
    "its eos_token is '</s>', which its vocabulary lacks": tokens(eos_token="</s>"),
    "additional_special_tokens is '7', which is of the wrong type": tokens(additional_special_tokens=7),
    "added_tokens_decoder is '[1]', which is of the wrong type": tokens(added_tokens_decoder=[1]),
}  # fmt: skip


@pytest.mark.parametrize("sentence", SPOILED)
def test_a_spoiled_folder_is_told(sentence, folder):
    """One sentence each, which names the file or folder: not a traceback, and never a model that is a little wrong."""
    SPOILED[sentence](folder)
    with pytest.raises(Mistake, match=f"^{re.escape(str(folder))}.*{re.escape(sentence)}"):
        read(folder)


JUNK = st.sampled_from([None, True, 0, -1, 2.5, "", "x", [], ["x"], [{}], {}, {"a": "b"}, 10**30, float("inf")])
FILES = ["config.json", "tokenizer_config.json", "generation_config.json", "model.safetensors.index.json"]
EXTRA = ["bos_token", "unk_token", "additional_special_tokens", "added_tokens_decoder", "chat_template", "rope_scaling",
         "head_dim", "rope_parameters", "num_key_value_heads", "weight_map"]  # fmt: skip


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data(), file=st.sampled_from(FILES))
def test_damage_anywhere_is_told(data, file, sharded):
    """Whatever setting of whatever file is lost or replaced: the model is read, or a Mistake says why it is not."""
    path, fields = sharded / file, json.loads(SHARDED[file])
    key = data.draw(st.sampled_from([*fields, *EXTRA]))
    if data.draw(st.booleans()):
        fields[key] = data.draw(JUNK)
    else:
        fields.pop(key, None)
    path.write_text(json.dumps(fields))
    try:
        assert isinstance(read(sharded), Published)
    except Mistake as error:
        assert str(sharded) in str(error)
    finally:
        path.write_text(SHARDED[file])


SHARDED = {}  # file -> its text in order


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    """A folder in shards, whose JSON files are remembered."""
    folder = tmp_path_factory.mktemp("sharded") / "model"
    write(folder, ours())
    shard(folder)
    SHARDED.update({file: (folder / file).read_text() for file in FILES})
    return folder


def test_a_config_of_another_model_lists_what_differs(folder):
    """All wrong shapes are told at once, up to eight: whoever has the wrong config.json sees it at a glance."""
    edit(folder / "config.json", lambda fields: fields.update(intermediate_size=64, num_key_value_heads=4))
    with pytest.raises(Mistake) as caught:
        read(folder)
    k, up = "k_proj.weight has shape (16, 32), not (32, 32)", "up_proj.weight has shape (48, 32), not (64, 32)"
    for told in (f"model.layers.0.self_attn.{k}", f"model.layers.1.self_attn.{k}", f"model.layers.0.mlp.{up}"):
        assert told in str(caught.value)
    assert str(caught.value).count("has shape") == 8
    assert str(caught.value).endswith(" and 2 more; download both again")


def test_what_is_no_folder(tmp_path, folder):
    """A path that leads nowhere, and one to a file, are told apart."""
    with pytest.raises(Mistake, match="nowhere does not exist; check the path"):
        read(tmp_path / "nowhere")
    with pytest.raises(Mistake, match="config.json is a file; give the folder it is in"):
        read(folder / "config.json")
    shard(folder)
    (folder / "tokenizer.json").rename(folder / "tokenizer.model")
    with pytest.raises(Mistake, match=r"merges.txt \(tokenizer.model is SentencePiece's\)"):
        read(folder)
