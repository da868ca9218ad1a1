"""Copies of the sources in which a bug may be planted, and pytest run there on nothing but the copy."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .patch import Patch

ROOTS = ("reliability", "signalling", "peer", "tests", "pyproject.toml")
PACKAGE_ROOTS = ROOTS[:3]
WITNESS = Path(__file__).with_name("witness.py")
_NOT_NEEDED = shutil.ignore_patterns("__pycache__", ".*", "corpus", "planted")
# A bug may well make a test hang. Then it isn't caught: whoever meets it in earnest waits just as long.
TEST_LIMIT_S = 60
RUN_LIMIT_S = 150


@dataclass(frozen=True)
class Ended:
    """How a test ended; ``accident``: by what no planted bug does, but a slip in its patch."""

    outcome: str
    raised: str
    accident: str
    said: str


@dataclass(frozen=True)
class Run:
    """What one pytest came to; ``trouble`` is empty where it ran as it should."""

    code: int
    ended: Mapping[str, Ended]
    imported: Mapping[str, str]
    trouble: str

    def of(self, test: str) -> list[Ended]:
        """How the test of that node id ended, in each of its variants."""
        return [ended for node, ended in self.ended.items() if node == test or node.startswith(f"{test}[")]


class Ground:
    """A copy of everything the tests of one root need."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def lay(cls, source: Path, root: Path) -> Ground:
        """A fresh copy of a checkout."""
        root.mkdir(parents=True)
        for name in ROOTS:
            if (source / name).is_dir():
                shutil.copytree(source / name, root / name, ignore=_NOT_NEEDED)
            elif (source / name).exists():
                shutil.copy2(source / name, root / name)
        shutil.copy2(WITNESS, root / "planted_witness.py")
        return cls(root)

    def plant(self, patch: Patch, root: Path) -> Ground:
        """Another copy, with that bug in it. Raises `DoesNotApply`."""
        changed = patch.apply(self.root)
        shutil.copytree(self.root, root, copy_function=os.link)
        for path, text in changed.items():
            target = root / path
            target.unlink()  # or it would be changed in every copy
            target.write_text(text)
            # What was compiled comes with the copy; of what was changed it could pass for current.
            for compiled in (target.parent / "__pycache__").glob(f"{target.stem}.*.pyc"):
                compiled.unlink()
        return Ground(root)

    def test(self, tests: Sequence[str]) -> Run:
        """Run these, and see that it was the copy that was tested."""
        noted = self.root / "witnessed.json"
        noted.unlink(missing_ok=True)
        command = [sys.executable, "-m", "pytest", *tests, "-p", "planted_witness", "-p", "no:cacheprovider", "-q"]
        command += ["--no-header", "--tb=short", f"--timeout={TEST_LIMIT_S}"]
        # Whoever runs us may be a pytest, with wishes of its own.
        ours = ("CI", "OVERFENCE_NIGHTLY", "PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST")
        environment = {key: value for key, value in os.environ.items() if key not in ours}
        environment["PYTHONPATH"] = os.pathsep.join(str(self.root / name) for name in PACKAGE_ROOTS)
        environment["OVERFENCE_WITNESS"] = str(noted)
        try:
            ran = subprocess.run(
                command, cwd=self.root, env=environment, capture_output=True, text=True, timeout=RUN_LIMIT_S
            )
        except subprocess.TimeoutExpired:
            return Run(-1, {}, {}, f"it was not over after {RUN_LIMIT_S} s")
        if not noted.exists():
            return Run(ran.returncode, {}, {}, f"pytest did not run: {_last_words(ran)}")
        told = json.loads(noted.read_text())
        strays = sorted(path for path in told["imported"].values() if not Path(path).is_relative_to(self.root))
        trouble = f"imported from elsewhere: {strays[0]}" if strays else ""
        if ran.returncode not in (0, 1):
            trouble = trouble or f"pytest ended with {ran.returncode}: {_last_words(ran)}"
        ended = {node: Ended(**one) for node, one in told["ended"].items()}
        return Run(ran.returncode, ended, told["imported"], trouble)


def _last_words(ran: subprocess.CompletedProcess[str]) -> str:
    return (ran.stdout + ran.stderr).strip()[-600:]
