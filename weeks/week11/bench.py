"""Week 11: how fast the data pipeline is, how much memory it needs, how many duplicates it finds; what a mask is worth.

    python weeks/week11/bench.py pipeline                      # 50, 200 and 800 MB; needs 3 GB of disk for a while
    python weeks/week11/bench.py pipeline --sizes 20 --threads 1
    python weeks/week11/bench.py mask                          # six short trainings: about 6 minutes

Each size is made and measured in processes of its own: a process keeps its highest memory for ever. The peak is the
main process's plus, for every worker, the largest worker's; so it is an upper bound of what they had together.
"""

import json
import resource
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch
import torch.nn.functional as F
from pretrain.data import imitation, pipeline, planted, shards
from pretrain.recipe import Recipe, trainer
from pretrain.trainer.follow import follow
from pretrain.vendor.bpe.fast import Tokenizer
from pretrain.vendor.shared.errors import Mistake, entry
from pretrain.vendor.shared.files import need
from pretrain.vendor.shared.results import Stopwatch, finish, parser, thread_count
from pretrain.vendor.shared.text import documents, read_text

WEEK = Path(__file__).resolve().parent
SETS = ("fables", "bible", "shakespeare", "wiki-leads", "recipes")
VOCAB = 4096
PLANTED = 500  # originals of the duplicates that are planted and looked for
KILOBYTE = 1 if sys.platform == "darwin" else 1024  # ru_maxrss counts bytes on a Mac
STATUS = Path("/proc/self/status")


def made(folder, path, megabytes):
    """In a process of its own: write the input."""
    return imitation.write(imitation.lines_of(training_files(folder)), path, megabytes)


def measured(path, tokenizer, out, workers):
    """In a process of its own: run the pipeline, and say what it cost."""
    done = pipeline.prepare([path], out, Tokenizer.load(tokenizer), workers=workers)
    peak = own_peak()
    if workers > 1:
        peak += workers * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {**done._asdict(), "peak_mb": peak * KILOBYTE / 1e6, "mb_per_s_per_core": done.mb_per_s_per_core}


