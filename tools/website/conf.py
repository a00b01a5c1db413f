"""Sphinx's settings. `make site` builds with them (tools/website/build.py); the pages lie all over the repository."""

from website.pages import FRONT

project = "Chase Karpathy"
root_doc = FRONT.removesuffix(".md")
exclude_patterns = ["build", "data", "runs", ".*", "**/vendor", "**/tests"]  # not walked
extensions = ["myst_nb", "website.formulas", "website.sidebar"]

# Markdown as GitHub reads it: links to headings of any page, formulas between dollars, boxes to check.
myst_enable_extensions = ["dollarmath", "tasklist"]
myst_heading_anchors = 6
myst_dmath_allow_space = False  # "$5 and $6" is no formula
myst_dmath_allow_digits = False
myst_update_mathjax = False
smartquotes = False  # "--threads 2" keeps its two hyphens
html_math_renderer = "mathml"

# A notebook shows the outputs that it was committed with: its own test runs it.
nb_execution_mode = "off"
nb_ipywidgets_js = {}  # the default asks the network

html_theme = "furo"
html_title = project
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_copy_source = False
html_use_index = False
html_show_copyright = False
