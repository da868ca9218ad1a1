"""Is each planted bug caught, by just the tests that say so?"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from .ground import Ground, Run
from .patch import DoesNotApply, Patch

CHECKOUT = Path(__file__).parents[2]
PATCHES = Path(__file__).with_name("patches")


class Verdict(Enum):
    """What became of one planted bug. Only the first is well."""

    CAUGHT = "caught"
    MISSED = "missed"  # a test that should have failed passed
    STALE = "does not apply"
    SPOILT = "spoilt"  # something else went wrong: an import, a name, a test that isn't there, a hang


@dataclass(frozen=True)
class Result:
    """The verdict on one patch, and why."""

    name: str
    verdict: Verdict
    detail: str
    took_s: float


class UnpatchedFails(Exception):
    """The named tests do not pass as they are, so nothing they say of a bug counts."""


def patches(folder: Path = PATCHES) -> list[Patch]:
    """All of them, by name."""
    return [Patch.read(path) for path in sorted(folder.glob("*.patch"))]


def judge(patch: Patch, run: Run, root: Path) -> tuple[Verdict, str]:
    """What a run of a patch's tests, with the bug in ``root``, says about it."""
    if run.trouble:
        return Verdict.SPOILT, run.trouble
    loaded = set(run.imported.values())
    if idle := [path for path in patch.paths if str(root / path) not in loaded]:
        return Verdict.SPOILT, f"{idle[0]} was never imported"
    words: list[str] = []
    for test in patch.tests:
        ended = run.of(test)
        failed = [one for one in ended if one.outcome == "failed"]
        if accident := next((one.accident for one in ended if one.accident), ""):
            return Verdict.SPOILT, f"{test}: {accident}"
        if any(one.said.startswith("Timeout") for one in failed):
            return Verdict.SPOILT, f"{test}: it hangs"
        if not failed:
            ends = ", ".join(sorted({one.outcome for one in ended})) or "not there"
            return Verdict.MISSED if ends == "passed" else Verdict.SPOILT, f"{test}: {ends}"
        words.append(f"{failed[0].raised}: {failed[0].said}")
    return Verdict.CAUGHT, words[0]


def try_all(
    bugs: Sequence[Patch],
    *,
    source: Path = CHECKOUT,
    jobs: int = 2,
    told: Callable[[Result], None] = lambda _: None,
) -> list[Result]:
    """Each verdict, in the order of ``bugs``. Raises `UnpatchedFails`."""
    with tempfile.TemporaryDirectory(prefix="overfence-planted-") as folder:
        # Resolved: what is imported is compared with it.
        base = Path(folder).resolve()
        ground = Ground.lay(source, base / "unpatched")
        _check_unpatched(ground, bugs)
        with ThreadPoolExecutor(jobs) as pool:
            waiting = {pool.submit(_try_one, bug, ground, base / bug.name): bug.name for bug in bugs}
            found: dict[str, Result] = {}
            for future in as_completed(waiting):
                result = found[waiting[future]] = future.result()
                told(result)
    return [found[bug.name] for bug in bugs]


def _check_unpatched(ground: Ground, bugs: Sequence[Patch]) -> None:
    tests = sorted({test for bug in bugs for test in bug.tests})
    run = ground.test(tests)
    if run.trouble:
        raise UnpatchedFails(run.trouble)
    for test in tests:
        ended = run.of(test)
        if not ended:
            raise UnpatchedFails(f"{test} is not there")
        if bad := next((one for one in ended if one.outcome != "passed"), None):
            raise UnpatchedFails(f"{test}: {bad.outcome}, {bad.raised}: {bad.said}")


def _try_one(bug: Patch, ground: Ground, root: Path) -> Result:
    began_at = time.monotonic()
    try:
        planted = ground.plant(bug, root)
        verdict, detail = judge(bug, planted.test(bug.tests), root)
    except DoesNotApply as error:
        verdict, detail = Verdict.STALE, str(error)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return Result(bug.name, verdict, detail, time.monotonic() - began_at)
