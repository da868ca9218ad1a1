"""The committed vectors are what the script writes, and what any language can read."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LIMIT_BYTES = 350_000
FILES = sorted(HERE.glob("*.json"))


def numbers_in(value: object) -> list[int]:
    match value:
        case bool() | str() | None:
            return []
        case int():
            return [value]
        case list():
            return [number for inner in value for number in numbers_in(inner)]
        case dict():
            return [number for inner in value.values() for number in numbers_in(inner)]
        case _:
            raise AssertionError(f"{value!r} is read differently by different languages")


def test_what_is_committed_is_what_the_script_writes() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.vectors", "--check"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_file_is_written_by_the_script_and_replayed_by_a_test() -> None:
    script = (HERE / "__main__.py").read_text(encoding="utf-8")
    tests = "".join(path.read_text(encoding="utf-8") for path in HERE.glob("test_*.py"))
    assert FILES
    for path in FILES:
        assert f'"{path.stem}": (' in script
        assert re.search(rf'\b(?:each|load)\("{path.stem}"\)', tests), f"{path.name} is replayed by no test"


def test_all_files_together_are_small() -> None:
    assert sum(path.stat().st_size for path in FILES) < LIMIT_BYTES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_any_language_reads_a_file_alike(path: Path) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    assert set(document) == {"about", "cases"}
    assert "§" in document["about"]
    assert len({json.dumps(case) for case in document["cases"]}) == len(document["cases"]) > 0
    assert all(-1 <= number < 2**53 for number in numbers_in(document["cases"]))


def test_the_script_takes_nothing_from_the_product() -> None:
    """Otherwise the product would only agree with itself."""
    sources = [path for path in HERE.glob("*.py") if not path.name.startswith("test_")]
    assert len(sources) > 5
    for path in sources:
        assert not re.search(r"^\s*(?:from|import) overfence", path.read_text(encoding="utf-8"), re.MULTILINE), path
