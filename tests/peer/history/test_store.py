"""The store on a real file: group commit, a full disk, and files that are not to be touched."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from overfence.errors import ChatClosed, HistoryDamaged, HistoryTooNew, HomeInUse, StorageFailed
from overfence.history import people
from overfence.history.migrations import SCHEMA_VERSION
from overfence.history.store import GROUP_LIMIT, Store

PATIENCE_S = 20.0


class Unwanted(Exception):
    """What a piece of work raises here."""


def keep(key: str, value: str = "kept") -> Callable[[sqlite3.Connection], None]:
    return lambda tx: people.set_setting(tx, key, value)


def keep_and_fail(key: str) -> Callable[[sqlite3.Connection], None]:
    def work(tx: sqlite3.Connection) -> None:
        people.set_setting(tx, key, "kept")
        raise Unwanted(key)

    return work


async def kept(store: Store) -> set[str]:
    return await store.write(lambda tx: {key for (key,) in tx.execute("SELECT key FROM settings")})


def every_file(home: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(home.iterdir())}


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.name == "overfence-history":
            thread.join(2)
            assert not thread.is_alive()


async def test_failing_work_is_undone_alone(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "history.db")
    works = [keep_and_fail(f"bad {n}") if n % 3 == 1 else keep(f"good {n}") for n in range(3 * GROUP_LIMIT)]
    results = await asyncio.gather(*(store.write(work) for work in works), return_exceptions=True)
    for number, result in enumerate(results):
        assert isinstance(result, Unwanted) if number % 3 == 1 else result is None
    good = {f"good {n}" for n in range(3 * GROUP_LIMIT) if n % 3 != 1}
    assert await kept(store) == good
    await store.close()
    again = await Store.open(tmp_path / "history.db")
    assert await kept(again) == good
    await again.close()


async def test_work_is_done_in_the_order_it_was_handed_in(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "history.db")
    done: list[int] = []
    await asyncio.gather(*(store.write(lambda _, n=n: done.append(n)) for n in range(500)))  # type: ignore[misc] # mypy: no default in lambdas
    assert done == list(range(500))
    await store.close()


async def test_one_fsync_is_shared_by_those_who_wait(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "history.db")
    begun = 0

    def count(statement: str) -> None:
        nonlocal begun
        begun += statement.startswith("BEGIN")

    await store.write(lambda tx: tx.set_trace_callback(count))
    await asyncio.gather(*(store.write(keep(f"{n}")) for n in range(4 * GROUP_LIMIT)))
    assert 4 <= begun <= GROUP_LIMIT
    await store.write(lambda tx: tx.set_trace_callback(None))
    await store.close()


async def test_an_answer_nobody_waits_for_harms_nobody(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "history.db")
    impatient = [asyncio.ensure_future(store.write(keep(f"gone {n}"))) for n in range(20)]
    patient = [asyncio.ensure_future(store.write(keep(f"here {n}"))) for n in range(20)]
    await asyncio.sleep(0)
    for task in impatient:
        task.cancel()
    await asyncio.gather(*patient)
    assert {f"here {n}" for n in range(20)} <= await kept(store)
    await store.close()


async def test_a_closed_store_finishes_what_it_was_given_and_takes_no_more(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "history.db")
    last = [asyncio.ensure_future(store.write(keep(f"{n}"))) for n in range(50)]
    await asyncio.sleep(0)
    await asyncio.gather(store.close(), store.close())
    await asyncio.gather(*last)
    with pytest.raises(ChatClosed):
        await store.write(keep("late"))
    again = await Store.open(tmp_path / "history.db")
    assert await kept(again) == {f"{n}" for n in range(50)}
    await again.close()


@contextmanager
def files_up_to(size_bytes: int) -> Iterator[None]:
    """No file may grow past this, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


async def test_a_file_that_cannot_grow_refuses_the_write_and_goes_on_later(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "history.db")
    await store.write(keep("before"))
    with files_up_to((tmp_path / "history.db-wal").stat().st_size):
        outcomes = await asyncio.gather(
            store.write(keep("large", "x" * 300_000)), store.write(keep("beside it")), return_exceptions=True
        )
        assert all(isinstance(outcome, StorageFailed) for outcome in outcomes)
        assert await kept_or_failed(store) <= {"before"}
    assert await kept(store) == {"before"}
    await store.write(keep("after", "x" * 300_000))
    await store.close()
    again = await Store.open(tmp_path / "history.db")
    assert await kept(again) == {"before", "after"}
    await again.close()


async def kept_or_failed(store: Store) -> set[str]:
    with suppress(StorageFailed):
        return await kept(store)
    return set()


def mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True).returncode == 0


def unmount(folder: Path) -> None:
    subprocess.run(["umount", folder], check=True)


