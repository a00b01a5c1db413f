"""LoRA on SmolLM2-135M here and through peft and transformers: seconds of a training step, and what bought what.

python weeks/week12/bench.py

Rank 8 on all linear layers, four rows of real prompts and responses in a step, cut at 256 tokens, for peft padded to
the longest of the four. `spam` has short rows, `topics` long ones. peft is measured in float32, and in bfloat16 where
the processor has it; the better counts. CPU time of one thread, all sides in turn.
"""

import statistics
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

import torch
from lora import LoRA, LoRAConfig, attach
from lora.published import product, their_paths
from lora.vendor.shared.errors import entry
from lora.vendor.shared.files import need
from lora.vendor.shared.results import (
    Stopwatch,
    command_line,
    parser,
    results_folder,
    thread_count,
    write_results,
)
from torch.nn import functional as F

DATA = Path(__file__).resolve().parents[2] / "data"
MODEL, NAME, RANK, LENGTH, BATCH = "smollm2-135m", "bench", 8, 256, 4
SETS = {"spam": "sms-spam", "topics": "reuters-r8"}
ROUNDS = {"smoke": 1, "default": 5, "full": 15}  # of timing
STEPS = {"smoke": 2, "default": 24, "full": 40}  # of the two loss curves
RATE = 5e-4


def rows_of(loaded, data, count):
    """The first rows of a task, as training rows (count, LENGTH + 1)."""
    answers = product("answers")
    rows = answers.read_rows(need(data / "train.jsonl", f"make data/{data.name}"))[:count]
    return answers.make_task(data.name, rows, loaded.template(), LENGTH)[0].train


def ends(rows):
    """The place of each row's last judged token: how many tokens are read before it."""
    return (rows.judged * torch.arange(rows.judged.shape[1])).amax(dim=1)


def collated(rows):
    """(inputs, labels) of a step as peft's users give them: padded to the longest row, -100 where nothing is judged."""
    length = int(rows.judged.any(dim=0).nonzero().max()) + 1
    ids, judged = rows.ids[:, :length], rows.judged[:, :length]
    return ids, ids.masked_fill(~judged, -100)


def with_peft(base):
    """peft's adapter of the same shape on a model of transformers."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(base, config).train()


def peft_step(model):
    """A step of the usual loop around it: AdamW, the norm of the gradient bounded by 1."""
    own = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(own, lr=RATE, weight_decay=0.0)
    half = model.dtype == torch.bfloat16

    def step(rows):
        ids, labels = collated(rows)
        with torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
            loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(own, 1.0)
        optimizer.step()
        return loss.item()

    return step


def our_step(learner, parts=1):
    """A step as `nanogpt learn` and `train.py adapt` make it."""
    step, strategy = product("vendor.continual.loop").step, product("vendor.continual.strategy").Strategy()
    optimizer = torch.optim.AdamW(learner.parameters().values(), lr=RATE, weight_decay=0.0)
    return lambda rows: step(learner, strategy, optimizer, rows, parts=parts)["loss"]


def ladder(model, autocast):
    """{side: step}, each doing one thing more than the one before; the last is ours.

    frozen: no gradient for frozen weights, as peft; product: both products of a layer in one; judged: logits only where
    something is judged; unpadded: one row after another, so no padding; shared: packed, equal beginnings once.
    """
    answers, whole = product("answers").AnswerLearner, product("vendor.continual.learner").Learner

    class Padded(answers):
        def forward(self, rows):
            judged = rows.judged[:, 1:]
            length = int(judged.any(dim=0).nonzero().max()) + 1
            with self.autocast():
                logits = self.model.head(self.model.hidden(rows.ids[:, :length])[judged[:, :length]])
            return logits, F.cross_entropy(logits.float(), rows.ids[:, 1:][judged])

    class Everything(whole):
        def forward(self, rows):
            length = int(rows.judged.any(dim=0).nonzero().max()) + 1
            return super().forward(rows.map(lambda t: t[:, :length]))

    make = lambda kind, parts=1: our_step(kind(model, autocast=autocast), parts)
    plain = make(Everything)

    def two_products(rows):
        with mock.patch.object(LoRA, "with_base", lambda *_: None):
            return plain(rows)

    return {
        "frozen": two_products,
        "product": make(Everything),
        "judged": make(Padded),
        "unpadded": make(answers, BATCH),
        "shared": make(answers),
    }


def seconds(step, rows):
    start = time.process_time()
    step(rows)
    return time.process_time() - start


def bfloat16_here():
    """Which types peft is measured in. Without instructions for bfloat16 a step in it takes minutes: one product of
    512 tokens tells, and a type that is four times slower at it is not tried."""
    cost = {}
    for name in ("float32", "bfloat16"):
        x, w = torch.ones(512, 576, dtype=getattr(torch, name)), torch.ones(1536, 576, dtype=getattr(torch, name))
        cost[name] = min(seconds(lambda _, x=x, w=w: F.linear(x, w), None) for _ in range(3))
    tried = [name for name in cost if cost[name] < 4 * cost["float32"]]
    return {"product_milliseconds": {k: 1000 * v for k, v in cost.items()}, "peft_dtypes_tried": tried}


def copy_adapter(peft_model, model):
    """Give ours the numbers of peft's adapter."""
    theirs = peft_model.base_model.model
    with torch.no_grad():
        for path, name in their_paths(model).items():
            ours, layer = model.get_submodule(path).adapters[NAME], theirs.get_submodule(name)
            ours.lora_A.copy_(layer.lora_A["default"].weight)
            ours.lora_B.copy_(layer.lora_B["default"].weight)


