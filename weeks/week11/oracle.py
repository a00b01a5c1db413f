"""Week 11: do others get our numbers? HellaSwag by our evaluator, by transformers, and by lm-evaluation-harness.

    nanogpt export exported --model smollm2-135m
    pip install -e '.[oracle]'
    python weeks/week11/oracle.py --data hellaswag_val_full.txt.bz2 --folder exported --open nanogpt.sources:open_model

Three programs read the same items and the same weights. Ours batches rows and pads them; transformers is asked for one
pair at a time; lm-eval runs a task file that is written here. Compared: each log-likelihood, acc, acc_norm
and acc_bytes, and the bits per byte of a few texts. Nothing is downloaded.
"""

import json
import math
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from pretrain.evaluation.choice import LENGTHS, ask, choice, read_items
from pretrain.evaluation.compression import costs
from pretrain.evaluation.interval import metrics as as_metrics
from pretrain.evaluation.subject import of_transformers, opened, optional
from pretrain.vendor.shared.errors import Mistake, entry
from pretrain.vendor.shared.files import need
from pretrain.vendor.shared.progress import bar
from pretrain.vendor.shared.results import Stopwatch, command_line, parser, results_folder, thread_count, write_results

WEEK = Path(__file__).resolve().parent
HELLASWAG = WEEK.parents[2] / "shared/data/hellaswag_val_full.txt.bz2"
CONTEXT = 256  # tokens that lm-eval and we read at once: long enough for every item, short enough to make windows
TEXTS = 5  # items whose context and endings together are the texts for bits per byte


