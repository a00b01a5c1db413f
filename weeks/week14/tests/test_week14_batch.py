"""Batched generation: rows that come and go in few slots get what each gets alone, with and without an adapter.

Tokens are compared, not logits: on these random models the best token leads by far more than the rounding (about 1e-5)
by which a row of a batch differs from the row alone.
"""

import random

import pytest
import torch
from nanogpt.infer.batch import generate_batch
from nanogpt.infer.generate import generate
from nanogpt.infer.slots import Slots
from nanogpt.model import GPT, GPTConfig
from nanogpt.vendor.gpt.sampling import penalise_repetition
from nanogpt.vendor.lora import adapter

pytestmark = pytest.mark.day(98)

FAMILIES = ["llama", "gpt2"]


def random_model(family):
    torch.manual_seed(3)
    shape = {"block_size": 40, "n_layer": 2, "n_head": 4, "n_embd": 32}
    model = GPT(GPTConfig(90, n_kv_head=2, **shape) if family == "llama" else GPTConfig.gpt2(90, **shape)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(4)
    return model


def random_prompts(n=9, shared=4):
    draw = random.Random(0)
    begin = [draw.randrange(90) for _ in range(shared)]
    return [begin + [draw.randrange(90) for _ in range(draw.randrange(1, 25))] for _ in range(n)]


def adapted(model, rate=0.2):
    """The model with an adapter that changes what it says."""
    adapter.attach(model, "a", adapter.LoRAConfig(rank=2, alpha=4))
    with torch.no_grad():
        for p in adapter.parameters(model, "a").values():
            p.normal_(0, rate)
    return model


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("batch", [1, 2, 4, 64])
def test_rows_that_come_and_go_equal_each_alone(family, batch):
    """Fewer slots than prompts, rows that end at different steps: whoever takes a slot sees nothing of the last."""
    model, prompts = random_model(family), random_prompts()
    alone = [list(generate(model, p, min(12, 40 - len(p)), temperature=0)) for p in prompts]
    stop = {alone[0][5], alone[4][2]}
    wanted = [list(generate(model, p, min(12, 40 - len(p)), temperature=0, stop=stop)) for p in prompts]
    assert len({len(row) for row in wanted}) > 2, "rows end at different steps"
    counted = []
    assert generate_batch(model, prompts, 12, batch=batch, stop=stop, ended=counted.append) == wanted
    assert sum(counted) == len(prompts)


def test_a_row_draws_the_same_whatever_the_batch():
    """The seed and its place in the list decide what a row draws: not how many run beside it."""
    model, prompts = random_model("llama"), random_prompts()
    options = {"temperature": 1.0, "top_k": 20, "seed": 5}
    one = generate_batch(model, prompts, 10, batch=1, **options)
    assert generate_batch(model, prompts, 10, batch=3, **options) == one
    assert generate_batch(model, prompts, 10, batch=9, **options) == one
    assert generate_batch(model, prompts, 10, batch=9, **(options | {"seed": 6})) != one


@pytest.mark.parametrize("family", FAMILIES)
def test_repetition_is_penalised_in_prompt_and_answer(family):
    """Greedy with a penalty, against the same written out for one row with the whole text read anew each time."""
    model, prompts = random_model(family), random_prompts(4)
    wanted = []
    for p in prompts:
        ids = list(p)
        for _ in range(8):
            with torch.no_grad():
                logits = model(torch.tensor([ids]))[0][:, -1]
            ids.append(penalise_repetition(logits, torch.tensor([ids]), 3.0).argmax().item())
        wanted.append(ids[len(p) :])
    assert generate_batch(model, prompts, 8, batch=3, repetition_penalty=3.0) == wanted
    assert generate_batch(model, prompts, 8, batch=3) != wanted, "the penalty changed something"


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_is_merged_while_it_generates(family):
    """The same tokens as beside the weights, no adapter product on the way, the base put back byte for byte."""
    model, prompts = adapted(random_model(family)), random_prompts()
    before = {name: (p, p.detach().clone()) for name, p in model.named_parameters()}
    wanted = [list(generate(model, p, 10, temperature=0)) for p in prompts]
    merged = []
    assert generate_batch(model, prompts, 10, ended=lambda n: merged.append(adapter.merged_name(model))) == wanted
    assert set(merged) == {"a"} and adapter.merged_name(model) is None
    assert all(p is before[name][0] and torch.equal(p, before[name][1]) for name, p in model.named_parameters())
    with adapter.using(model, adapter.BASE):
        assert generate_batch(model, prompts, 10) != wanted, "the adapter changed something"


def test_the_base_comes_back_after_an_error_too():
    """Ctrl-C in the middle must not leave a learner with a merged model."""
    model = adapted(random_model("llama"))
    kept = model.blocks[0].attn.q.weight

    def interrupt(n):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate_batch(model, random_prompts(), 3, ended=interrupt)
    assert model.blocks[0].attn.q.weight is kept and adapter.merged_name(model) is None


def test_where_merging_would_round_or_add_nothing_is_merged():
    """Sums of adapters, and weights of 16 bits, which a small correction would vanish in."""
    model, names = adapted(random_model("llama")), []
    adapter.attach(model, "b", adapter.LoRAConfig(rank=2, alpha=4))
    see = lambda n: names.append(adapter.merged_name(model))
    with adapter.using(model, {"a": 0.5, "b": 0.5}):
        generate_batch(model, random_prompts(), 2, ended=see)
    with adapter.using(model, "a"):
        generate_batch(model.bfloat16(), random_prompts(), 2, ended=see)
    assert set(names) == {None}


def test_one_adapter_a_row_is_refused():
    """Rows change places, so the choice by row would be read wrongly without a word."""
    model = adapted(random_model("llama"))
    with adapter.using(model, ["a", "__base__"]), pytest.raises(ValueError, match="one adapter a row.*alone"):
        generate_batch(model, [[1, 2], [3]], 3)


@pytest.mark.parametrize("batch", [0, -1, 2.0, True])
def test_a_batch_of_nothing_is_refused(batch):
    with pytest.raises(ValueError, match=f"batch is {batch!r}.* 1 or more"):
        generate_batch(random_model("llama"), [[1]], 3, batch=batch)


def test_generation_leaves_the_model_trainable():
    """Nothing that generation computed may stay behind where a backward pass would meet it."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(20, block_size=3000, n_layer=1, n_head=2, n_embd=8)).eval()
    generate_batch(model, [[1] * 2047, [2]], 4)  # its rotation tables grow on the way
    loss = model(torch.tensor([[1, 2, 3]]), torch.tensor([[2, 3, 4]]))[1]
    loss.backward()
    assert model.blocks[0].attn.q.weight.grad.abs().sum() > 0


def test_slots_keep_the_rows_in_use_together():
    """Dropping a row moves the last one into its slot, whole, and `longest` follows the rows that are left."""
    slots = Slots(GPTConfig(10, block_size=8, n_layer=1, n_head=1, n_embd=2), 3, 8, torch.float32, "cpu")
    slots.used, slots.longest = 3, 6
    slots.lengths[:] = torch.tensor([6, 2, 4])
    for row in range(3):
        slots.k[:, row], slots.v[:, row] = row + 1, -row - 1
    slots.drop(0)
    assert slots.used == 2 and slots.lengths[:2].tolist() == [4, 2] and slots.longest == 4
    assert (slots.k[:, 0, :, :4] == 3).all() and (slots.v[:, 0, :, :4] == -3).all() and (slots.k[:, 1] == 2).all()
    assert slots.mask()[:, 0, 0].tolist() == [[True] * 5, [True, True, True, False, False]]
    slots.drop(1)
    assert slots.used == 1 and slots.positions().tolist() == [[4]]
