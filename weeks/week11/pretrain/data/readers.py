"""Documents out of files, one at a time: plain text, JSON lines and parquet.

A reader is a generator. It holds one line, or one small batch of rows, so a file of any size needs the same memory.
A document longer than LONGEST is cut, mostly between two lines, and its parts are documents from there on. Otherwise a
book of 800 MB would be one string, and its tokens one list. FineWeb-Edu's files have a column `text`, beside `id`,
`url`, `score` and others (its dataset card); any other column can be named.
Left out: compressed text, remote files, CSV.
"""

import codecs
import json
from pathlib import Path

from ..vendor.shared.errors import Mistake
from ..vendor.shared.text import END

COLUMN = "text"
LONGEST = 2**18  # characters of a document; more than any window we train on, and 10 MB while it is tokenised
LONGEST_LINE = 2**25  # bytes of a JSON line: it has to be in memory as a whole before it can be understood
ROWS = 64  # of a parquet file at a time: 64 documents of LONGEST characters are 16 MB


def read_text(path, column=None):
    """The documents of a UTF-8 file, separated by lines that hold only <|endoftext|>; "" for an empty one."""
    if column is not None:
        raise Mistake(f"{path} is plain text and has no column {column!r}; leave the column out, or give other files")
    decoder, lines, size, begins = codecs.getincrementaldecoder("utf-8-sig")(), [], 0, True
    with open(path, "rb") as file:
        # A line without an end comes in parts: it never lies in memory as a whole.
        for number, raw in enumerate(iter(lambda: file.readline(LONGEST), b""), start=1):
            if b"\0" in raw:
                raise Mistake(f"{path} is not text: a byte near line {number} is zero; give plain text in UTF-8")
            try:
                line = decoder.decode(raw)
            except UnicodeDecodeError as error:
                raise Mistake(
                    f"{path} is not UTF-8: near line {number} a byte is 0x{error.object[error.start]:02x}; "
                    "convert it first, for example: iconv -f latin1 -t utf-8"
                ) from None
            if begins and line.rstrip("\r\n") == END:
                yield "".join(lines)
                lines, size = [], 0
            else:
                if size and size + len(line) > LONGEST:
                    yield "".join(lines)
                    lines, size = [], 0
                lines.append(line)
                size += len(line)
            begins = raw.endswith(b"\n")
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise Mistake(f"{path} is not UTF-8: it ends inside a character; it was cut short, get it again") from None
    if lines:
        yield "".join(lines)


def read_jsonl(path, column=None):
    """The strings at `column` of a file with one JSON object a line.

    A Mistake begins with the line that it cannot use, as in "some.jsonl, line 2: ..."; where the column is lacking it
    names those that are there.
    """
    column = column or COLUMN
    with open(path, "rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b""), start=1):
            where = f"{path}, line {number}"
            if len(line) > LONGEST_LINE:
                raise Mistake(
                    f"{where}: it is longer than {LONGEST_LINE >> 20} MB, the most that is held in memory at once; "
                    "split its document into several lines, or save it as .txt, which is read in parts"
                )
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                shown = line[:40].decode("utf-8", "replace").strip()
                raise Mistake(f"{where}: {shown!r} is no JSON ({error}); mend or remove the line") from None
            if not isinstance(row, dict):
                raise Mistake(
                    f"{where}: it holds no object but {row!r:.40}; write lines such as {{{json.dumps(column)}: ...}}"
                )
            if column not in row:
                raise Mistake(f"{where}: there is no {column!r} but {', '.join(map(repr, row))}; name another column")
            yield from cut(_string(row[column], f"{where}: {column!r}"))


def read_parquet(path, column=None):
    """The strings of one column of a parquet file; only this column is read."""
    import pyarrow as pa  # here: 50 MB of memory that the other formats can do without
    import pyarrow.parquet as pq

    column = column or COLUMN
    try:
        # Buffered and not read ahead, so that a row group of a gigabyte is not fetched as a whole.
        with pq.ParquetFile(path, buffer_size=2**20, pre_buffer=False) as file:
            names = file.schema_arrow.names
            if column not in names:
                there = ", ".join(map(repr, names)) or "none"
                raise Mistake(f"{path} has no column {column!r}; its columns are {there}: name one of them")
            kind = file.schema_arrow.field(column).type
            if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
                raise Mistake(f"{path}: the column {column!r} holds {kind}, no text; name another column")
            for batch in file.iter_batches(ROWS, columns=[column], use_threads=False):
                for value in batch.column(0):
                    yield from cut(value.as_py() or "")
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if getattr(error, "errno", None):
            raise  # of the disk, and not of what is in the file
        first = str(error).splitlines()[0]
        raise Mistake(f"{path} is no whole parquet file ({first}); it was cut short or damaged, get it again") from None


FORMATS = {".txt": read_text, ".jsonl": read_jsonl, ".parquet": read_parquet}


def find(places):
    """The files to read, in order: those named, and all of a known format below the folders named."""
    found = []
    for place in map(Path, places):
        if place.is_dir():
            inside = sorted(path for path in place.rglob("*") if path.suffix in FORMATS and path.is_file())
            if not inside:
                raise Mistake(f"{place} holds no {', '.join(FORMATS)} file; give a folder with text in it")
            found += inside
        elif not place.exists():
            raise Mistake(f"{place} does not exist; check the path, or make a data set with `make data/NAME`")
        elif place.suffix not in FORMATS:
            raise Mistake(f"{place} is of no known format ({', '.join(FORMATS)}); convert it, or correct its name")
        else:
            found.append(place)
    if not found:
        raise Mistake("no file was named to read; give files or folders")
    return found


def read(files, column=None):
    """All documents of all files, in order, as strings; empty ones are "" so that a caller can count them."""
    for path in files:
        yield from FORMATS[path.suffix](path, column)


def cut(text, longest=LONGEST):
    """A text in parts of at most `longest` characters: between two lines, else between two words, else anywhere.

    >>> list(cut("one two three", 8))
    ['one two ', 'three']
    """
    start = 0
    while len(text) - start > longest:
        end = start + longest
        for blank in ("\n", " "):
            place = text.rfind(blank, start + longest // 2, end)
            if place >= 0:
                end = place + 1
                break
        yield text[start:end]
        start = end
    yield text[start:]


def _string(value, where):
    """null counts as an empty document; anything else that is no string is refused."""
    if value is not None and not isinstance(value, str):
        raise Mistake(f"{where} is {value!r:.40}, no text; mend the line, or name another column")
    return value or ""
