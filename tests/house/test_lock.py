"""The lock file is whole: every dependency, at a version that fits, with hashes, and nothing of anyone's machine."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def locked() -> dict[str, set[str]]:
    """Each package's versions: more than one where systems or Pythons need different ones."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", LOCK, re.MULTILINE):
        found.setdefault(canonicalize_name(name), set()).add(version)
    return found


def wanted() -> list[Requirement]:
    project = PROJECT["project"]
    extras = [line for extra in project.get("optional-dependencies", {}).values() for line in extra]
    groups = [line for group in PROJECT["dependency-groups"].values() for line in group]
    return [
        Requirement(line) for line in (*project["dependencies"], *extras, *groups, *PROJECT["build-system"]["requires"])
    ]


def test_every_dependency_is_locked_at_a_version_that_fits() -> None:
    versions = locked()
    for requirement in wanted():
        chosen = versions.get(canonicalize_name(requirement.name))
        assert chosen, f"{requirement} is not in requirements.lock: python3 dev.py lock"
        assert all(requirement.specifier.contains(version) for version in chosen), f"{requirement}, locked: {chosen}"


def test_every_package_has_hashes_so_that_none_can_be_swapped() -> None:
    entries = re.split(r"^(?=\S)", LOCK, flags=re.MULTILINE)[1:]
    assert len(entries) > 50
    for entry in entries:
        assert re.match(r"[\w.-]+==\S+", entry), entry
        assert "--hash=sha256:" in entry, entry.splitlines()[0]


def test_the_lock_names_no_host_and_no_path() -> None:
    assert not re.search(r"://|--(?:extra-)?index|--find-links|@ |file:", LOCK)
