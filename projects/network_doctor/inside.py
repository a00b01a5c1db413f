"""Look into any torch model: what goes into each tanh, relu and gelu, what comes out, and the gradients.

Two things watch a forward pass. Hooks on every module say where we are. A torch function mode sees each call of torch:
of tanh, relu and gelu, so it does not matter whether a model writes nn.ReLU, F.relu or x.relu(), and in which order
weights are used. The result is the `Look` of week 5, which its diagnostics read. The model is left as it was.
"""

import torch
from deepmlp.diagnostics import Look
from deepmlp.vendor.shared.errors import Mistake
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

KINDS = {
    torch.tanh: "tanh", torch.Tensor.tanh: "tanh", torch.relu: "relu", torch.Tensor.relu: "relu", F.relu: "relu",
    torch.relu_: "relu", torch.Tensor.relu_: "relu", torch.tanh_: "tanh", torch.Tensor.tanh_: "tanh", F.gelu: "gelu",
}  # fmt: skip


class Watch(TorchFunctionMode):
    """In `with Watch(model)`: rows of (kind, where, z, values, out), and weight matrices in the order of use."""

    def __init__(self, model):
        super().__init__()
        self.model, self.rows, self.used, self.path, self.channels_first = model, [], [], [], False

    def __enter__(self):
        self.hooks = []
        for name, module in self.model.named_modules():
            self.hooks += [
                module.register_forward_pre_hook(lambda module, inputs, name=name: self.begin(name, module)),
                module.register_forward_hook(lambda module, inputs, out: self.path.pop() and None),
            ]
        return super().__enter__()

    def __exit__(self, *error):
        for hook in self.hooks:
            hook.remove()
        return super().__exit__(*error)

    def begin(self, name, module):
        self.path.append(name or type(module).__name__)
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear):
            self.channels_first = not isinstance(module, nn.Linear)

    def __torch_function__(self, call, types, args=(), kwargs=None):
        kind = KINDS.get(call)
        if kind is None:
            out = call(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor | tuple):  # not a question for a shape
                self.note([*args, *(kwargs or {}).values()])
            return out
        given = args[0] if args else kwargs["input"]
        z = given.detach().clone()  # a call in place would write over it
        out = call(*args, **(kwargs or {}))
        if out.requires_grad:
            values = out.detach().clone().float()  # what comes next may write over them
            self.rows.append((kind, self.path[-1] if self.path else "?", self.by_unit(z), values, out))
        return out

    def note(self, given):
        for x in given:
            if isinstance(x, list | tuple):
                self.note(x)
            elif isinstance(x, nn.Parameter) and x.dim() > 1 and x.requires_grad:
                self.used.append(x)

    def by_unit(self, x):
        """(N, units): in a convolution each channel is one unit, seen at many places."""
        if x.dim() > 2 and self.channels_first:
            x = x.movedim(1, -1)
        return x.reshape(-1, x.shape[-1]).float()


def matrices(model, used):
    """{name: parameter} of the trained matrices that a forward pass used: embed ..., hidden 1 ..., and the head."""
    named = {id(p): name.removesuffix(".weight") for name, p in model.named_parameters()}
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    found, number = {}, 0
    used = [p for p in used if id(p) in named]
    for p in sorted(dict.fromkeys(used), key=lambda p: p is used[-1]):  # what is used last is the head, and comes last
        if id(p) in tables:
            found[f"embed ({named[id(p)]})"] = p
        elif p is used[-1]:
            found[f"head ({named[id(p)]})"] = p
        else:
            number += 1
            found[f"hidden {number} ({named[id(p)]})"] = p
    if not number:
        raise Mistake("the model has no hidden weight matrix (one that is neither an embedding nor the last layer), "
                      "so there is nothing deep to examine; give a network with two layers or more")  # fmt: skip
    return found


def look(model, loss_of):
    """(Look, [where each nonlinearity stands], {name: weight}) of one batch; loss_of(model) runs it forward."""
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        with Watch(model) as watch, torch.enable_grad():
            loss = loss_of(model)
        if not watch.rows:
            raise Mistake("no tanh, relu or gelu was called in a forward pass, and the four diagnostics of week 5 know "
                          "these three; other nonlinearities cannot be judged")  # fmt: skip
        weights = matrices(model, watch.used)
        kinds, places, z, values, out = zip(*watch.rows)
        gradients = torch.autograd.grad(loss, [*out, *weights.values()], allow_unused=True)
    finally:
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
    nothing = lambda x, g: torch.zeros_like(x) if g is None else g
    down = [nothing(x, g).detach().float() for x, g in zip(out, gradients)]
    judged = {
        name: (p.detach().clone().float(), g.float())
        for (name, p), g in zip(weights.items(), gradients[len(out) :])
        if g is not None  # the loss does not depend on it
    }
    seen = Look(loss.item(), list(kinds), list(z), list(values), down, judged)
    return seen, list(places), {name: weights[name] for name in judged}
