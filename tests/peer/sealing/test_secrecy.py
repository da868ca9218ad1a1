"""Whoever copies all that a device stores reads nothing that was read before, and nothing once a round trip is over."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from overfence.sealing import SealingError, Sessions
from overfence.sealing.ratchet import SKIPPED_LIFE_S

from .conftest import Person
from .wiretap import DAY_S, Line, Talk

WHO = pytest.mark.parametrize("name", ["ada", "bob"])


class Snapshot:
    """One device at one moment: what is there to be stolen, and what by the design opens with it."""

    def __init__(self, talk: Talk, who: Person) -> None:
        self.talk, self.who = talk, who
        self.loot = talk.loot(who)
        self.past = talk.past(who)
        self.sessions = Sessions.decode(who.sessions.encode())
        self.kept = set(who.secrets)

    def check(self) -> None:
        """The adversary reads all that is to open and nothing else; nothing of the past but by a living prekey."""
        read = self.talk.adversary.read(self.loot)
        assert read == {number for number, line in enumerate(self.talk.lines) if self.is_to_open(line)}
        assert all(self.opens_by_prekey(self.talk.lines[number]) for number in read & self.past)

    def is_to_open(self, line: Line) -> bool:
        ratchet = next((one.ratchet for one in self.sessions.held if one.ratchet.sid == line.sid), None)
        if self.opens_by_prekey(line):
            return True
        if ratchet is None:
            return False
        if line.by is self.who:
            return line.public == ratchet.own_public and line.number >= ratchet.sent
        if line.public == ratchet.their_public and line.number >= ratchet.received:
            return True
        # The other's next key meets the present one of this device; the one after that meets one that is not drawn yet.
        is_next = line.answers == ratchet.own_public and line.public != ratchet.their_public
        return is_next or line.public[:8] + line.number.to_bytes(4, "big") in ratchet.skipped

    def opens_by_prekey(self, line: Line) -> bool:
        """A first flight, or an answer to it on a key that is still the device's present one."""
        if line.by is not self.who:
            return self.is_first_flight(line)
        is_present = any(one.ratchet.own_public == line.public for one in self.sessions.held)
        flights = {one.public for one in self.talk.lines if one.sid == line.sid and self.is_first_flight(one)}
        return is_present and line.answers in flights

    def is_first_flight(self, line: Line) -> bool:
        card = self.talk.adversary.card_of(line.sid)
        return line.answers == card.spk and card.prekey_id in self.kept


def acquainted(round_trips: int = 3, *, seed: int = 1) -> Talk:
    """A conversation of which everything arrived, and whose first prekey is gone."""
    talk = Talk(seed)
    talk.renew(talk.ada)
    talk.hear(talk.under_way[0])
    talk.wait(DAY_S + 1)
    for _ in range(round_trips):
        for who in (talk.bob, talk.ada):
            talk.tell(who)
            talk.tell(who)
    return talk


MOVE = st.tuples(
    st.sampled_from(["say", "say", "say", "hear", "hear", "hear all", "lose", "wait", "renew"]),
    st.booleans(),
    st.integers(0, 40),
)
MOVES = st.lists(MOVE, min_size=8, max_size=25)


@settings(max_examples=40)
@given(before=MOVES, after=MOVES, begun=st.booleans(), seed=st.integers(0, 2**32))
def test_a_snapshot_opens_what_is_under_way_and_one_round_trip_and_nothing_else(
    before: list[tuple[str, bool, int]], after: list[tuple[str, bool, int]], begun: bool, seed: int
) -> None:
    talk = acquainted(1, seed=seed) if begun else Talk(seed)
    talk.renew(talk.ada)
    for move in before:
        talk.move(*move)
    snapshots = [Snapshot(talk, who) for who in (talk.ada, talk.bob)]
    for move in after:
        talk.move(*move)
    for snapshot in snapshots:
        snapshot.check()


@WHO
def test_what_was_read_is_read_by_nobody_again_and_what_follows_for_one_round_trip(name: str) -> None:
    talk = acquainted()
    who = talk.ada if name == "ada" else talk.bob
    other = talk.pair.other(who)
    talk.tell(other)
    stolen = talk.loot(who)
    assert talk.adversary.read(stolen) == set()
    start = len(talk.lines)
    talk.tell(other)  # still on the key of before
    for _ in range(3):
        talk.tell(who)
    for _ in range(2):
        talk.tell(other)  # the first half of the round trip: a new key, for one that was stolen
    followed = set(range(start, start + 6))
    assert talk.adversary.read(stolen) == followed
    for _ in range(5):
        talk.tell(who)  # the second half: a key drawn since
        talk.tell(other)
    assert talk.adversary.read(stolen) == followed


def test_who_is_never_answered_is_followed_for_ever() -> None:
    """Only an answer brings a new key."""
    talk = acquainted()
    stolen = talk.loot(talk.ada)
    start = len(talk.lines)
    for _ in range(40):
        talk.tell(talk.ada)
    assert talk.adversary.read(stolen) == set(range(start, start + 40))


