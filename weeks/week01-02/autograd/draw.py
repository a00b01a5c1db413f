"""A graph of Values as an SVG picture: a box a node, an arrow from each child, and on the arrow its slope.

Reads from left to right: inputs, then what was made from them. Four steps, after Sugiyama, Tagawa and Toda (1981):
columns, waypoints for arrows that skip a column, an order within each column, heights. Nothing is random and nothing is
installed. Left out: graphs too large to read, curves that bend around boxes more finely than by waypoints.
"""

from html import escape
from itertools import pairwise
from statistics import mean

from .engine import Value, topological_order

LARGEST = 150  # nodes of a drawing that a person can still follow
SWEEPS = 24  # how often the order and the heights are improved; more changes nothing that can be seen
LETTER, LINE, COLUMN_GAP = 7.3, 15, 74  # pixels: a letter's width, a line's height, the way between two columns


def draw(root, /, **names):
    """The SVG text of everything that `root` was made from; `names` are written into their boxes: draw(e, a=a, b=b).

    Raises ValueError for more than 150 nodes and for a named Value that is not in the graph.
    """
    if not isinstance(root, Value):
        raise TypeError(f"draw was given {root!r}, which is no Value; give the one that the drawing shall end in")
    nodes = topological_order(root)[::-1]  # children first
    if len(nodes) > LARGEST:
        raise ValueError(f"a drawing of {len(nodes)} nodes cannot be read; draw {LARGEST} at most, as of one neuron")
    for name, value in names.items():
        if value not in nodes:
            raise ValueError(f"{name} is no part of what is drawn; name only Values that the result was made from")
    edges = _edges(nodes)
    column = _columns(nodes, edges)
    routes = {}  # arrow -> the places that it visits, in order
    for child, node in edges:
        between = range(column[child] + 1, column[node])
        routes[child, node] = [child, *(((child, node), i) for i in between), node]
    rows = _rows(nodes, column, routes)
    size = {place: _size(place) for row in rows for place in row}
    y = _heights(rows, routes, size)
    return _svg(nodes, column, y, size, routes, edges, {value: name for name, value in names.items()})


def _edges(nodes):
    """{(child, node): list of slopes}, one entry for each arrow of the drawing, children before the nodes made of them.

    A child that was used twice, as in a + a, is one entry with two slopes. nodes: all nodes, children first.
    """
    edges = {}
    for node in nodes:
        for child, slope in zip(node.children, node.slopes):
            edges.setdefault((child, node), []).append(slope)
    return edges


def _columns(nodes, edges):
    """{node: its column, 0 at the left}. nodes: children first; edges: what `_edges` gives.

    A node made of others stands one column right of the child that is furthest to the right. An input (a node without
    children) then moves right, to the column just before the first node that uses it. A node alone is in column 0.
    """
    column = {}
    for node in nodes:
        column[node] = 1 + max((column[child] for child in node.children), default=-1)
    for leaf in (node for node in nodes if not node.children):
        column[leaf] = min((column[node] for child, node in edges if child is leaf), default=1) - 1
    return column


def _rows(nodes, column, routes):
    """The columns as lists of places, ordered so that arrows cross little: each place near the mean of its neighbours.

    A place is a node, or a waypoint: the pair (arrow, column) that holds a way free for an arrow between two boxes.
    """
    rows = [[] for _ in range(1 + max(column.values()))]
    for node in nodes:
        rows[column[node]].append(node)
    for route in routes.values():
        for place in route[1:-1]:
            rows[place[1]].append(place)
    left, right = _neighbours(routes)
    for sweep in range(SWEEPS):
        forward = sweep % 2 == 0
        for row in rows if forward else rows[::-1]:
            index = {place: i for line in rows for i, place in enumerate(line)}
            side = left if forward else right
            row.sort(key=lambda place: mean([index[other] for other in side.get(place, ())] or [index[place]]))
    return rows


def _neighbours(routes):
    """For each place, the places that it is joined to in the column before and in the column after."""
    left, right = {}, {}
    for route in routes.values():
        for a, b in pairwise(route):
            right.setdefault(a, []).append(b)
            left.setdefault(b, []).append(a)
    return left, right


def _size(place):
    """Pixels from top to bottom: three lines of text, or one for each arrow that comes in; a waypoint needs little."""
    return max(3.7, 0.9 * len(set(place.children)) + 0.4) * LINE if isinstance(place, Value) else 6


