"""What a contact may send, and what it changes: nothing that is forged, replayed or not theirs to say."""

from __future__ import annotations

import os

import msgspec
import pytest
from overfence.delivery.payload import AnyItem, Batch, Have, HeldRun, Introduction, Refusal, Reset, Ring, encode_payload
from overfence.delivery.sync import LogKey
from overfence.history import people, postbox
from overfence.history.event import LAMPORT_LIMIT, Event, Header, Text, digest
from overfence.history.log import extend
from overfence.history.people import ContactState
from overfence.sealing import Sessions, seal_envelope
from overfence_reliability import Run

from .conftest import Home, World


@pytest.fixture
def world() -> World:
    world = World()
    world.acquaint()
    return world


def event(
    author: Home, other: Home, text: str, *, conv: bytes | None = None, device: bytes | None = None, **changes: object
) -> Event:
    """The next event of the author's log, or one that claims something else."""
    row = author.contact(other)
    run = Run(len(author.log(other, author)), author.log(other, author)[-1])
    made = extend(
        run,
        conv=conv or row.conv,
        device=device or author.me.dsk,
        log=row.log,
        lamport=50,
        at_ms=1,
        kind="text",
        content=Text(text),
        salt=bytes(16),
    )
    if not changes:
        return made
    header: Header = msgspec.structs.replace(made.header, **changes)
    return Event(header, msgspec.msgpack.encode(header), made.body)


def batch(*events: Event) -> Batch:
    return Batch(tuple((one.header_bytes, one.body) for one in events))


def told(home: Home, by: Home) -> Run:
    return people.told(home.tx, by.me.dsk, home.me.dsk, home.contact(by).log)


def test_an_event_of_another_conversation_or_author_is_dropped(world: World) -> None:
    ada, bob, eve = world.homes
    bob.accept(eve.invite())
    world.settle(rounds=4)
    foreign = [
        event(bob, ada, "another conversation", conv=bob.contact(eve).conv),
        event(bob, ada, "no conversation", conv=bytes(32)),
        event(bob, ada, "in Ada's name", device=ada.me.dsk),
        event(bob, ada, "in Eve's name", device=eve.me.dsk),
        event(bob, ada, "in nobody's name", device=bytes(32)),
    ]
    before, shown = ada.log(bob, bob), len(ada.shown)
    for one in foreign:
        ada.take_message(bob.me.dsk, bob.seal(ada, batch(one)))
    assert ada.dropped.count("ForeignEvent: an event of another conversation or author") == len(foreign)
    assert (ada.log(bob, bob), len(ada.shown)) == (before, shown)
    assert not ada.tx.execute("SELECT 1 FROM events WHERE header LIKE ?", (b"%name%",)).fetchall()
    # The good one beside a bad one still counts.
    ada.take_message(bob.me.dsk, bob.seal(ada, batch(foreign[2], event(bob, ada, "mine"))))
    assert ada.texts(bob) == ["mine"]


def test_garbage_events_spoil_neither_the_batch_nor_the_session(world: World) -> None:
    ada, bob, _ = world.homes
    good = event(bob, ada, "good")
    wrong_body = Batch(
        ((good.header_bytes, b"x" * 40), (b"\xc1", b""), (os.urandom(60), None), (good.header_bytes, good.body))
    )
    ada.take_message(bob.me.dsk, bob.seal(ada, wrong_body))
    assert ada.texts(bob) == ["good"]


def test_a_fork_is_not_stored(world: World) -> None:
    ada, bob, _ = world.homes
    before = ada.log(bob, bob)
    ada.take_message(bob.me.dsk, bob.seal(ada, batch(event(bob, ada, "elsewhere", prev=bytes(32)))))
    ada.take_message(bob.me.dsk, bob.seal(ada, batch(event(bob, ada, "rewritten", seq=2))))
    assert ada.log(bob, bob) == before
    assert ada.texts(bob) == []
    assert ada.dropped.count("ForkedLog: an event that contradicts the one held at its number") == 2


