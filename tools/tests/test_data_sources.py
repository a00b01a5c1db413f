"""tools/data/sources.py and the real data.toml: bytes that are not the pinned ones never become data."""

import hashlib
import http.server
import io
import os
import sys
import tarfile
import threading
import time
import tomllib
import zipfile
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def data(load_tool):
    return load_tool("data.engine")


def sha256(content):
    return hashlib.sha256(content).hexdigest()


# ---- archives ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_member_cannot_leave_the_archive(data, tmp_path, monkeypatch, kind):
    """Names like ../../x and links are the classical attack on unpacking; nothing is ever unpacked here."""
    monkeypatch.chdir(tmp_path)
    if kind == "zip":
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("../../evil.txt", b"evil")
            archive.writestr("/abs/evil.txt", b"evil")
        content = buffer.getvalue()
    else:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            member = tarfile.TarInfo("../../evil.txt")
            member.size = 4
            archive.addfile(member, io.BytesIO(b"evil"))
            link = tarfile.TarInfo("link.txt")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(link)
        content = buffer.getvalue()
    found = data.sources.read_archive(content, "a", "*.txt")
    assert set(found.values()) == {b"evil"} and "link.txt" not in found
    assert list(tmp_path.iterdir()) == []
    assert set(data.recipes.cook("plain", found)) == {"evil.txt"}  # what a recipe may write has no folder in its name


# ---- addresses, pip, the standard library --------------------------------------------------------------------------


@pytest.fixture
def server():
    """A web server on this machine: /good answers, /short breaks off, anything else is missing."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path in ("/good", "/short"):
                self.send_response(200)
                self.send_header("Content-Length", "10")
                self.end_headers()
                self.wfile.write(b"0123456789" if self.path == "/good" else b"01234")
            else:
                self.send_error(404, "Not Found")

        def log_message(self, *arguments):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as web:
        thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{web.server_port}"
        web.shutdown()
        thread.join()


def test_addresses_one_file_and_several(data, server, tmp_path):
    """GPT-2's vocabulary is two files, so a source may be several addresses, each with its hash."""
    good = {"url": f"{server}/good", "sha256": sha256(b"0123456789")}
    assert data.sources.fetch({"kind": "url", **good}, tmp_path) == {"good": b"0123456789"}
    assert data.sources.fetch({"kind": "url", "files": [good]}, tmp_path) == {"good": b"0123456789"}


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/short", "the connection broke off after 5 of 10 bytes"),
        ("/none", "the server answers 404 Not Found"),
        ("/good", "has the sha256 84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882, not 000"),
    ],
)
def test_what_an_address_can_do_wrong(data, server, tmp_path, path, sentence):
    """Half a file, no file, another file: none of them is data."""
    with pytest.raises(data.Mistake, match=sentence):
        data.sources.fetch({"kind": "url", "url": server + path, "sha256": "0" * 64}, tmp_path)


def test_no_server_at_an_address(data, tmp_path):
    """A refused connection is the commonest "no network"; port 1 of this machine has nobody listening."""
    source = {"kind": "url", "url": "http://127.0.0.1:1/x", "sha256": "0" * 64}
    with pytest.raises(data.Mistake, match="no network or a broken connection"):
        data.sources.fetch(source, tmp_path)


def test_pip_is_watched_and_its_words_are_kept(data, tmp_path):
    """The real run_pip, with a small Python program in pip's place: status, both streams, its temporary folder."""
    program = "import os, sys; print('out', os.environ['TMPDIR']); print('err', file=sys.stderr); sys.exit(3)"
    status, log = data.sources.run_pip([sys.executable, "-c", program], tmp_path, "a package", 10)
    assert status == 3 and f"out {tmp_path / 'pip'}" in log and "err" in log


