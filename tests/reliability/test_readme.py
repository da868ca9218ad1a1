"""What the package's README shows, runs; and what it names is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import overfence_reliability

README = (Path(__file__).parents[2] / "reliability" / "README.md").read_text(encoding="utf-8")
LONGEST_LINES = 20


def test_the_example_runs_and_is_as_short_as_it_says(tmp_path: Path) -> None:
    [program] = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert len([line for line in program.splitlines() if line.strip()]) <= LONGEST_LINES
    path = tmp_path / "example.py"
    path.write_text(program, encoding="utf-8")
    run = subprocess.run([sys.executable, "-W", "error", path], capture_output=True, text=True, timeout=30)
    assert (run.returncode, run.stderr) == (0, "")
    assert re.fullmatch(r"1000 messages in order after \d+\.\d\d s\n", run.stdout)


def test_every_name_it_shows_is_public() -> None:
    names = set(re.findall(r"`([A-Z][a-zA-Z]+)`", README))
    known = set(overfence_reliability.__all__)
    for name in names:
        of_enum = any(hasattr(getattr(overfence_reliability, enum), name) for enum in ("Mode", "Lane", "Priority"))
        assert name in known or of_enum, name
    assert {"BufferFull", "Discontinuity", "Received", "Rule"} <= names


def test_every_event_is_in_it() -> None:
    for event in overfence_reliability.Event.__args__:
        assert f"`{event.__name__}`" in README, event
