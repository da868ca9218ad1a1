"""The line that was being typed when Ctrl-C came, kept until the next start."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

FILE = "draft"
# A file this long was not written here; reading stops, so that it can't fill the memory.
READ_LIMIT = 64 * 1024


@dataclass(frozen=True)
class Draft:
    """Unsent words, and the id of the contact they were meant for ("" for nobody)."""

    to: str
    text: str


def load(home: Path) -> Draft:
    """The kept draft, or an empty one."""
    try:
        with open(home / FILE, encoding="utf-8", errors="replace", newline="") as file:
            to, _, text = file.read(READ_LIMIT).partition("\n")
    except OSError:
        # Nothing was kept, or it can't be read: not worth keeping anyone from chatting.
        return Draft("", "")
    return Draft(to, text)


def save(home: Path, draft: Draft) -> bool:
    """Keep ``draft``, readable by its owner alone; an empty one removes what was kept. True if something is kept."""
    path = home / FILE
    if not draft.text.strip():
        with suppress(FileNotFoundError):
            path.unlink()
        return False
    new = path.with_name(f".{FILE}.new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8", newline="") as file:
        file.write(f"{draft.to}\n{draft.text}")
    os.replace(new, path)
    return True
