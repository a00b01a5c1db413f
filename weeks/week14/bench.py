"""SmolLM2-135M here and through transformers and peft, in turns in one process: decoding, a batch of 64, LoRA training.

python weeks/week14/bench.py

decode and batch64 are tokens a second, ours over theirs (above 1: ours is faster); lora is seconds, ours over theirs
(below 1: ours is faster). Ours computes in the precision that `--precision auto` picks; theirs in bfloat16, and once
more in float32, because on some processors that is the faster one.
"""

import statistics
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
TASK = HERE.parent.parent / "data" / "sms-spam" / "train.jsonl"
PAIRS, BATCH, STEPS = 5, 8, 3


def seconds(f):
    start = time.perf_counter()
    f()
    return time.perf_counter() - start


def in_turns(ours, theirs):
    """Median seconds of each, timed one after the other PAIRS times, so that whatever else runs meets all."""
    sides = {"ours": ours, **theirs}
    for f in sides.values():
        f()  # the first call allocates
    times = [{name: seconds(f) for name, f in sides.items()} for _ in range(PAIRS)]
    return {name: statistics.median(pair[name] for pair in times) for name in sides}


def decoding(loaded, peers, rows, n):
    """Tokens a second of greedy decoding after 32 random tokens in each row."""
    from nanogpt.infer.batch import generate_batch

    prompts = torch.randint(100, 49_000, (rows, 32), generator=torch.Generator().manual_seed(0))  # (B, 32)
    mask = torch.ones_like(prompts)

    def theirs(model):
        return lambda: model.generate(
            prompts, attention_mask=mask, max_new_tokens=n, min_new_tokens=n, do_sample=False, pad_token_id=2
        )

    median = in_turns(
        lambda: generate_batch(loaded.model, prompts.tolist(), n), {k: theirs(m) for k, m in peers.items()}
    )
    return {name: rows * n / s for name, s in median.items()}


def lora_rows(loaded):
    """The first rows of the spam task as (ours, their input ids, their labels), the same tokens in the same batches."""
    from nanogpt.answers import make_task, read_rows
    from nanogpt.vendor.shared.files import need

    rows = read_rows(need(TASK, "make data/sms-spam"))[: BATCH * STEPS]
    task, _ = make_task("spam", rows, loaded.template(), 256)
    batches = []
    for batch in task.train.split(BATCH):
        length = int(batch.judged.any(dim=0).nonzero().max()) + 1
        batch = batch.map(lambda t, length=length: t[:, :length])  # (B, T+1), cut to the longest as a collator would
        batches.append((batch, batch.ids, batch.ids.masked_fill(~batch.judged, -100)))
    return batches


def training(loaded, peers, batches):
    """Seconds of STEPS optimizer steps of LoRA (rank 8, all linear layers) on the same rows."""
    from nanogpt.answers import AnswerLearner
    from nanogpt.device import autocast_for
    from nanogpt.vendor.continual.loop import step
    from nanogpt.vendor.continual.strategy import Strategy
    from nanogpt.vendor.lora import adapter
    from peft import LoraConfig, get_peft_model

    adapter.attach(loaded.model, "bench", adapter.LoRAConfig(rank=8, alpha=16))
    learner = AnswerLearner(loaded.model.train(), autocast=autocast_for("auto", torch.device("cpu"))[0])
    optimizer = torch.optim.AdamW(learner.parameters().values(), lr=1e-4)

    def ours():
        for batch, _, _ in batches:
            step(learner, Strategy(), optimizer, batch)

    def theirs(model, half):
        config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(model, config).train()
        parameters = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=1e-4)

        def run():
            for _, ids, labels in batches:
                with torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
                    loss = model(input_ids=ids, labels=labels).loss
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(parameters, 1.0)
                optimizer.step()

        return run

    return in_turns(ours, {name: theirs(model, name == "bfloat16") for name, model in peers.items()})


def main(argv=None):
    from nanogpt.commands.export import Export
    from nanogpt.device import pick_precision
    from nanogpt.sources import find, open_model
    from nanogpt.train import tokens_in
    from nanogpt.vendor.shared.results import (
        Stopwatch,
        command_line,
        parser,
        results_folder,
        thread_count,
        write_results,
    )
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    argv = sys.argv[1:] if argv is None else argv
    args = parser(__doc__).parse_args(argv)
    threads = thread_count(args.threads)
    torch.set_num_threads(threads)
    torch.manual_seed(args.seed)
    watch = Stopwatch()
    name = "smollm2-135m"
    find(name)  # told at once if it is not here
    precision = pick_precision("auto", torch.device("cpu"))
    print(f"{name}, {threads} threads: ours in {precision}, transformers in bfloat16 and float32", flush=True)
    loaded = open_model(name, precision=precision)
    with tempfile.TemporaryDirectory() as folder:
        Export(Path(folder) / name, model=name).run()
        peers = {
            kind: AutoModelForCausalLM.from_pretrained(Path(folder) / name, dtype=getattr(torch, kind)).eval()
            for kind in ("bfloat16", "float32")
        }
    metrics = {"pairs": PAIRS, "precision": precision}
    for label, rows, n in (("decode", 1, 32), ("batch64", 64, 8)):
        rate = decoding(loaded, peers, rows, n)
        metrics |= {f"{label}_tokens_per_second": rate["ours"]}
        metrics |= {f"{label}_hf_{kind}_tokens_per_second": rate[kind] for kind in peers}
        metrics |= {f"{label}_vs_hf_ratio": rate["ours"] / rate["bfloat16"]}
        metrics |= {f"{label}_vs_hf_float32_ratio": rate["ours"] / rate["float32"]}
        print(f"{label}: " + ", ".join(f"{k} {v:.1f} tok/s" for k, v in rate.items()), flush=True)
    batches = lora_rows(loaded)
    median = training(loaded, peers, batches)
    tokens = sum(tokens_in(batch) + len(batch) for batch, _, _ in batches)
    metrics |= {"lora_seconds": median["ours"], "lora_tokens_per_second": tokens / median["ours"]}
    for kind in peers:
        metrics |= {f"lora_peft_{kind}_seconds": median[kind]}
        metrics |= {f"lora_peft_{kind}_tokens_per_second": tokens / median[kind]}
    metrics |= {"lora_vs_peft_time_ratio": median["ours"] / median["bfloat16"]}
    metrics |= {"lora_vs_peft_float32_time_ratio": median["ours"] / median["float32"], "lora_tokens": tokens}
    print("lora: " + ", ".join(f"{k} {v:.2f} s" for k, v in median.items()), flush=True)
    path = write_results(
        results_folder(__file__, args.out) / "bench.json",
        command=command_line(__file__, argv),
        preset=args.preset,
        seed=args.seed,
        seconds=watch.seconds,
        metrics=metrics,
        threads=threads,
    )
    print(f"results: {path}")
    return metrics


if __name__ == "__main__":
    from nanogpt.vendor.shared.errors import entry

    sys.exit(entry(main))
