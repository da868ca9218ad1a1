"""Mail through a node, over real sockets: kept, delivered once in order, acknowledged, fenced, bounded."""

from __future__ import annotations

import asyncio
import os
from functools import partial

from overfence_signalling import (
    Ack,
    Card,
    CardGet,
    CardSet,
    Close,
    Done,
    Error,
    Fenced,
    Item,
    Items,
    Node,
    Open,
    Opened,
    Put,
    mailbox_address,
)

from .conftest import PATIENCE_S, Client, Clock, Connect, Start, accepted, refused


def putting(mailbox: bytes, envelope: bytes, ref: int) -> Put:
    return Put(ref=ref, mailbox=mailbox, id=os.urandom(16), envelope=envelope)


def opening_of(mk: bytes, ref: int) -> Open:
    return Open(ref=ref, mk=mk)


async def test_mail_waits_for_its_owner_and_goes_when_acknowledged(connect: Connect, mk: bytes) -> None:
    owner, sender = await connect(), await connect()
    opened = await owner.open(mk)
    assert opened.mailbox == mailbox_address(mk) and opened.head == 0
    await owner.ws.close()
    for text in (b"one", b"two", b"three"):
        assert accepted(await sender.put(mk, text)) == "stored"

    back = await connect()
    again = await back.open(mk, opened.epoch, 0)
    assert (again.epoch, again.head) == (opened.epoch, 3)
    assert [(item.seq, item.envelope) for item in await back.items(3)] == [(1, b"one"), (2, b"two"), (3, b"three")]
    await back.send(Ack(mailbox=opened.mailbox, epoch=opened.epoch, seq=2))

    last = await connect()
    await last.open(mk)
    assert [item.envelope for item in await last.items(1)] == [b"three"]


async def test_mail_for_somebody_here_arrives_at_once_and_in_order(connect: Connect, mk: bytes) -> None:
    owner, sender = await connect(), await connect()
    opened = await owner.open(mk)
    texts = [str(number).encode() for number in range(500)]
    answers = [await sender.asking(partial(putting, opened.mailbox, text)) for text in texts]
    assert {accepted(await answer) for answer in answers} == {"stored"}
    items = await owner.items(500)
    assert [item.envelope for item in items] == texts
    assert [item.seq for item in items] == list(range(1, 501))


async def test_an_opener_that_holds_some_gets_the_rest_and_frees_the_place(connect: Connect, mk: bytes) -> None:
    owner, sender = await connect(), await connect()
    epoch = (await owner.open(mk)).epoch
    put_id = os.urandom(16)
    await sender.put(mk, b"one", id=put_id)
    await sender.put(mk, b"two")
    # The acknowledgement was lost with the connection; the cursor says the same.
    other = await connect()
    await other.open(mk, epoch, 1)
    assert [item.envelope for item in await other.items(1)] == [b"two"]
    assert accepted(await sender.put(mk, b"one", id=put_id)) == "taken"


async def test_a_cursor_of_another_epoch_starts_from_what_is_there(connect: Connect, mk: bytes) -> None:
    owner, sender = await connect(), await connect()
    epoch = (await owner.open(mk)).epoch
    await sender.put(mk, b"one")
    for wrong in ((epoch ^ 1, 1), (epoch, 2)):
        other = await connect()
        await other.open(mk, *wrong)
        assert [item.envelope for item in await other.items(1)] == [b"one"]


async def test_the_same_put_twice_is_kept_once(connect: Connect, mk: bytes) -> None:
    owner, sender = await connect(), await connect()
    opened = await owner.open(mk)
    put_id = os.urandom(16)
    states = [accepted(await sender.put(mk, b"once", id=put_id)) for _ in range(3)]
    assert states == ["stored", "held", "held"]
    (item,) = await owner.items(1)
    await owner.send(Ack(mailbox=opened.mailbox, epoch=opened.epoch, seq=item.seq))
    await owner.ask(lambda ref: CardSet(ref=ref, mk=mk, card=b""))  # behind the acknowledgement
    assert accepted(await sender.put(mk, b"once", id=put_id)) == "taken"
    await sender.put(mk, b"another")
    assert [item.envelope for item in await owner.items(1)] == [b"another"]


async def test_without_a_mailbox_a_put_is_refused(connect: Connect, mk: bytes) -> None:
    sender = await connect()
    assert refused(await sender.put(mk, b"hello")) == "no_mailbox"
    assert refused(await sender.ask(lambda ref: CardGet(ref=ref, mailbox=mailbox_address(mk)))) == "no_mailbox"