def test_a_tick_covers_only_what_was_written_and_is_held(world: World) -> None:
    ada, bob, _ = world.homes
    for number in range(5):
        ada.say(ada.contact(bob).id, f"{number}")
    conv, log, ids = ada.contact(bob).conv, ada.contact(bob).log, ada.log(bob, ada)
    before = told(ada, bob)
    assert before.end == 3

    def claim(end: int, tip: bytes, *, device: bytes | None = None, conv: bytes = conv, log: bytes = log) -> None:
        held = HeldRun(device or ada.me.dsk, log, end, tip)
        ticked, copy = people.ticked(ada.tx, ada.contact(bob).id), ada.tx.serialize()
        outcome = ada.take_message(bob.me.dsk, bob.seal(ada, Have(conv, (held,))))
        assert outcome.told == []
        assert told(ada, bob).end <= before.end
        assert people.ticked(ada.tx, ada.contact(bob).id) == ticked
        ada.tx.deserialize(copy)  # whoever lies so makes Ada say it all anew; here each lie is the first

    claim(9, os.urandom(32))  # beyond what was written
    claim(2**53 - 1, ids[-1])
    claim(5, os.urandom(32))  # another past
    claim(5, ids[5])  # the right event at the wrong number
    claim(5, b"")
    claim(5, ids[4], device=bob.me.dsk)  # not my log
    claim(5, ids[4], log=bytes(8))
    claim(5, ids[4], conv=bytes(32))
    contradicting = HeldRun(ada.me.dsk, log, 5, ids[4], ((3, 2),))
    assert ada.take_message(bob.me.dsk, bob.seal(ada, Have(conv, (contradicting,)))).told == []
    honest = HeldRun(ada.me.dsk, log, 5, ids[4])
    outcome = ada.take_message(bob.me.dsk, bob.seal(ada, Have(conv, (honest,))))
    assert outcome.told == [(bob.me.dsk, LogKey(conv, ada.me.dsk, log), Run(5, ids[4]))]
    assert people.delivered_upto(ada.tx, ada.contact(bob).id) == 5
    older = HeldRun(ada.me.dsk, log, 2, ids[1])
    ada.take_message(bob.me.dsk, bob.seal(ada, Have(conv, (older,))))
    assert people.delivered_upto(ada.tx, ada.contact(bob).id) == 5, "a tick never goes back"


def test_a_tick_ends_the_life_of_exactly_the_envelopes_it_covers(world: World) -> None:
    ada, bob, _ = world.homes
    ids = []
    for number in range(4):
        ids.append(ada.say(ada.contact(bob).id, f"{number}").id)
        ada.seal_all()
    assert [put.last for put in postbox.waiting_puts(ada.tx, "ws://127.0.0.1:1", ada.me.now_s, 9)] == [4, 5, 6, 7]
    held = HeldRun(ada.me.dsk, ada.contact(bob).log, 5, ids[1])
    ada.take_message(bob.me.dsk, bob.seal(ada, Have(ada.contact(bob).conv, (held,))))
    assert [put.last for put in postbox.waiting_puts(ada.tx, "ws://127.0.0.1:1", ada.me.now_s, 9)] == [6, 7]


def test_a_replayed_message_changes_nothing_and_is_answered_with_a_have(world: World) -> None:
    ada, bob, _ = world.homes
    message = bob.seal(ada, batch(event(bob, ada, "once")))
    ada.take_message(bob.me.dsk, message)
    shown = len(ada.shown)
    for _ in range(3):
        outcome = ada.take_message(bob.me.dsk, message)
        assert outcome.duplicates == {bob.me.dsk}
        assert not outcome.ordered
        assert not outcome.told
    assert len(ada.shown) == shown
    assert ada.texts(bob) == ["once"]


