# vendored from weeks/week07-08/gpt/optimizers/groups.py, sha256 cf33810eba752511607c84d6de7587d1beaa94ad42f3b1c2be6d560d29552d55; edit there, then run: make vendor
"""Which parameters decay: matrices do; biases and norms do not, for a norm pulled to 0 is a layer switched off."""


def groups(named, weight_decay):
    """{name: Parameter} -> a group of matrices, which decay, and one of vectors; a group without members is left out.

    A frozen parameter is in neither, so that no step can move it. Raises ValueError where nothing is left to train.
    """
    trained = {name: p for name, p in named.items() if p.requires_grad}
    if not trained:
        why = f"all {len(named)} parameters are frozen" if named else "there are no parameters"
        raise ValueError(f"{why}, so there is nothing to train; give some that require a gradient")
    matrices = [p for p in trained.values() if p.dim() >= 2]
    vectors = [p for p in trained.values() if p.dim() < 2]
    found = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    # A partition: a tied parameter under two names would be moved twice a step.
    grouped = [id(p) for group in found for p in group["params"]]
    assert len(grouped) == len(set(grouped)) == len(trained), "a parameter stands under two names, or in no group"
    return [group for group in found if group["params"]]
