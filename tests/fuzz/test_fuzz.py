"""The corpus is replayed and every decoder fuzzed for a while; and the fuzzer finds what it should."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .engine import Hang, Target, fuzz
from .targets import CORPUS, TARGETS

ROOT = Path(__file__).parents[2]
CORPUS_LIMIT_BYTES = 100_000
PROCESSES = 2
NIGHTLY = os.environ.get("OVERFENCE_NIGHTLY") == "1"
SECONDS_EACH = 600 if NIGHTLY else 10 if os.environ.get("CI") == "true" else 1
PATIENCE_S = SECONDS_EACH * len(TARGETS) / PROCESSES + 120


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_is_read_without_a_surprise(name: str) -> None:
    target = TARGETS[name]
    corpus = target.corpus()
    assert corpus, "every decoder has its corpus"
    for data in corpus:
        target.run(data)


def test_the_corpus_is_small_and_belongs_to_targets() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == set(TARGETS)
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) <= CORPUS_LIMIT_BYTES


@pytest.mark.timeout(PATIENCE_S + 60)
def test_nothing_is_raised_that_should_not_be(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--seconds", str(SECONDS_EACH), "--processes", str(PROCESSES)]
    run = subprocess.run(
        [*command, "--found", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S
    )
    print(run.stdout, run.stderr)
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"
    assert run.stdout.count(" executions ") >= len(TARGETS)


PLANTED = """
def planted(data):
    if data[0:1] == b"f":
        if data[1:2] == b"o":
            if data[2:3] == b"u":
                if data[3:4] == b"r":
                    raise KeyError("planted")
"""


def test_a_bug_behind_four_bytes_is_found_one_byte_after_the_other() -> None:
    """All at once they would take four billion guesses; each that is right reaches a line more, and is kept."""
    made: dict[str, Target] = {}
    exec(compile(PLANTED, "overfence/planted.py", "exec"), made)  # noqa: S102 (watched by the name of its file)
    result = fuzz(made["planted"], [], seconds=40, seed=4)
    assert result.finding is not None
    assert isinstance(result.finding.error, KeyError)
    # … and cut down to what it takes.
    assert result.finding.data == b"four"


def test_a_loop_without_end_is_found() -> None:
    def hangs(data: bytes) -> None:
        while data.startswith(b"\xff"):
            pass

    result = fuzz(hangs, [b"\xff"], seconds=20, seed=1, hang_s=0.2)
    assert result.finding is not None
    assert isinstance(result.finding.error, Hang)
