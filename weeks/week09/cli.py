"""bpe: learn a vocabulary, turn text into ids and back, look at how it is cut, compare it, hand it to other programs.

    python weeks/week09/cli.py train data/shakespeare/train.txt
    python weeks/week09/cli.py encode "To be, or not to be"
    python weeks/week09/cli.py encode "To be" | python weeks/week09/cli.py decode
    python weeks/week09/cli.py inspect "It's the nightingale" --html cuts.html
    python weeks/week09/cli.py compare --figure bytes.png

Each command has a --help of its own.
"""

import argparse
import os
import sys
import warnings
from pathlib import Path

from bpe import PATTERNS, Tokenizer, page
from bpe.compare import PUBLISHED, compare, draw, table
from bpe.cuts import cut
from bpe.hf_file import NAME, load_hf, save_hf
from bpe.vendor.shared.errors import Mistake, entry
from bpe.vendor.shared.files import atomic_write, need
from bpe.vendor.shared.results import run_folder
from bpe.vendor.shared.text import END, read_text

DATA = Path(__file__).resolve().parents[2] / "data"
OURS = run_folder(__file__) / "models" / "bpe.json"
ME = "python weeks/week09/cli.py"
FIGURES = (".png", ".svg", ".pdf")
SPECIAL = {"refuse": "none_raise", "text": "none", "ids": "all"}  # --special -> allowed_special of encode


# --- what the commands share ---


def open_tokenizer(name, data):
    """A tokenizer by the name of a published one, or by its file."""
    if name in PUBLISHED:
        reader, place = PUBLISHED[name]
        return reader(need(data / place, f"make data/{place.split('/')[0]}"))
    if not Path(name).exists():
        first = f"run first: {ME} train data/shakespeare/train.txt" if Path(name) == OURS else "check the path"
        raise Mistake(f"there is no tokenizer at {name}; {first}, or give one of {', '.join(PUBLISHED)}")
    return load_hf(name) if Path(name).name == NAME else Tokenizer.load(name)


def exact_text(given, file):
    """The text of the argument, of a file, or of the standard input, exactly as it is; it may be empty."""
    if given is not None and file is not None:
        raise Mistake(f"both a text and --file {file} are given; give one of them")
    if given is not None:
        if any("\ud800" <= char <= "\udfff" for char in given):  # how Python passes on bytes that are no UTF-8
            raise Mistake("the text is not UTF-8; type it again in a terminal of UTF-8, or give a file with --file")
        return given
    content, name = (sys.stdin.buffer.read(), "the standard input") if file is None else (read_bytes(file), file)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = f"byte {error.start} is 0x{content[error.start]:02x}"
        raise Mistake(f"{name} is not UTF-8: {byte}; convert it first, for example with iconv") from None


def read_bytes(path):
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise Mistake(f"{path} does not exist; check the path") from None


def domains(data):
    """name -> held-out text of each text set below `data` that has been made."""
    found = {path.parent.name: read_text(path) for path in sorted(data.glob("*/val.txt"))}
    if not found:
        raise Mistake(f"no text set is made in {data}; run: make data/shakespeare, or give files of your own")
    return found


# --- the commands ---


def train(args):
    """Learn a vocabulary from text files and save it.

    {me} train data/shakespeare/train.txt
    {me} train data/code/train.txt data/bible/train.txt --vocab-size 8000 --pattern cl100k --out mixed.json
    {me} train notes.txt --vocab-size 1000 --special "<|user|>" --special "<|bot|>"
    """
    if args.out.suffix != ".json":
        raise Mistake(f"{args.out} does not end in .json; give --out a name that does")
    texts = [read_text(path) for path in args.files]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a vocabulary that is too small is told below, in the words of this command
        tokenizer = Tokenizer.train(
            texts,
            args.vocab_size,
            pattern=args.pattern,
            special_tokens=args.special or [END],
            progress=True,
        )
    if tokenizer.vocab_size < args.vocab_size:
        most = tokenizer.vocab_size
        raise Mistake(
            f"the text is too short for {args.vocab_size} ids; give more text, or --vocab-size {most} at most"
        )
    tokenizer.save(args.out)
    size = sum(len(text.encode("utf-8")) for text in texts)
    print(f"{tokenizer.vocab_size:,} ids learned from {size / 1e6:.1f} MB: {args.out}")
    print(f"to read its tokens: {args.out.with_suffix('.vocab')}")


