"""Every planted bug is caught by the tests that say so, and what catches nothing is not taken for it."""

from __future__ import annotations

import ast
import os
from functools import cache
from pathlib import Path

import pytest

from .ground import Ground
from .patch import BadPatch, DoesNotApply, Hunk, Patch
from .trial import CHECKOUT, UnpatchedFails, Verdict, patches, try_all

IN_CI = os.environ.get("CI") == "true" or os.environ.get("OVERFENCE_NIGHTLY") == "1"
BUGS = patches()
LEAST_BUGS = 30
# What must be among them, whatever else is.
ASKED_FOR = {
    *("acknowledge-before-commit", "dedupe-dropped", "dedupe-outside-the-transaction", "range-off-by-one"),
    *("number-reused-after-resume", "timer-not-armed-again", "backoff-uncapped", "credit-leak"),
    *("copies-not-budgeted", "priority-inverted", "order-across-streams"),
}
LIMIT_S = 600


@cache
def functions(path: Path) -> set[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)}


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_each_patch_applies_and_names_tests_that_are_there(bug: Patch) -> None:
    for path, text in bug.apply(CHECKOUT).items():
        compile(text, path, "exec")
    for test in bug.tests:
        path, _, function = test.partition("::")
        assert function in functions(CHECKOUT / path), test


def test_the_list_is_long_and_nothing_asked_for_is_missing() -> None:
    assert len(BUGS) >= LEAST_BUGS
    assert {bug.name for bug in BUGS} >= ASKED_FOR
    assert len({bug.hunks for bug in BUGS}) == len(BUGS)
    assert len({bug.what for bug in BUGS}) == len(BUGS)


@pytest.mark.skipif(not IN_CI, reason="takes minutes: CI does it, and python -m tests.planted")
@pytest.mark.timeout(LIMIT_S)
def test_every_bug_is_caught() -> None:
    results = try_all(BUGS, told=lambda result: print(f"{result.name}: {result.verdict.value}, {result.took_s:.1f} s"))
    escaped = [f"{each.name}: {each.verdict.value}: {each.detail}" for each in results]
    assert [words for each, words in zip(results, escaped, strict=True) if each.verdict is not Verdict.CAUGHT] == []


# ── the trial itself, on a checkout as small as can be ────────────────────────────────────────────

PRODUCT = """
def double(number):
    return 2 * number


def triple(number):
    return 3 * number


def spell(number):
    return str(number)
"""
TESTS = """
import pytest
from overfence_reliability import double, spell


def test_double():
    assert double(4) == 8


@pytest.mark.parametrize("number", [1, 2])
def test_spell(number):
    assert spell(number) == f"{number}"
"""
MODULE = "reliability/overfence_reliability/__init__.py"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    for path, text in ((MODULE, PRODUCT), ("tests/test_double.py", TESTS), ("pyproject.toml", "")):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def planted(tmp_path: Path, name: str, before: str, after: str, test: str = "test_double") -> Patch:
    path = tmp_path / f"{name}.patch"
    diff = [f"--- a/{MODULE}", f"+++ b/{MODULE}", "@@ -1 +1 @@"]
    diff += [f"-{line}" for line in before.splitlines()] + [f"+{line}" for line in after.splitlines()]
    path.write_text("\n".join([f"# {name}", f"# caught by: tests/test_double.py::{test}", *diff, ""]))
    return Patch.read(path)


def test_each_verdict_is_told_from_the_others(checkout: Path, tmp_path: Path) -> None:
    right = "    return 2 * number"
    cases = {
        planted(tmp_path, "caught", right, "    return 3 * number"): Verdict.CAUGHT,
        planted(tmp_path, "in one variant", "    return str(number)", "    return '1'", "test_spell"): Verdict.CAUGHT,
        planted(tmp_path, "missed", "    return 3 * number", "    return 4 * number"): Verdict.MISSED,
        planted(tmp_path, "elsewhere", right, "    return 3 * number", "test_spell"): Verdict.MISSED,
        planted(tmp_path, "gone", "    return 9 * number", "    return 3 * number"): Verdict.STALE,
        planted(tmp_path, "a slip", right, "    return 3 * nubmer"): Verdict.SPOILT,
        planted(tmp_path, "no Python", right, "    return 3 *"): Verdict.SPOILT,
        planted(tmp_path, "not importable", right, "    return 2 * number\nimport no_such_module"): Verdict.SPOILT,
    }
    before = (checkout / MODULE).read_text()
    results = try_all(list(cases), source=checkout)
    assert {each.name: each.verdict for each in results} == {bug.name: verdict for bug, verdict in cases.items()}
    assert (checkout / MODULE).read_text() == before


def test_tests_that_fail_without_a_bug_say_nothing(checkout: Path, tmp_path: Path) -> None:
    bug = planted(tmp_path, "caught", "    return 2 * number", "    return 3 * number")
    absent = planted(tmp_path, "absent", "    return 2 * number", "    return 3 * number", "test_treble")
    with pytest.raises(UnpatchedFails, match="test_treble"):
        try_all([absent], source=checkout)
    (checkout / MODULE).write_text(PRODUCT.replace("2 * number", "5 * number"))
    with pytest.raises(UnpatchedFails, match="test_double: failed"):
        try_all([bug], source=checkout)


def test_a_copy_that_is_not_what_was_imported_is_noticed(checkout: Path, tmp_path: Path) -> None:
    """The installed package must not stand in for the copy."""
    (checkout / MODULE).rename(checkout / "elsewhere.py")
    (checkout / "tests/test_double.py").write_text("import overfence_reliability\n\ndef test_double(): pass\n")
    run = Ground.lay(checkout, tmp_path.resolve() / "copy").test(["tests/test_double.py"])
    assert run.trouble.startswith("imported from elsewhere")


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("one\ntwo\nthree\n", True),
        ("zero\none\ntwo\nthree\nfour\n", True),
        ("one\nthree\n", False),
        ("one\ntwo\nthree\none\ntwo\nthree\n", False),
        ("one\ntwo\nthree\nthen\none\ntwo\nthree\n", False),
        ("bone\ntwo\nthree\n", False),
        ("", False),
    ],
)
def test_a_hunk_fits_where_its_lines_stand_once(text: str, fits: bool) -> None:
    hunk = Hunk("file", "one\ntwo\nthree\n", "one\nthree\n")
    if fits:
        assert hunk.apply(text) == text.replace("two\n", "")
    else:
        with pytest.raises(DoesNotApply):
            hunk.apply(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# what\n# caught by: x\n",
        "# what\n--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\n+b\n",
        "# caught by: x\n--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\n+b\n",
        "# what\n# caught by: x\n--- a/f\n+++ b/f\n@@ -1 +1 @@\n a\n",
        "# what\n# caught by: x\n@@ -1 +1 @@\n-a\n+b\n",
    ],
)
def test_a_file_that_is_no_patch_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "bad.patch").write_text(text)
    with pytest.raises(BadPatch):
        Patch.read(tmp_path / "bad.patch")