@pytest.mark.parametrize("part", ["mark", "sid", "ratchet key", "numbers", "nonce", "text", "tag", "cut", "grown"])
def test_a_forged_message_changes_nothing_at_all(world: World, part: str) -> None:
    ada, bob, _ = world.homes
    good = bob.seal(ada, batch(event(bob, ada, "genuine")))
    raw = bytearray(good)
    places = {"mark": 0, "sid": 4, "ratchet key": 20, "numbers": 48, "nonce": 60, "text": 90, "tag": len(raw) - 1}
    if part in places:
        raw[places[part]] ^= 0x10
    forged = {"cut": good[:-20], "grown": good + bytes(20)}.get(part, bytes(raw))
    before, shown = ada.fingerprint(), len(ada.shown)
    outcome = ada.take_message(bob.me.dsk, forged)
    assert outcome.dropped
    assert (ada.fingerprint(), len(ada.shown)) == (before, shown)
    # Nor does the same in an envelope, from whoever knows the address.
    mailbox, _ = bob.envelope(ada, forged)
    [address, *_] = people.addresses(bob.tx, ada.me.dsk)
    ada.take_envelope(mailbox, seal_envelope(address.key, mailbox, bob.me.dsk, forged, os.urandom))
    assert (ada.fingerprint(), len(ada.shown)) == (before, shown)
    ada.take_message(bob.me.dsk, good)
    assert ada.texts(bob) == ["genuine"]


def test_an_envelope_of_a_stranger_changes_nothing(world: World) -> None:
    ada, bob, eve = world.homes
    message = bob.seal(ada, Ring())
    [address, *_] = people.addresses(bob.tx, ada.me.dsk)
    before = ada.fingerprint()
    for envelope in (
        os.urandom(400),
        seal_envelope(os.urandom(32), address.mailbox, bob.me.dsk, message, os.urandom),
        seal_envelope(address.key, os.urandom(16), bob.me.dsk, message, os.urandom),
        seal_envelope(address.key, address.mailbox, eve.me.dsk, message, os.urandom),
    ):
        assert ada.take_envelope(address.mailbox, envelope).calls == []
    assert ada.fingerprint() == before
    good = seal_envelope(address.key, address.mailbox, bob.me.dsk, message, os.urandom)
    assert ada.take_envelope(address.mailbox, good).calls == [(bob.me.dsk, Ring())]


@pytest.mark.parametrize(
    "inside", [b"", b"\xc1", b"\x91\x91\xa4none", encode_payload(Ring())[:-1], msgspec.msgpack.encode([["have", 1]])]
)
def test_an_authentic_message_with_garbage_inside_is_dropped_and_the_next_is_read(world: World, inside: bytes) -> None:
    ada, bob, _ = world.homes
    device = people.device(bob.tx, ada.me.dsk)
    assert device is not None
    sessions = Sessions.decode(device.sessions)
    message = sessions.seal(inside, random=bob.random)
    bob.do(lambda tx: people.set_sessions(tx, device.dsk, sessions.encode(), device.introduced))
    outcome = ada.take_message(bob.me.dsk, message)
    assert not outcome.ordered
    ada.take_message(bob.me.dsk, bob.seal(ada, batch(event(bob, ada, "and on it goes"))))
    assert ada.texts(bob) == ["and on it goes"]


def test_a_clock_at_its_end_leaves_the_conversation_usable(world: World) -> None:
    ada, bob, _ = world.homes
    ada.take_message(bob.me.dsk, bob.seal(ada, Have(ada.contact(bob).conv, (), LAMPORT_LIMIT)))
    ada.take_message(bob.me.dsk, bob.seal(ada, Have(ada.contact(bob).conv, (), 2**53 - 1)))
    ada.take_message(bob.me.dsk, bob.seal(ada, batch(event(bob, ada, "the end", lamport=LAMPORT_LIMIT))))
    ada.say(ada.contact(bob).id, "and yet")
    world.settle()
    assert bob.log(ada, ada) == ada.log(bob, ada)
    assert "and yet" in bob.texts(ada)