def encode(args):
    """Text -> ids, on one line. Without a text, the standard input is read.

    {me} encode "To be, or not to be"
    {me} encode --file speech.txt --tokenizer gpt2 > ids.txt
    {me} encode "one<|endoftext|>two" --special ids
    """
    tokenizer = open_tokenizer(args.tokenizer, args.data)
    text = exact_text(args.text, args.file)
    found = [special for special in tokenizer.special_tokens if special in text]
    if found and args.special == "refuse":
        means = "--special text to read it as plain text, or --special ids to turn it into its id"
        raise Mistake(f"the text holds the special token {found[0]!r}; add {means}")
    print(*tokenizer.encode(text, allowed_special=SPECIAL[args.special]))


def decode(args):
    """Ids -> exactly the bytes that they stand for. Without ids, the standard input is read.

    {me} decode 87 466 74
    {me} encode --file speech.txt | {me} decode > same.txt
    """
    tokenizer = open_tokenizer(args.tokenizer, args.data)
    if args.ids and args.file is not None:
        raise Mistake(f"both ids and --file {args.file} are given; give one of them")
    words = args.ids or exact_text(None, args.file).split()
    for word in words:
        if not (word.isascii() and word.isdigit() and len(word) < 20):
            raise Mistake(f"{word[:40]!r} is no id; give whole numbers from 0, with blanks between them")
    ids = [int(word) for word in words]
    known = {*tokenizer.ranks.values(), *tokenizer.special_tokens.values()}
    for i in ids:
        if i not in known:
            whose = f"{args.tokenizer}, whose highest is {tokenizer.vocab_size - 1}"
            raise Mistake(f"the id {i} is not in {whose}; give --tokenizer the one that made it")
    sys.stdout.flush()
    sys.stdout.buffer.write(tokenizer.decode_bytes(ids) + (b"\n" if sys.stdout.isatty() else b""))


def inspect(args):
    """How a text is cut: tokens in colours here, and with --html as a page with a slider, merge by merge.

    {me} inspect "It's the nightingale, and not the lark"
    {me} inspect --file speech.txt --tokenizer cl100k --html cuts.html
    """
    tokenizer = open_tokenizer(args.tokenizer, args.data)
    text = exact_text(args.text, args.file)
    cuts = cut(tokenizer, text)
    tokens = cuts.tokens()
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") if args.color == "auto" else args.color == "always"
    print(page.coloured(tokens, colour))
    print(f"{len(tokens)} tokens for {len(cuts.content)} bytes: {len(cuts.content) / len(tokens):.2f} bytes a token")
    if args.html:
        name = args.tokenizer if args.tokenizer in PUBLISHED else Path(args.tokenizer).name
        title = f"Tokenizer: {name}, {tokenizer.vocab_size:,} ids"
        atomic_write(args.html, page.html(cuts, tokenizer, title))
        print(f"the page, to open in a browser: {args.html}")


def measure(args):
    """Bytes a token of ours and of the published vocabularies, on data/*/val.txt or on files of your own.

    {me} compare
    {me} compare --tokenizer a.json --tokenizer b.json --figure bytes.png
    {me} compare letters.txt notes.txt
    """
    if args.figure and args.figure.suffix not in FIGURES:
        raise Mistake(f"{args.figure} is no kind of figure; give --figure a name that ends in {', '.join(FIGURES)}")
    texts = {str(path): read_text(path) for path in args.files} or domains(args.data)
    own = args.tokenizer or ([str(OURS)] if OURS.exists() else [])
    tokenizers = {"ours" if Path(name) == OURS else name: open_tokenizer(name, args.data) for name in own}
    for name, (_, place) in PUBLISHED.items():
        if (args.data / place).exists():
            tokenizers.setdefault(name, open_tokenizer(name, args.data))
        else:
            print(f"without {name}; to have it run: make data/{place.split('/')[0]}")
    if not tokenizers:
        raise Mistake(f"there is no tokenizer to compare; run: {ME} train data/shakespeare/train.txt")
    values, sizes = compare(tokenizers, texts), {name: t.vocab_size for name, t in tokenizers.items()}
    print(table(values, sizes))
    print("*: the most text a token, so the fewest tokens")
    if args.figure:
        print(f"figure: {draw(values, sizes, args.figure)}")


