"""Week 11: do others get our numbers? HellaSwag by our evaluator, by transformers, and by lm-evaluation-harness.

Once, at the root of the repository, after any `make week11` has made .venv:
    source .venv/bin/activate
    make data/smollm2-135m                                       # the weights: 93 MB
    nanogpt export build/smollm2-135m --model smollm2-135m       # the same as a folder for transformers: 0.5 GB
    pip install -e '.[oracle]' -c constraints.txt                # transformers and lm-eval, with 40 packages

Then, and again whenever it was interrupted:
    python weeks/week11/oracle.py --data hellaswag_val.jsonl --folder build/smollm2-135m \\
        --open nanogpt.sources:open_model

Three programs read the same items and the same weights. Ours batches rows and pads them; transformers is asked for one
pair at a time; lm-eval runs a task file that is written here. Compared: each log-likelihood, acc, acc_norm
and acc_bytes, and the bits per byte of a few texts. Nothing is downloaded.
hellaswag_val.jsonl is HellaSwag's own (github.com/rowanz/hellaswag); --data takes any lines of its shape.
--peers transformers leaves lm-eval out. Every answer is kept on the disk until the model or this program changes.
"""

import hashlib
import json
import logging
import math
import os
import sys
import tempfile
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path

from pretrain import evaluation
from pretrain.evaluation.choice import LENGTHS, Marks, ask, choice, read_items
from pretrain.evaluation.compression import costs
from pretrain.evaluation.interval import metrics as as_metrics
from pretrain.evaluation.subject import of_transformers, opened
from pretrain.vendor.shared.errors import Mistake, entry
from pretrain.vendor.shared.files import locked, need
from pretrain.vendor.shared.opener import optional
from pretrain.vendor.shared.progress import bar
from pretrain.vendor.shared.results import Stopwatch, finish, models_folder, parser, thread_count

WEEK = Path(__file__).resolve().parent
HELLASWAG = WEEK.parents[2] / "shared/data/hellaswag_val_full.txt.bz2"
CONTEXT = 256  # tokens that lm-eval and we read at once: long enough for every item, short enough to make windows
TEXTS = 5  # items whose context and endings together are the texts for bits per byte
AT_ONCE = 10  # items that lm-eval is asked in one call: what an interruption can lose. Of the others it is one
EXTRA = "-e '.[oracle]' -c constraints.txt"
PEERS = {"transformers": "transformers", "lm-eval": "lm_eval.models.huggingface"}  # program -> what it is imported as


# --- answers that are kept --------------------------------------------------------------------------------------------


class Kept:
    """Answers on the disk: a JSONL file with a row for each question that a program was asked. Rows are only added.

    A last row that was cut short is dropped, and its question asked again.
    """

    def __init__(self, path):
        self.path, self.answers = Path(path), {}
        if self.path.exists():
            whole, _, half = self.path.read_bytes().rpartition(b"\n")
            for number, line in enumerate(whole.splitlines(), 1):
                try:
                    row = json.loads(line)
                    self.answers[row["by"], row["question"]] = row["answer"]
                except (ValueError, KeyError, TypeError):
                    raise Mistake(f"{path}, line {number} is no answer; delete the line, or the file") from None
            if half:
                os.truncate(self.path, len(whole) + bool(whole))

    def ask(self, by, questions, answer, at_once=1):
        """The answers of one program, in order. `answer(questions)` gives those that are not kept, `at_once` a call."""
        keys = [fingerprint(question) for question in questions]
        left = [i for i, key in enumerate(keys) if (by, key) not in self.answers]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with bar(total=len(keys), initial=len(keys) - len(left), label=by, unit="item") as line:
            for start in range(0, len(left), at_once):
                part = left[start : start + at_once]
                found = zip(part, answer([questions[i] for i in part]), strict=True)
                rows = [{"by": by, "question": keys[i], "answer": said} for i, said in found]
                with open(self.path, "a", encoding="utf-8") as file:
                    file.write("".join(json.dumps(row) + "\n" for row in rows))
                self.answers |= {(by, row["question"]): row["answer"] for row in rows}
                line.update(len(part))
        return [self.answers[by, key] for key in keys]


def fingerprint(question):
    """The sha256 of an Item, or of a list of texts."""
    plain = question if isinstance(question, list) else asdict(question)
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()


