"""How long messages take, as a picture: `python -m benchmarks.plot RUN.json OUT.svg`, of a run of `reliability`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROWS = {
    "chat_0": "no loss",
    "chat_1": "1 % lost",
    "chat_5": "5 % lost",
    "chat_20": "20 % lost",
    "chat_outages": "short outages",
}
NAMES = {"ours": "Overfence", "libdatachannel": "libdatachannel", "bare_aiortc": "aiortc"}
COLORS = ("#0b6e4f", "#7a8fa6", "#c1666b")
LABELS_MS = [10, 30, 100, 300, 1000, 3000]


class NoCurve(Exception):
    """The run has none of the rows that are drawn."""


def curves(run: Mapping[str, Any]) -> tuple[list[str], dict[str, list[float | None]]]:
    """The rows that were measured, and for each kind the milliseconds within which 99 % arrived. Raises `NoCurve`."""
    rows = [name for name in ROWS if name in run["rows"]]
    if not rows:
        raise NoCurve(f"none of these rows was measured: {', '.join(ROWS)}")
    kinds = [kind for kind in NAMES if any(kind in run["rows"][name] for name in rows)]
    of = {
        kind: [figures[kind]["together_ms"]["p99"] if kind in (figures := run["rows"][name]) else None for name in rows]
        for kind in kinds
    }
    return rows, of


def drawn(run: Mapping[str, Any]) -> bytes:
    """An SVG, without scripts and fonts from elsewhere. Raises `NoCurve`."""
    # Here, because it puts an importer of the old kind before everybody's, which warns at each import from then on.
    import pygal
    from pygal.style import Style

    rows, of = curves(run)
    chart = pygal.Line(
        style=Style(
            background="white",
            plot_background="white",
            colors=COLORS,
            font_family="sans-serif",
            value_font_size=12,
            major_label_font_size=12,
            label_font_size=12,
        ),
        title="99 % of 200 B messages arrive within (50 ms round trip, logarithmic)",
        y_title="ms",
        logarithmic=True,
        range=(LABELS_MS[0], LABELS_MS[-1]),
        width=860,
        height=420,
        print_values=True,
        dots_size=4,
        stroke_style={"width": 2},
        legend_at_bottom=True,
        legend_at_bottom_columns=len(of),
        margin=12,
        margin_right=64,
        value_formatter=lambda value: f"{value:,.0f}",
    )
    chart.x_labels = [ROWS[name] for name in rows]
    chart.y_labels = LABELS_MS
    for kind, values in of.items():
        chart.add(NAMES[kind], values)
    tree = chart.render_tree()
    # What pygal draws on hovering is done by a script from its authors' server.
    for holder in tree.iter():
        for script in [each for each in holder if str(each.tag).endswith("script")]:
            holder.remove(script)
    picture: bytes = ElementTree.tostring(tree)
    return picture


def main() -> None:
    """The entry point."""
    parser = argparse.ArgumentParser(description="How long messages take, as an SVG.")
    parser.add_argument("run", type=Path, help="what `python -m benchmarks.reliability` printed")
    parser.add_argument("picture", type=Path, help="where the SVG goes")
    given = parser.parse_args()
    try:
        given.picture.write_bytes(drawn(json.loads(given.run.read_text())))
    except NoCurve as why:
        parser.error(str(why))


if __name__ == "__main__":
    main()