async def test_a_newer_opener_fences_the_older(connect: Connect, mk: bytes) -> None:
    old, new, sender = await connect(), await connect(), await connect()
    opened = await old.open(mk)
    await sender.put(mk, b"one")
    await old.items(1)
    await new.open(mk)
    assert (await old.next(Fenced)).mailbox == opened.mailbox
    assert [item.envelope for item in await new.items(1)] == [b"one"]
    # What the fenced one still says about it counts no more.
    await old.send(Ack(mailbox=opened.mailbox, epoch=opened.epoch, seq=1))
    await old.open(os.urandom(32))
    await sender.put(mk, b"two")
    assert [item.envelope for item in await new.items(1)] == [b"two"]
    assert not [frame for frame in old.heard if isinstance(frame, Items)]
    third = await connect()
    await third.open(mk)
    assert [item.envelope for item in await third.items(2)] == [b"one", b"two"]


async def test_opening_again_on_one_connection_starts_over_without_a_fence(connect: Connect, mk: bytes) -> None:
    owner, sender = await connect(), await connect()
    opened = await owner.open(mk)
    await sender.put(mk, b"one")
    await owner.items(1)
    await owner.open(mk, opened.epoch, 0)
    assert [item.envelope for item in await owner.items(1)] == [b"one"]
    assert not [frame for frame in owner.heard if isinstance(frame, Fenced)]


async def test_a_ttl_of_zero_passes_or_is_absent_and_is_never_kept(connect: Connect, mk: bytes) -> None:
    owner, sender = await connect(), await connect()
    assert accepted(await sender.put(mk, b"nobody", ttl_s=0)) == "absent"
    opened = await owner.open(mk)
    assert accepted(await sender.put(mk, b"call", ttl_s=0)) == "passed"
    (item,) = await owner.items(1)
    assert (item.seq, item.envelope) == (0, b"call")
    await owner.ws.close()
    async with asyncio.timeout(PATIENCE_S):
        while accepted(await sender.put(mk, b"gone?", ttl_s=0)) == "passed":
            pass
    again = await connect()
    assert (await again.open(mk, opened.epoch, 0)).head == 0


async def test_a_call_goes_past_a_long_backlog(connect: Connect, mk: bytes) -> None:
    first, sender = await connect(), await connect()
    await first.open(mk)
    await first.ws.close()
    for _ in range(40):
        assert accepted(await sender.put(mk, b"x" * 30_000)) == "stored"
    owner = await connect()
    opened = await owner.open(mk)
    assert opened.head == 40
    await owner.next(Items)
    assert accepted(await sender.put(mk, b"call", ttl_s=0)) == "passed"
    call = await owner.next(Items, where=lambda frame: frame.items[0].seq == 0)
    assert call.items[0].envelope == b"call"


async def test_a_backlog_comes_in_pages_and_what_is_new_behind_it(connect: Connect, mk: bytes) -> None:
    first, sender = await connect(), await connect()
    opened = await first.open(mk)
    await first.ws.close()
    for number in range(60):
        await sender.put(mk, bytes([number]) * 10_000)
    owner = await connect()
    await owner.open(mk)
    got: list[Item] = []
    new = 0
    while len(got) < 80:
        frame = await owner.next(Items)
        assert sum(len(item.envelope) for item in frame.items) <= 32 * 1024
        got.extend(frame.items)
        for _ in range(min(2, 20 - new)):
            await sender.put(mk, b"new")
            new += 1
        await owner.send(Ack(mailbox=opened.mailbox, epoch=opened.epoch, seq=got[-1].seq))
    assert [item.seq for item in got] == list(range(1, 81))
    assert [item.envelope for item in got[60:]] == [b"new"] * 20


async def test_no_more_than_the_window_is_in_flight(connect: Connect, mk: bytes) -> None:
    first, sender = await connect(), await connect()
    await first.open(mk)
    await first.ws.close()
    for _ in range(30):
        await sender.put(mk, b"x" * 20_000)
    owner = await connect()
    opened = await owner.open(mk)
    within = 256 * 1024 // (20_000 + 96)
    seen = await owner.items(within)
    # A request behind them is answered, so nothing more was sent.
    await owner.ask(lambda ref: CardGet(ref=ref, mailbox=opened.mailbox))
    assert not [frame for frame in owner.heard if isinstance(frame, Items)]
    await sender.put(mk, b"live")
    await owner.ask(lambda ref: CardGet(ref=ref, mailbox=opened.mailbox))
    assert not [frame for frame in owner.heard if isinstance(frame, Items)]
    while len(seen) < 31:
        await owner.send(Ack(mailbox=opened.mailbox, epoch=opened.epoch, seq=seen[-1].seq))
        seen.extend((await owner.next(Items)).items)
    assert [item.seq for item in seen] == list(range(1, 32))
    assert seen[-1].envelope == b"live"


