"""tools/vendor.py: every way in which a copy can drift is noticed, and said in a sentence."""

import hashlib
import subprocess
import sys

import pytest

TOML = 'a = ["core"]\n'
COPY = "weeks/week02/b/vendor/a/core.py"


@pytest.fixture
def tree(tmp_path):
    """A repository of two weeks; week02 takes one piece from week01."""
    (tmp_path / "weeks/week01/a").mkdir(parents=True)
    (tmp_path / "weeks/week02/b").mkdir(parents=True)
    (tmp_path / "weeks/week01/a/core.py").write_text("answer = 42\n")
    for package in ("weeks/week01/a", "weeks/week02/b"):
        (tmp_path / package / "__init__.py").write_text("")
    (tmp_path / "weeks/week02/b/vendor.toml").write_text(TOML)
    return tmp_path


@pytest.fixture
def vendor(load_tool):
    return load_tool("vendor")


def only(sentences):
    assert len(sentences) == 1, sentences
    return sentences[0]


def test_sync_writes_header_source_and_init(tree, vendor):
    """The copy is the source below one line that names it and its hash; a fresh sync leaves nothing to report."""
    vendor.sync(tree)
    digest = hashlib.sha256(b"answer = 42\n").hexdigest()
    copy = tree / COPY
    line = f"# vendored from weeks/week01/a/core.py, sha256 {digest}; edit there, then run: make vendor\n"
    assert copy.read_text() == line + "answer = 42\n"
    assert (copy.parent / "__init__.py").read_text() == ""
    assert vendor.problems(tree) == []


def test_sync_twice_writes_nothing(tree, vendor):
    """A second sync must not touch files: their times decide what make does again."""
    assert len(vendor.sync(tree)) == 3
    assert vendor.sync(tree) == []


def test_source_that_changed_is_noticed_and_mended(tree, vendor):
    """The commonest drift: the source week moved on and nobody ran make vendor."""
    vendor.sync(tree)
    (tree / "weeks/week01/a/core.py").write_text("answer = 43\n")
    assert "weeks/week01/a/core.py has changed since it was copied" in only(vendor.problems(tree))
    vendor.sync(tree)
    assert vendor.problems(tree) == []


@pytest.mark.parametrize("edit", ["append", "header"])
def test_copy_that_was_edited_is_noticed(tree, vendor, edit):
    """An edit in a copy would be lost at the next sync; the sentence says where it belongs."""
    vendor.sync(tree)
    copy = tree / COPY
    text = copy.read_text()
    copy.write_text(text + "more = 1\n" if edit == "append" else text.split("\n", 1)[1])
    sentence = only(vendor.problems(tree))
    assert ("was edited" in sentence) if edit == "append" else ("does not begin with the line" in sentence)


def test_edit_is_called_an_edit_even_when_the_source_moved_too(tree, vendor):
    """With both at once, "behind its source" would hide that running make vendor destroys somebody's work."""
    vendor.sync(tree)
    copy = tree / COPY
    copy.write_text(copy.read_text() + "more = 1\n")
    (tree / "weeks/week01/a/core.py").write_text("answer = 43\n")
    assert "was edited" in only(vendor.problems(tree))


def test_missing_copy_and_missing_init_are_noticed(tree, vendor):
    """A fresh vendor.toml without its copies must not pass as in order."""
    assert any("is missing, but vendor.toml asks for it" in s for s in vendor.problems(tree))
    vendor.sync(tree)
    (tree / COPY).with_name("__init__.py").unlink()
    assert "__init__.py is missing" in only(vendor.problems(tree))


def test_stray_file_is_noticed_and_not_deleted(tree, vendor):
    """A file that nobody named is either forgotten or handwritten: neither may hide in a vendor folder."""
    vendor.sync(tree)
    stray = (tree / COPY).with_name("old.py")
    stray.write_text("x = 1\n")
    vendor.sync(tree)
    assert "old.py is not named in vendor.toml" in only(vendor.problems(tree))
    assert stray.exists()


def test_vendor_folder_without_toml_is_all_strays(tree, vendor):
    """Deleting vendor.toml must not make its copies invisible to the check."""
    vendor.sync(tree)
    (tree / "weeks/week02/b/vendor.toml").unlink()
    assert "core.py is not named in vendor.toml" in only(vendor.problems(tree))