def export(args):
    """Write a tokenizer as tokenizer.json, which Hugging Face's libraries load; every command here reads it too.

    {me} export --out mine/tokenizer.json
    {me} export --tokenizer cl100k --out cl100k/tokenizer.json
    """
    if args.out.name != NAME:
        raise Mistake(f"{args.out} is not called {NAME}, the name that other programs look for; give --out one that is")
    tokenizer = open_tokenizer(args.tokenizer, args.data)
    print(f"{tokenizer.vocab_size:,} ids, for Hugging Face's library tokenizers: {save_hf(tokenizer, args.out)}")


# --- their options: name -> (function, what adds them) ---


def options_train(p):
    p.add_argument("files", nargs="+", type=Path, metavar="FILE", help="text in UTF-8")
    p.add_argument("--vocab-size", type=int, default=4096, help="ids in all, special ones too (default: %(default)s)")
    p.add_argument("--pattern", choices=PATTERNS, default="gpt2", help="how text is split first (default: %(default)s)")
    p.add_argument("--special", action="append", metavar="TEXT", help=f"a special token; repeatable (default: {END})")
    p.add_argument("--out", type=Path, default=OURS, help="file to write (default: %(default)s)")


def options_encode(p):
    p.add_argument("text", nargs="?", help="the text (default: the standard input)")
    p.add_argument("--file", type=Path, help="read the text from here, exactly as it is")
    p.add_argument("--special", choices=SPECIAL, default="refuse",
                   help="what a special token written in the text means (default: %(default)s)")  # fmt: skip
    tokenizer_option(p)


def options_decode(p):
    p.add_argument("ids", nargs="*", help="whole numbers (default: the standard input)")
    p.add_argument("--file", type=Path, help="read the ids from here")
    tokenizer_option(p)


def options_inspect(p):
    p.add_argument("text", nargs="?", help="the text (default: the standard input)")
    p.add_argument("--file", type=Path, help="read the text from here, exactly as it is")
    p.add_argument("--html", type=Path, metavar="FILE", help="write a page there; it needs no network")
    p.add_argument("--color", choices=("auto", "always", "never"), default="auto", help="default: on a terminal")
    tokenizer_option(p)


def options_compare(p):
    p.add_argument("files", nargs="*", type=Path, metavar="FILE", help="text in UTF-8 (default: data/*/val.txt)")
    p.add_argument("--tokenizer", action="append", metavar="FILE", help="one of yours; repeatable (default: train's)")
    p.add_argument("--figure", type=Path, metavar="FILE", help="draw the table there; .png, .svg or .pdf")
    data_option(p)


def options_export(p):
    p.add_argument("--out", type=Path, required=True, metavar="FILE", help=f"file to write, called {NAME}")
    tokenizer_option(p)


def tokenizer_option(p):
    p.add_argument("--tokenizer", default=str(OURS), metavar="T",
                   help=f"a file of train, a {NAME}, or {', '.join(PUBLISHED)} (default: %(default)s)")  # fmt: skip
    data_option(p)


def data_option(p):
    p.add_argument("--data", type=Path, default=DATA, help="folder of the data sets (default: %(default)s)")


COMMANDS = {
    "train": (train, options_train),
    "encode": (encode, options_encode),
    "decode": (decode, options_decode),
    "inspect": (inspect, options_inspect),
    "compare": (measure, options_compare),
    "export": (export, options_export),
}


def parser():
    layout = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    first, _, examples = __doc__.partition("\n\n")
    p = argparse.ArgumentParser(prog=ME, description=first, epilog=f"examples:\n{examples}", **layout)
    commands = p.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (run, options) in COMMANDS.items():
        first, _, examples = run.__doc__.replace("{me}", ME).partition("\n\n")
        options(commands.add_parser(name, help=first, description=first, epilog=f"examples:\n{examples}", **layout))
    return p


def main(argv=None):
    args = parser().parse_args(argv)
    try:
        COMMANDS[args.command][0](args)
    except ValueError as error:  # the package speaks in sentences too
        raise Mistake(str(error)) from None


if __name__ == "__main__":
    sys.exit(entry(main))
