"""Nobody hears that something is kept before it is."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

from overfence.history import people
from overfence.history.store import Store

PATIENCE_S = 20.0


def keep(key: str) -> Callable[[sqlite3.Connection], None]:
    return lambda tx: people.set_setting(tx, key, "kept")


async def test_who_waits_hears_nothing_before_the_commit(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "history.db")
    loop = asyncio.get_running_loop()
    waiting: list[asyncio.Task[None]] = []
    heard_early: list[bool] = []

    async def look() -> bool:
        # Whatever was told to the loop by now is done after a few turns.
        for _ in range(5):
            await asyncio.sleep(0)
        return any(task.done() for task in waiting)

    def watch(statement: str) -> None:
        # In the store's thread, which stands still meanwhile: the commit is about to begin.
        if statement == "COMMIT" and waiting:
            heard_early.append(asyncio.run_coroutine_threadsafe(look(), loop).result(PATIENCE_S))

    await store.write(lambda tx: tx.set_trace_callback(watch))
    waiting += [asyncio.create_task(store.write(keep(f"{number}"))) for number in range(10)]
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*waiting)
        # A store that answers early is still before its commit here: what it shows there is waited for too.
        await store.close()
    assert heard_early, "there was a commit to look at"
    assert not any(heard_early)
