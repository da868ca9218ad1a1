"""The store against a list: nothing lost, nothing doubled, nothing out of order, nothing kept past its day."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from overfence_signalling import Item, NodeLimits, StorageBusy, StorageFailed
from overfence_signalling.mailboxes import Cursor, Full, PutState
from overfence_signalling.store import Followed, Kept, Page, Store
from overfence_signalling.store.writer import Writer

DAY_S = 86_400
START_S = 20_000 * DAY_S
BOX = b"a" * 16
NOTHING = Cursor(0, 0)


async def answer(submit: Callable[[Callable[[Any], None]], None]) -> object:
    """What the store says to one request."""
    future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    submit(future.set_result)
    async with asyncio.timeout(10):
        return await future


async def put(store: Store, put_id: bytes, envelope: bytes = b"", *, day: int = 0, ttl_days: int = 5) -> object:
    unix_s = START_S + day * DAY_S
    return await answer(lambda then: store.put(BOX, put_id, envelope, ttl_s=ttl_days * DAY_S, unix_s=unix_s, then=then))


async def follow(store: Store, cursor: Cursor = NOTHING, *, day: int = 0) -> Followed:
    found = await answer(lambda then: store.follow(BOX, cursor, unix_s=START_S + day * DAY_S, then=then))
    assert isinstance(found, Followed), found
    return found


async def acknowledge(store: Store, seq: int, *, day: int = 0) -> None:
    await answer(lambda then: store.acknowledge(BOX, seq, unix_s=START_S + day * DAY_S, then=then))


async def read(store: Store, after: int, room_bytes: int = 10_000) -> list[Item]:
    """All items after a seq, page by page."""
    page = await answer(lambda then: store.page(BOX, after=after, room_bytes=room_bytes, then=then))
    assert isinstance(page, Page)
    return [*page.items, *await read(store, page.read_to, room_bytes)] if page.items else []


steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 15)),
        st.tuples(st.just("burst"), st.integers(1, 5)),
        st.tuples(st.just("ack"), st.integers(0, 12)),
        st.tuples(st.just("reopen"), st.integers(0, 14)),
        st.tuples(st.just("day"), st.integers(1, 7)),
        st.tuples(st.just("close"), st.just(0)),
    ),
    max_size=40,
)


class Model:
    """What a mailbox is meant to be, as plain lists."""

    def __init__(self) -> None:
        self.items: list[tuple[int, bytes, int]] = []
        self.taken: dict[bytes, int] = {}
        self.head = 0

    def put(self, put_id: bytes, day: int) -> str:
        if any(one[1] == put_id for one in self.items):
            return "held"
        if put_id in self.taken:
            return "taken"
        self.head += 1
        self.items.append((self.head, put_id, day + 5))
        return "new"

    def forget(self, gone: set[tuple[int, bytes, int]], day: int) -> None:
        self.taken.update({one[1]: day for one in gone})
        self.items = [one for one in self.items if one not in gone]


@given(steps)
def test_a_mailbox_is_a_list(steps: list[tuple[str, int]]) -> None:
    asyncio.run(tell(steps))


async def tell(steps: list[tuple[str, int]]) -> None:
    store = await Store.open(None, NodeLimits())
    try:
        await follow_steps(store, steps)
    finally:
        await store.close()


async def follow_steps(store: Store, steps: list[tuple[str, int]]) -> None:
    model, day = Model(), 0
    epoch = (await follow(store)).epoch
    for action, number in steps:
        match action:
            case "put" | "burst":
                ids = [bytes([number]) * 16] if action == "put" else [bytes([n]) * 16 for n in range(number)]
                outcomes = await asyncio.gather(*(put(store, one, one, day=day) for one in ids))
                assert [cast(Kept, one).state.value for one in outcomes] == [model.put(one, day) for one in ids]
            case "ack":
                seq = min(number, model.head)
                await acknowledge(store, seq, day=day)
                model.forget({one for one in model.items if one[0] <= seq}, day)
            case "reopen":
                found = await follow(store, Cursor(epoch, number), day=day)
                possible = number if number <= model.head else 0
                assert (found.epoch, found.head, found.after) == (epoch, model.head, possible)
                model.forget({one for one in model.items if one[0] <= possible}, day)
            case "day":
                day += number
                await store.sweep(unix_s=START_S + day * DAY_S, followed=[BOX])
                model.forget({one for one in model.items if one[2] < day}, day)
                model.taken = {one: taken for one, taken in model.taken.items() if taken >= day - 30}
            case "close":
                assert await answer(lambda then: store.delete(BOX, then=then)) is True
                model = Model()
                found = await follow(store, Cursor(epoch, 1), day=day)
                assert found.after == 0
                assert found.epoch != epoch, "made anew: old cursors count no more"
                epoch = found.epoch
        assert [(one.seq, one.id) for one in await read(store, 0)] == [one[:2] for one in model.items]
        assert [one.seq for one in await read(store, 0, room_bytes=1)] == [one[0] for one in model.items]


async def test_quotas_count_what_lies_there_now() -> None:
    store = await Store.open(None, NodeLimits(mailbox_items=2, mailbox_bytes=1_000))
    assert await put(store, b"0" * 16) is None, "no such mailbox"
    await follow(store)
    for one in (b"1" * 16, b"2" * 16):
        assert isinstance(await put(store, one, b"x" * 10), Kept)
    assert await put(store, b"3" * 16, b"x") is Full.MAILBOX
    assert cast(Kept, await put(store, b"2" * 16, b"x")).state is PutState.HELD, "a repeat takes no place"
    await acknowledge(store, 1)
    assert await put(store, b"4" * 16, b"x" * 991) is Full.MAILBOX
    assert isinstance(await put(store, b"4" * 16, b"x" * 990), Kept)
    await store.close()


async def test_a_full_disk_takes_nothing_new_and_lets_go_of_what_is_there() -> None:
    store = await Store.open(None, NodeLimits(store_bytes=400_000))
    await follow(store)
    stored = 0
    while isinstance(await put(store, stored.to_bytes(16, "big"), b"x" * 50_000), Kept):
        stored += 1
        assert stored < 20
    assert await put(store, b"z" * 16, b"x") is Full.NODE
    other = await answer(lambda then: store.follow(b"b" * 16, NOTHING, unix_s=START_S, then=then))
    assert other is Full.NODE, "nor a new mailbox"
    assert len(await read(store, 0)) == stored
    await acknowledge(store, stored)
    assert isinstance(await put(store, b"z" * 16, b"x"), Kept)
    await store.close()


async def test_remembered_ids_are_bounded_oldest_out_first() -> None:
    store = await Store.open(None, NodeLimits(mailbox_taken=10))
    await follow(store)
    for number in range(30):
        await put(store, number.to_bytes(16, "big"))
    await acknowledge(store, 30)
    states = [cast(Kept, await put(store, number.to_bytes(16, "big"))).state for number in (29, 20, 19, 0)]
    assert states == [PutState.TAKEN, PutState.TAKEN, PutState.NEW, PutState.NEW]
    await store.close()


async def test_a_mailbox_nobody_opens_goes_but_not_one_whose_owner_stays() -> None:
    store = await Store.open(None, NodeLimits(mailbox_idle_days=10))
    await follow(store)
    await store.sweep(unix_s=START_S + 10 * DAY_S, followed=[])
    assert isinstance(await put(store, b"1" * 16, day=10), Kept)
    await store.sweep(unix_s=START_S + 11 * DAY_S, followed=[BOX])
    await store.sweep(unix_s=START_S + 21 * DAY_S, followed=[])
    assert isinstance(await put(store, b"2" * 16, day=21), Kept)
    await store.sweep(unix_s=START_S + 22 * DAY_S, followed=[])
    assert await put(store, b"3" * 16, day=22) is None
    await store.close()


async def test_a_large_sweep_goes_in_pieces_and_forgets_all() -> None:
    store = await Store.open(None, NodeLimits())
    await follow(store)
    await answer(lambda then: store.follow(b"b" * 16, NOTHING, unix_s=START_S, then=then))
    await asyncio.gather(*(put(store, number.to_bytes(16, "big")) for number in range(2_500)))
    assert await store.sweep(unix_s=START_S + 6 * DAY_S, followed=[]) == 2_500
    assert await read(store, 0) == []
    assert isinstance(await put(store, b"z" * 16, day=6), Kept), "its place is free again"
    assert await store.sweep(unix_s=START_S + 37 * DAY_S, followed=[BOX]) == 2_501, "and then their ids"
    await store.close()


async def test_the_disk_keeps_an_address_and_days_but_no_key(tmp_path: Path) -> None:
    store = await Store.open(tmp_path, NodeLimits())
    found = await follow(store)
    await put(store, b"1" * 16, b"sealed")
    await answer(lambda then: store.acknowledge(BOX, 1, unix_s=START_S + 4_321, then=then))
    await store.close()
    with sqlite3.connect(tmp_path / "node.db") as connection:
        assert connection.execute("SELECT day FROM taken").fetchall() == [(20_000,)]
        assert connection.execute("SELECT opened_day, head FROM mailbox").fetchall() == [(20_000, 1)]
    connection.close()
    assert b"sealed" not in (tmp_path / "node.db").read_bytes(), "what was taken is gone from the file"
    assert [path.stat().st_mode & 0o077 for path in (tmp_path / "node.db",)] == [0]
    again = await Store.open(tmp_path, NodeLimits())
    assert (await follow(again, Cursor(found.epoch, 1))).after == 0, "a start changes every epoch"
    await again.close()


class Fickle(sqlite3.Connection):
    """A database whose COMMIT fails when told to."""

    failing = False

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if self.failing and sql == "COMMIT":
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(sql, *parameters)


@pytest.fixture
def fickle(tmp_path: Path) -> Fickle:
    connection = sqlite3.connect(tmp_path / "w.db", isolation_level=None, check_same_thread=False, factory=Fickle)
    connection.execute("CREATE TABLE said (word TEXT UNIQUE)")
    return connection


def writer_of(connection: sqlite3.Connection, *, waiting: int = 100, waiting_bytes: int = 1_000) -> Writer:
    return Writer(
        connection, waiting_limit=waiting, waiting_limit_bytes=waiting_bytes, before_each_batch=lambda _: None
    )


def say(*words: str) -> Callable[[sqlite3.Connection], str]:
    def operation(connection: sqlite3.Connection) -> str:
        for word in words:
            connection.execute("INSERT INTO said VALUES (?)", (word,))
        return words[-1]

    return operation


def said(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    words = [word for (word,) in connection.execute("SELECT word FROM said ORDER BY rowid")]
    connection.close()
    return words


async def test_an_operation_that_fails_undoes_itself_alone(fickle: Fickle, tmp_path: Path) -> None:
    writer = writer_of(fickle)
    answers: list[object] = []
    for operation in (say("a"), say("b", "a"), say("c")):
        writer.submit(operation, answers.append)
    await writer.close()
    assert answers[0] == "a" and answers[2] == "c"
    assert isinstance(answers[1], StorageFailed)
    assert said(tmp_path / "w.db") == ["a", "c"]


async def test_when_a_commit_fails_everyone_in_it_is_told_and_the_next_works(fickle: Fickle, tmp_path: Path) -> None:
    writer = writer_of(fickle)
    fickle.failing = True
    told = await asyncio.gather(*(writer.ask(say(word)) for word in "abc"), return_exceptions=True)
    assert all(isinstance(one, StorageFailed) for one in told)
    fickle.failing = False
    assert await writer.ask(say("d")) == "d"
    await writer.close()
    assert said(tmp_path / "w.db") == ["d"]


async def test_an_answer_comes_after_its_commit_and_in_order(fickle: Fickle, tmp_path: Path) -> None:
    writer = writer_of(fickle)
    order: list[str] = []

    def then(word: object) -> None:
        assert isinstance(word, str)
        order.append(word)
        assert set(order) <= set(said(tmp_path / "w.db")), "another connection sees it: it was committed"

    words = [f"word {number}" for number in range(50)]
    for word in words:
        writer.submit(say(word), then)
    await writer.ask(lambda _: None)
    await writer.close()
    assert order == words


async def test_a_queue_that_is_full_says_so_and_drains(fickle: Fickle) -> None:
    writer = writer_of(fickle, waiting=5, waiting_bytes=10)
    # Nothing is answered before the loop turns, so exactly five find room.
    results = await asyncio.gather(*(writer.ask(say(str(number))) for number in range(8)), return_exceptions=True)
    assert sum(isinstance(one, StorageBusy) for one in results) == 3
    with pytest.raises(StorageBusy):
        await ask_sized(writer, "large", 11)
    assert await ask_sized(writer, "small", 10) == "small"
    await writer.close()
    with pytest.raises(StorageBusy):
        await writer.ask(say("late"))


async def ask_sized(writer: Writer, word: str, size_bytes: int) -> object:
    result = await answer(lambda then: writer.submit(say(word), then, size_bytes=size_bytes))
    if isinstance(result, StorageFailed):
        raise result
    return result


async def test_what_was_acknowledged_is_no_more_on_the_disk(tmp_path: Path) -> None:
    """Whoever takes the disk finds what waits, and nothing that was fetched."""
    store = await Store.open(tmp_path, NodeLimits())
    try:
        await follow(store)
        envelopes = [bytes((number,)) * 900 for number in range(1, 200)]
        for number, envelope in enumerate(envelopes):
            await put(store, number.to_bytes(16, "big"), envelope)
        for seq in range(1, 190):
            await acknowledge(store, seq)
        await store.sweep(unix_s=START_S, followed=[BOX])

        def on_disk() -> list[int]:
            raw = b"".join(file.read_bytes() for file in tmp_path.iterdir())
            return [number for number, envelope in enumerate(envelopes) if envelope[:100] in raw]

        assert on_disk() == list(range(189, 199))
    finally:
        await store.close()
    assert on_disk() == list(range(189, 199))
