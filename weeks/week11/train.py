"""Week 11: text becomes shards, a model is pre-trained, killed and resumed, and then it sits its exams.

python weeks/week11/train.py                    # data, train and evaluate: what `make week11` runs
python weeks/week11/train.py data               # clean, drop duplicates, tokenise: shards
python weeks/week11/train.py train              # train on them; killed once on the way, and resumed
python weeks/week11/train.py evaluate           # the model beside a table of bigrams and SmolLM2-135M
python weeks/week11/train.py train --preset full    # the long run; Ctrl-C saves, the same command goes on
python weeks/week11/train.py data --places my/texts --preset default    # your own .txt, .jsonl and .parquet files
python weeks/week11/train.py data --help        # the options of a job
"""

import argparse
import json
import math
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from pretrain import folder as models
from pretrain import recipe as recipes
from pretrain.data import pipeline, planted, shards
from pretrain.data.readers import find, read
from pretrain.evaluation import copying, generation, interval
from pretrain.evaluation.compression import bits_per_byte
from pretrain.evaluation.subject import Bigram, Subject, opened, subject
from pretrain.evaluation.tasks import TASKS, examine
from pretrain.recipe import Recipe
from pretrain.trainer.follow import follow
from pretrain.trainer.log import read_rows
from pretrain.vendor.bpe.fast import Tokenizer
from pretrain.vendor.scaling.parallel import join, leave
from pretrain.vendor.shared.errors import Mistake, entry
from pretrain.vendor.shared.files import atomic_write, need
from pretrain.vendor.shared.jobs import perform
from pretrain.vendor.shared.results import Stopwatch, fast_in_bf16, models_folder, parser, save_run, thread_count

WEEK = Path(__file__).resolve().parent
DATA = WEEK.parents[1] / "data"
NEXT = {
    "data": "the run on these shards: python weeks/week11/train.py train {same}",
    "train": "its exams: python weeks/week11/train.py evaluate {same}",
    "evaluate": "fifty runs killed at random moments: make torture",
}
SETS = ("fables", "bible", "web-bible", "shakespeare", "wiki-leads", "recipes")
STORIES = "stories"  # joins the sets of `full` where it is there; its sources are not on PyPI
JUDGE = ("smollm2-135m", "*.gguf", "nanogpt.sources:open_model")  # the data set, its file, and what opens it


@dataclass(frozen=True)
class Preset:
    recipe: Recipe
    vocab_size: int = 4096
    sets: tuple = SETS
    learn: int = 4_000_000  # characters of each file that the tokenizer learns from
    originals: int = 500  # documents of which copies are planted and looked for
    kill_at: int = 0  # the step after which the run is killed, once; 0: never
    exams: tuple = ("grammar", "next-line", "last-word")
    most: int = 20  # items of an exam
    held: int = 20_000  # bytes of held-out text that are compressed
    samples: int = 8
    length: int = 100  # tokens of a sample


PRESETS = {
    "smoke": Preset(
        Recipe(1, 16, 64, 4, steps=12, save_every=4, validate_every=6, judged=512), vocab_size=300, sets=("fables",),
        learn=50_000, originals=20, exams=("grammar",), most=4, held=1_000, samples=3, length=20,
    ),
    "default": Preset(
        Recipe(4, 128, 128, 16, steps=300, save_every=50, validate_every=100), vocab_size=2048, sets=("fables",),
        kill_at=130,
    ),
    # The shape that week 10's law advises for 2 cores x 20 minutes of 60 billion operations a second, in float32:
    # week10/train.py plan. It reads all of the corpus about once, stories too, twice as much as the law advises.
    "full": Preset(
        Recipe(6, 176, 256, 8, steps=4000, save_every=100, validate_every=200, sample_every=500), learn=8_000_000,
        exams=tuple(TASKS), most=30, held=40_000, samples=30,
    ),
}  # fmt: skip