def own_peak():
    """The highest memory of this process so far, in the unit of ru_maxrss.

    On Linux ru_maxrss begins with what the parent had when it started this process (exec keeps it); VmHWM does not.
    """
    if STATUS.exists():
        return int(STATUS.read_text().split("VmHWM:")[1].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def training_files(folder):
    return [need(Path(folder) / name, f"make data/{name}") / "train.txt" for name in SETS]


def apart(function, *given):
    """function(*given) in a new Python, so that nothing that ran before counts; its answer came as JSON."""
    command = [sys.executable, __file__, "--apart", json.dumps([function.__name__, *given], default=str)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if ended.returncode:
        raise Mistake(f"measuring {function.__name__} {' '.join(map(str, given))} failed; what it said stands above")
    return json.loads(ended.stdout)


def find_planted(folder):
    """Recall of planted duplicates among short encyclopaedia entries, which have nothing to do with each other."""
    texts = [text for text in documents(read_text(need(folder / "wiki-leads", "make data/wiki-leads") / "train.txt"))]
    found = planted.measure([text for text in texts if len(text) > 300][:PLANTED])
    return {
        "dedup_recall": found.recall,
        "dedup_recall_expected": found.expected,
        "dedup_exact_recall": found.exact_recall,
        "dedup_false_positives": found.false_positives,
        "dedup_pairs": found.pairs,
    }


def bench_pipeline(args, workers):
    """Speed and memory for every size, and the recall."""
    metrics = find_planted(args.data)
    with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
        folder = Path(folder)
        texts = [text for path in training_files(args.data) for text in documents(read_text(path))]
        tokenizer = Tokenizer.train(texts[::4], VOCAB).save(folder / "tokenizer.json")
        for size in args.sizes:
            source, out = folder / f"{size}.jsonl", folder / f"shards-{size}"
            planted_here = apart(made, args.data, source, size)
            row = apart(measured, source, tokenizer, out, workers)
            print(
                f"{size} MB: {row['megabytes'] / row['seconds']:.1f} MB/s with {workers} workers, "
                f"{row['mb_per_s_per_core']:.1f} MB/s a core, peak {row['peak_mb']:.0f} MB",
                flush=True,
            )
            gone = row["documents"]
            metrics |= {
                f"pipeline_mb_s_{size}": row["megabytes"] / row["seconds"],
                f"pipeline_mb_s_per_core_{size}": row["mb_per_s_per_core"],
                f"pipeline_peak_mb_{size}": row["peak_mb"],
                f"pipeline_tokens_{size}": sum(row["tokens"].values()),
                f"pipeline_planted_{size}": planted_here["exact"] + planted_here["near"],
                f"pipeline_dropped_{size}": gone["exact"] + gone["near"],
            }
            source.unlink()
    last = args.sizes[-1]
    return metrics | {"pipeline_mb_s_per_core": metrics[f"pipeline_mb_s_per_core_{last}"], "pipeline_workers": workers}


# --- the mask across documents ----------------------------------------------------------------------------------------

SHORT = Recipe(4, 128, 128, 16, steps=150, save_every=10**6, validate_every=10**6)
SEEDS, JUDGED = 3, 400  # trainings of each kind; held-out documents


def bench_mask(args, workers):
    """The same training with attention across documents and without, judged on documents that stand alone."""
    metrics, kinds = {}, {"across": False, "masked": True}
    with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
        folder, files = Path(folder), [need(args.data / "wiki-leads", "make data/wiki-leads") / "train.txt"]
        tokenizer = Tokenizer.train(documents(read_text(files[0])), 2048)
        pipeline.prepare(files, folder / "shards", tokenizer, val=0.02, workers=workers)
        held = shards.open_split(folder / "shards", "val", tokenizer)
        found = {kind: [] for kind in kinds}
        for seed in range(SEEDS):
            for kind, masked in kinds.items():  # in turns, so that a machine that slows down slows both
                run = trainer(replace(SHORT, mask=masked), folder / "shards", folder / f"{kind}-{seed}", seed=seed)
                watch = Stopwatch()
                if status := follow(run):
                    raise SystemExit(status)
                loss, first = alone(run.parts["model"].eval(), held)
                found[kind].append({"loss": loss, "first_tokens_loss": first, "seconds": watch.seconds})
                print(f"seed {seed}, {kind}: {loss:.4f} nats a token", flush=True)
    for kind, rows in found.items():
        for name in rows[0]:
            values = [row[name] for row in rows]
            metrics |= {f"{kind}_{name}": mean(values), f"{kind}_{name}_sd": stdev(values)}
    gains = [a["loss"] - b["loss"] for a, b in zip(*found.values())]
    lengths = [len(ids) for ids in each_document(held)]
    return metrics | {
        "mask_gain": mean(gains), "mask_gain_sd": stdev(gains), "seeds": SEEDS, "block_size": SHORT.block,
        "document_tokens": mean(lengths), "mask_seconds_ratio": metrics["masked_seconds"] / metrics["across_seconds"],
    }  # fmt: skip


def each_document(tokens):
    """The first documents of a split, each opened by the end-of-text id, as in a window."""
    ids = tokens[:]
    cuts = np.flatnonzero(ids == tokens.end)[: JUDGED + 1]
    return [ids[start:stop] for start, stop in zip(cuts, cuts[1:])]


@torch.no_grad()
def alone(model, tokens, first=16):
    """Mean nats a token of documents that stand alone, up to the context's length; and of their first tokens only."""
    size, sums, counts = model.config.block_size, [0.0, 0.0], [0, 0]
    for ids in each_document(tokens):
        ids = torch.from_numpy(ids[: size + 1])[None]
        losses = F.cross_entropy(model(ids[:, :-1])[0][0], ids[0, 1:], reduction="none")
        for i, part in enumerate((losses, losses[:first])):
            sums[i], counts[i] = sums[i] + part.sum().item(), counts[i] + len(part)
    return sums[0] / counts[0], sums[1] / counts[1]


JOBS = {"pipeline": bench_pipeline, "mask": bench_mask}
APART = {function.__name__: function for function in (made, measured)}


def main(argv=None) -> dict:
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["--apart"]:
        name, *given = json.loads(argv[1])
        print(json.dumps(APART[name](*given)))
        return {}
    p = parser(__doc__.splitlines()[0], data=WEEK.parents[1] / "data", epilog=__doc__.split("\n", 2)[2])
    p.add_argument("job", nargs="?", choices=JOBS, default="pipeline", help="what to measure (default: %(default)s)")
    p.add_argument("--sizes", type=int, nargs="+", default=[50, 200, 800], help="MB of text (default: 50 200 800)")
    p.add_argument("--scratch", type=Path, help="folder for the inputs (default: the system's for temporary files)")
    args = p.parse_args(argv)
    watch, threads = Stopwatch(), thread_count(args.threads)
    metrics = JOBS[args.job](args, threads)  # a thread is a worker here
    return finish(__file__, args, argv, metrics, preset=args.job, seconds=watch.seconds, threads=threads)


if __name__ == "__main__":
    sys.exit(entry(main))
