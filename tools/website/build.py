"""Build the site from the Markdown pages and notebooks, then follow every link of it.

Sphinx reads the pages where they lie. A warning ends the build. So does a link that leads nowhere, and a file that
a browser would fetch from the network. The site of an earlier build stays until a new one is whole.
"""

import importlib.util
import shutil
import tempfile
from pathlib import Path

from shared.errors import Mistake

from .links import judged
from .pages import all_pages

NEEDED = ("furo", "latex2mathml", "myst_nb", "sphinx", "ziamath")


def sphinx(root, pages, site):
    """Let Sphinx write the `pages` of `root` to the empty folder `site`; Mistake where it warns."""
    missing = [name for name in NEEDED if not importlib.util.find_spec(name)]
    if missing:
        raise Mistake(f"the site needs {', '.join(missing)}, which this Python does not have; run: make site")
    from sphinx.cmd.build import build_main  # here, for the tests of the tree need no Sphinx

    with tempfile.TemporaryDirectory() as cache:
        settings = ["-c", str(Path(__file__).parent), "-D", f"include_patterns={','.join(pages)}"]
        options = ["--quiet", "--fail-on-warning", "--nitpicky", "--builder", "html", "--doctree-dir", cache]
        status = build_main([*options, *settings, str(root), str(site)])
    if status:
        raise Mistake("Sphinx warned about the places above; mend them, then run: make site")


def build(root, site):
    """Write the site of all pages below `root` to the folder `site`; returns what links.judged counted there."""
    part = site.with_name(site.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    sphinx(root, all_pages(root), part)
    counts, problems = judged(part)
    if problems:
        raise Mistake("\n".join([*problems, f"{len(problems)} links of the site do not hold (see above)"]))
    shutil.rmtree(site, ignore_errors=True)
    part.rename(site)
    return counts
