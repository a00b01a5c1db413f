"""A Sphinx extension: gives each page the tree below it, and the front page the name that servers look for."""

import shutil

from .pages import FRONT, all_pages, toctree, tree


def add_tree(app, docname, content):
    page = app.env.doc2path(docname, base=False).as_posix()
    branches = tree(all_pages(app.srcdir)).get(page)
    if branches and page.endswith(".md"):
        content[0] += "\n" + toctree(branches)


def add_index(app, exception):
    """index.html is the front page once more. Both lie in one folder, so the links of one are those of the other."""
    if exception is None and app.builder.format == "html":
        shutil.copyfile((app.outdir / FRONT).with_suffix(".html"), app.outdir / "index.html")


def setup(app):
    app.connect("source-read", add_tree)
    app.connect("build-finished", add_index)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
