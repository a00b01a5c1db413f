"""A doctor's visit for a torch network of your own: four diagnostics, the name of the disease, and what to do.

    python projects/network_doctor/visit.py my_model.py
    python projects/network_doctor/visit.py --new my_model.py                       writes an example to change
    python projects/network_doctor/visit.py projects/network_doctor/patients/dead_relu.py

my_model.py has a function model() that gives a fresh torch module, and batch() that gives (inputs, targets). It may
have optimizer(model), and loss(output, targets). The doctor makes a model of its own, trains it for a moment and throws
it away: no file of yours is changed.
"""

import argparse
import importlib.util
import inspect
import math
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import common

sys.path.insert(0, common.week("week05"))
import torch
from deepmlp.diagnostics import ASLEEP, DEAD, FAST, LOUD, SLOW, grad_to_data, gradients, saturation, step_size
from deepmlp.diagnostics import update_to_data as updates_of
from deepmlp.doctor import FEWEST, HEALTHY, Chart, diagnose
from deepmlp.vendor.shared.errors import Mistake, entry
from deepmlp.vendor.shared.files import need
from deepmlp.vendor.shared.progress import bar
from inside import look
from torch.nn import functional as F

OUT = common.RUNS / "network_doctor"
HERE = Path(__file__).resolve().parent
IN_TORCH = {
    "bad_init": "with torch.no_grad(): head.weight.mul_(0.01); head.bias.zero_()      # the last layer",
    "wrong_gain": 'torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")    # each hidden one; or "tanh"',
    "dead_relu": "torch.nn.init.zeros_(layer.bias)    # and nn.BatchNorm1d(width) before nn.ReLU(), or nn.GELU()",
    "high_lr": "torch.optim.Adam(model.parameters(), lr=old / 10)    # in optimizer(model)",
    "low_lr": "torch.optim.Adam(model.parameters(), lr=old * 10)    # in optimizer(model)",
    "no_norm": "nn.Linear(...), nn.LayerNorm(width), nn.ReLU()    # in each hidden layer",
}


# --- the patient ------------------------------------------------------------------------------------------------------


class Patient:
    """A user's file: a fresh model, batches, the loss, the optimizer."""

    def __init__(self, path):
        path = need(path, f"python projects/network_doctor/visit.py --new {path}, and change what it writes")
        spec = importlib.util.spec_from_file_location(f"patient_{path.stem}", path)
        if spec is None:
            raise Mistake(f"{path} is no Python file; give one that ends with .py")
        self.path, self.file = path, importlib.util.module_from_spec(spec)
        sys.path.insert(0, str(path.resolve().parent))  # what lies beside it can be imported
        try:
            self.ask("the file", spec.loader.exec_module, self.file)
        finally:
            sys.path.remove(str(path.resolve().parent))
        for name, gives in (("model", "a fresh torch module"), ("batch", "(inputs, targets)")):
            if not callable(getattr(self.file, name, None)):
                raise Mistake(f"{path} has no function {name}(); write one that gives {gives}")
        self.model = self.ask("model()", self.file.model)
        if not isinstance(self.model, torch.nn.Module):
            raise Mistake(f"model() in {path} gave a {type(self.model).__name__}; give a torch.nn.Module")
        self.takes_targets = "targets" in inspect.signature(self.model.forward).parameters
        self.classes = math.inf  # of a loss whose first value nobody knows: then the doctor does not judge it

    def ask(self, what, function, *args):
        """What a piece of the user's code gives; its failure is a sentence that says where it happened."""
        try:
            return function(*args)
        except (Mistake, KeyboardInterrupt, MemoryError):
            raise
        except Exception as error:
            trace, line = error.__traceback__, None
            while trace:
                line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == self.file.__file__ else line
                trace = trace.tb_next
            where = f", line {line}" if line else ""
            raise Mistake(f"{what} of {self.path} fails{where}: {type(error).__name__}: {error}; mend it") from error

    def optimizer(self):
        if callable(getattr(self.file, "optimizer", None)):
            return self.ask("optimizer(model)", self.file.optimizer, self.model)
        return torch.optim.Adam(self.model.parameters(), lr=1e-3)

    def loss(self, model):
        """The mean loss of one batch."""
        pair = self.ask("batch()", self.file.batch)
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise Mistake(f"batch() in {self.path} must give (inputs, targets); it gave a {type(pair).__name__}")
        return self.ask("the forward pass", self._loss, model, *pair)

    def _loss(self, model, inputs, targets):
        inputs = inputs if isinstance(inputs, tuple) else (inputs,)
        out = model(*inputs, targets=targets) if self.takes_targets else model(*inputs)
        if callable(getattr(self.file, "loss", None)):
            return self.file.loss(out, targets)
        if isinstance(out, tuple) and len(out) == 2 and torch.is_tensor(out[1]) and out[1].dim() == 0:
            self.classes = out[0].shape[-1]  # the contract of this course: logits, loss = model(tokens, targets)
            return out[1]
        if not torch.is_tensor(out):
            raise Mistake(f"model() in {self.path} gives a {type(out).__name__}; write loss(output, targets) for it")
        if not targets.is_floating_point():
            last = out.dim() == targets.dim() + 1 and out.shape[:-1] == targets.shape  # (B, T, V), else (B, V, T)
            self.classes = out.shape[-1 if last else 1]
            return F.cross_entropy(out.reshape(-1, self.classes), targets.reshape(-1)) if last else F.cross_entropy(
                out, targets)  # fmt: skip
        if out.shape != targets.shape:
            raise Mistake(f"the output {tuple(out.shape)} and the targets {tuple(targets.shape)} of {self.path} differ "
                          "in shape; make them alike, or write loss(output, targets)")  # fmt: skip
        return F.mse_loss(out, targets)


