"""What loss does to a conversation: `python benchmarks/reliability.py [--quick] [--rows NAME …]` prints JSON.

Kinds of connection take turns on the same emulated line of 50 ms round trip, each end a real process in a network of
its own. Needs root (or the rights to make networks and TUN devices).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
import time
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

# Run as a script, it finds the others as the modules of these folders that they are.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import figures
from benchmarks.crew import Silent
from benchmarks.lines import native
from benchmarks.lines.peer import KINDS
from benchmarks.lines.rows import ROWS, Figures, goals, ratios, told
from benchmarks.lines.stage import Contestant
from benchmarks.lines.turns import Scale, Turn, line
from tests.simulation.emulator import EmulatorEnded

BARE = "bare_aiortc"
ATTEMPTS = 3
FULL = Scale(
    repeats=5,
    pairs=20,
    warm=40,
    each=50,
    beside_file=280,
    bulk_s=5,
    in_one_loop=8000,
    blackout_s=20,
    line_s=5,
    whole=250,
)
QUICK = Scale(
    repeats=1,
    pairs=20,
    warm=10,
    each=20,
    beside_file=120,
    bulk_s=2,
    in_one_loop=2000,
    blackout_s=5,
    line_s=1,
    whole=100,
)
QUICK_ROWS = (
    "chat_0",
    "chat_5",
    "chat_20",
    "chat_outages",
    "chat_beside_file_1",
    "bulk_0",
    "in_one_loop",
    "wire",
    "whole_5",
)


def contestants(kinds: list[str], cache: Path) -> tuple[list[Contestant], dict[str, str]]:
    """Those that can run here, and why the others can't."""
    able, skipped = [], {}
    for kind in kinds:
        if kind != "libdatachannel":
            able.append(Contestant(kind))
            continue
        try:
            able.append(Contestant(kind, native.interpreter(cache)))
        except native.NotToBeHad as why:
            skipped[kind] = str(why)
    return able, skipped


async def played(name: str, who: Contestant, scale: Scale, folder: Path, seed: int) -> tuple[Turn | None, list[str]]:
    """One turn, and what went wrong at it; one that can't be measured today must not cost the others half an hour."""
    row, failed = ROWS[name], list[str]()
    for attempt in range(ATTEMPTS):
        place = folder / f"{name}-{who.kind}-{seed}-{attempt}"
        place.mkdir()
        try:
            return await row.play(who, scale, place, seed, row.conditions), failed
        except (Silent, EmulatorEnded, TimeoutError) as wrong:
            failed.append(f"{name}, seed {seed}: {wrong}")
    return None, failed


async def measure(names: list[str], who: list[Contestant], scale: Scale, folder: Path, seed: int) -> dict[str, Any]:
    """All rows; at each, everyone takes a turn, and then everyone again."""
    turns: dict[str, dict[str, list[Turn]]] = {name: {each.kind: [] for each in who} for name in names}
    failed: list[str] = []
    for repeat in range(scale.repeats):
        for name, each in product(names, who):
            if repeat >= ROWS[name].most_repeats or each.kind in ROWS[name].left_out:
                continue
            say(f"{name}, turn {repeat + 1}: {each.kind}")
            turn, wrong = await played(name, each, scale, folder, seed + repeat)
            failed.extend(wrong)
            if turn is not None:
                turns[name][each.kind].append(turn)
    rows: Figures = {
        name: {kind: told(done) for kind, done in by_kind.items() if done} for name, by_kind in turns.items()
    }
    return {"rows": rows, "ratios_to_bare_aiortc": ratios(rows, BARE), "goals": goals(rows), "failed": failed}


async def emulator(scale: Scale, seed: int) -> dict[str, Any]:
    """How late the line itself is, idle and busy."""
    found = {}
    for per_s in (50, 2000):
        through, inside = await line(per_s, scale.line_s, seed)
        found[f"at_{per_s}_per_s"] = {
            "added_ms": figures.latencies(through),
            "by_emulator_ms": figures.latencies(inside),
        }
    return found


def machine() -> dict[str, Any]:
    """Where this was measured."""
    return {
        "python": platform.python_version(),
        "aiortc": version("aiortc"),
        "libdatachannel": native.BINDING,
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 1),
    }


def say(what: str) -> None:
    """Progress, for whoever waits; the document alone goes to stdout."""
    print(f"{time.monotonic() - BEGAN_AT:6.0f} s  {what}", file=sys.stderr, flush=True)


BEGAN_AT = time.monotonic()


def arguments() -> argparse.Namespace:
    """From the command line."""
    parser = argparse.ArgumentParser(description="What loss does to a conversation, as JSON.")
    parser.add_argument("--quick", action="store_true", help="three minutes' worth, for a first look")
    parser.add_argument("--rows", nargs="+", choices=ROWS, help="only these")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="only these")
    parser.add_argument("--repeats", type=int, help="turns of each kind at each row")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--cache", type=Path, default=user_cache_path("overfence-benchmark"), help="where libdatachannel is put"
    )
    return parser.parse_args()


def main() -> None:
    """The entry point."""
    given = arguments()
    scale = QUICK if given.quick else FULL
    if given.repeats:
        scale = Scale(**{**vars(scale), "repeats": given.repeats})
    usual = list(QUICK_ROWS) if given.quick else [name for name, row in ROWS.items() if not row.on_demand]
    who, skipped = contestants(given.kinds, given.cache)
    document: dict[str, Any] = {"quick": given.quick, "seed": given.seed, "machine": machine(), "scale": vars(scale)}
    document["emulator"] = asyncio.run(emulator(scale, given.seed))
    with tempfile.TemporaryDirectory(prefix="overfence-benchmark-") as folder:
        measured = asyncio.run(measure(given.rows or usual, who, scale, Path(folder), given.seed))
    # What else ran meanwhile: from about 2 on, whoever needs most processor time looks slower than it is.
    document["machine"]["load_after"] = round(os.getloadavg()[0], 1)
    print(
        json.dumps(
            document | {"skipped": skipped} | measured | {"took_s": round(time.monotonic() - BEGAN_AT)}, indent=2
        )
    )


if __name__ == "__main__":
    main()
