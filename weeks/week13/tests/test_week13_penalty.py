"""What defines the penalties: where they pull to, how hard, and that EWC's Fisher is taken row by row."""

import pytest
import torch
from continual import Learner, Task, all_judged, make
from continual.vendor.gpt.model import GPT, GPTConfig

pytestmark = pytest.mark.day(89)


def setting():
    torch.manual_seed(0)
    ids = torch.randint(0, 7, (4, 6), generator=torch.Generator().manual_seed(1))
    return Learner(GPT(GPTConfig(7, 5, n_layer=1, n_head=2, n_embd=8))), Task("a", all_judged(ids))


@pytest.mark.parametrize("name", ["l2", "ewc"])
def test_the_penalty_is_zero_at_the_anchor_and_grows_with_the_square(name):
    learner, task = setting()
    method = make(name)
    method.finish(learner, task)
    assert method.penalty(learner).item() == 0
    weight = learner.model.wpe.weight
    found = []
    for _ in range(2):
        with torch.no_grad():
            weight += 0.5  # exact in binary, but the weights it is added to round: hence a tolerance
        found.append(method.penalty(learner).item())
    assert found[0] > 0 and found[1] == pytest.approx(4 * found[0], rel=1e-4)


def test_fisher_is_the_mean_of_squares_not_the_square_of_the_mean():
    """The oracle is plain autograd, one row at a time."""
    learner, task = setting()
    method = make("ewc")
    method.finish(learner, task)
    model = learner.model.eval()
    each = []
    for i in range(4):
        loss = model(task.train.ids[i : i + 1, :-1], task.train.ids[i : i + 1, 1:])[1]
        each.append(torch.autograd.grad(loss, model.wpe.weight)[0])
    each = torch.stack(each)
    # float32 sums of four terms in another order
    torch.testing.assert_close(method.weight["wpe.weight"], (each**2).mean(0), rtol=1e-4, atol=1e-9)
    assert not torch.allclose(method.weight["wpe.weight"], each.mean(0) ** 2, rtol=0.1, atol=0)


@pytest.mark.parametrize("name, config, said", [
    ("l2", dict(strength=-1), "strength is -1; use 0"),
    ("ewc", dict(fisher_rows=0), "fisher_rows is 0; use 1"),
])  # fmt: skip
def test_penalties_refuse_what_cannot_be(name, config, said):
    with pytest.raises(ValueError, match=said):
        make(name, config)