@dataclass
class Job:
    """What every job is given: its name, its arguments, and where its things lie."""

    name: str
    args: argparse.Namespace
    argv: list
    clock: Stopwatch = field(default_factory=Stopwatch)

    @property
    def preset(self):
        return PRESETS[self.args.preset]

    @property
    def home(self):
        return models_folder(__file__, self.args.out) / self.args.preset

    def record(self, metrics):
        """Write the results file, say where it lies, and return the metrics."""
        name, argv = f"{self.name}-{self.args.preset}", [self.name, *self.argv]
        seconds, threads = self.clock.seconds, torch.get_num_threads()
        path = save_run(__file__, self.args, argv, metrics, name=name, seconds=seconds, threads=threads)
        same = shlex.join(["--preset", self.args.preset, *(["--out", str(self.args.out)] if self.args.out else [])])
        print(f"To try next, {NEXT[self.name].format(same=same)}")
        print(f"results: {path}")
        return metrics


# --- data -------------------------------------------------------------------------------------------------------------


def data(job, workers):
    """Files -> shards; and how many of the duplicates that are planted for the purpose are found."""
    preset, args, out = job.preset, job.args, job.home / "shards"
    names = list(preset.sets)
    if args.preset == "full" and (args.data / STORIES).is_dir():
        names.append(STORIES)
    places = args.places or [need(args.data / name, f"make data/{name}") / "train.txt" for name in names]
    print(f"{', '.join(map(str, args.places or names))}: to shards in {out}, {workers} processes")
    files = find(places)
    heads = [head(read([path], args.column), preset.learn) for path in files]
    tokenizer = Tokenizer.train((text for texts in heads for text in texts), preset.vocab_size, progress=True)
    new = out.with_name("shards.new")  # the old ones stay until these are whole
    shutil.rmtree(new, ignore_errors=True)
    done = pipeline.prepare(files, new, tokenizer, column=args.column, val=0.02, workers=workers)
    shutil.rmtree(out, ignore_errors=True)  # the same files give the same shards, so a run on them goes on
    new.rename(out)
    print(done)
    originals = [text for texts in heads for text in texts if len(text) > 300]
    found = planted.measure(spread(originals, preset.originals), args.seed) if originals else None
    said, dedup = "no text is long enough to plant copies of it that are nearly the same", {}
    if found and found.pairs:
        dedup = {"recall": found.recall, "recall_theory": found.expected, "false_positives": found.false_positives}
        said = f"{found.recall:.1%} of {found.pairs} near duplicates that were planted are found (theory: "
        said += f"{found.expected:.1%})"
    print(f"What it showed: {said}; {sum(done.tokens.values()):,} tokens lie in {out}.")
    return job.record(
        {
            **{f"documents_{kind}": count for kind, count in done.documents.items()},
            **{f"tokens_{split}": count for split, count in done.tokens.items()},
            "sources": [f"{path.parent.name}/{path.name}" for path in files], "megabytes": done.megabytes,
            "vocab_size": tokenizer.vocab_size, "workers": workers, "pipeline_seconds": done.seconds,
            "mb_per_s_per_core": done.mb_per_s_per_core, "dedup_pairs": found.pairs if found else 0,
            **{f"dedup_{name}": value for name, value in dedup.items()},
        }
    )  # fmt: skip


def head(texts, characters):
    """The first documents of a file, of so many characters together."""
    found, size = [], 0
    for text in texts:
        found.append(text)
        size += len(text)
        if size >= characters:
            break
    return found


def spread(texts, count):
    """At most `count` of a list, from all over it."""
    return [texts[i] for i in np.linspace(0, len(texts) - 1, min(count, len(texts)), dtype=int)]


# --- train ------------------------------------------------------------------------------------------------------------