def identity(folder, opener):
    """What all answers in one file have in common: the model's files, who opens them, this code, the peers' versions.

    Left out: the code of the package that --open names. Delete the answers after a change to it.
    """
    whole = hashlib.sha256(f"{opener} {CONTEXT}".encode())
    code = [Path(__file__), *Path(evaluation.__file__).parent.glob("*.py")]
    for path in [*sorted(code), *sorted(path for path in Path(folder).iterdir() if path.is_file())]:
        with open(path, "rb") as file:
            whole.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    for package in ("torch", "transformers", "lm_eval"):
        try:
            whole.update(f"{package} {metadata.version(package)}".encode())
        except metadata.PackageNotFoundError:
            pass
    return whole.hexdigest()[:16]


# --- three programs ---------------------------------------------------------------------------------------------------


def ours(subject):
    """A function from items to answers, by our evaluator: the choices of an item in batches, padded."""

    def answer(items):
        marks = [ask(subject, [item]) for item in items]
        return [{"logs": each.logs[0], "greedy": each.greedy[0], "cut": each.cut} for each in marks]

    return answer


def by_transformers(folder):
    """The same by transformers alone: one pair in one forward pass, the loss that the library computes."""
    import torch

    transformers = optional("transformers", EXTRA)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)

    def log(item, text):
        before = len(tokenizer(item.context)["input_ids"])
        ids = torch.tensor([tokenizer(f"{item.context} {text}")["input_ids"]])
        labels = ids.clone()
        labels[:, :before] = -100
        with torch.no_grad():
            loss = model(input_ids=ids, labels=labels).loss  # the mean over the judged tokens, which it shifts itself
        return -loss.item() * (ids.shape[1] - before)

    return lambda items: [{"logs": [log(item, text) for text in item.choices]} for item in items]


