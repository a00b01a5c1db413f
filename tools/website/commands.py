"""The site of all pages: build it, and look at it.

    python tools/website build [--out DIR]    write build/site; DIR/site.json says how many pages, links and seconds
    python tools/website look [--shots DIR]   open each page in Chromium; DIR gets pictures of some

Only `look` needs a Chromium of the system, and `pip install '.[browser]'`.
"""

import argparse
from pathlib import Path

from shared.errors import Mistake
from shared.files import need
from shared.results import Stopwatch, folder_to_fill, write_results

from .build import build
from .look import browser, look

ROOT = Path(__file__).resolve().parents[2]


def build_site(site, out):
    watch = Stopwatch()
    counts, seconds = build(ROOT, site), watch.seconds
    print(f"{counts['site_pages']} pages, {counts['links']} links, no warning, {seconds:.0f} s")
    if out:
        metrics = counts | {"warnings": 0}  # with one, nothing would have been written
        path = write_results(out / "site.json", command="python tools/website build --out tools/results",
                             preset="full", seed=0, seconds=seconds, metrics=metrics, threads=1)  # fmt: skip
        print(f"written: {path}")
    print(f"open {site.relative_to(ROOT)}/index.html; a browser needs no network for it")


def look_at_site(site, shots):
    need(site, "make site")
    with browser() as opened:
        seen, faults = look(opened, site, shots)
    if faults:
        raise Mistake("\n".join([*faults, f"{len(faults)} faults on {seen} pages (see above)"]))
    print(f"{seen} pages on a phone and on a desk, light and dark: no fault")
    if shots:
        print(f"now look at the pictures in {shots}")


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="tools/website"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    builder = commands.add_parser("build", help="write build/site")
    builder.add_argument("--out", type=folder_to_fill, help="folder for site.json (default: none is written)")
    looker = commands.add_parser("look", help="open each page of build/site in Chromium")
    looker.add_argument("--shots", type=Path, help="folder for pictures (default: none is taken)")
    args, site = parser.parse_args(argv), ROOT / "build" / "site"
    if args.command == "build":
        build_site(site, args.out)
    else:
        look_at_site(site, args.shots)
