"""Stories as one HTML file to read aloud or to print: large print, a sheet for each story, nothing loaded."""

import html

STYLE = """body{font:22px/1.6 Georgia,serif;max-width:40rem;margin:2rem auto;padding:0 1rem;color:#111}
h1{font-size:1.6em;text-align:center}section+section{break-before:page;margin-top:4rem}
p{break-inside:avoid}footer{font:13px/1.4 sans-serif;color:#555;margin-top:2rem}
@media print{body{font-size:18pt;max-width:none;margin:0}section+section{margin-top:0}}"""


def page(cast, stories, note):
    """The page. `stories` are texts, each line of which is a paragraph; `note` says below them how they were made."""
    safe = html.escape
    title = f"A story for {cast.name}" if len(stories) == 1 else f"Stories for {cast.name}"
    parts = []
    for text in stories:
        lines = "".join(f"<p>{safe(line.strip())}</p>\n" for line in text.splitlines() if line.strip())
        parts.append(f"<section>\n<h1>A story for {safe(cast.name)}</h1>\n{lines}</section>")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{safe(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + f"\n<footer>{safe(note)}</footer>\n</body>\n</html>\n"
    )