def _heights(rows, routes, size):
    """The y of each place's middle: as near to its neighbours' mean as boxes that must not touch allow."""
    left, right = _neighbours(routes)
    y = {place: 50.0 * i for row in rows for i, place in enumerate(row)}
    for _ in range(SWEEPS):
        for row in rows:
            wish = [mean([y[other] for other in (*left.get(p, ()), *right.get(p, ()))] or [y[p]]) for p in row]
            apart = [(size[a] + size[b]) / 2 + 17 for a, b in pairwise(row)]  # of neighbours' middles, at least
            down, up = wish[:], wish[:]  # pushed apart from the top, and from the bottom; both fit, so their mean does
            for i in range(1, len(row)):
                down[i] = max(down[i], down[i - 1] + apart[i - 1])
            for i in range(len(row) - 1, 0, -1):
                up[i - 1] = min(up[i - 1], up[i] - apart[i - 1])
            y.update((place, (a + b) / 2) for place, a, b in zip(row, down, up))
    top = min(y[place] - size[place] / 2 for place in y) - 10
    return {place: value - top for place, value in y.items()}


def _svg(nodes, column, y, size, routes, edges, names):
    text = {node: (_heading(node, names), f"data {node.data:.4g}", f"grad {node.grad:.4g}") for node in nodes}
    width = 16 + LETTER * max(len(line) for lines in text.values() for line in lines)
    x = {p: 10 + (width + COLUMN_GAP) * (column[p] if isinstance(p, Value) else p[1]) for p in y}
    page = f"{max(x.values()) + width + 10:.0f}", f"{max(y[place] + size[place] / 2 for place in y) + 10:.0f}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{page[0]}" height="{page[1]}" '
        f'viewBox="0 0 {page[0]} {page[1]}" font-family="monospace" font-size="12">',
        f"<title>{escape(f'{len(nodes)} nodes that end in {text[nodes[-1]][0]}')}</title>",
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for node in nodes:  # the arrows that come into it, in the order of the places that they come from
        coming = sorted((pair for pair in edges if pair[1] is node), key=lambda pair: y[routes[pair][-2]])
        for i, pair in enumerate(coming):
            points = [(x[pair[0]] + width, y[pair[0]])]  # from the middle of the child's right side ...
            for place in routes[pair][1:-1]:
                points += [(x[place], y[place]), (x[place] + width, y[place])]
            points.append((x[node], y[node] + (i - (len(coming) - 1) / 2) * 0.9 * LINE))  # ... to a place of its own
            parts += _arrow(points, " + ".join(f"{slope:.4g}" for slope in edges[pair]))
    for node in nodes:
        fill, line = ("#dbe9f6", 1) if not node.children else ("white", 3 if node is nodes[-1] else 1)
        parts.append(
            f'<rect x="{x[node]:.1f}" y="{y[node] - size[node] / 2:.1f}" width="{width:.1f}" '
            f'height="{size[node]:.1f}" rx="5" fill="{fill}" stroke="black" stroke-width="{line}"/>'
        )
        for i, words in enumerate(text[node]):
            weight = ' font-weight="bold"' if i == 0 else ""
            at = f'x="{x[node] + 8:.1f}" y="{y[node] + 4 + (i - 1) * LINE:.1f}"'
            parts.append(f"<text {at}{weight}>{escape(words)}</text>")
    return "\n".join([*parts, "</svg>", ""])


def _heading(node, names):
    name = names.get(node, "")
    return f"{name} = {node.op}" if name and node.op else name or node.op or "number"


def _arrow(points, label):
    """A smooth line through the points, level at each of them, with a head and a label before its end."""
    path = f"M{points[0][0]:.1f},{points[0][1]:.1f}"
    for (x1, y1), (x2, y2) in pairwise(points):
        middle = (x1 + x2) / 2
        path += f" C{middle:.1f},{y1:.1f} {middle:.1f},{y2:.1f} {x2:.1f},{y2:.1f}"
    x, y = points[-1]
    yield f'<path d="{path}" fill="none" stroke="#777"/>'
    yield f'<polygon points="{x:.1f},{y:.1f} {x - 7:.1f},{y - 3.5:.1f} {x - 7:.1f},{y + 3.5:.1f}" fill="#777"/>'
    yield (
        f'<text x="{x - 9:.1f}" y="{y + 3.5:.1f}" text-anchor="end" font-size="11" fill="#8b2500" '
        f'stroke="white" stroke-width="4" paint-order="stroke">{escape(label)}</text>'
    )