# --- the examination --------------------------------------------------------------------------------------------------


def reports(patient):
    """(loss, the diagnostics of this moment by name, weights by name)."""
    seen, places, weights = patient.ask("the way back", look, patient.model, patient.loss)
    found = [saturation(seen), gradients(seen), grad_to_data(seen)]
    for i in (0, 1):  # say where each layer stands in the user's own words
        rows = [{"layer": row["layer"], "where": place, **row} for row, place in zip(found[i].rows, places)]
        found[i] = replace(found[i], rows=rows)
    return seen.loss, {report.name: report for report in found}, weights


def examine(patient, steps):
    """The Chart of week 5's doctor, and the loss of each step. The model is trained for that many steps."""
    patient.model.train()
    first, before, weights = reports(patient)
    optimizer, losses, sizes = patient.optimizer(), [], []
    window = min(HEALTHY.warmup, steps)  # as in week 5: updates are judged in the second half of the first 20 steps
    with bar(total=steps, label="training for a moment", unit="step") as line:
        for step in range(steps):
            kept = {name: p.detach().clone() for name, p in weights.items()} if step < window else {}
            loss = patient.loss(patient.model)
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                break
            optimizer.zero_grad()
            patient.ask("the way back", loss.backward)
            patient.ask("optimizer(model)", optimizer.step)
            if window // 2 <= step < window:
                sizes.append({name: step_size(kept[name], p.detach()) for name, p in weights.items()})
            line.update()
            line.set_postfix_str(f"loss {losses[-1]:.3f}", refresh=False)
    sizes = sizes or [{name: math.nan for name in weights}]  # it broke before a step could be judged
    last, after, _ = reports(patient)
    last = losses[-1] if not math.isfinite(losses[-1]) else last
    return Chart(patient.classes, first, last, before, after, updates_of(sizes)), losses


