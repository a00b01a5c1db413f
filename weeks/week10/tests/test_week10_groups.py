"""Day 64: which parameter gets which settings. The groups partition the model, or a sentence says why not."""

import pytest
import torch
from scaling.groups import groups, hidden, vectors
from torch import nn
from week10_small import small

pytestmark = pytest.mark.day(64)


def test_the_groups_partition_the_model():
    """Each parameter in one group, the tied one once, in the order of the recipe; the first match wins."""
    model = small()
    recipe = [(vectors, {"weight_decay": 0.0}), ("wte.*|wpe.*", {"lr": 1e-3}), (hidden, {"a": 1}), ("*.up.*", {"b": 2})]
    with pytest.raises(ValueError, match="pattern '\\*.up.\\*' gets no parameter, for earlier patterns match"):
        groups(model, recipe)
    found = groups(model, [recipe[3], *recipe[:3]])
    grouped = [p for group in found for p in group["params"]]
    assert sorted(map(id, grouped)) == sorted(map(id, model.parameters()))
    assert found[0]["names"] == [f"blocks.{i}.mlp.up.{what}" for i in (0, 1) for what in ("weight", "bias")]
    assert found[2]["names"] == ["wte.weight", "wpe.weight"] and found[2]["lr"] == 1e-3
    assert all(p.dim() == 1 for p in found[1]["params"]) and all(".up." not in name for name in found[3]["names"])
    assert [set(group) - {"params", "names"} for group in found] == [{"b"}, {"weight_decay"}, {"lr"}, {"a"}]


def test_hidden_are_the_matrices_of_numbered_layers():
    """Neither embeddings nor a head, in this model and in those of other names."""
    names = [name for name, p in small().named_parameters() if hidden(name, p)]
    assert len(names) == 8 and all(name.startswith("blocks.") and name.endswith("weight") for name in names)
    matrix, vector = torch.zeros(2, 2), torch.zeros(2)
    assert hidden("model.layers.3.self_attn.q_proj.weight", matrix) and not hidden("lm_head.weight", matrix)
    assert not hidden("model.layers.3.norm.weight", vector) and vectors("model.layers.3.norm.weight", vector)


def test_an_empty_pattern_is_told():
    """It would leave its settings unused and say nothing; near names are given."""
    for pattern in ("", "blocks.*.mlp.upp.weight", "wte"):
        sentence = f"the pattern '{pattern.replace('*', '.')}' matches no parameter; there are names"
        with pytest.raises(ValueError, match=sentence):
            groups(small(), [(pattern, {}), ("*", {})])
    with pytest.raises(ValueError, match="names such as .*blocks.0.mlp.up.weight"):
        groups(small(), [("blocks.*.mlp.upp.weight", {}), ("*", {})])
    with pytest.raises(ValueError, match="the pattern vectors matches no parameter"):
        groups({"w": nn.Parameter(torch.zeros(2, 2))}, [(vectors, {}), ("*", {})])
    assert len(groups({"w": nn.Parameter(torch.zeros(2, 2))}, [(vectors, {}), ("*", {})], strict=False)) == 1


def test_what_cannot_be_parted_is_told():
    """A parameter that no pattern matches, one under two names, and nothing to train."""
    model = small()
    with pytest.raises(ValueError, match=r"no pattern of the recipe matches wte.weight; end the recipe with .'\*'"):
        groups(model, [("blocks.*", {})])
    with pytest.raises(ValueError, match="wte and head are one tensor, which would be moved twice a step"):
        groups({"wte": model.wte.weight, "head": model.wte.weight}, [("*", {})])
    with pytest.raises(ValueError, match="there are no parameters, so there is nothing to train"):
        groups({}, [("*", {})])
    with pytest.raises(ValueError, match="all 28 parameters are frozen, so there is nothing to train"):
        groups(model.requires_grad_(False), [("*", {})])


def test_a_frozen_parameter_is_in_no_group():
    """So no step can move it, and a pattern that matches frozen ones alone is empty."""
    model = small()
    model.wte.requires_grad_(False)
    names = [name for group in groups(model, [("*", {})]) for name in group["names"]]
    assert "wte.weight" not in names and len(names) == 27
    with pytest.raises(ValueError, match="'wte.\\*' matches no parameter"):
        groups(model, [("wte.*", {}), ("*", {})])
