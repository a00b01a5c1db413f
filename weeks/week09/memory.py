"""Week 9: how much memory does it take to learn a vocabulary from a large text? Read file by file, never as a whole.

    python weeks/week09/memory.py                               # 100 MB of the Python sources that are installed here
    python weeks/week09/memory.py --files ~/texts --ending .md

What is kept is each different piece, with its count: memory grows with the variety of a text, not with its length.
"""

import argparse
import sys
import sysconfig
from pathlib import Path

from bpe import Tokenizer
from bpe.vendor.shared.errors import Mistake, entry
from bpe.vendor.shared.progress import bar
from bpe.vendor.shared.results import Stopwatch, finish, folder_to_fill

PYTHON = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platlib")]


class Texts:
    """The texts of all files with the ending below some folders, one at a time, until `most` bytes have been read."""

    def __init__(self, folders, ending, most):
        self.folders, self.ending, self.most, self.bytes, self.files = folders, ending, most, 0, 0

    def __iter__(self):
        seen = set()  # one folder may lie in another
        with bar(total=self.most, label="reading", unit="B") as line:
            for path in (path for folder in self.folders for path in sorted(folder.rglob(f"*{self.ending}"))):
                if self.bytes >= self.most:
                    return
                if path.resolve() in seen or not path.is_file():
                    continue
                seen.add(path.resolve())
                content = path.read_bytes()
                try:
                    text = content.decode("utf-8")
                except UnicodeDecodeError:
                    continue  # test files of Python are in many encodings on purpose
                self.bytes, self.files = self.bytes + len(content), self.files + 1
                line.update(len(content))
                yield text


def peak_mb():
    """The most memory that this process has had, in MB."""
    try:
        import resource
    except ImportError:
        raise Mistake("this system does not tell the memory of a process; measure on Linux or macOS") from None
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def main(argv=None) -> dict:
    layout = {"formatter_class": argparse.RawDescriptionHelpFormatter, "epilog": __doc__.split("\n", 2)[2]}
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0], **layout)
    p.add_argument("--out", type=folder_to_fill, help="folder for memory.json (default: runs/week09/results)")
    p.add_argument(
        "--files", type=Path, nargs="+", default=PYTHON, help="folders (default: Python's own, and packages)"
    )
    p.add_argument("--ending", default=".py", help="of the files to read (default: %(default)s)")
    p.add_argument("--mb", type=float, default=100, help="how much text (default: %(default)s)")
    p.add_argument("--vocab-size", type=int, default=16_384, help="ids in all (default: %(default)s)")
    p.set_defaults(seed=0)  # of the results file: nothing is drawn here
    args = p.parse_args(argv)
    before, watch, texts = peak_mb(), Stopwatch(), Texts(args.files, args.ending, args.mb * 1e6)
    tokenizer = Tokenizer.train(texts, args.vocab_size, progress=True)
    metrics = {
        "text_mb": texts.bytes / 1e6,
        "files": texts.files,
        "vocab_size": tokenizer.vocab_size,
        "peak_mb": peak_mb(),
        "peak_mb_before": before,
        "train_seconds": watch.seconds,
    }
    print(f"{tokenizer.vocab_size:,} ids from {metrics['text_mb']:.1f} MB in {texts.files:,} files: "
          f"{watch.seconds:.0f} s, {metrics['peak_mb']:.0f} MB of memory ({before:.0f} before it began)")  # fmt: skip
    return finish(__file__, args, argv, metrics, preset="memory", seconds=watch.seconds, threads=1)


if __name__ == "__main__":
    sys.exit(entry(main))
