"""How long messages take, as a picture: `python -m benchmarks.plot RUN.json OUT.svg`, of a run of `reliability`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pygal
from pygal.style import Style

ROWS = {
    "chat_0": "no loss",
    "chat_1": "1 % lost",
    "chat_5": "5 % lost",
    "chat_20": "20 % lost",
    "chat_outages": "short outages",
}
NAMES = {"ours": "Overfence", "libdatachannel": "libdatachannel", "bare_aiortc": "aiortc"}
COLORS = ("#0b6e4f", "#7a8fa6", "#c1666b")
LEAST_MS, MOST_MS = 10, 10_000


class NoCurve(Exception):
    """The run has none of the rows that are drawn."""


def curves(run: Mapping[str, Any]) -> tuple[list[str], dict[str, list[float | None]]]:
    """The rows that were measured, and for each kind the milliseconds within which 99 % arrived. Raises `NoCurve`."""
    rows = [name for name in ROWS if name in run["rows"]]
    if not rows:
        raise NoCurve(f"none of these rows was measured: {', '.join(ROWS)}")
    kinds = [kind for kind in NAMES if any(kind in run["rows"][name] for name in rows)]
    of = {
        kind: [
            figures[kind]["together_ms"]["p99"] if kind in (figures := run["rows"][name]) else None for name in rows
        ]
        for kind in kinds
    }
    return rows, of


def drawn(run: Mapping[str, Any]) -> bytes:
    """An SVG, without scripts and fonts from elsewhere. Raises `NoCurve`."""
    rows, of = curves(run)
    chart = pygal.Bar(
        style=Style(
            background="white", plot_background="white", colors=COLORS, font_family="sans-serif", value_font_size=11
        ),
        title="99 % of 200 B messages arrive within (50 ms round trip, logarithmic)",
        y_title="ms",
        logarithmic=True,
        range=(LEAST_MS, MOST_MS),
        width=860,
        height=420,
        js=[],
        print_values=True,
        legend_at_bottom=True,
        legend_at_bottom_columns=len(of),
        margin=12,
        value_formatter=lambda value: f"{value:,.0f}",
    )
    chart.x_labels = [ROWS[name] for name in rows]
    for kind, values in of.items():
        chart.add(NAMES[kind], values)
    picture: bytes = chart.render()
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