def task_files(folder, items, texts):
    """Write the two tasks of lm-eval: multiple choice, and the likelihood of whole texts. No network, no cache."""
    rows = [{"ctx": item.context, "endings": list(item.choices), "label": item.gold} for item in items]
    for name, lines in (("choice", rows), ("text", [{"text": text} for text in texts])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    same = f"dataset_path: json\ntest_split: test\ndataset_kwargs:\n  cache_dir: {folder}\n"
    same += "  data_files:\n    test: {}\nmetric_list:\n"
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


def by_lm_eval(folder, end):
    """(a function from items to answers, a function from lists of texts to answers) by the real package.

    An answer to an item has "logs" and each of its own scores of it, one to a text "bits_per_byte".
    """
    package, tasks, models = (optional(name, EXTRA) for name in ("lm_eval", "lm_eval.tasks", PEERS["lm-eval"]))
    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # else it tells of each call what we know already

    class Quiet(models.HFLM):
        """Without its bar: ours counts the items of all calls."""

        def loglikelihood(self, requests, disable_tqdm=True):
            return super().loglikelihood(requests, disable_tqdm=True)

    model = Quiet(
        pretrained=str(folder), dtype="float32", device="cpu", batch_size=4, max_length=CONTEXT, prefix_token_id=end
    )

    def evaluate(task, items, texts):
        with tempfile.TemporaryDirectory() as home:
            task_files(Path(home), items, texts)
            manager = tasks.TaskManager(include_path=home, include_defaults=False)
            return package.simple_evaluate(model=model, tasks=[task], task_manager=manager, bootstrap_iters=0)

    def items_answer(items):
        samples = evaluate("chase_choice", items, ["unused"])["samples"]["chase_choice"]
        return [
            {"logs": [float(said[0][0]) for said in sample["resps"]], **{name: sample[name] for name in LENGTHS}}
            for sample in sorted(samples, key=lambda sample: sample["doc_id"])
        ]

    def texts_answer(lists):
        done = [evaluate("chase_text", [], texts)["results"]["chase_text"] for texts in lists]
        return [{"bits_per_byte": result["bits_per_byte,none"]} for result in done]

    return items_answer, texts_answer


# --- one table --------------------------------------------------------------------------------------------------------


def furthest(ours, theirs):
    """The largest difference of two lists of answers: of any log-likelihood, in nats."""
    pairs = zip(ours, theirs, strict=True)
    return max(abs(a - b) for one, other in pairs for a, b in zip(one["logs"], other["logs"], strict=True))


def compare(subject, folder, items, peers, kept):
    """The metrics of all comparisons that `peers` name; answers that `kept` has are not asked for again."""
    subject = replace(subject, block_size=min(CONTEXT, subject.block_size))
    texts = [" ".join([item.context, *item.choices]) * 3 for item in items[:TEXTS]]
    mine = kept.ask("ours", items, ours(subject))
    marks = Marks([row["logs"] for row in mine], [row["greedy"] for row in mine], sum(row["cut"] for row in mine))
    scores = choice(items, marks)
    rows = costs(subject, texts, stride=subject.block_size, label="texts")
    size = sum(len(text.encode("utf-8")) for text in texts)
    metrics = {"items": len(items), "choices": sum(map(len, marks.logs)), "cut": marks.cut}
    metrics |= as_metrics(scores, "hellaswag_")
    metrics["bits_per_byte"] = sum(nats for _, nats, _ in rows) / math.log(2) / size
    if "transformers" in peers:
        theirs = kept.ask("transformers", items, by_transformers(folder))
        metrics["loglik_vs_transformers_max_diff"] = furthest(mine, theirs)
    if "lm-eval" in peers:
        of_items, of_texts = by_lm_eval(folder, subject.end)
        theirs = kept.ask("lm-eval", items, of_items, AT_ONCE)
        metrics["loglik_vs_lm_eval_max_diff"] = furthest(mine, theirs)
        for name in LENGTHS:
            score = sum(row[name] for row in theirs) / len(theirs)  # as its aggregation: mean
            metrics |= {
                f"lm_eval_{name}": score,
                f"hellaswag_{name}_vs_lm_eval_diff": abs(scores[name].value - score),
            }
        (said,) = kept.ask("lm-eval", [texts], of_texts)
        metrics["bits_per_byte_vs_lm_eval_diff"] = abs(metrics["bits_per_byte"] - said["bits_per_byte"])
    return metrics


def ready(folder, peers):
    """A Mistake where something is missing, before minutes are spent; the folder otherwise."""
    need(folder, f"nanogpt export {folder} --model smollm2-135m")
    for pattern in ("config.json", "tokenizer.json", "*.safetensors"):
        if not list(folder.glob(pattern)):
            raise Mistake(f"{folder} has no {pattern}, so transformers cannot load it; give a folder that was exported")
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"  # one for each call; ours counts the items of all
    for peer in peers:
        optional(PEERS[peer], EXTRA)
    return folder


def main(argv=None):
    """Compare, write oracle.json and return the metrics."""
    p = parser(__doc__.splitlines()[0], data=HELLASWAG, epilog=__doc__.split("\n", 2)[2])
    p.add_argument("--folder", type=Path, required=True, help="the model as a Hugging Face folder, for the peers")
    p.add_argument("--open", default="transformers", help="who opens it for us: transformers, or package:function")
    p.add_argument("--items", type=int, default=200, help="how many, from the first on (default: %(default)s)")
    p.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS), help="who else is asked (default: both)")
    args = p.parse_args(argv)
    if args.items < 1:
        raise Mistake(f"--items {args.items} compares nothing; give 1 or more")
    watch, threads = Stopwatch(), thread_count(args.threads)
    items = read_items(args.data)[: args.items]

    import torch

    torch.set_num_threads(threads)
    folder = ready(args.folder, args.peers)
    subject = of_transformers(folder) if args.open == "transformers" else opened(args.open, folder)
    print(
        f"{folder}: {len(items)} items on {threads} threads; first by us, then by {' and '.join(args.peers)}",
        flush=True,
    )
    # beside the models of a run, and never among committed results
    home = models_folder(__file__, args.out).with_name("oracle-answers")
    with locked(home):
        kept = Kept(home / f"{identity(folder, args.open)}.jsonl")
        before = len(kept.answers)  # where it is not 0, the seconds are those of the last part only
        if before:
            print(f"{before} answers are in {kept.path} already", flush=True)
        try:
            metrics = {**compare(subject, folder, items, args.peers, kept), "answers_kept_before": before}
        except KeyboardInterrupt:
            where = f"{len(kept.answers)} answers are kept in {kept.path}; the same command goes on from there"
            raise KeyboardInterrupt(where) from None
    for name, value in metrics.items():
        print(f"{name:>34}  {value if isinstance(value, list) else f'{value:.6g}'}")
    return finish(__file__, args, argv, metrics, preset="oracle", seconds=watch.seconds, threads=threads)


if __name__ == "__main__":
    sys.exit(entry(main))
