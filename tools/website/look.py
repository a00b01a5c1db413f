"""Open the pages of a built site in Chromium, on a phone and on a desk, in the light and in the dark.

A page is opened as a file: there is no server, and nothing may be asked of the network.
"""

import importlib.util
import itertools
import shutil
from contextlib import contextmanager

from shared.errors import Mistake
from shared.progress import bar

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
QUIET = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
SIZES = {"phone": (390, 800), "desk": (1280, 900)}
SCHEMES = ("light", "dark")
SHOWN = ("index", "notes/day062", "weeks/week06/README", "papers/hu2021_lora", "notes/blog", "weeks/week14/demo")
BROKEN = "[...document.images].filter(image => image.complete && !image.naturalWidth).map(image => image.src)"


def program():
    """The path of a Chromium with which Playwright can work, or None."""
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    return found if importlib.util.find_spec("playwright") else None


@contextmanager
def browser():
    """A Chromium without a window; a Mistake where there is none."""
    if not program():
        raise Mistake(f"there is no {PROGRAMS[0]} or no playwright here; install both: pip install '.[browser]'")
    from playwright.sync_api import sync_playwright  # here, for only this needs it

    with sync_playwright() as player:
        opened = player.chromium.launch(executable_path=program(), args=QUIET)
        yield opened
        opened.close()


def tab(opened, size=(1280, 900), scheme="light"):
    """(a tab of the browser, the list that what goes wrong on its pages is added to)."""
    page = opened.new_page(viewport=dict(zip(("width", "height"), size, strict=True)), color_scheme=scheme)
    said = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(("file:", "data:")) else said.append(request.url))
    return page, said


def faults(page, said):
    """Sentences about the page that the tab shows."""
    width, window = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    if width > window:
        yield f"it is {width} pixels wide in a window of {window}"
    yield from (f"the figure {source} cannot be shown" for source in page.evaluate(BROKEN))
    yield from (f"the browser says: {sentence}" for sentence in said)
    said.clear()


def look(opened, site, shots=None):
    """(the number of pages, sentences about them) in the browser `opened`; pictures of SHOWN in the folder `shots`."""
    paths, found = sorted(site.resolve().rglob("*.html")), []
    for (name, size), scheme in itertools.product(SIZES.items(), SCHEMES):
        page, said = tab(opened, size, scheme)
        for path in bar(paths, f"{name}, {scheme}"):
            page.goto(path.as_uri())
            short = path.relative_to(site.resolve()).with_suffix("").as_posix()
            found += [f"{short}.html ({name}, {scheme}): {sentence}" for sentence in faults(page, said)]
            if shots and short in SHOWN:
                page.screenshot(path=shots / f"{short.replace('/', '-')}-{name}-{scheme}.png", full_page=True)
        page.close()
    return len(paths), found
