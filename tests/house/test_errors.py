"""docs/errors.md lists every typed error there is, package by package, and none that is gone."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "errors.md"
PACKAGES = {
    "overfence": ROOT / "peer/overfence",
    "overfence_signalling": ROOT / "signalling/overfence_signalling",
    "overfence_reliability": ROOT / "reliability/overfence_reliability",
}
COLUMNS = 4
_ROW = re.compile(r"^\| `(\w+)` \|(.+)\|$")
_SECTION = re.compile(r"^## (\w+)$")


def exceptions_in(sources: Iterable[str]) -> dict[str, list[str]]:
    """The exception classes that the files of one package define, each with the bases it stands under."""
    bases: dict[str, list[str]] = {}
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef):
                bases.setdefault(node.name, []).extend(ast.unparse(base).rpartition(".")[2] for base in node.bases)
    found: dict[str, list[str]] = {}
    grown = True
    while grown:
        grown = False
        for name, above in bases.items():
            if name not in found and any(base in found or _is_builtin_error(base) for base in above):
                found[name] = above
                grown = True
    return found


def _is_builtin_error(name: str) -> bool:
    kind = getattr(builtins, name, None)
    return isinstance(kind, type) and issubclass(kind, BaseException)


def listed_in(page: str) -> dict[str, list[tuple[str, list[str]]]]:
    """What each section of the page lists: the error's name, and the cells behind it."""
    found: dict[str, list[tuple[str, list[str]]]] = {}
    section = ""
    for line in page.splitlines():
        if heading := _SECTION.match(line):
            section = heading[1]
            found[section] = []
        elif section and (row := _ROW.match(line)):
            found[section].append((row[1], [cell.strip() for cell in row[2].split("|")]))
    return found


def differences(code: Mapping[str, Iterable[str]], page: str) -> list[str]:
    listed = listed_in(page)
    problems = [f"docs/errors.md has a section for no package: {name}" for name in listed.keys() - code.keys()]
    for package, names in code.items():
        written = [name for name, _ in listed.get(package, [])]
        problems += [f"docs/errors.md lacks {package}.{name}" for name in sorted(set(names) - set(written))]
        problems += [
            f"docs/errors.md lists {package}.{name}, which is gone" for name in sorted(set(written) - set(names))
        ]
        problems += [f"docs/errors.md lists {package}.{name} twice" for name in set(written) if written.count(name) > 1]
    return problems


def code_of(folder: Path) -> list[str]:
    return [path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.py"))]


def test_the_page_lists_every_error_and_no_other() -> None:
    code = {package: exceptions_in(code_of(folder)) for package, folder in PACKAGES.items()}
    assert all(code.values()), "a package without errors: is its folder still there?"
    problems = differences(code, PAGE.read_text(encoding="utf-8"))
    assert not problems, "\n" + "\n".join(problems)


def test_every_row_says_what_happened_and_what_still_holds() -> None:
    for package, rows in listed_in(PAGE.read_text(encoding="utf-8")).items():
        for name, cells in rows:
            assert len(cells) == COLUMNS - 1, f"{package}.{name}: {len(cells) + 1} cells, of {COLUMNS}"
            assert cells[0] and cells[1], f"{package}.{name} leaves a question open"


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_every_error_has_a_docstring(package: str) -> None:
    sources = code_of(PACKAGES[package])
    errors = exceptions_in(sources)
    classes = [node for source in sources for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)]
    bare = [node.name for node in classes if node.name in errors and not ast.get_docstring(node)]
    assert not bare


SOURCES = (
    "class Ours(Exception): ...\nclass Shape: ...\n",
    "from . import errors\nclass Far(errors.Ours): ...\nclass Farther(Far, Shape): ...\nclass Ended(OSError): ...\n",
)


def test_an_error_is_found_wherever_it_stands_in_the_family() -> None:
    assert set(exceptions_in(SOURCES)) == {"Ours", "Far", "Farther", "Ended"}


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        ("## here\n| `One` | a | b | c |\n", "docs/errors.md lacks here.Two"),
        (
            "## here\n| `One` | a | b | c |\n| `Two` | a | b | c |\n| `Six` | a | b | c |\n",
            "lists here.Six, which is gone",
        ),
        ("## here\n| `One` | a | b | c |\n| `Two` | a | b | c |\n| `Two` | a | b | c |\n", "lists here.Two twice"),
        ("## here\n| `One` | a | b | c |\n| `Two` | a | b | c |\n## there\n", "a section for no package: there"),
    ],
)
def test_what_is_missing_extra_or_twice_is_named(page: str, problem: str) -> None:
    problems = differences({"here": ["One", "Two"]}, page)
    assert len(problems) == 1
    assert problem in problems[0]
