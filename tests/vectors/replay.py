"""Reads the committed vectors: each case by its name, its bytes from hex."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


class Case:
    """One case of a file: ``case["seq"]`` as JSON says it, ``case.raw("AK")`` as bytes."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields

    def __getitem__(self, field: str) -> Any:
        return self._fields[field]

    def __contains__(self, field: str) -> bool:
        return field in self._fields

    def raw(self, field: str) -> bytes:
        return bytes.fromhex(self._fields[field])

    def raw_or_none(self, field: str) -> bytes | None:
        return self.raw(field) if field in self else None

    def part(self, field: str) -> Case:
        return Case(self._fields[field])

    def steps(self) -> list[Case]:
        return [Case(fields) for fields in self._fields["steps"]]

    def __repr__(self) -> str:
        return str(self._fields.get("name"))


def load(name: str) -> list[Case]:
    document = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    return [Case(fields) for fields in document["cases"]]


def each(name: str) -> pytest.MarkDecorator:
    """The test runs once for each case of the file."""
    return pytest.mark.parametrize("case", load(name), ids=repr)


def fed(given: Mapping[int, bytes]) -> Callable[[int], bytes]:
    """Randomness that is given by size; any other size fails."""
    return lambda size: given[size]
