"""`python -m unsynced MODULE …` runs MODULE with every database opened as `synchronous=OFF`: a process that lies."""

from __future__ import annotations

import runpy
import sqlite3
import sys


class Unsynced(sqlite3.Connection):
    """Turns every other wish for durability into OFF."""

    def execute(self, sql: str, *arguments: object) -> sqlite3.Cursor:  # type: ignore[override]  # any call's arguments are passed on
        if sql.replace(" ", "").lower().startswith("pragmasynchronous="):
            sql = "PRAGMA synchronous = OFF"
        return super().execute(sql, *arguments)  # type: ignore[arg-type]  # as above


if __name__ == "__main__":
    _connect = sqlite3.connect
    sqlite3.connect = lambda *rest, **named: _connect(*rest, **{"factory": Unsynced, **named})  # type: ignore[assignment]  # the point of this file
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