def test_a_folder_may_go_while_it_is_measured(data, tmp_path, monkeypatch):
    """pip deletes what it unpacked: on a busy machine between our seeing a folder and our looking into it."""
    for name in ("kept", "gone"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.whl").write_bytes(b"12345")
    real = os.scandir

    def scandir(path):
        if path == str(tmp_path / "gone"):
            (tmp_path / "gone/a.whl").unlink()
            (tmp_path / "gone").rmdir()
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert data.sources.downloaded(tmp_path) == 5 and not (tmp_path / "gone").exists()


def test_pip_ends_with_us(data, tmp_path, monkeypatch):
    """After Ctrl-C no child may go on writing into the folder that is being deleted."""

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(data.sources.Bar, "at", interrupted)
    program = "import time; print('started', flush=True); time.sleep(60)"
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        data.sources.run_pip([sys.executable, "-c", program], tmp_path, "a package", 10)
    assert time.monotonic() - begun < 30  # generous: without the ending it would be 60


def test_the_standard_library_is_read_without_what_was_installed_beside_it(data, tmp_path, monkeypatch):
    """The domain is CPython's own code; site-packages differs on every machine."""
    for name in ("abc.py", "json/decoder.py", "site-packages/torch/nn.py", "json/__pycache__/x.py", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(data.sources.sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    assert sorted(data.sources.fetch({"kind": "stdlib"}, tmp_path)) == ["abc.py", "json/decoder.py"]


# ---- the real catalogue --------------------------------------------------------------------------------------------


SETS = list(tomllib.loads((Path(__file__).resolve().parents[1] / "data.toml").read_text(encoding="utf-8")))


def test_every_entry_of_data_toml_is_complete(load_tool):
    """Shape of the manifest: licence and origin, a recipe that exists, pinned sources, pinned output."""
    data = load_tool("data.engine")
    catalogue = data.load_catalogue(data.CATALOGUE)
    assert list(catalogue) == SETS and len(SETS) > 12

    def is_hash(text):
        return len(text) == 64 and set(text) <= set("0123456789abcdef")

    for name, item in catalogue.items():
        for key in ("about", "origin", "licence"):
            assert isinstance(item[key], str) and item[key].strip(), f"{name}.{key}"
        assert item["recipe"] in data.recipes.known() and item["megabytes"] > 0, name
        assert item["sources"], name
        for source in item["sources"]:
            assert source["kind"] in data.sources.KINDS, name
            if source["kind"] == "pypi":
                assert is_hash(source["sha256"]) and source["name"] and source["version"] and source["members"], name
            elif source["kind"] == "url":
                for file in source.get("files", [source]):
                    assert file["url"].startswith("https://"), name
                    assert is_hash(file.get("sha256") or source["members_sha256"]), name
        pinned = isinstance(item["output"], dict)
        assert pinned or [source["kind"] for source in item["sources"]] == ["stdlib"], f"{name}: pin its output"
        assert all(is_hash(pin) for pin in data.pins(item).values() if pin), name


@pytest.mark.parametrize("name", SETS)
def test_sets_on_this_machine_are_what_data_toml_says(load_tool, name):
    """The files that the weeks read, byte for byte, and their documents taken apart once more."""
    data = load_tool("data.engine")
    item, folder = data.load_catalogue(data.CATALOGUE)[name], data.ROOT / "data" / name
    state, why = data.inspect(item, folder, thorough=True)
    if state == "not made":
        pytest.skip(f"{why}; run: make data/{name}")
    assert state == "made", why
    for file, known in data.read_origin(folder)["files"].items():
        if "val.txt" in data.pins(item):
            text = Path(folder, file).read_text(encoding="utf-8")
            assert text.count("<|endoftext|>") == known["documents"] >= 2 and text.endswith("\n<|endoftext|>\n")
            assert "\r" not in text and "\x00" not in text and "\ufeff" not in text
    if "val.txt" in data.pins(item):
        sizes = {file: known["characters"] for file, known in data.read_origin(folder)["files"].items()}
        share = {file: size / sum(sizes.values()) for file, size in sizes.items()}
        assert share["train.txt"] > 0.85 and min(share["val.txt"], share["test.txt"]) > 0.03
