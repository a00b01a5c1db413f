"""Week 11: how fast the data pipeline is, how much memory it needs, and how many duplicates it finds.

    python weeks/week11/bench.py pipeline                      # 50, 200 and 800 MB; needs 3 GB of disk for a while
    python weeks/week11/bench.py pipeline --sizes 20 --threads 1

Each size is made and measured in processes of its own: a process keeps its highest memory for ever. The peak is the
main process's plus, for every worker, the largest worker's; so it is an upper bound of what they had together.
"""

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from pretrain.data import imitation, pipeline, planted
from pretrain.vendor.bpe.fast import Tokenizer
from pretrain.vendor.shared.errors import Mistake, entry
from pretrain.vendor.shared.files import need
from pretrain.vendor.shared.results import (
    Stopwatch,
    command_line,
    parser,
    results_folder,
    thread_count,
    write_results,
)
from pretrain.vendor.shared.text import documents, read_text

WEEK = Path(__file__).resolve().parent
SETS = ("fables", "bible", "shakespeare", "wiki-leads", "recipes")
VOCAB = 4096
PLANTED = 500  # originals of the duplicates that are planted and looked for
KILOBYTE = 1 if sys.platform == "darwin" else 1024  # ru_maxrss counts bytes on a Mac


def made(folder, path, megabytes):
    """In a process of its own: write the input."""
    return imitation.write(imitation.lines_of(training_files(folder)), path, megabytes)


def measured(path, tokenizer, out, workers):
    """In a process of its own: run the pipeline, and say what it cost."""
    done = pipeline.prepare([path], out, Tokenizer.load(tokenizer), workers=workers)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if workers > 1:
        peak += workers * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {**done._asdict(), "peak_mb": peak * KILOBYTE / 1e6, "mb_per_s_per_core": done.mb_per_s_per_core}


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


JOBS = {"pipeline": bench_pipeline}
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
    path = write_results(
        results_folder(__file__, args.out) / f"{args.job}.json",
        command=command_line(__file__, argv),
        preset=args.job,
        seed=args.seed,
        seconds=watch.seconds,
        metrics=metrics,
        threads=threads,
    )
    print(f"results: {path}")
    return metrics


if __name__ == "__main__":
    sys.exit(entry(main))