def their_logs(folder, items):
    """[[log-likelihood]] by transformers alone: one pair in one forward pass, the loss that the library computes."""
    import torch

    transformers = optional("transformers", "transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    found = []
    for item in bar(items, "transformers", total=len(items), unit="item"):
        row = []
        for text in item.choices:
            before = len(tokenizer(item.context)["input_ids"])
            ids = torch.tensor([tokenizer(f"{item.context} {text}")["input_ids"]])
            labels = ids.clone()
            labels[:, :before] = -100
            with torch.no_grad():
                loss = model(
                    input_ids=ids, labels=labels
                ).loss  # the mean over the judged tokens, shifted by the library
            row.append(-loss.item() * (ids.shape[1] - before))
        found.append(row)
    return found


def task_files(folder, items, texts):
    """Write the two tasks of lm-eval: multiple choice, and the likelihood of whole texts. No network, no cache."""
    rows = [{"ctx": item.context, "endings": list(item.choices), "label": item.gold} for item in items]
    for name, lines in (("choice", rows), ("text", [{"text": text} for text in texts])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    same = "dataset_path: json\ntest_split: test\ndataset_kwargs:\n  data_files:\n    test: {}\nmetric_list:\n"
    metric = "  - metric: {}\n    aggregation: {}\n    higher_is_better: true\n"
    (folder / "choice.yaml").write_text(
        "task: chase_choice\noutput_type: multiple_choice\ndoc_to_text: '{{ctx}}'\n"
        "doc_to_target: '{{label}}'\ndoc_to_choice: endings\n"
        + same.format(folder / "choice.jsonl")
        + "".join(metric.format(name, "mean") for name in LENGTHS)
    )
    (folder / "text.yaml").write_text(
        "task: chase_text\noutput_type: loglikelihood_rolling\ndoc_to_text: ''\ndoc_to_target: '{{text}}'\n"
        + same.format(folder / "text.jsonl")
        + metric.format("bits_per_byte", "bits_per_byte")
    )


def lm_eval(folder, items, texts, end):
    """{"acc", "acc_norm", "acc_bytes", "logs", "bits_per_byte"} as the real package computes them."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    package = optional("lm_eval", "'lm-eval[hf]'")
    tasks, models = optional("lm_eval.tasks", "lm-eval"), optional("lm_eval.models.huggingface", "'lm-eval[hf]'")
    with tempfile.TemporaryDirectory() as home:
        os.environ["HF_DATASETS_CACHE"] = home
        task_files(Path(home), items, texts)
        model = models.HFLM(
            pretrained=str(folder), dtype="float32", device="cpu", batch_size=4, max_length=CONTEXT, prefix_token_id=end
        )
        done = package.simple_evaluate(
            model=model,
            tasks=["chase_choice", "chase_text"],
            task_manager=tasks.TaskManager(include_path=home, include_defaults=False),
            bootstrap_iters=0,
        )
    samples = sorted(done["samples"]["chase_choice"], key=lambda sample: sample["doc_id"])
    logs = [[float(answer[0][0]) for answer in sample["resps"]] for sample in samples]
    scores = {name: done["results"]["chase_choice"][f"{name},none"] for name in LENGTHS}
    return {**scores, "logs": logs, "bits_per_byte": done["results"]["chase_text"]["bits_per_byte,none"]}


def furthest(ours, theirs):
    """The largest difference of two tables of log-likelihoods."""
    return max(abs(a - b) for row, other in zip(ours, theirs, strict=True) for a, b in zip(row, other, strict=True))


def compare(subject, folder, items, peers):
    """The metrics of all comparisons that `peers` name."""
    subject = replace(subject, block_size=min(CONTEXT, subject.block_size))
    texts = [" ".join([item.context, *item.choices]) * 3 for item in items[:TEXTS]]
    marks = ask(subject, items, label="ours")
    scores = choice(items, marks)
    rows = costs(subject, texts, stride=subject.block_size, label="texts")
    size = sum(len(text.encode("utf-8")) for text in texts)
    metrics = {"items": len(items), "choices": sum(map(len, marks.logs)), "cut": marks.cut}
    metrics |= as_metrics(scores, "hellaswag_")
    metrics["bits_per_byte"] = sum(nats for _, nats, _ in rows) / math.log(2) / size
    if "transformers" in peers:
        metrics["loglik_vs_transformers_max_diff"] = furthest(marks.logs, their_logs(folder, items))
    if "lm-eval" in peers:
        theirs = lm_eval(folder, items, texts, subject.end)
        metrics["loglik_vs_lm_eval_max_diff"] = furthest(marks.logs, theirs["logs"])
        for name in LENGTHS:
            metrics |= {
                f"lm_eval_{name}": theirs[name],
                f"hellaswag_{name}_vs_lm_eval_diff": abs(scores[name].value - theirs[name]),
            }
        metrics["bits_per_byte_vs_lm_eval_diff"] = abs(metrics["bits_per_byte"] - theirs["bits_per_byte"])
    return metrics


def main(argv=None):
    """Compare, write oracle.json and return the metrics."""
    p = parser(__doc__.splitlines()[0], data=HELLASWAG, epilog=__doc__.split("\n", 2)[2])
    p.add_argument("--folder", type=Path, required=True, help="the model as a Hugging Face folder, for the peers")
    p.add_argument("--open", default="transformers", help="who opens it for us: transformers, or package:function")
    p.add_argument("--items", type=int, default=200, help="how many, from the first on (default: %(default)s)")
    p.add_argument("--peers", nargs="+", choices=("transformers", "lm-eval"), default=["transformers", "lm-eval"])
    args = p.parse_args(argv)
    if args.items < 1:
        raise Mistake(f"--items {args.items} compares nothing; give 1 or more")
    watch, threads = Stopwatch(), thread_count(args.threads)
    items = read_items(args.data)[: args.items]

    import torch

    torch.set_num_threads(threads)
    folder = need(args.folder, "nanogpt export")
    subject = of_transformers(folder) if args.open == "transformers" else opened(args.open, folder)
    print(
        f"{folder}: {len(items)} items on {threads} threads; first by us, then by {' and '.join(args.peers)}",
        flush=True,
    )
    metrics = compare(subject, folder, items, args.peers)
    for name, value in metrics.items():
        print(f"{name:>34}  {value if isinstance(value, list) else f'{value:.6g}'}")
    written = write_results(
        results_folder(__file__, args.out) / "oracle.json",
        command=command_line(__file__, sys.argv[1:] if argv is None else argv),
        preset="oracle",
        seed=args.seed,
        seconds=watch.seconds,
        metrics=metrics,
        threads=threads,
    )
    print(f"results: {written}")
    return metrics


if __name__ == "__main__":
    sys.exit(entry(main))
