"""The benchmark of sealing runs, and says what it measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.sealing import GOALS, judged

ROOT = Path(__file__).parents[2]


def run(*given: str) -> str:
    command = [sys.executable, "-m", "benchmarks.sealing", "--quick", *given]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def test_a_quick_run_gives_every_figure_by_both_clocks() -> None:
    document = json.loads(run("--json"))
    assert document["quick"] is True
    assert document["machine"].keys() >= {"python", "doubleratchet", "pynacl", "cores", "load_before"}
    figures = document["figures"]
    for way in ("one_way", "alternate"):
        assert figures[f"{way}_ratio_to_doubleratchet"] > 0
        rates = figures.pop(f"{way}_pairs_per_s")
        figures |= {f"{way}_{who}": rates[who] for who in ("overfence", "doubleratchet")}
    assert {name for name in figures if name.endswith("_ms")} == {
        *(f"seal_for_{devices}{suffix}_ms" for devices in (100, 500) for suffix in ("", "_encoded")),
        *(f"handshake{side}_ms" for side in ("", "_initiator", "_responder")),
    }
    for figure in figures.values():
        for clock in ("cpu", "wall") if isinstance(figure, dict) else ():
            assert 0 < figure[clock]["least"] <= figure[clock]["median"] <= figure[clock]["most"]
            assert len(figure[clock]["each"]) == 3
    assert document["goals"].keys() == GOALS.keys()


def test_the_table_has_a_line_for_each_goal() -> None:
    lines = run().splitlines()
    for name, (goal, _) in GOALS.items():
        assert any(line.startswith(name) and f"  {goal}" in line for line in lines)


@pytest.mark.parametrize(("factor", "met"), [(0.9, {False}), (1.0, {True}), (1.1, {True})])
def test_a_goal_is_met_from_its_figure_on(factor: float, met: set[bool]) -> None:
    figures = {
        name: {"cpu": {"median": goal * factor if at_least else goal / factor}}
        for name, (goal, at_least) in GOALS.items()
    }
    assert {goal["met"] for goal in judged(figures).values()} == met
