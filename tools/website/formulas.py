"""Formulas as MathML, which browsers draw by themselves: no script, no network, and text that can be selected.

A Sphinx extension. A formula that cannot be translated is a warning, so it ends the build. The letters are those of
STIX Two Math, which the package ziamath ships under the Open Font License: without a font for mathematics, brackets
and roots do not grow with what they hold.
"""

import re
from html import escape
from importlib.util import find_spec
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.util import logging
from sphinx.util.fileutil import copy_asset

FONT = "STIXTwoMath-Regular.ttf"

# Where the translation says less than the LaTeX did: (what it writes, what a browser draws rightly).
MENDED = [
    (r'<mo accent="true">&#x02015;</mo>', '<mo stretchy="true">&#x0203E;</mo>'),  # a line over all that it covers
    (r'<mn mathvariant="double-struck">1</mn>', "<mi>&#x1D7D9;</mi>"),
    (r"<mi>&#x0007E;</mi>", "<mo>&#x0223C;</mo>"),  # distributed as: with space around it
    (r"<mo><mrow><mo>&#x0002B;</mo></mrow></mo><mo>&#x0003D;</mo>", "<mo>+=</mo>"),
    (
        r"(?<!<msub>)(?<!<msup>)(<mi>[a-z]{2,}</mi>)(?=<m(?!o|space))",
        r'\1<mspace width="0.17em"/>',
    ),  # log p, and not logp
    (r"(</m(?:i|n|sub|sup)>)(?=<mi>[a-z]{2,}</mi>)", r'\1<mspace width="0.17em"/>'),
]


def mathml(latex, display):
    """`latex` as a <math> element; `display` is "inline" or "block". ValueError for a command that is not known."""
    try:
        element = convert(latex, display=display)
    except Exception as error:  # of the parser's own classes, which share no base
        raise ValueError(f"the formula {latex!r} cannot be read ({error!r}); write it in simpler LaTeX") from None
    if "\\" in element:  # an unknown command comes out as it went in
        raise ValueError(f"the formula {latex!r} has a command that MathML lacks; write it in simpler LaTeX")
    for written, drawn in MENDED:
        element = re.sub(written, drawn, element)
    return element.replace("<math ", f'<math alttext="{escape(latex, quote=True)}" ', 1)


def visit(translator, node, display):
    """Write one formula's HTML, or warn and show its LaTeX."""
    try:
        translator.body.append(mathml(node.astext().strip(), display))
    except ValueError as error:
        logging.getLogger(__name__).warning("%s", error, location=node)
        translator.body.append(f"<code>{escape(node.astext())}</code>")


def visit_inline(translator, node):
    visit(translator, node, "inline")
    raise nodes.SkipNode


def visit_block(translator, node):
    translator.body.append('<div class="formula">')
    visit(translator, node, "block")
    translator.body.append("</div>\n")
    raise nodes.SkipNode


def copy_font(app, exception):
    if exception is None and app.builder.format == "html":
        fonts = Path(find_spec("ziamath").origin).parent / "fonts"
        copy_asset(fonts / FONT, app.outdir / "_static")


def setup(app):
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    app.connect("build-finished", copy_font)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
