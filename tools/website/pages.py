"""Which pages the site has, and the tree that its sidebar shows. Pages stay where they are; nothing is copied.

The tree follows the folders: a week's days, its reflections and its notebooks stand below the week, a paper below
papers/README.md, a project below projects/README.md. A new page finds its place by its path.
"""

import re
from typing import NamedTuple

import docs
from course.exercises import days_of_week, weeks_of_room

FRONT = "README.md"
MORE = ("weeks/*/*/README.md", "weeks/*/*.ipynb")  # beside the pages that tools/docs.py checks


class Branch(NamedTuple):
    """Pages that stand below one page of the sidebar: `pages` is a list of (title or None for its own, path)."""

    caption: str | None
    pages: list


def all_pages(root):
    """The paths of all pages, relative to `root`, sorted."""
    found = {*docs.pages(root), *(path for pattern in MORE for path in root.glob(pattern))}
    return sorted(path.relative_to(root).as_posix() for path in found)


def tree(paths):
    """{page: [Branch, ...]}: what the sidebar shows below each page. Every path but the front page is there once."""
    left, below = set(paths) - {FRONT}, {}

    def take(wanted, title=None):
        taken = [path for path in wanted if path in left]
        left.difference_update(taken)
        return [(title, path) for path in taken]

    weeks = take(sorted(path for path in paths if re.fullmatch(r"weeks/week[\d-]+/README\.md", path)))
    for _, page in weeks:
        room = page.split("/")[1]
        days = []
        for week in weeks_of_room(room):
            days += take(f"notes/day{day:03d}.md" for day in days_of_week(week))
            days += take([f"notes/week{week:02d}.md"], f"Looking back at week {week}")
        rest = take(sorted(path for path in left if path.startswith(f"weeks/{room}/")))
        below[page] = [Branch(None, days + rest)]
    beside = []
    for page in ("projects/README.md", "papers/README.md", "checkpoints/README.md"):
        beside += take([page])
        below[page] = [Branch(None, take(sorted(path for path in left if path.startswith(page.split("/")[0] + "/"))))]
    # A day whose week has no page.
    late_days = take(sorted(path for path in left if re.fullmatch(r"notes/day\d+\.md", path)))
    first = take(["PLAN.md", "notes/README.md", "notes/glossary.md", "notes/blog.md"])
    course = first + late_days + take(sorted(left))
    below[FRONT] = [Branch("The course", course), Branch("Weeks", weeks), Branch("Beside the weeks", beside)]
    return {page: kept for page, branches in below.items() if (kept := [branch for branch in branches if branch.pages])}


def toctree(branches):
    """The tree below one page as MyST text, hidden on the page itself. Paths are from the site's root."""
    lines = []
    for branch in branches:
        lines += ["", "```{toctree}", ":hidden:", *([f":caption: {branch.caption}"] if branch.caption else []), ""]
        for title, path in branch.pages:
            name = "/" + path.rsplit(".", 1)[0]
            lines.append(f"{title} <{name}>" if title else name)
        lines.append("```")
    return "\n".join(lines) + "\n"