async def test_live_mail_unacknowledged_stops_at_the_window_too(connect: Connect, mk: bytes) -> None:
    owner, sender = await connect(), await connect()
    opened = await owner.open(mk)
    for _ in range(30):
        await sender.put(mk, b"x" * 20_000)
    within = 256 * 1024 // (20_000 + 96)
    seen = await owner.items(within)
    await owner.ask(lambda ref: CardGet(ref=ref, mailbox=opened.mailbox))
    assert not [frame for frame in owner.heard if isinstance(frame, Items)]
    while len(seen) < 30:
        await owner.send(Ack(mailbox=opened.mailbox, epoch=opened.epoch, seq=seen[-1].seq))
        seen.extend((await owner.next(Items)).items)
    assert [item.seq for item in seen] == list(range(1, 31))


async def test_an_owner_in_a_flood_misses_nothing(connect: Connect, mk: bytes) -> None:
    owner = await connect()
    opened = await owner.open(mk)
    senders = [await connect() for _ in range(4)]

    async def flood(sender: Client, number: int) -> None:
        for count in range(150):
            assert accepted(await sender.put(mk, bytes([number, count]) + b"x" * (count * 50))) == "stored"

    async def collect() -> list[Item]:
        got: list[Item] = []
        while len(got) < 600:
            got.extend((await owner.next(Items)).items)
            await owner.send(Ack(mailbox=opened.mailbox, epoch=opened.epoch, seq=got[-1].seq))
        return got

    async with asyncio.TaskGroup() as tasks:
        collecting = tasks.create_task(collect())
        for number, sender in enumerate(senders):
            tasks.create_task(flood(sender, number))
    items = collecting.result()
    assert [item.seq for item in items] == list(range(1, 601))
    for number in range(4):
        assert [item.envelope[1] for item in items if item.envelope[0] == number] == list(range(150))


async def test_an_acknowledgement_too_far_or_of_another_epoch_loses_nothing(connect: Connect, mk: bytes) -> None:
    owner, sender = await connect(), await connect()
    opened = await owner.open(mk)
    await sender.put(mk, b"one")
    await owner.items(1)
    await owner.send(Ack(mailbox=opened.mailbox, epoch=opened.epoch, seq=2**53 - 1))
    await sender.put(mk, b"two")
    assert [item.envelope for item in await owner.items(1)] == [b"two"]
    await owner.send(Ack(mailbox=opened.mailbox, epoch=opened.epoch ^ 1, seq=2))
    other = await connect()
    await other.open(mk)
    assert [item.envelope for item in await other.items(1)] == [b"two"]


async def test_a_card_is_kept_replaced_and_read_by_address(connect: Connect, mk: bytes) -> None:
    owner, reader = await connect(), await connect()
    address = mailbox_address(mk)
    assert isinstance(await owner.ask(lambda ref: CardSet(ref=ref, mk=mk, card=b"first")), Done)
    assert await reader.ask(lambda ref: CardGet(ref=ref, mailbox=address)) == Card(ref=1, card=b"first")
    await owner.ask(lambda ref: CardSet(ref=ref, mk=mk, card=b"second"))
    assert await reader.ask(lambda ref: CardGet(ref=ref, mailbox=address)) == Card(ref=2, card=b"second")
    assert accepted(await reader.put(mk, b"hello")) == "stored", "setting a card made the mailbox"
    other = os.urandom(32)
    await owner.open(other)
    bare = await reader.ask(lambda ref: CardGet(ref=ref, mailbox=mailbox_address(other)))
    assert isinstance(bare, Card) and bare.card is None


async def test_a_closed_mailbox_is_gone_with_all_it_held(connect: Connect, mk: bytes) -> None:
    owner, elsewhere, sender = await connect(), await connect(), await connect()
    opened = await owner.open(mk)
    await sender.put(mk, b"one")
    assert isinstance(await elsewhere.ask(lambda ref: Close(ref=ref, mk=mk)), Done)
    assert (await owner.next(Fenced)).mailbox == opened.mailbox
    assert refused(await sender.put(mk, b"two")) == "no_mailbox"
    assert isinstance(await elsewhere.ask(lambda ref: Close(ref=ref, mk=mk)), Done), "closing twice is no mistake"
    again = await elsewhere.open(mk, opened.epoch, 1)
    assert again.head == 0 and again.epoch != opened.epoch


