"""tools/vendor.py: every way in which a copy can drift is noticed, and said in a sentence."""

import hashlib
import subprocess
import sys

import pytest

TOML = '[[piece]]\nfrom = "weeks/week01/a/core.py"\nto = "b/vendor/core.py"\n'


@pytest.fixture
def tree(tmp_path):
    """A repository of two weeks; week02 takes one piece from week01."""
    (tmp_path / "weeks/week01/a").mkdir(parents=True)
    (tmp_path / "weeks/week02/b").mkdir(parents=True)
    (tmp_path / "weeks/week01/a/core.py").write_text("answer = 42\n")
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
    copy = tree / "weeks/week02/b/vendor/core.py"
    line = f"# vendored from weeks/week01/a/core.py, sha256 {digest}; edit there, then run: make vendor\n"
    assert copy.read_text() == line + "answer = 42\n"
    assert (copy.parent / "__init__.py").read_text() == ""
    assert vendor.problems(tree) == []


def test_sync_twice_writes_nothing(tree, vendor):
    """A second sync must not touch files: their times decide what make does again."""
    assert len(vendor.sync(tree)) == 2
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
    copy = tree / "weeks/week02/b/vendor/core.py"
    text = copy.read_text()
    copy.write_text(text + "more = 1\n" if edit == "append" else text.split("\n", 1)[1])
    sentence = only(vendor.problems(tree))
    assert ("was edited" in sentence) if edit == "append" else ("does not begin with the line" in sentence)


def test_edit_is_called_an_edit_even_when_the_source_moved_too(tree, vendor):
    """With both at once, "behind its source" would hide that running make vendor destroys somebody's work."""
    vendor.sync(tree)
    copy = tree / "weeks/week02/b/vendor/core.py"
    copy.write_text(copy.read_text() + "more = 1\n")
    (tree / "weeks/week01/a/core.py").write_text("answer = 43\n")
    assert "was edited" in only(vendor.problems(tree))


def test_missing_copy_and_missing_init_are_noticed(tree, vendor):
    """A fresh vendor.toml without its copies must not pass as in order."""
    assert any("is missing, but vendor.toml asks for it" in s for s in vendor.problems(tree))
    vendor.sync(tree)
    (tree / "weeks/week02/b/vendor/__init__.py").unlink()
    assert "__init__.py is missing" in only(vendor.problems(tree))


def test_stray_file_is_noticed_and_not_deleted(tree, vendor):
    """A file that nobody named is either forgotten or handwritten: neither may hide in a vendor folder."""
    vendor.sync(tree)
    stray = tree / "weeks/week02/b/vendor/old.py"
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
    """A subfolder of copies gets its own __init__.py, and Python's caches are nobody's strays."""
    (tree / "weeks/week02/b/vendor.toml").write_text(TOML.replace("vendor/core.py", "vendor/methods/core.py"))
    vendor.sync(tree)
    cache = tree / "weeks/week02/b/vendor/methods/__pycache__"
    cache.mkdir()
    (cache / "core.cpython-311.pyc").write_bytes(b"")
    assert (cache.parent / "__init__.py").is_file() and (cache.parent.parent / "__init__.py").is_file()
    assert vendor.problems(tree) == []


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[[piece]\n", "is not valid TOML"),
        ('[[pieces]]\nfrom = "x"\n', "only [[piece]] entries belong there"),
        ('[[piece]]\nfrom = "weeks/week01/a/core.py"\n', "exactly the two strings"),
        (TOML.replace("core.py", "gone.py", 1), "is not a file of this repository"),
        (TOML.replace("weeks/week01", "../elsewhere"), "is not a file of this repository"),
        (TOML.replace("b/vendor/core.py", "b/core.py"), "must be a .py file under b/vendor/"),
        (TOML.replace("b/vendor/core.py", "b/vendor/../core.py"), "must be a .py file under b/vendor/"),
        (TOML.replace("b/vendor/core.py", "b/vendor/__init__.py"), "stays empty"),
        (TOML + TOML, "is asked for twice"),
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
    toml = '[[piece]]\nfrom = "weeks/week02/b/vendor/core.py"\nto = "c/vendor/core.py"\n'
    (tree / "weeks/week03/c/vendor.toml").write_text(toml)
    assert "is itself a copy" in only(vendor.problems(tree))


def test_one_bad_entry_does_not_stop_the_others(tree, vendor):
    """While one week names a file that is not written yet, every other week's copies are still made."""
    bad = '[[piece]]\nfrom = "weeks/week01/a/gone.py"\nto = "b/vendor/gone.py"\n'
    (tree / "weeks/week02/b/vendor.toml").write_text(bad + TOML)
    vendor.sync(tree)
    assert "gone.py" in only(vendor.problems(tree))
    assert (tree / "weeks/week02/b/vendor/core.py").is_file()


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