def table(report):
    """The rows of a report as lines of text."""
    head = list(report.rows[0])
    cell = lambda value: f"{value:.3g}" if isinstance(value, float) else str(value)
    lines = [head, *([cell(row[key]) for key in head] for row in report.rows)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("    " + "  ".join(f"{c:>{w}}" for c, w in zip(line, widths)) for line in lines)


def in_general(evidence):
    """Week 5's networks read names; others do not."""
    return evidence.replace("has seen a name", "has seen an example")


def draw(chart, losses, found, name, path):
    """One figure: the loss, and each diagnostic with the lines between which all is well."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6.4))
    (loss, spread, share), (grads, data, moved) = figure.subplots(2, 3)
    loss.plot(range(1, len(losses) + 1), losses, color="#542788")
    if math.isfinite(chart.vocab_size):
        even = math.log(chart.vocab_size)
        loss.axhline(even, color="black", linestyle="--", linewidth=1, label=f"knowing nothing: {even:.2f}")
        loss.legend(fontsize=7)
    loss.set(title=f"loss: {chart.first_loss:.3g} to {chart.last_loss:.3g}", xlabel="step", ylabel="loss")
    moments = (("before", chart.before, "#998ec3", "o--"), ("after", chart.after, "#b35806", "s-"))
    for label, given, color, style in moments:
        rows, slopes = given["saturation"].rows, given["gradients"].rows
        places = [row["layer"] for row in rows]
        spread.plot(places, [row["z_std"] for row in rows], style, color=color, label=label)
        share.plot(places, [100 * max(row["flat"], row["dead"]) for row in rows], style, color=color, label=label)
        grads.plot(places, [max(row["std"], 1e-12) for row in slopes], style, color=color, label=label)
        weights = given["gradient:data"].rows
        ratios = [max(row["ratio"], 1e-12) for row in weights]
        data.plot(range(len(weights)), ratios, style, color=color, label=label)
    steps = [row["log10"] for row in chart.updates.rows]
    moved.plot(range(len(steps)), steps, "s-", color="#b35806", label="first steps")
    for axes, lines in ((spread, (ASLEEP, LOUD)), (share, (100 * DEAD,)), (moved, (FAST, SLOW))):
        for number, height in enumerate(lines):
            axes.axhline(height, color="black", linestyle="--", linewidth=1, label="" if number else "limit")
    moved.axhline(-3, color="grey", linestyle=":", linewidth=1, label="rule of thumb: -3")
    spread.set(title="spread of what goes in", yscale="log", ylabel="sd of z")
    share.set(title="units that pass no gradient", ylim=(-4, 104), ylabel="dead or saturated (%)")
    grads.set(title="gradients along the depth", yscale="log", ylabel="sd of d loss / d output")
    data.set(title="gradient:data", yscale="log", ylabel="sd of gradient / sd of weight")
    moved.set(title="update:data", ylabel="log10(sd of step / sd of weight)")
    for axes in (spread, share, grads):
        axes.set_xticks(places)
        axes.set_xlabel("nonlinearity, from the input on")
    for axes, report in ((data, chart.before["gradient:data"]), (moved, chart.updates)):
        labels = [row["weight"].split(" (")[0].replace("hidden ", "") for row in report.rows]
        axes.set_xticks(range(len(labels)), labels, fontsize=8)
        axes.set_xlabel("weight matrix, from the input on")
    for axes in (spread, share, grads, data, moved):
        axes.legend(fontsize=7)
    figure.suptitle(f"{name}: {found.disease or 'healthy'}; {in_general(found.evidence)}", fontsize=9)
    figure.tight_layout()
    common.save_figure(figure, path)


def main(argv=None):
    p = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=__doc__.split("\n", 2)[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    p.add_argument("file", type=Path, help="your Python file with model() and batch()")
    p.add_argument("--new", action="store_true", help="write a healthy example to FILE, to be changed into yours")
    p.add_argument("--steps", type=int, default=200, help="how long it is watched (default: %(default)s)")
    p.add_argument("--seed", type=int, default=0, help="of the model and its batches (default: %(default)s)")
    p.add_argument("--figure", type=Path, help="where the figure goes (default: runs/network_doctor/NAME.png)")
    p.add_argument("--threads", type=int, default=1, help="CPU threads (default: %(default)s)")
    common.add_mine(p)
    args = p.parse_args(argv)
    if args.steps < FEWEST or args.threads < 1:
        raise Mistake(f"--steps {args.steps} --threads {args.threads} is too little; give {FEWEST} steps, 1 thread")
    if args.new:
        if args.file.exists():
            raise Mistake(f"{args.file} is there already and stays as it is; give another name")
        args.file.write_text((HERE / "patients" / "healthy.py").read_text(encoding="utf-8"), encoding="utf-8")
        print(f"{args.file} is written; change model() and batch() into yours, then: "
              f"python projects/network_doctor/visit.py {args.file}")  # fmt: skip
        return None
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    patient = Patient(args.file)
    count = sum(weight.numel() for weight in patient.model.parameters())
    print(f"{args.file}: {type(patient.model).__name__}, {count:,} parameters, watched for {args.steps} steps")
    chart, losses = examine(patient, args.steps)
    found = diagnose(chart)
    for moment, given in (("before the first step", chart.before), ("after the last", chart.after)):
        for report in given.values():
            print(f"{report.name}, {moment}: {report.verdict}\n{table(report)}")
    print(f"{chart.updates.name}, in the first steps: {chart.updates.verdict}\n{table(chart.updates)}")
    print(f"loss: {chart.first_loss:.3f} -> {chart.last_loss:.3f}")
    print(f"diagnosis: {found.disease or 'healthy'}: {in_general(found.evidence)}\nwhat to do: {found.advice}")
    if found.disease:
        print(f"in torch:   {IN_TORCH[found.disease]}")
    path = args.figure or OUT / f"{args.file.stem}.png"
    draw(chart, losses, found, args.file.name, path)
    print(f"figure: {path}")
    return found


if __name__ == "__main__":
    sys.exit(common.run(entry, main))