def test_bytecode_and_subfolders(tree, vendor):
    """A glob takes a folder's files, the one that is written tomorrow included; Python's caches are nobody's strays."""
    (tree / "weeks/week02/b/vendor.toml").write_text('a = ["methods/*"]\n')
    (tree / "weeks/week01/a/methods").mkdir()
    for name in ("__init__", "first"):
        (tree / f"weeks/week01/a/methods/{name}.py").write_text(f"{name} = 1\n")
    vendor.sync(tree)
    cache = tree / "weeks/week02/b/vendor/a/methods/__pycache__"
    cache.mkdir()
    (cache / "first.cpython-311.pyc").write_bytes(b"")
    assert "__init__ = 1" in (cache.parent / "__init__.py").read_text(), "a table in an __init__.py comes along"
    assert (cache.parent.parent / "__init__.py").read_text() == ""
    assert vendor.problems(tree) == []
    (tree / "weeks/week01/a/methods/second.py").write_text("second = 2\n")
    assert "second.py is missing" in only(vendor.problems(tree))
    vendor.sync(tree)
    assert vendor.problems(tree) == []


SHARING = "from .vendor.shared.errors import Mistake\nfrom .vendor import shared\nfrom .own import x\n"


def test_what_a_source_vendored_is_taken_from_the_sets_beside_the_copy(tree, vendor):
    """Each process has one Mistake: the copy's import leads to its host's set, and nothing else in it differs."""
    (tree / "tools/shared").mkdir(parents=True)
    (tree / "tools/shared/errors.py").write_text("class Mistake(Exception): ...\n")
    (tree / "weeks/week01/a/core.py").write_text(SHARING)
    (tree / "weeks/week01/a/own.py").write_text("x = 1\n")
    (tree / "weeks/week02/b/vendor.toml").write_text('a = ["core", "own"]\nshared = ["errors"]\n')
    vendor.sync(tree)
    body = (tree / COPY).read_text().split("\n", 1)[1]
    assert body == SHARING.replace(".vendor.shared.errors", "..shared.errors").replace(".vendor import", ".. import")
    assert vendor.problems(tree) == []
    program = "import b.vendor.a.core as c, b.vendor.shared.errors as e; assert c.Mistake is e.Mistake"
    subprocess.run([sys.executable, "-c", program], cwd=tree / "weeks/week02", check=True)


def test_an_import_that_leads_nowhere_is_noticed(tree, vendor):
    """A piece whose own pieces were not named would fail only when somebody imports it."""
    (tree / "weeks/week01/a/core.py").write_text(SHARING)
    vendor.sync(tree)
    found = vendor.problems(tree)
    assert any("imports shared/errors, which is not there; name it in weeks/week02/b/vendor.toml" in s for s in found)
    assert any("imports a/own, which is not there" in s for s in found)


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[[piece]\n", "is not valid TOML"),
        ('[[piece]]\nfrom = "x"\n', "there is no package 'piece'"),
        ('gone = ["core"]\n', "there is no package 'gone'"),
        ('b = ["core"]\n', "there is no package 'b'"),
        ('a = "core"\n', "give a list of file names"),
        ("a = []\n", "give a list of file names"),
        ('a = ["gone"]\n', "is no file of a"),
        ('a = ["core.py"]\n', "is no file of a"),
        ('a = ["../../week01/a/core"]\n', "leads out of a"),
        ('a = ["__init__"]\n', "would take a/__init__.py"),
    ],
)
def test_unusable_entries_are_sentences(tree, vendor, toml, said):
    """A wrong vendor.toml is reported with its name; it neither crashes nor writes outside the vendor folder."""
    before = sorted(tree.rglob("*.py"))
    (tree / "weeks/week02/b/vendor.toml").write_text(toml)
    found = vendor.problems(tree)
    assert any(said in s and "weeks/week02/b/vendor.toml" in s for s in found), found
    vendor.sync(tree)
    assert all("vendor" in p.parts for p in set(tree.rglob("*.py")) - set(before))


def test_a_copy_of_a_copy_is_refused(tree, vendor):
    """A chain of copies would name a source that is not the source."""
    vendor.sync(tree)
    (tree / "weeks/week03/c").mkdir(parents=True)
    (tree / "weeks/week03/c/vendor.toml").write_text('b = ["vendor/a/core"]\n')
    assert "is itself a copy" in only(vendor.problems(tree))


def test_one_bad_entry_does_not_stop_the_others(tree, vendor):
    """While one week names a file that is not written yet, every other week's copies are still made."""
    (tree / "weeks/week02/b/vendor.toml").write_text('a = ["gone", "core"]\n')
    vendor.sync(tree)
    assert "gone" in only(vendor.problems(tree))
    assert (tree / COPY).is_file()


def test_status_of_the_command(tree, repo_root):
    """What make sees: 1 with one sentence a problem on stderr, 0 after sync, no traceback."""

    def run(action):
        command = [sys.executable, repo_root / "tools/vendor.py", action, "--root", tree]
        return subprocess.run(command, capture_output=True, text=True)

    failed = run("check")
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr
    assert failed.stderr.splitlines()[-1].startswith("error: 1 of the vendored files")
    assert run("sync").returncode == 0
    assert run("check").returncode == 0


def test_copies_of_this_repository(repo_root, vendor):
    """The check itself, on this repository: no copy has drifted."""
    assert vendor.problems(repo_root) == []