async def test_a_full_mailbox_says_so_and_only_it_is_full(start: Start, mk: bytes) -> None:
    async with start(mailbox_items=3) as node, Client.to(node) as owner, Client.to(node) as sender:
        opened = await owner.open(mk)
        await owner.open(other := os.urandom(32))
        ids = [os.urandom(16) for _ in range(4)]
        for put_id in ids[:3]:
            assert accepted(await sender.put(mk, b"x", id=put_id)) == "stored"
        full = await sender.put(mk, b"x", id=ids[3])
        assert isinstance(full, Error) and full.code == "mailbox_full" and full.retry_after_s
        assert accepted(await sender.put(mk, b"x", id=ids[0])) == "held"
        assert accepted(await sender.put(other, b"x")) == "stored"
        await owner.send(Ack(mailbox=opened.mailbox, epoch=opened.epoch, seq=3))
        await owner.ask(lambda ref: CardSet(ref=ref, mk=mk, card=b""))
        assert accepted(await sender.put(mk, b"x", id=ids[3])) == "stored"


async def test_one_connection_has_so_many_mailboxes_and_no_more(start: Start) -> None:
    async with start(mailboxes_per_connection=3) as node, Client.to(node) as owner, Client.to(node) as other:
        keys = [os.urandom(32) for _ in range(4)]
        for key in keys[:3]:
            await owner.open(key)
        assert refused(await owner.ask(lambda ref: Open(ref=ref, mk=keys[3]))) == "too_many"
        assert refused(await owner.ask(lambda ref: CardSet(ref=ref, mk=keys[3], card=b""))) == "too_many"
        assert isinstance(await owner.ask(lambda ref: Open(ref=ref, mk=keys[0])), Opened), "its own stay"
        await owner.ask(lambda ref: Close(ref=ref, mk=keys[0]))
        await owner.open(keys[3])
        await other.open(keys[0])


async def test_mail_past_its_day_goes_and_its_id_is_remembered(start: Start, clock: Clock, mk: bytes) -> None:
    async with start() as node, Client.to(node) as owner, Client.to(node) as sender:
        await owner.open(mk)
        await owner.ws.close()
        short, long = os.urandom(16), os.urandom(16)
        await sender.put(mk, b"short", id=short, ttl_s=3_600)
        await sender.put(mk, b"long", id=long, ttl_s=5 * 86_400)
        await node.sweep()
        assert accepted(await sender.put(mk, b"short", id=short)) == "held"
        clock.days_pass(1)
        await node.sweep()
        assert accepted(await sender.put(mk, b"short", id=short)) == "taken"
        assert accepted(await sender.put(mk, b"long", id=long)) == "held"
        async with Client.to(node) as back:
            await back.open(mk)
            (item,) = await back.items(1)
            assert (item.envelope, item.day) == (b"long", 20_000)
        clock.days_pass(31)
        await node.sweep()
        assert accepted(await sender.put(mk, b"short", id=short)) == "stored", "ids are remembered for 30 days"


async def test_an_expired_item_in_the_middle_of_a_backlog_hides_nothing(start: Start, clock: Clock, mk: bytes) -> None:
    async with start() as node, Client.to(node) as owner, Client.to(node) as sender:
        await owner.open(mk)
        await owner.ws.close()
        for text, ttl_s in ((b"1", 10**6), (b"2", 60), (b"3", 10**6), (b"4", 60)):
            await sender.put(mk, text, ttl_s=ttl_s)
        clock.days_pass(2)
        await node.sweep()
        async with Client.to(node) as back:
            assert (await back.open(mk)).head == 4
            await sender.put(mk, b"5")
            assert [item.envelope for item in await back.items(3)] == [b"1", b"3", b"5"]


async def test_many_mailboxes_with_much_mail_reach_one_owner_whole(node: Node, connect: Connect) -> None:
    """All their mail together is larger than an outbox: the owner is paced, not closed as slow."""
    keys = [os.urandom(32) for _ in range(60)]
    first, sender = await connect(), await connect()
    for key in keys:
        await first.open(key)
    await first.ws.close()
    for key in keys:
        for _ in range(2):
            assert accepted(await sender.put(key, b"x" * 50_000)) == "stored"
    owner = await connect()
    opening = [await owner.asking(partial(opening_of, key)) for key in keys]
    for answer in opening:
        assert isinstance(await answer, Opened)
    assert len(await owner.items(120)) == 120