@WHO
def test_no_32_bytes_stored_anywhere_are_a_key_to_the_past(name: str) -> None:
    talk = acquainted(round_trips=2)
    who = talk.ada if name == "ada" else talk.bob
    lost = talk.say(talk.pair.other(who))
    talk.tell(talk.pair.other(who))
    assert lost is not None
    for _ in range(2):
        talk.tell(who)
    assert talk.adversary.read(talk.loot(who, everywhere=True)) == {talk.lines.index(lost)}


@WHO
def test_our_own_code_with_an_emptied_memory_opens_nothing_of_the_past(name: str) -> None:
    talk = acquainted()
    who = talk.ada if name == "ada" else talk.bob
    late = talk.say(talk.pair.other(who))
    kept, opened = who.sessions.encode(), []
    for line in talk.lines:
        for sessions in copies(kept):
            who.sessions = sessions
            try:
                talk.pair.hear(who, line.message)
            except SealingError:
                continue
            opened.append(line)
    assert opened
    assert all(line is late for line in opened)


@WHO
def test_our_own_code_goes_on_from_a_copy_for_one_round_trip(name: str) -> None:
    """Whatever a device draws after it was copied, the copy cannot draw again."""
    talk = acquainted()
    who = talk.ada if name == "ada" else talk.bob
    other = talk.pair.other(who)
    talk.tell(other)
    talk.tell(who)
    stolen = who.sessions.encode()
    for _ in range(6):
        talk.tell(other)
        talk.tell(who)
    who.sessions = Sessions.decode(stolen)
    followed = []
    for number, line in enumerate(talk.lines[-12:]):
        try:
            talk.pair.hear(who, line.message)
        except SealingError:
            continue
        followed.append(number)
    assert followed == [0]


def copies(raw: bytes) -> list[Sessions]:
    """Sessions as they are stored, as if they remembered nothing that was read, and none at all."""
    kept, forgetful = (Sessions.decode(raw) for _ in range(2))
    forgetful.seen, forgetful.retired, forgetful.closed_epoch = {}, {}, -1
    for session in forgetful.held:
        session.ratchet.spent, session.ratchet.received = b"", 0
    return [kept, forgetful, Sessions()]


def test_a_long_chain_leads_back_nowhere() -> None:
    talk = acquainted(round_trips=1)
    for _ in range(2_500):
        talk.tell(talk.ada)
    past = [sent for sent in talk.adversary.wire if sent.number in (1_000, len(talk.lines) - 1)]
    stolen = [talk.loot(who) for who in (talk.ada, talk.bob)]
    last = talk.adversary.wire[talk.lines.index(talk.tell(talk.ada))]
    for loot in stolen:
        keys = {key for start in loot.keys for key in talk.adversary.walk(start, 5_000)}
        assert any(talk.adversary.opens(key, last) for key in keys)
        assert not [sent.number for sent in past for key in keys if talk.adversary.opens(key, sent)]


# ── the two things that are kept for a while ──────────────────────────────────────────────────────


def test_a_first_flight_opens_until_a_day_after_its_prekey_was_used() -> None:
    talk = Talk()
    talk.renew(talk.ada)
    talk.say(talk.ada)
    for line in talk.under_way[:]:
        talk.hear(line)
    flight = {0, 1}
    answers = {talk.lines.index(talk.tell(talk.bob)) for _ in range(2)}
    # The root under the first answer follows from the prekey; its other half goes when that is answered.
    assert talk.adversary.read(talk.loot(talk.bob)) == flight | answers
    talk.tell(talk.ada)
    assert talk.adversary.read(talk.loot(talk.bob)) == flight
    assert talk.adversary.read(talk.loot(talk.ada)) == set()
    talk.wait(DAY_S)
    assert talk.adversary.read(talk.loot(talk.bob)) == flight
    talk.wait(1)
    assert talk.adversary.read(talk.loot(talk.bob)) == set()


def test_a_skipped_key_opens_its_own_message_for_thirty_days() -> None:
    talk = acquainted()
    skipped = {talk.lines.index(line) for _ in range(3) if (line := talk.say(talk.ada))}
    talk.tell(talk.ada)
    talk.tell(talk.bob)
    talk.tell(talk.ada)
    talk.wait(SKIPPED_LIFE_S)
    talk.tell(talk.ada)
    assert talk.adversary.read(talk.loot(talk.bob)) == skipped
    assert talk.adversary.read(talk.loot(talk.ada)) == set()
    assert talk.hear(talk.lines[min(skipped)])
    assert talk.adversary.read(talk.loot(talk.bob)) == skipped - {min(skipped)}
    talk.wait(1)
    talk.tell(talk.ada)
    assert talk.adversary.read(talk.loot(talk.bob)) == set()