def test_an_invalid_event_is_kept_as_refused_and_not_asked_for_again(world: World) -> None:
    ada, bob, _ = world.homes
    body = bytes(16) + b"\xc1"
    bad = event(bob, ada, "", body_hash=digest(body))
    bad = Event(bad.header, bad.header_bytes, body)
    ada.take_message(bob.me.dsk, bob.seal(ada, batch(bad)))
    assert ada.log(bob, bob)[-1] == bad.id
    assert ada.texts(bob) == []


def test_an_introduction_of_another_account_is_not_believed(world: World) -> None:
    ada, bob, eve = world.homes
    addresses = people.addresses(ada.tx, bob.me.dsk)
    for listed in (eve.me.device_list.raw, b"", bob.me.device_list.raw[:-1] + b"\x00"):
        ada.take_message(bob.me.dsk, bob.seal(ada, Introduction(listed, ())))
    assert people.addresses(ada.tx, bob.me.dsk) == addresses
    seen = ada.tx.execute("SELECT DISTINCT account FROM device_lists").fetchall()
    assert (eve.identity.account,) not in seen


@pytest.mark.parametrize("item", [Refusal("used"), Refusal("expired")])
def test_somebody_accepted_cannot_be_refused_afterwards(world: World, item: AnyItem) -> None:
    ada, bob, _ = world.homes
    bob.take_message(ada.me.dsk, ada.seal(bob, item))
    assert bob.contact(ada).state is ContactState.ACCEPTED


def test_a_reset_ends_sending_on_that_session_and_loses_nothing(world: World) -> None:
    ada, bob, _ = world.homes
    bob.take_message(ada.me.dsk, ada.seal(bob, Reset(os.urandom(8))))
    bob.say(bob.contact(ada).id, "still here")
    world.settle(rounds=3)
    world.check(ada, bob)
    assert ada.texts(bob) == ["still here"]


def test_somebody_removed_changes_nothing_and_hears_nothing(world: World) -> None:
    ada, bob, _ = world.homes
    ada.do(lambda tx: people.set_contact(tx, ada.contact(bob).id, state=ContactState.REMOVED))
    message = bob.seal(ada, batch(event(bob, ada, "hello?")), Ring())
    for _ in range(2):
        outcome = ada.take_message(bob.me.dsk, message)
        assert not outcome.ordered
        assert not outcome.calls
        assert not outcome.nodes
    assert ada.texts(bob) == []
    assert postbox.waiting_puts(ada.tx, "ws://127.0.0.1:1", ada.me.now_s, 9) == []


def test_for_a_node_that_is_gone_one_word_waits_and_it_is_the_latest(world: World) -> None:
    """Whoever names a dead node and goes on writing does not fill the disk with what nobody will fetch."""
    ada, bob = world.ada, world.bob
    for number in range(50):
        bob.say(bob.contact(ada).id, f"{number}")
        bob.errands()
        ada.fetch()
    waiting = postbox.words_to(ada.tx, bob.me.dsk)
    assert len(waiting) == 1
    world.settle(rounds=2)
    assert told(bob, ada).end == len(bob.log(ada, bob))


def test_the_first_word_of_a_session_is_not_lost_when_a_later_one_replaces_it() -> None:
    world = World()
    ada, bob = world.ada, world.bob
    bob.accept(ada.invite())
    for number in range(3):
        bob.say(bob.contact(ada).id, f"{number}")
        bob.errands()
        ada.fetch()
    ada.tx.execute("DELETE FROM puts WHERE log IS NOT NULL")
    ada.post_all()
    bob.fetch()
    assert [address.mailbox for address in people.addresses(bob.tx, ada.me.dsk)] == [
        box.mailbox for box in postbox.mailbox_for(ada.tx, ada.contact(bob).id)
    ]
