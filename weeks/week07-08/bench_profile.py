"""Where the time of a training step goes, by kind of operation: what a faster step could still save.

Torch's profiler counts the time that each operation takes itself, without those that it calls.
"""

from collections import Counter

from torch.profiler import ProfilerActivity, profile

KINDS = {  # kind -> how the names of its operations begin
    "products": ("mm", "addmm", "bmm", "baddbmm"),
    "attention": ("_scaled_dot_product", "_softmax", "scaled_dot_product"),
    "gelu": ("gelu",),
    "norm": ("native_layer_norm", "layer_norm"),
    "dropout": ("dropout", "native_dropout", "bernoulli"),
    "optimizer": ("_fused_adamw", "_foreach", "linalg_vector_norm", "zeros_like"),
    "loss": ("_log_softmax", "log_softmax", "nll_loss", "cross_entropy"),
    "sums and copies": ("add", "mul", "div", "copy", "clone", "sum", "fill", "where", "masked_fill", "tril"),
}


def kind_of(operation):
    """The kind of "aten::mm" and of "aten::_softmax_backward_data"; "other" where no kind has it."""
    name = operation.removeprefix("aten::")
    words = [(word, kind) for kind, names in KINDS.items() for word in names if name.startswith(word)]
    return max(words, key=lambda found: len(found[0]), default=("", "other"))[1]


def seconds_by_kind(step, steps):
    """{kind: seconds a step} of `steps` calls of `step`, after two that are not counted."""
    step(), step()
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(steps):
            step()
    taken = Counter()
    for row in seen.key_averages():
        taken[kind_of(row.key)] += row.self_cpu_time_total / 1e6 / steps
    return dict(taken)


def profiles(name, ours, plain, steps):
    """The metrics of one shape: the share of each kind in both steps, and the bound that the plain one's products set.

    Both steps multiply the same matrices. So a step that did all else in no time, and these products as fast, would be
    `bound` times as fast as the plain step.
    """
    metrics = {}
    for whose, step in (("ours", ours), ("plain", plain)):
        taken = seconds_by_kind(step, steps)
        whole = sum(taken.values())
        shares = {kind: taken.get(kind, 0.0) / whole for kind in (*KINDS, "other")}
        metrics |= {f"{whose}_{kind.replace(' ', '_')}_share_{name}": share for kind, share in shares.items()}
        print(f"{name} {whose}: " + ", ".join(f"{kind} {share:.0%}" for kind, share in shares.items()))
    return metrics | {f"bound_{name}": 1 / metrics[f"plain_products_share_{name}"]}