@pytest.mark.needs_root
@pytest.mark.requires("mount", "umount")
async def test_a_full_disk_loses_nothing_that_was_said_to_be_kept(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=2m", "none", f"{disk}"):
        pytest.skip("this system mounts no file system")
    try:
        store = await Store.open(disk / "history.db")
        said: set[str] = set()
        for number in range(400):
            try:
                await store.write(keep(f"{number}", "x" * 20_000))
            except StorageFailed:
                break
            said.add(f"{number}")
        else:
            pytest.fail("the disk was never full")
        assert len(said) > 10
        with pytest.raises(StorageFailed):
            await store.write(keep("still full", "x" * 100_000))
        assert await kept(store) == said
        assert mount("-o", "remount,size=16m", f"{disk}")
        await store.write(keep("room again", "x" * 100_000))
        assert await kept(store) == said | {"room again"}
        await store.close()
        again = await Store.open(disk / "history.db")
        assert await kept(again) == said | {"room again"}
        await again.close()
    finally:
        unmount(disk)


async def make_home(home: Path) -> None:
    store = await Store.open(home / "history.db")
    await store.write(keep("precious"))
    await store.close()


async def test_a_newer_history_is_refused_and_left_byte_for_byte(tmp_path: Path) -> None:
    await make_home(tmp_path)
    database = sqlite3.connect(tmp_path / "history.db")
    database.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 6}")
    database.close()
    (tmp_path / "identity").write_bytes(b"keys")
    before = every_file(tmp_path)
    with pytest.raises(HistoryTooNew) as caught:
        await Store.open(tmp_path / "history.db")
    assert (caught.value.found, caught.value.known) == (SCHEMA_VERSION + 6, SCHEMA_VERSION)
    assert every_file(tmp_path) == before


async def test_a_newer_history_whose_version_is_still_in_the_log_is_refused(tmp_path: Path) -> None:
    """A newer Overfence was killed before its first checkpoint: the file's own header is of the older version."""
    await make_home(tmp_path)
    database = sqlite3.connect(tmp_path / "history.db")
    database.execute("PRAGMA wal_autocheckpoint = 0")
    database.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    killed = tmp_path / "killed"
    killed.mkdir()
    for name in ("history.db", "history.db-wal"):
        (killed / name).write_bytes((tmp_path / name).read_bytes())
    database.close()
    before = every_file(killed)
    with pytest.raises(HistoryTooNew):
        await Store.open(killed / "history.db")
    assert every_file(killed) == before


@pytest.mark.parametrize(
    "ruin",
    [
        lambda whole: b"not a database at all",
        lambda whole: b"\x00" * 4096,
        lambda whole: b"SQLite format 3\x00",
        lambda whole: whole[:100] + b"\xff" * (len(whole) - 100),
        lambda whole: whole[:100] + os.urandom(len(whole) - 100),
        lambda whole: whole[: len(whole) // 2],
    ],
    ids=["text", "zeros", "magic only", "ones", "noise", "half"],
)
async def test_a_damaged_file_is_refused_and_left_byte_for_byte(tmp_path: Path, ruin: Callable[[bytes], bytes]) -> None:
    await make_home(tmp_path)
    file = tmp_path / "history.db"
    file.write_bytes(ruin(file.read_bytes()))
    before = every_file(tmp_path)
    with pytest.raises(HistoryDamaged):
        await Store.open(file)
    assert every_file(tmp_path) == before


async def test_a_folder_in_the_way_is_a_storage_failure(tmp_path: Path) -> None:
    (tmp_path / "history.db").mkdir()
    with pytest.raises(StorageFailed):
        await Store.open(tmp_path / "history.db")
    with pytest.raises(StorageFailed):
        await Store.open(tmp_path / "nowhere" / "history.db")


HOLDER = """
import asyncio, sys
from pathlib import Path
from overfence.history import people
from overfence.history.store import Store

async def main():
    store = await Store.open(Path(sys.argv[1]))
    print("open", flush=True)
    sys.stdin.readline()
    await store.write(lambda tx: people.set_setting(tx, "theirs", "kept"))
    await store.close()
    print("closed", flush=True)

asyncio.run(main())
"""


@contextmanager
def another_process(file: Path) -> Iterator[subprocess.Popen[str]]:
    """It has the home open until it is told a line."""
    arguments = [sys.executable, "-c", HOLDER, f"{file}"]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert line_of(other) == "open\n"
        yield other


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


async def test_a_home_open_in_another_process_is_refused_and_that_one_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "history.db"
    with another_process(file) as other:
        before = every_file(tmp_path)
        with pytest.raises(HomeInUse):
            await Store.open(file)
        assert every_file(tmp_path) == before
        assert other.stdin is not None
        other.stdin.write("\n")
        other.stdin.flush()
        assert line_of(other) == "closed\n"
        assert other.wait(PATIENCE_S) == 0
    store = await Store.open(file)
    assert await kept(store) == {"theirs"}
    await store.close()


async def test_a_process_that_is_killed_leaves_the_home_to_the_next(tmp_path: Path) -> None:
    file = tmp_path / "history.db"
    with another_process(file) as other:
        other.kill()
        other.wait(PATIENCE_S)
    await make_home(tmp_path)


def open_to_others(home: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o077 for path in home.iterdir()}


async def test_only_the_owner_can_read_what_is_kept(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "history.db")
    await store.write(keep("private"))
    assert open_to_others(tmp_path) == {"history.db": 0, "history.db-wal": 0}
    await store.close()
