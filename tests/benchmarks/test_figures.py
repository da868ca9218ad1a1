"""What becomes of the numbers of a benchmark, and of its picture."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.figures import latencies, quantile
from benchmarks.lines.rows import GOALS, LIMITS, ROWS, goals, ratio, ratios, told
from benchmarks.lines.turns import Turn
from benchmarks.plot import NoCurve, curves


def turns(*p99_ms: float) -> list[Turn]:
    """Turns of a hundred messages, all of which took as long."""
    return [Turn([each / 1000] * 100, {"missing": 0.0}) for each in p99_ms]


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_a_quantile_is_one_of_the_values_with_the_share_not_above_it(values: list[float], share: float) -> None:
    found = quantile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values)


def test_of_a_hundred_values_one_may_be_above_the_99th_percentile() -> None:
    assert latencies([0.001] * 99 + [5.0])["p99"] == 5000.0
    assert latencies([0.001] * 199 + [5.0])["p99"] == 1.0


def test_turns_are_compared_pair_by_pair() -> None:
    kinds = {"ours": told(turns(10, 20, 90)), "bare_aiortc": told(turns(100, 200, 100))}
    assert ratio(kinds, "p99_ms", "ours", "bare_aiortc") == pytest.approx(0.1)
    assert ratio(kinds, "p99_ms", "ours", "libdatachannel") is None
    assert ratio(kinds, "mb_per_s", "ours", "bare_aiortc") is None


def test_where_a_turn_failed_the_medians_are_compared() -> None:
    kinds = {"ours": told(turns(10, 20, 30)), "bare_aiortc": told(turns(100, 100))}
    assert ratio(kinds, "p99_ms", "ours", "bare_aiortc") == pytest.approx(0.2)


def test_every_goal_and_limit_names_a_row_there_is() -> None:
    rows = {goal.row for goal in GOALS.values()} | {limit.row for limit in LIMITS.values()}
    assert rows <= ROWS.keys()


def test_a_goal_is_met_on_the_right_side_of_its_figure() -> None:
    slow, fast = told(turns(1000)), told(turns(100))
    assert goals({"chat_5": {"ours": fast, "bare_aiortc": slow}})["chat_p99_at_5_percent"]["met"]
    assert not goals({"chat_5": {"ours": slow, "bare_aiortc": slow}})["chat_p99_at_5_percent"]["met"]
    speed = {"ours": told([Turn(figures={"mb_per_s": 1.0})]), "bare_aiortc": told([Turn(figures={"mb_per_s": 2.0})])}
    assert not goals({"bulk_0": speed})["file_speed"]["met"]
    late = {"ours": told([Turn([0.036] * 10, {"bytes_there_but_acks": 713.0})])}
    assert {name: goal["met"] for name, goal in goals({"whole_0": late}).items()} == {
        "send_to_messages_p99_ms": False,
        "wire_bytes_of_a_lone_message": True,
    }
    assert goals({}) == {}


def test_shares_leave_out_whom_they_are_of() -> None:
    rows = {"chat_5": {"ours": told(turns(100)), "bare_aiortc": told(turns(1000))}}
    assert ratios(rows, "bare_aiortc") == {"chat_5": {"ours": {"p50_ms": 0.1, "p99_ms": 0.1}}}


def test_the_picture_shows_what_was_measured_and_nothing_else(tmp_path: Path) -> None:
    run = {
        "rows": {
            "chat_0": {"ours": told(turns(26)), "bare_aiortc": told(turns(26.5))},
            "chat_5": {"bare_aiortc": told(turns(1027))},
            "bulk_0": {"ours": told([Turn(figures={"mb_per_s": 1.0})])},
        }
    }
    assert curves(run) == (["chat_0", "chat_5"], {"ours": [26.0, None], "bare_aiortc": [26.5, 1027.0]})
    (tmp_path / "run.json").write_text(json.dumps(run))
    command = [sys.executable, "-m", "benchmarks.plot", str(tmp_path / "run.json"), str(tmp_path / "picture.svg")]
    subprocess.run(command, cwd=Path(__file__).parents[2], check=True, timeout=60)
    picture = (tmp_path / "picture.svg").read_text()
    assert ">1,027<" in picture
    assert "libdatachannel" not in picture
    assert "<script" not in picture
    with pytest.raises(NoCurve):
        curves({"rows": {}})
