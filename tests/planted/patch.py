"""A bug as a patch: what it is, which tests notice it, and the lines it changes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CAUGHT_BY = "caught by: "


class BadPatch(Exception):
    """The file is no patch of ours; the message says where."""


class DoesNotApply(Exception):
    """The source is not (or no longer) what the patch changes, or has it more than once; nothing was changed."""


@dataclass(frozen=True)
class Hunk:
    """Whole lines of one file, and what stands there instead."""

    path: str
    before: str
    after: str

    def apply(self, text: str) -> str:
        """``text`` with the bug in it. Line numbers don't count: what is changed must occur exactly once."""
        # Looked ahead for, so that places that overlap count as well.
        places = [found.start() for found in re.finditer(f"^(?={re.escape(self.before)})", text, re.MULTILINE)]
        if len(places) != 1:
            first = self.before.partition("\n")[0].strip()
            raise DoesNotApply(f"{self.path}: the lines from {first!r} on occur {len(places)} times, not once")
        [at] = places
        return text[:at] + self.after + text[at + len(self.before) :]


@dataclass(frozen=True)
class Patch:
    """One planted bug; ``tests`` are node ids, each of which must fail because of it."""

    name: str
    what: str
    tests: tuple[str, ...]
    hunks: tuple[Hunk, ...]

    @classmethod
    def read(cls, path: Path) -> Patch:
        """The file of `path`: ``# what it is``, ``# caught by: node id`` lines, then a unified diff."""
        lines = path.read_text().splitlines()
        said = [line[1:].strip() for line in lines if line.startswith("#")]
        tests = tuple(line.removeprefix(CAUGHT_BY) for line in said if line.startswith(CAUGHT_BY))
        what = " ".join(line for line in said if not line.startswith(CAUGHT_BY))
        hunks = tuple(_hunks(path.name, lines))
        if not (what and tests and hunks):
            raise BadPatch(f"{path.name}: it needs '# what it is', '# {CAUGHT_BY}…' and a hunk")
        return cls(path.stem, what, tests, hunks)

    @property
    def paths(self) -> tuple[str, ...]:
        """The files it changes."""
        return tuple(dict.fromkeys(hunk.path for hunk in self.hunks))

    def apply(self, root: Path) -> dict[str, str]:
        """The changed files' new text, by path; the files stay as they are. Raises `DoesNotApply`."""
        changed: dict[str, str] = {}
        for hunk in self.hunks:
            if not (root / hunk.path).is_file():
                raise DoesNotApply(f"{hunk.path} is not there")
            text = changed.get(hunk.path) or (root / hunk.path).read_text()
            changed[hunk.path] = hunk.apply(text)
        return changed


def _hunks(name: str, lines: list[str]) -> Iterator[Hunk]:
    path, at = "", 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if line.startswith("+++ "):
            path = line.removeprefix("+++ b/")
        if not line.startswith("@@"):
            continue
        begin = at
        while at < len(lines) and lines[at][:1] in (" ", "-", "+", "") and not lines[at].startswith("--- "):
            at += 1
        body = lines[begin:at]
        before = "".join(each[1:] + "\n" for each in body if each[:1] in (" ", "-", ""))
        after = "".join(each[1:] + "\n" for each in body if each[:1] in (" ", "+", ""))
        if not path or before == after or not before:
            raise BadPatch(f"{name}: the hunk before line {at + 1} changes nothing, or nothing known")
        yield Hunk(path, before, after)
