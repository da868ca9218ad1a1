"""The rows of the table of figures, and what many turns at one come to. Pure, but for the turns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.simulation.faults import Conditions

from ..figures import latencies, quantile, spread
from .stage import CLEAN, Contestant
from .turns import DEEP, LINE, Scale, Turn, besieged, blackout, bulk, chat, chat_beside_file, in_one_loop, whole, wire

Play = Callable[[Contestant, Scale, Path, int, Conditions], Awaitable[Turn]]


@dataclass(frozen=True)
class Row:
    """What is measured under which conditions; how often at most."""

    play: Play
    conditions: Conditions = CLEAN
    most_repeats: int = 100
    # Measured only where it is asked for by name: it takes long, or tells little.
    on_demand: bool = False
    left_out: tuple[str, ...] = ()


ROWS = {
    "chat_0": Row(chat, most_repeats=2),
    "chat_1": Row(chat, replace(CLEAN, loss=0.01)),
    "chat_5": Row(chat, replace(CLEAN, loss=0.05)),
    "chat_20": Row(chat, replace(CLEAN, loss=0.2)),
    "chat_outages": Row(chat, replace(CLEAN, outage_every_s=1.0)),
    "chat_beside_file_0": Row(chat_beside_file, LINE, on_demand=True),
    # Not libdatachannel: beside a file that is always waiting its other channel does not get a turn in a minute.
    "chat_beside_file_1": Row(chat_beside_file, replace(LINE, loss=0.01), left_out=("libdatachannel",)),
    "chat_beside_file_5": Row(chat_beside_file, replace(LINE, loss=0.05), on_demand=True),
    "bulk_0": Row(bulk, DEEP),
    "bulk_0_short_queue": Row(bulk, LINE),
    "bulk_1": Row(bulk, replace(LINE, loss=0.01), most_repeats=3),
    "bulk_5": Row(bulk, replace(LINE, loss=0.05), on_demand=True),
    "bulk_20": Row(bulk, replace(LINE, loss=0.2), on_demand=True),
    "in_one_loop": Row(in_one_loop),
    "wire": Row(wire, most_repeats=1),
    "blackout": Row(blackout, most_repeats=1),
    "besieged": Row(besieged, left_out=("bare_aiortc", "libdatachannel"), most_repeats=3),
    # Nobody else's has a history, or seals.
    "whole_0": Row(whole, left_out=("bare_aiortc", "libdatachannel")),
    "whole_5": Row(whole, replace(CLEAN, loss=0.05), left_out=("bare_aiortc", "libdatachannel")),
}


@dataclass(frozen=True)
class Goal:
    """A figure of ours against another kind's in the same turns: the ratio, and on which side of it we have to be."""

    row: str
    figure: str
    against: str
    ratio: float
    at_most: bool = True


@dataclass(frozen=True)
class Limit:
    """What a figure of ours may be at most, by itself."""

    row: str
    figure: str
    most: float


OURS = "ours"
GOALS = {
    "chat_p99_at_5_percent": Goal("chat_5", "p99_ms", "bare_aiortc", 1 / 8),
    "chat_p99_at_20_percent": Goal("chat_20", "p99_ms", "bare_aiortc", 1 / 8),
    "chat_p99_at_5_percent_against_libdatachannel": Goal("chat_5", "p99_ms", "libdatachannel", 1 / 5),
    "chat_p99_with_outages": Goal("chat_outages", "p99_ms", "bare_aiortc", 1 / 3),
    "chat_p99_beside_file": Goal("chat_beside_file_1", "p99_ms", "bare_aiortc", 1 / 10),
    "file_speed": Goal("bulk_0", "mb_per_s", "bare_aiortc", 0.95, at_most=False),
    "messages_per_cpu_s": Goal("in_one_loop", "messages_per_cpu_s", "bare_aiortc", 3.0, at_most=False),
}

ONE_WAY_MS = 1000 * CLEAN.delay_s
LIMITS = {
    "send_to_messages_p99_ms": Limit("whole_0", "p99_ms", ONE_WAY_MS + 10),
    "send_to_messages_p99_ms_at_5_percent": Limit("whole_5", "p99_ms", ONE_WAY_MS + 25),
    "p99_beside_attackers_to_idle": Limit("besieged", "attacked_to_idle_p99", 2.0),
    "wire_bytes_of_a_lone_message": Limit("whole_0", "bytes_there_but_acks", 750),
}

Figures = dict[str, dict[str, dict[str, Any]]]


def told(turns: Sequence[Turn]) -> dict[str, Any]:
    """What the turns of one kind at one row come to: each figure of each turn, and all samples together."""
    figures = {name: spread([turn.figures[name] for turn in turns]) for name in turns[0].figures}
    if timed := [turn.took_s for turn in turns if turn.took_s]:
        for name, share in (("p50_ms", 0.5), ("p99_ms", 0.99)):
            figures[name] = spread([1000 * quantile(took_s, share) for took_s in timed])
        figures["together_ms"] = latencies([each for took_s in timed for each in took_s])
    return figures


def ratio(kinds: Mapping[str, Mapping[str, Any]], figure: str, kind: str, against: str) -> float | None:
    """The median of the ratios turn by turn, which share the machine's moods; None where nothing can be compared."""
    if not all(figure in kinds.get(each, {}) for each in (kind, against)):
        return None
    one, other = kinds[kind][figure], kinds[against][figure]
    if len(one["each"]) != len(other["each"]):
        # Some turn could not be measured, so they don't pair up.
        return float(one["median"] / other["median"]) if other["median"] else None
    each = [mine / theirs for mine, theirs in zip(one["each"], other["each"], strict=True) if theirs]
    return quantile(each, 0.5) if each else None


def ratios(rows: Figures, against: str) -> dict[str, Any]:
    """Every other kind's figures as shares of that kind's."""
    return {
        row: {
            kind: {
                figure: round(found, 3)
                for figure in figures
                if figure in ("p50_ms", "p99_ms", "mb_per_s", "messages_per_cpu_s", "bytes_there")
                and (found := ratio(kinds, figure, kind, against)) is not None
            }
            for kind, figures in kinds.items()
            if kind != against
        }
        for row, kinds in rows.items()
    }


def goals(rows: Figures, kind: str = OURS) -> dict[str, Any]:
    """Each goal whose row was measured, for that kind and whom it is compared with."""
    reached = {}
    for name, goal in GOALS.items():
        found = ratio(rows.get(goal.row, {}), goal.figure, kind, goal.against)
        if found is not None:
            met = found <= goal.ratio if goal.at_most else found >= goal.ratio
            reached[name] = {"measured": round(found, 3), "goal": round(goal.ratio, 3), "met": met}
    for name, limit in LIMITS.items():
        figures = rows.get(limit.row, {}).get(kind)
        if figures is not None:
            value = figures[limit.figure]["median"]
            reached[name] = {"measured": value, "goal": limit.most, "met": value <= limit.most}
    return reached
