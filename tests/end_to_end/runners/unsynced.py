"""`python -m unsynced MODULE …` runs MODULE with every database opened as `synchronous=OFF`: a process that lies."""

from __future__ import annotations

import runpy
import sqlite3
import sys
from typing import Any

_connect = sqlite3.connect


class Unsynced(sqlite3.Connection):
    """Turns every wish for durability into OFF."""

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        if sql.replace(" ", "").lower().startswith("pragmasynchronous="):
            sql = "PRAGMA synchronous = OFF"
        return super().execute(sql, *arguments)


def connect(
    *arguments: Any, factory: type[sqlite3.Connection] = sqlite3.Connection, **named: Any
) -> sqlite3.Connection:
    """As `sqlite3.connect`, whatever class was asked for."""
    unsynced = type("Unsynced", (Unsynced, factory) if factory is not sqlite3.Connection else (Unsynced,), {})
    return _connect(*arguments, factory=unsynced, **named)


if __name__ == "__main__":
    sqlite3.connect = connect  # type: ignore[assignment]  # not every overload is spelled out
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