def train(job, threads):
    """One run, from wherever it stands to its last step; the first time it may be killed on the way."""
    preset, args, run = job.preset, job.args, job.home / f"run-{job.args.seed}"
    shard_folder = need(job.home / "shards", f"python weeks/week11/train.py data --preset {args.preset}")
    killed = run / "killed.json"
    if preset.kill_at and not args.no_kill and not killed.exists() and not reached(run):
        step = kill(job.argv, run, preset.kill_at)
        atomic_write(killed, json.dumps({"step": step}) + "\n")
        print(f"killed after step {step}, in the middle of its work; now the same command once more")
    with join() as team:
        recipe = replace(preset.recipe, half=args.half or ("bf16" if fast_in_bf16() else "float32"))
        trainer = recipes.trainer(recipe, shard_folder, run, seed=args.seed, team=team, older=args.older)
        model = trainer.parts["model"]
        print(
            f"a GPT of {model.n_params():,} parameters, {recipe.steps} steps of {recipe.rows} x {recipe.block} tokens, "
            f"{recipe.half}, {threads} threads"
        )
        if status := follow(trainer):
            raise SystemExit(status)
    if not team.leads:
        return {}
    tokenizer = shards.load_tokenizer(shard_folder)
    models.save(job.home / "model", model, tokenizer)
    rows = read_rows(run / "metrics.jsonl")
    steps = [row for row in rows if row["kind"] == "step"]
    curve = [[row["step"], row["loss"]] for row in rows if row["kind"] == "validation"]
    tokens, seconds = sum(row["judged"] for row in steps), sum(row["seconds"] for row in steps)
    texts = recipes.write(model.eval(), tokenizer, 3, preset.length, args.seed)
    for text in texts:
        print(f"--- a sample, unpicked ---\n{text}")
    lost = json.loads(killed.read_text())["step"] if killed.exists() else 0
    print(
        f"What it showed: {'killed once and resumed, ' if lost else ''}the validation loss is {curve[-1][1]:.3f} nats "
        f"a token after {tokens:,} tokens in {seconds:.0f} s. The model lies in {job.home / 'model'}."
    )
    return job.record(
        {
            "params": model.n_params(), "model": vars(model.config), "half": recipe.half, "steps": len(steps),
            "tokens": tokens, "training_seconds": seconds, "tokens_per_second": tokens / seconds,
            "killed_after_step": lost, "val_loss": curve[-1][1], "validations": curve,
            "uniform_loss": math.log(tokenizer.vocab_size),
            "curve": thin([[row["step"], row["loss"]] for row in steps]), "skipped": trainer.progress.skipped,
            "samples": texts,
        }
    )  # fmt: skip


def reached(run):
    """The last step of a run's log, 0 where there is none."""
    return max((row["step"] for row in read_rows(run / "metrics.jsonl")), default=0)


def kill(argv, run, step):
    """Start this same command, kill -9 it once it has done `step` steps, and return how many it had done."""
    command = [sys.executable, __file__, "train", *argv, "--no-kill"]
    with subprocess.Popen(command) as child:
        try:
            while child.poll() is None and reached(run) < step:
                time.sleep(0.05)
            if child.poll():  # it failed by itself, and has said why
                raise SystemExit(child.returncode)
            child.send_signal(signal.SIGKILL)
        except KeyboardInterrupt:  # it came to the child as well, which saves
            child.wait()
            raise
    return reached(run)