def logit_difference(peft_model, model, rows):
    """Largest difference of a logit, of all tokens that are no padding."""
    ids, _ = collated(rows)
    inside = torch.arange(ids.shape[1]) < ends(rows)[:, None]
    with torch.no_grad():
        ours, theirs = model.eval()(ids)[0], peft_model.eval()(input_ids=ids).logits
    return (ours - theirs)[inside].abs().max().item()


def curves(peft_model, model, autocast, rows, steps):
    """(peft's losses, ours, the largest logit difference at the end): same start, same rows, new optimizers."""
    copy_adapter(peft_model, model)
    theirs, ours = peft_step(peft_model), our_step(product("answers").AnswerLearner(model, autocast=autocast))
    batches = [rows[i * BATCH : (i + 1) * BATCH] for i in range(steps)]
    pairs = [(theirs(batch), ours(batch)) for batch in batches]
    copy_adapter(peft_model, model)
    return [p for p, _ in pairs], [o for _, o in pairs], logit_difference(peft_model, model, batches[0])


def measure(loaded, folder, preset, data, record):
    """All metrics; record(metrics) keeps what is there after each round."""
    from transformers import AutoModelForCausalLM

    model = loaded.model.train()
    autocast, precision = product("device").autocast_for("auto", torch.device("cpu"))
    attach(model, NAME, LoRAConfig(rank=RANK, alpha=2 * RANK))
    rows = {name: rows_of(loaded, data / place, BATCH * STEPS[preset]) for name, place in SETS.items()}
    metrics = {"precision": precision, "rank": RANK, "batch": BATCH, "row_length": LENGTH} | bfloat16_here()
    opened = lambda name: AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, name))
    peft = {name: with_peft(opened(name)) for name in metrics["peft_dtypes_tried"]}

    sides = {name: peft_step(peft_model) for name, peft_model in peft.items()} | ladder(model, autocast)
    shown = {"spam": [*peft, "shared"], "topics": list(sides)}
    batches = {name: rows[name][:BATCH] for name in SETS}
    times = {name: {side: [] for side in shown[name]} for name in SETS}
    for i in range(ROUNDS[preset]):
        for name, batch in batches.items():
            for side in shown[name]:
                times[name][side].append(seconds(sides[side], batch))
                print(f"round {i + 1}, {name}, {side}: {times[name][side][-1]:.2f} s", flush=True)
            metrics[name] = summary(times[name], list(peft), batch)
        metrics |= {"rounds": i + 1, "lora_vs_peft_best_dtype_time_ratio": max(metrics[n]["ratio"] for n in SETS)}
        record(metrics)

    short = rows["spam"][ends(rows["spam"]).argsort(stable=True)]
    theirs, own, difference = curves(peft["float32"], model, autocast, short, STEPS[preset])
    metrics |= {"loss_curve_peft": theirs, "loss_curve_ours": own, "lora_peft_logit_max_diff": difference}
    metrics["loss_curve_max_diff"] = max(abs(a - b) for a, b in zip(theirs, own))
    record(metrics)
    return metrics


def summary(times, peft, batch):
    """Medians in seconds, and as shares of the better peft; `ratio` is the median of the ratios of each round."""
    median = {side: statistics.median(values) for side, values in times.items()}
    best = min(peft, key=median.get)
    packed = product("packing").Packing(batch.ids, ends(batch))
    return {
        "seconds": median, "of_peft": {side: value / median[best] for side, value in median.items()},
        "best_dtype": best, "ratio": statistics.median(a / b for a, b in zip(times["shared"], times[best])),
        "tokens_padded": collated(batch)[0].numel(), "tokens_computed": packed.ids.numel(),
    }  # fmt: skip


def main(argv=None):
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    argv = sys.argv[1:] if argv is None else argv
    args = parser(__doc__, data=DATA).parse_args(argv)
    threads = thread_count(args.threads, otherwise=1)
    torch.set_num_threads(threads)
    torch.manual_seed(args.seed)
    watch = Stopwatch()
    path = results_folder(__file__, args.out) / "bench.json"
    record = lambda metrics: write_results(
        path, command=command_line(__file__, argv), preset=args.preset, seed=args.seed, seconds=watch.seconds,
        metrics=metrics, threads=threads,
    )  # fmt: skip
    loaded = product("sources").open_model(MODEL)
    with tempfile.TemporaryDirectory() as folder:
        product("formats").write("huggingface", Path(folder) / MODEL, loaded.published())
        metrics = measure(loaded, Path(folder) / MODEL, args.preset, args.data, record)
    print(
        f"of peft's time: spam {metrics['spam']['ratio']:.2f}, topics "
        f"{metrics['topics']['ratio']:.2f}; losses differ by {metrics['loss_curve_max_diff']:.1e} at most, logits by "
        f"{metrics['lora_peft_logit_max_diff']:.1e}"
    )
    print(f"results: {path}")
    return metrics


if __name__ == "__main__":
    sys.exit(entry(main))
