"""A promise tested nowhere looks like a promise kept: CI must fail where a tool is missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

STORY = """
import pytest

@pytest.mark.requires("sh")
def test_with_a_tool_that_is_there(): pass

@pytest.mark.requires("sh", "no-such-program")
def test_without_its_tool(): pass

@pytest.mark.nightly
def test_long(): pass
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    conftest = Path(__file__).parents[1] / "conftest.py"
    shutil.copy(conftest, pytester.path / "conftest.py")
    pytester.makepyfile(STORY)
    return pytester


def test_a_missing_tool_skips_at_home_and_says_which(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("OVERFENCE_NIGHTLY", raising=False)
    result = project.runpytest_subprocess("-rs", "--strict-markers")
    result.assert_outcomes(passed=1, skipped=2)
    result.stdout.fnmatch_lines(["*lacks the program no-such-program*"])


def test_a_missing_tool_fails_in_ci(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("OVERFENCE_NIGHTLY", "1")
    result = project.runpytest_subprocess("--strict-markers")
    # pytest counts a failure before the test's own body as an error.
    outcomes = result.parseoutcomes()
    assert outcomes.get("passed") == 2
    assert outcomes.get("errors", 0) + outcomes.get("failed", 0) == 1