def thin(rows, most=200):
    """Every k-th row, and the last."""
    return rows[:: -(-len(rows) // most)] + rows[-1:]


# --- evaluate ---------------------------------------------------------------------------------------------------------


def evaluate(job, threads):
    """The trained model, a table of bigrams, and SmolLM2-135M if it is here: one table of scores, with intervals."""
    preset, args = job.preset, job.args
    shard_folder = need(job.home / "shards", f"python weeks/week11/train.py data --preset {args.preset}")
    loaded = models.open_model(args.model or job.home / "model")
    words = shards.load_tokenizer(shard_folder)
    train_ids, val_ids = (shards.open_split(shard_folder, split, words) for split in shards.SPLITS)
    held = held_out(val_ids, words)
    block_size = loaded.model.config.block_size
    sitting = {"ours": subject(loaded.model, loaded.tokenizer), "bigram": bigram(train_ids, words, block_size)}
    judge = None
    if args.preset != "smoke":
        judge = sitting["smollm2"] = judge_of(args.data)
    print(f"{', '.join(sitting)}: {', '.join(preset.exams)}; {threads} threads")
    exams = {name: TASKS[name] for name in preset.exams}
    metrics, texts = {}, some(held, preset.held)
    for name, each in sitting.items():
        found = {"bpb": bits_per_byte(each, texts, label=f"{name}: bits per byte")}
        found |= examine(each, exams, args.data, most=preset.most, seed=args.seed)
        metrics |= interval.metrics(found, f"{name}_")
        shown = {key: str(score) for key, score in found.items() if isinstance(score, interval.Score)}
        print(f"  {name:8}" + "  ".join(f"{key} {score}" for key, score in shown.items()))
    samples = [text for text in recipes.write(loaded.model, loaded.tokenizer, preset.samples, preset.length, args.seed)
               if len(text.split()) >= 4]  # fmt: skip
    human = generation.alike(samples, held, args.seed)
    for who, each in (("ours", samples), ("human", human)):
        metrics |= {f"{who}_distinct_2": generation.distinct(each, 2)}
        metrics |= interval.metrics({"repetition": generation.repetition(each, seed=args.seed)}, f"{who}_")
    metrics |= copying.memorised(samples, human, lambda: train_text(train_ids, words))
    if judge:
        found = generation.judged(judge, samples, human, label="perplexity under SmolLM2-135M", seed=args.seed)
        metrics |= interval.metrics({f"judge_{name}": score for name, score in found.items()})
    metrics |= {"val_bpb": metrics["ours_bpb"], "samples": samples[:20], "human": human[:3]}
    said = f"; for SmolLM2-135M they are {metrics['judge_ppl_ratio']:.1f} times as hard as people's" if judge else ""
    print(
        f"What it showed: {metrics['val_bpb']:.2f} bits a byte of held-out text, where bigrams need "
        f"{metrics['bigram_bpb']:.2f}. Of its samples {metrics['memorised']:.0%} copy more than people do{said}."
    )
    return job.record(metrics)


def judge_of(folder):
    """SmolLM2-135M, opened by the product: a model of another make sits the same exams, and judges samples."""
    name, file, opener = JUDGE
    found = sorted(need(folder / name, f"make data/{name}").glob(file))
    if not found:
        raise Mistake(f"{folder / name} holds no {file}; move it away, and run: make data/{name}")
    return opened(opener, found[0])


def bigram(tokens, tokenizer, block_size):
    """The table of bigrams of a split."""
    table = Bigram(torch.from_numpy(tokens[:]), tokenizer.vocab_size).eval()
    return Subject(table, tokenizer.encode_ordinary, tokens.end, block_size)


def held_out(tokens, tokenizer):
    """The documents of a split as text again."""
    ids = tokens[:]
    cuts = np.flatnonzero(ids == tokens.end)
    return [tokenizer.decode(part[part != tokens.end].tolist()) for part in np.split(ids, cuts + 1) if len(part) > 1]


def some(documents, size):
    """Documents from all over a list, about `size` bytes together; of a long one its first 2,000 characters."""
    share = max(1, size // 2_000)
    picked, total = [], 0
    for text in spread(documents, 4 * share):
        if total >= size:
            break
        picked.append(text[:2_000])
        total += len(picked[-1].encode())
    return picked


def train_text(tokens, tokenizer, at_once=2**20):
    """The text of a split as chunks of bytes."""
    for start in range(0, len(tokens), at_once):
        ids = tokens[start : start + at_once]
        yield tokenizer.decode_bytes(ids[ids != tokens.end].tolist())


# --- the command ------------------------------------------------------------------------------------------------------

JOBS = {"data": data, "train": train, "evaluate": evaluate}
ROUND = ("data", "train", "evaluate")  # without a job: in this order


def options(name):
    p = parser(JOBS[name].__doc__.splitlines()[0], data=DATA)
    p.prog = f"train.py {name}"
    if name == "data":
        p.add_argument("--places", type=Path, nargs="+", help="files and folders instead of the project's own sets")
        p.add_argument("--column", help='of JSONL and parquet files (default: "text")')
    if name == "train":
        p.add_argument("--no-kill", action="store_true", help="do not kill it in the middle, as default does once")
        known = ("float32", "bf16")
        p.add_argument("--half", choices=known, help="what products are computed in (default: what is faster here)")
        p.add_argument("--older", action="store_true", help="go on from an older checkpoint if the newest is damaged")
    if name == "evaluate":
        p.add_argument("--model", type=Path, help="a folder with a trained model (default: the preset's)")
    return p


def main(argv=None) -> dict:
    argv = sys.argv[1:] if argv is None else list(argv)
    return perform(argv, __doc__, JOBS, ROUND, run)


def run(name, argv):
    """One job; what goes wrong with numbers is told in a sentence."""
    args = options(name).parse_args(argv)
    threads = thread_count(args.threads)
    torch.set_num_threads(threads)
    try:
        return JOBS[name](Job(name, args, list(argv)), threads)
    except (FloatingPointError, ValueError) as error:
        raise Mistake(f"{name}: {error}") from None


if __name__ == "__main__":
    leave(entry(main))
