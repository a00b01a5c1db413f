"""Follow every link of a built site: to pages, to places on them, to figures, scripts and styles."""

import re
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

LOADED = {("script", "src"), ("img", "src"), ("link", "href"), ("source", "src"), ("iframe", "src"), ("video", "src")}
STYLE = re.compile(r"""url\(\s*["']?([^"')]+)["']?\s*\)|@import\s+["']([^"']+)["']""")


class Page(HTMLParser):
    """What one page links to, what it makes the browser load, and the places on it that a link can name."""

    def __init__(self, text):
        super().__init__()
        self.links, self.loads, self.places, self.formulas = [], [], {"", "top"}, 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name == "id" and value:
                self.places.add(value)
            elif (tag, name) in LOADED and value:
                self.loads.append(value)
            elif (tag, name) == ("a", "href") and value:
                self.links.append(value)
        self.formulas += tag == "math"


def is_outside(target):
    return bool(urlsplit(target).scheme or urlsplit(target).netloc)


def problem(site, path, target, pages):
    """The sentence about one link inside the site, or None where it holds."""
    parts = urlsplit(target)
    goal = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not goal.is_file():
        return f"{path.relative_to(site)}: the link to {target} leads nowhere"
    if goal in pages and unquote(parts.fragment) not in pages[goal].places:
        return f"{path.relative_to(site)}: {target} names a place that its page does not have"
    return None


def judged(site):
    """(counts, sentences): the size of the site, and each link or file that does not hold."""
    site = site.resolve()
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    sentences, links = [], 0
    for path, page in pages.items():
        for target in page.loads:
            if is_outside(target) and not target.startswith("data:"):
                sentences.append(f"{path.relative_to(site)}: {target} would be fetched from the network")
        inside = [target for target in page.links + page.loads if not is_outside(target)]
        links += len(inside)
        sentences += filter(None, (problem(site, path, target, pages) for target in inside))
    for path in sorted(site.rglob("*.css")):
        for match in STYLE.finditer(path.read_text(encoding="utf-8")):
            target = match[1] or match[2]
            if is_outside(target) and not target.startswith("data:"):
                sentences.append(f"{path.relative_to(site)}: {target} would be fetched from the network")
    own = [path for path in pages if path.name not in ("index.html", "search.html", "genindex.html")]
    counts = {"site_pages": len(own), "formulas": sum(pages[path].formulas for path in own), "links": links}
    return counts, list(dict.fromkeys(sentences))
