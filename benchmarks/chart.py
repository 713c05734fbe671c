"""A bar chart as SVG."""

from __future__ import annotations

from html import escape
from typing import NamedTuple

WIDTH = 760
ROW = 24
LEFT = 190  # for the names
RIGHT = 120  # for the numbers
TOP = 34
CUT = 5.0  # bars are cut at so many times the median of all bars
COLOURS = {"ours": "#1f6feb", "floor": "#8c959f", "peer": "#c5ccd3"}


class Bar(NamedTuple):
    """One bar.

    Attributes:
        name: what stands before it.
        kind: ours, floor or peer.
        value: its length.
        least: where the line of its spread begins.
        most: where that ends.
        text: what stands after it.
    """

    name: str
    kind: str
    value: float
    least: float
    most: float
    text: str


def bars(title: str, rows: list[Bar]) -> str:
    """Draw a horizontal bar for each row, with a thin line from the least value to the most.

    A bar that is many times as long as the others ends in a gap: its number tells.
    """
    values = sorted(row.value for row in rows)
    end = min(values[-1], CUT * values[len(values) // 2])
    end = max([end, *(row.value for row in rows if row.kind == "ours")]) or 1.0
    scale = (WIDTH - LEFT - RIGHT) / end
    height = TOP + ROW * len(rows) + 8
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
            f' viewBox="0 0 {WIDTH} {height}" font-family="system-ui, sans-serif" font-size="13"'
            f' role="img" aria-label="{escape(title)}">'
        ),
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="10" y="21" font-weight="600" fill="#1f2328">{escape(title)}</text>',
    ]
    for number, row in enumerate(rows):
        y = TOP + ROW * number
        weight = "600" if row.kind == "ours" else "400"
        length = min(row.value, end) * scale
        parts += [
            (
                f'<text x="{LEFT - 8}" y="{y + 16}" text-anchor="end" font-weight="{weight}"'
                f' fill="#1f2328">{escape(row.name)}</text>'
            ),
            (
                f'<rect x="{LEFT}" y="{y + 4}" width="{length:.1f}" height="{ROW - 8}"'
                f' fill="{COLOURS[row.kind]}"/>'
            ),
        ]
        if row.value > end:
            gap = LEFT + length - 24
            parts.append(f'<path d="M{gap:.1f} {y + 22} l6 -20 h6 l-6 20 z" fill="#ffffff"/>')
        least, most = (LEFT + min(value, end) * scale for value in (row.least, row.most))
        if row.most > row.least and row.value <= end:
            parts.append(
                f'<path d="M{least:.1f} {y + 12} H{most:.1f}" stroke="#1f2328" stroke-width="1"/>'
            )
        after = max(LEFT + length, most if row.value <= end else 0) + 8
        parts.append(
            f'<text x="{after:.1f}" y="{y + 16}" font-weight="{weight}" fill="#1f2328">'
            f"{escape(row.text)}</text>"
        )
    return "\n".join([*parts, "</svg>"]) + "\n"
